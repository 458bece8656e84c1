"""The CBR family: published sizes, and everything that timm, smp and the project ask of a backbone."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import pytest
import segmentation_models_pytorch as smp
import timm
import torch

from tests.conformance import check_encoder, check_head
from umsrep.heads import ClassificationHead, DenoisingHead, SegmentationHead
from umsrep.zoo import Encoder, InputContract
from umsrep.zoo.cbr import CBR
from umsrep.zoo.stages import stages_of

PUBLISHED = {"cbr_large_t": 8_532_480, "cbr_large_w": 8_432_128, "cbr_small": 2_108_672, "cbr_tiny": 1_076_480}
"""Raghu et al. 2019, table 1 (retina, 5 classes): weights of the convolutions but the first, and of the classifier."""


@pytest.mark.parametrize("arch", PUBLISHED)
def test_published_counts(arch: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(arch, num_classes=5)
    convolutions = [p.numel() for name, p in model.named_parameters() if name.endswith("conv.weight")]
    assert sum(convolutions[1:]) + model.get_classifier().weight.numel() == PUBLISHED[arch]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("arch", "channels", "count"),
    [
        ("cbr_large_t", [32, 64, 128, 256, 512], 1),
        ("cbr_large_w", [64, 128, 256, 512, 512], 1),
        ("cbr_small", [32, 64, 128, 256, 256], 1),
        ("cbr_tiny", [32, 64, 128, 256, 256], 2),
        ("cbr_tiny", [32, 64, 128, 256, 256], 3),
    ],
)
def test_one_folder_opens_three_ways_to_the_same_bits(arch: str, channels: list[int], count: int, tmp_path: Path) -> None:
    encoder = Encoder.create(arch, contract=InputContract(channels=count, size=64))
    assert (encoder.channels, encoder.strides, encoder.embedding_dim) == (channels, [2, 4, 8, 16, 32], channels[-1])
    check_encoder(encoder, tmp_path / "folder")


@pytest.mark.parametrize("head", [DenoisingHead(), SegmentationHead(["background", "lung"]), ClassificationHead(["no", "yes"])])
def test_all_heads_build_on_it(head: Any) -> None:
    check_head(head, Encoder.create("cbr_tiny", contract=InputContract(size=64)))


def test_feature_maps_are_those_of_the_blocks() -> None:
    model = cast(CBR, timm.create_model("cbr_large_t", in_chans=1)).eval()
    x = torch.rand(1, 1, 32, 64)
    maps = []
    with torch.no_grad():
        y = x
        for i, block in enumerate(model.blocks):
            y = torch.relu(cast(Any, block).bn(cast(Any, block).conv(y)))
            if i < 4:
                y = torch.nn.functional.max_pool2d(y, 3, 2, 1)
                maps.append(y)
        maps.append(torch.nn.functional.max_pool2d(y, 3, 2, 1))
        last, found = cast(Any, model.forward_intermediates(x))
        assert torch.equal(last, y)
        assert torch.equal(model.forward_features(x), y)
        assert y.shape == (1, 512, 2, 4)
        assert all(torch.equal(a, b) for a, b in zip(maps, found, strict=True))
        torch.testing.assert_close(model(x), model.fc(y.mean((2, 3))))
    assert [(i["num_chs"], i["reduction"]) for i in model.feature_info] == [(m.shape[1], 32 // m.shape[2]) for m in maps]


@pytest.mark.parametrize("indices", [(0, 1, 2, 3, 4), (1, 3), (0,), (4,), (-2,)])
def test_features_only_takes_any_levels_and_drops_what_they_do_not_need(indices: tuple[int, ...]) -> None:
    full = cast(CBR, timm.create_model("cbr_tiny", in_chans=1)).eval()
    some = timm.create_model("cbr_tiny", features_only=True, out_indices=indices, in_chans=1).eval()
    kept = cast(Any, some).model
    assert len(kept.blocks) == min(4, max(i % 5 for i in indices) + 1)
    kept.load_state_dict({k: v for k, v in full.state_dict().items() if k in kept.state_dict()})
    x = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        maps = cast(list[torch.Tensor], full.forward_intermediates(x, intermediates_only=True))
        early = cast(list[torch.Tensor], full.forward_intermediates(x, list(indices), stop_early=True, intermediates_only=True))
        for got, again, index in zip(some(x), early, indices, strict=True):
            assert torch.equal(got, maps[index])
            assert torch.equal(again, maps[index])
    assert cast(Any, some).feature_info.channels() == [full.feature_info[i]["num_chs"] for i in indices]


def test_smp_takes_it_by_name() -> None:
    model = smp.Unet("tu-cbr_tiny", encoder_weights=None, in_channels=1, classes=2).eval()
    assert model.encoder.out_channels == [1, 32, 64, 128, 256, 256]
    assert model(torch.rand(1, 1, 64, 32)).shape == (1, 2, 64, 32)


def test_classifier_and_pool_can_be_replaced() -> None:
    model = cast(CBR, timm.create_model("cbr_tiny", num_classes=3, drop_rate=0.5))
    x = torch.rand(2, 3, 32, 32)
    assert model(x).shape == (2, 3)
    model.reset_classifier(7, "catavgmax")
    assert (model(x).shape, model.head_hidden_size) == ((2, 7), 512)
    model.reset_classifier(0)
    assert model(x).shape == (2, 512)
    model.reset_classifier(0, "")
    assert model(x).shape == (2, 256, 2, 2)


def test_checkpointing_changes_no_gradient() -> None:
    plain = timm.create_model("cbr_tiny", num_classes=3)
    saving = copy.deepcopy(plain)
    cast(Any, saving).set_grad_checkpointing()
    x = torch.rand(4, 3, 32, 32)
    for model in (plain, saving):
        model(x).square().sum().backward()
    for (name, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad), name


def test_each_block_is_a_stage() -> None:
    model = timm.create_model("cbr_large_t", num_classes=0)
    stages = stages_of(model, coarse=True, buffers=True)
    assert [{name.rsplit(".", 2)[0] for name in stage} for stage in stages] == [{f"blocks.{i}"} for i in range(5)]
    assert sorted(name for stage in stages for name in stage) == sorted(model.state_dict())


@pytest.mark.parametrize(("widths", "kernel_size"), [((8, 8, 8), 3), ((8,) * 6, 3), ((8,) * 4, 4)])
def test_other_depths_and_even_kernels_are_refused(widths: tuple[int, ...], kernel_size: int) -> None:
    with pytest.raises(ValueError, match="4 or 5 blocks and an odd kernel"):
        CBR(widths, kernel_size)
