"""Denoising head: starts as the identity, predicts what to take away."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.conformance import check_head, images, perturb
from umsrep.errors import InputError
from umsrep.heads import DenoisingHead
from umsrep.heads.decoder import resize
from umsrep.tasks.model import MultiTaskModel
from umsrep.zoo import Encoder, InputContract


@pytest.fixture(scope="module", params=["resnet18", "convnextv2_atto", "vit_tiny_patch16_224"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    """Encoders of three kinds and two channels, not to be changed."""
    return Encoder.create(request.param, contract=InputContract(channels=2, size=64, mean=(0.3, 0.6), std=0.2)).eval()


def decoder_for(encoder: Encoder) -> str:
    """A decoder that fits."""
    return "dpt" if encoder.arch.startswith("vit") else "unet"


@pytest.mark.parametrize("options", [{}, {"share": False, "width": 8, "depth": 2}, {"width": 3, "depth": 5}])
def test_conformance(encoder: Encoder, options: dict[str, Any]) -> None:
    check_head(DenoisingHead(decoder_for(encoder), **options), encoder)


@pytest.mark.parametrize("size", [(33, 47), (65, 129)])
@pytest.mark.parametrize("train", [False, True])
def test_a_new_head_returns_exactly_its_input_at_any_size(encoder: Encoder, size: tuple[int, int], train: bool) -> None:
    model = MultiTaskModel(encoder, {"clean": DenoisingHead(decoder_for(encoder))}).train(train)
    x_BCHW = images(encoder, height=size[0], width=size[1])
    with torch.no_grad():
        assert torch.equal(model(x_BCHW)["clean"], x_BCHW)
    encoder.eval()


def test_it_learns_from_the_first_step(encoder: Encoder) -> None:
    head = DenoisingHead(decoder_for(encoder), width=8, depth=2)
    sizes: dict[str, Any] = {
        "channels": encoder.channels,
        "strides": encoder.strides,
        "in_channels": 2,
        "embedding_dim": encoder.embedding_dim,
    }
    head.build(**sizes)
    clean = images(encoder)
    noisy = clean + 0.3 * torch.randn(clean.shape)
    with torch.no_grad():
        features = encoder(noisy)
    optimiser = torch.optim.Adam(head.parameters(), lr=3e-4)
    losses = []
    for _ in range(4):
        loss = (head(noisy, features) - clean).square().mean()
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[0] == pytest.approx(0.09, rel=0.05)  # the noise itself: the head starts as the identity
    assert losses == sorted(losses, reverse=True)


def test_the_answer_is_the_input_less_the_branch(encoder: Encoder) -> None:
    head = DenoisingHead(decoder_for(encoder), share=False)
    sizes: dict[str, Any] = {
        "channels": encoder.channels,
        "strides": encoder.strides,
        "in_channels": 2,
        "embedding_dim": encoder.embedding_dim,
    }
    head.build(**sizes)
    perturb(head)
    head.eval()
    x_BCHW = images(encoder)
    with torch.no_grad():
        features = encoder(x_BCHW)
        assert head.decoder is not None
        dense = head.decoder(x_BCHW, features)
        folded = torch.stack([x_BCHW[:, c, i::2, j::2] for c in range(2) for i in range(2) for j in range(2)], dim=1)
        small = head.branch(torch.cat([folded, resize(dense, 32, 32)], dim=1))
        noise = torch.zeros_like(x_BCHW)
        for index in range(8):
            noise[:, index // 4, (index % 4) // 2 :: 2, index % 2 :: 2] = small[:, index]
        assert noise.abs().mean() > 1e-3
        assert torch.equal(head(x_BCHW, features), x_BCHW - noise)
        assert torch.equal(head(x_BCHW, [], dense), x_BCHW - noise)


@pytest.mark.parametrize("options", [{"width": 0}, {"depth": 1}, {"depth": -1}])
def test_impossible_branches(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="width must be 1 or more and depth 2 or more"):
        DenoisingHead(**options)
