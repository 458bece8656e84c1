"""Segmentation head: logits at the size of the image, a decoder of its own or one shared."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.conformance import check_head, images
from umsrep.errors import InputError
from umsrep.heads import Decoder, DenoisingHead, SegmentationHead
from umsrep.tasks.model import MultiTaskModel
from umsrep.zoo import Encoder, InputContract


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """A small encoder of two channels, not to be changed."""
    return Encoder.create("convnextv2_atto", contract=InputContract(channels=2)).eval()


@pytest.mark.parametrize(
    "head",
    [
        lambda: SegmentationHead(["lung"]),
        lambda: SegmentationHead(["background", "lung", "heart"], "fpn", share=False),
        lambda: SegmentationHead(4, multi_label=True),
    ],
)
def test_conformance(encoder: Encoder, head) -> None:
    check_head(head(), encoder)


def sizes(encoder: Encoder) -> dict[str, Any]:
    """What `build` takes."""
    return {
        "channels": encoder.channels,
        "strides": encoder.strides,
        "in_channels": encoder.contract.channels,
        "embedding_dim": encoder.embedding_dim,
    }


def test_a_shared_decoder_is_not_part_of_the_head(encoder: Encoder) -> None:
    arguments = sizes(encoder)
    embedding = arguments.pop("embedding_dim")
    decoder = Decoder("unet", **arguments)
    head = SegmentationHead(3)
    head.build(**arguments, embedding_dim=embedding, shared=decoder)
    assert {n for n, _ in head.named_parameters()} == {"classifier.weight", "classifier.bias"}
    own = SegmentationHead(3, share=False)
    own.build(**arguments, embedding_dim=embedding)
    own.load_state_dict({**head.state_dict(), **{f"decoder.{k}": v for k, v in decoder.state_dict().items()}}, strict=True)
    x_BCHW = images(encoder)
    with torch.no_grad():
        features = encoder(x_BCHW)
        dense = decoder.eval()(x_BCHW, features)
        assert torch.equal(head.eval()(x_BCHW, [], dense), own.eval()(x_BCHW, features))


def test_sharing_counts_the_decoder_once_and_not_sharing_twice(encoder: Encoder) -> None:
    one = MultiTaskModel(encoder, {"a": SegmentationHead(2), "b": SegmentationHead(3), "c": DenoisingHead()})
    two = MultiTaskModel(encoder, {"a": SegmentationHead(2), "b": SegmentationHead(3, share=False), "c": DenoisingHead()})
    other = MultiTaskModel(encoder, {"a": SegmentationHead(2), "b": SegmentationHead(3, "fpn"), "c": DenoisingHead()})
    decoder = sum(p.numel() for p in one.decoders["unet"].parameters())
    counts = [sum(p.numel() for p in model.parameters()) for model in (one, two, other)]
    assert list(one.decoders) == list(two.decoders) == ["unet"]
    assert list(other.decoders) == ["unet", "fpn"]
    assert decoder > 100_000
    assert counts[1] - counts[0] == decoder
    assert counts[2] != counts[0]
    assert len([k for k in one.state_dict() if k.endswith("blocks.0.conv1.0.weight")]) == 1


def test_a_shared_decoder_learns_from_every_head(encoder: Encoder) -> None:
    model = MultiTaskModel(encoder, {"a": SegmentationHead(2), "b": SegmentationHead(3)})
    x_BCHW = images(encoder)
    gradients = []
    for names in (["a"], ["b"], ["a", "b"]):
        model.zero_grad()
        torch.stack([out.square().mean() for out in model(x_BCHW, names).values()]).sum().backward()
        gradients.append([p.grad.clone() for p in model.decoders.parameters() if p.grad is not None])
    assert all(g.any() for g in gradients[0][:1] + gradients[1][:1])
    for first, second, both in zip(*gradients, strict=True):
        torch.testing.assert_close(first + second, both, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("size", [(33, 47), (65, 129), (64, 64), (8, 8)])
def test_any_size_goes_in_and_comes_out(encoder: Encoder, size: tuple[int, int]) -> None:
    model = MultiTaskModel(encoder, {"lungs": SegmentationHead(3), "clean": DenoisingHead()}).eval()
    x_BCHW = images(encoder, height=size[0], width=size[1])
    with torch.no_grad():
        outputs = model(x_BCHW)
    assert outputs["lungs"].shape == (2, 3, *size)
    assert torch.equal(outputs["clean"], x_BCHW)


def test_unknown_decoder_names_the_nearest(encoder: Encoder) -> None:
    with pytest.raises(InputError, match="unknown decoder 'unett'; did you mean 'unet'"):
        SegmentationHead(2, "unett").build(**sizes(encoder))
