"""Encoder and data in a configuration; whole configurations in test_config.py."""

from __future__ import annotations

import dataclasses

from umsrep.tasks import config
from umsrep.tasks.config_data import DataConfig, EncoderConfig, TargetConfig
from umsrep.zoo import InputContract


def test_the_names_stand_in_config_too() -> None:
    assert (config.DataConfig, config.EncoderConfig, config.TargetConfig) == (DataConfig, EncoderConfig, TargetConfig)


def test_every_rule_of_the_contract_can_be_configured() -> None:
    rules = {f.name for f in dataclasses.fields(InputContract)} - {"channels", "size"}
    assert rules <= {f.name for f in dataclasses.fields(EncoderConfig)}
