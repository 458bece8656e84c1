"""Whether a run that goes on is the run that began."""

from __future__ import annotations

import dataclasses

import pytest

from umsrep.errors import InputError
from umsrep.tasks.config import EncoderConfig
from umsrep.tasks.pretrain.config import MaskedConfig, PretrainConfig, PretrainData
from umsrep.tasks.pretrain.resuming import check_same_run, identity

CONFIG = PretrainConfig("masked", [PretrainData("x")], "o", EncoderConfig(arch="resnet18"), masked=MaskedConfig(patch=8))


def test_length_and_place_may_change() -> None:
    later = dataclasses.replace(CONFIG, output="elsewhere", epochs=500, workers=0, data=[PretrainData("moved")])
    check_same_run(identity(CONFIG, {"x": "abc"}), identity(later, {"moved": "abc"}), "o")


def test_what_makes_the_numbers_may_not() -> None:
    began = identity(CONFIG, {"x": "abc"})
    for other, match in (
        (dataclasses.replace(CONFIG, masked=MaskedConfig(patch=4)), "masked.patch = 8, not 4"),
        (dataclasses.replace(CONFIG, batch_size=8), "batch_size = 64, not 8"),
    ):
        with pytest.raises(InputError, match=match):
            check_same_run(began, identity(other, {"x": "abc"}), "o")
    with pytest.raises(InputError, match=r"data sets .* are not what"):
        check_same_run(began, identity(CONFIG, {"x": "abd"}), "o")
