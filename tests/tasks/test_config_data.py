"""Encoder and data in a configuration; whole configurations in test_config.py."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from umsrep.errors import InputError
from umsrep.tasks import config
from umsrep.tasks.config_data import BlendConfig, DataConfig, EncoderConfig, TargetConfig, check_encoder
from umsrep.zoo import InputContract


def test_the_names_stand_in_config_too() -> None:
    assert (config.DataConfig, config.EncoderConfig, config.TargetConfig) == (DataConfig, EncoderConfig, TargetConfig)


def test_every_rule_of_the_contract_can_be_configured() -> None:
    rules = {f.name for f in dataclasses.fields(InputContract)} - {"channels", "size"}
    assert rules <= {f.name for f in dataclasses.fields(EncoderConfig)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "model", "mean": 0.3}, r"encoder\.mean: a model opened by name has its own"),
        ({"name": "model", "weights": "w.safetensors"}, r"encoder\.weights: a model opened by name"),
        ({"arch": "resnet18", "revision": "v1"}, r"encoder\.revision goes with encoder\.name"),
        ({"name": "model", "blend": BlendConfig("w.safetensors", 1.5)}, r"encoder\.blend\.share must be above 0 and at most 1, not 1\.5"),
        ({"name": "model", "blend": BlendConfig("")}, r"encoder\.blend\.weights must name a safetensors file"),
    ],
)
def test_keys_that_would_be_ignored_are_refused(given: dict[str, Any], message: str) -> None:
    check_encoder(EncoderConfig(name="model", revision="v1", modality="cxr", unit="12-bit"))
    check_encoder(EncoderConfig(arch="resnet18", mean=0.3, weights="w.safetensors"))
    with pytest.raises(InputError, match=message):
        check_encoder(EncoderConfig(**given))
