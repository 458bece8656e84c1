"""Losses that predict pixels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.tasks.runs import ARCH
from umsrep.errors import InputError
from umsrep.tasks.pretrain.config import DenoisingConfig, MaskedConfig
from umsrep.tasks.pretrain.objectives import DenoisingObjective, MaskedObjective, Objective, pyramid_and_last
from umsrep.zoo import Encoder, InputContract


def encoder(arch: str = ARCH, size: int = 64, **contract: Any) -> Encoder:
    torch.manual_seed(0)
    return Encoder.create(arch, contract=InputContract(size=size, **contract))


def masked_batch(objective: MaskedObjective, images: Tensor) -> dict[str, Tensor]:
    grid = [s // objective.patch for s in images.shape[-2:]]
    hidden = torch.zeros(len(images), *grid, dtype=torch.bool)
    hidden[:, ::2] = True
    return {"image": images, "hidden": hidden}


@pytest.mark.parametrize("arch", [ARCH, "test_resnet", "test_vit", pytest.param("swin_tiny_patch4_window7_224", marks=pytest.mark.slow)])
def test_the_last_map_is_what_the_embedding_pools(arch: str) -> None:
    net = encoder(arch, 64 if arch != "test_vit" else 160).eval()
    side = net.contract.size[0] if isinstance(net.contract.size, tuple) else 0
    with torch.no_grad():
        features, last = pyramid_and_last(net, torch.randn(1, 1, side, side))
    assert last.shape == (1, net.model.num_features, side // net.strides[-1], side // net.strides[-1])
    assert [f.shape[1] for f in features] == net.channels


def test_the_loss_looks_at_hidden_pixels_alone() -> None:
    objective = MaskedObjective(encoder(), MaskedConfig(), frozen_norm=True).eval()
    assert objective.patch == 8, "an eighth of the image"
    batch = masked_batch(objective, torch.randn(2, 1, 64, 64).clamp(-1, 1))
    hidden = batch["hidden"][:, None].repeat_interleave(8, 2).repeat_interleave(8, 3)
    loss = objective(batch)
    with torch.no_grad():
        shown = torch.where(hidden, torch.zeros(()), batch["image"])
        guess = objective.decoder(pyramid_and_last(objective.model.encoder, shown)[1])
    assert float(loss.detach()) == pytest.approx(float((guess - batch["image"]).abs()[hidden].mean()), rel=1e-5)
    other = batch | {"image": torch.where(hidden, batch["image"] + 1.0, batch["image"])}
    with torch.no_grad():
        again = objective.decoder(pyramid_and_last(objective.model.encoder, torch.where(hidden, torch.zeros(()), other["image"]))[1])
    assert torch.equal(again, guess), "what is hidden is not seen"
    assert float(objective(other).detach()) != float(loss.detach())


@pytest.mark.parametrize("kind", ["masked", "denoising"])
def test_every_weight_of_the_encoder_gets_a_gradient(kind: str) -> None:
    net = encoder("test_efficientnet")
    images = torch.randn(2, 1, 64, 64).clamp(-1, 1)
    if kind == "masked":
        masked = MaskedObjective(net, MaskedConfig(), frozen_norm=False)
        objective: Objective = masked
        batch = masked_batch(masked, images)
    else:
        objective = DenoisingObjective(net, DenoisingConfig(), frozen_norm=False)
        batch = {"image": images, "clean": net.contract.denormalise(images)}
    objective(batch).backward()
    # those behind the pyramid too (conv_head): the embedding is made of them; all of them, or DDP would wait forever
    without = [name for name, p in objective.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_frozen_norms_stay_as_they_are() -> None:
    for frozen in (True, False):
        objective = DenoisingObjective(encoder(), DenoisingConfig(), frozen_norm=frozen)
        objective.train()
        before = {k: v.clone() for k, v in objective.model.named_buffers()}
        objective({"image": torch.randn(2, 1, 64, 64), "clean": torch.rand(2, 1, 64, 64)})
        same = all(torch.equal(v, before[k]) for k, v in objective.model.named_buffers())
        assert same == frozen
        norms = [m for m in objective.model.modules() if isinstance(m, nn.BatchNorm2d)]
        assert norms
        assert all(m.training != frozen for m in norms)


def test_a_perfect_prediction_costs_nothing() -> None:
    objective = DenoisingObjective(encoder(), DenoisingConfig(), frozen_norm=True).eval()
    nn.init.zeros_(objective.coarse.project.weight)
    assert objective.coarse.project.bias is not None
    nn.init.zeros_(objective.coarse.project.bias)
    grey = torch.full((1, 1, 64, 64), 0.5)  # 0 in the unit of the network
    assert float(objective({"image": torch.zeros(1, 1, 64, 64), "clean": grey}).detach()) == pytest.approx(0, abs=1e-6)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="image_size 48x48 is no multiple of 32"):
        MaskedObjective(encoder(size=48), MaskedConfig(), frozen_norm=True)
    with pytest.raises(InputError, match=r"no multiple of 24, masked\.patch"):
        MaskedObjective(encoder(), MaskedConfig(patch=24), frozen_norm=True)
    with pytest.raises(InputError, match="no multiple of 32"):
        DenoisingObjective(encoder(size=48), DenoisingConfig(), frozen_norm=True)
    with pytest.raises(InputError, match="decoder"):
        DenoisingObjective(encoder(), DenoisingConfig(decoder="unit"), frozen_norm=True)


@pytest.mark.parametrize("arch", [ARCH, "cbr_tiny", "test_vit"])
def test_the_light_decoder_gives_whole_images(arch: str) -> None:
    objective = MaskedObjective(encoder(arch), MaskedConfig(), frozen_norm=False).eval()
    loss = objective(masked_batch(objective, torch.randn(2, objective.model.encoder.contract.channels, 64, 64)))
    assert torch.isfinite(loss), "cbr_* pool a map of stride 16, where their pyramid ends at 32"
