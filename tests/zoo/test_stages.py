"""Stages hold every tensor once, from input to output."""

from __future__ import annotations

import pytest
import timm

from umsrep.zoo.stages import stages_of


@pytest.mark.parametrize(("arch", "count"), [("resnet18", 5), ("tf_efficientnet_lite0", 8), ("cbr_tiny", 4), ("vit_tiny_patch16_224", 13)])
def test_every_tensor_once(arch: str, count: int) -> None:
    model = timm.create_model(arch, num_classes=0)
    parameters = [name for stage in stages_of(model, coarse=True) for name in stage]
    assert sorted(parameters) == sorted(name for name, _ in model.named_parameters())
    both = stages_of(model, coarse=True, buffers=True)
    assert len(both) == count
    assert sorted(name for stage in both for name in stage) == sorted({*parameters, *(name for name, _ in model.named_buffers())})
    for stage, plain in zip(both, stages_of(model, coarse=True), strict=True):
        assert [name for name in stage if name in parameters] == plain


def test_first_stage_is_the_stem_and_blocks_are_finer() -> None:
    model = timm.create_model("resnet18", num_classes=0)
    assert set(stages_of(model, coarse=True, buffers=True)[0]) >= {"conv1.weight", "bn1.weight", "bn1.running_var"}
    assert len(stages_of(model, coarse=False)) == 9
