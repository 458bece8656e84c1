"""What a pretraining configuration may say."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from umsrep.errors import InputError
from umsrep.tasks.config import EncoderConfig
from umsrep.tasks.data.augment import Augment
from umsrep.tasks.pretrain.config import BLOCKS, DinoConfig, MaskedConfig, MocoConfig, PretrainConfig, PretrainData


def config(**changes: Any) -> PretrainConfig:
    values: dict[str, Any] = {"method": "masked", "data": [PretrainData("x")], "output": "y", "encoder": EncoderConfig(arch="resnet18")}
    return PretrainConfig(**values | changes)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"data": []}, "no data"),
        ({"encoder": EncoderConfig()}, "either name"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"max_steps": 0}, "max_steps must be 1 or more"),
        ({"seed": 2**32}, "below 2"),
        ({"image_size": [32]}, "image_size must be one side"),
        ({"checkpoint_minutes": float("nan")}, "checkpoint_minutes"),
        ({"schema_version": 2}, "newer"),
        ({"moco": MocoConfig()}, "moco: the method is masked"),
        ({"method": "moco", "ema": 0.9}, "moco.momentum"),
        ({"ema": 1.0}, "below 1"),
        ({"masked": MaskedConfig(ratio=1.0)}, "ratio between 0 and 1"),
        ({"masked": MaskedConfig(patch=0)}, "patch of 1 or more"),
        ({"method": "moco", "moco": MocoConfig(crop=[0.9, 0.5])}, r"moco.crop must be \[smallest, largest\]"),
        ({"method": "moco", "moco": MocoConfig(momentum=1.5)}, "moco.momentum must be from 0 to 1"),
        ({"method": "moco", "moco": MocoConfig(queue=0)}, "moco.queue must be above 0"),
        ({"method": "dino", "dino": DinoConfig(local_crops=-1)}, "dino.local_crops"),
        ({"data": [PretrainData("x", fraction=0.0)]}, "fraction must be above 0"),
        ({"data": [PretrainData("x", licenses=[])]}, "licenses is empty"),
        ({"augment": Augment(noise=20)}, "augment.noise is for segmentation"),
    ],
)
def test_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        config(**changes)
    assert "\n" not in str(caught.value)


def test_norms_are_frozen_where_weights_would_lose_theirs() -> None:
    started, scratch = EncoderConfig(arch="resnet18", weights="w.safetensors"), EncoderConfig(arch="resnet18")
    assert config(encoder=started, method="denoising").frozen_norm
    assert not config(encoder=scratch, method="denoising").frozen_norm
    assert not config(encoder=started).frozen_norm
    assert not config(encoder=started, method="moco").frozen_norm
    assert config(encoder=scratch, batch_norm="frozen").frozen_norm
    assert not config(encoder=started, batch_norm="batch").frozen_norm


def test_defaults_by_method() -> None:
    assert (config().ema, config(ema=0.0).ema, config(method="dino").ema) == (0.998, 0.0, None)
    strong, mild = config(method="moco").augment, config().augment
    assert strong is not None
    assert mild is not None
    assert strong.contrast > mild.contrast
    assert (config().masked, config().moco) == (MaskedConfig(), None), "the method's own settings stand in config.yaml"
    assert {field.name for field in dataclasses.fields(PretrainConfig)} >= set(BLOCKS)
    optimiser = config().optimiser
    assert (optimiser.encoder_factor, optimiser.weight_decay) == (1.0, 0.05)
