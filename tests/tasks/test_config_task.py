"""One task's configuration; whole configurations in test_config.py."""

from __future__ import annotations

import pytest

from umsrep.errors import InputError
from umsrep.tasks.config_task import TaskConfig, check_task


def test_denoising_weighs_ten_times_as_much_unless_said() -> None:
    assert TaskConfig("denoising").factor == 10.0
    assert TaskConfig("denoising", weight=2.0).factor == 2.0
    assert TaskConfig("classification", classes=["a"]).factor == 1.0


def test_keys_of_another_kind_are_refused() -> None:
    check_task("lungs", TaskConfig("segmentation", classes=["background", "lung"], decoder="fpn"))
    with pytest.raises(InputError, match=r"tasks\.lungs\.dropout: no key of kind segmentation"):
        check_task("lungs", TaskConfig("segmentation", classes=["background", "lung"], dropout=0.1))
