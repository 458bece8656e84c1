"""The blocks ``unlabelled`` and ``adapt``: what they refuse, naming the key, and what they leave alone."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from umsrep.errors import InputError
from umsrep.tasks.config_unlabelled import LOSS_METHODS, AdaptConfig, UnlabelledConfig, check_adapt, check_unlabelled


def test_the_defaults_pass() -> None:
    check_unlabelled(UnlabelledConfig())
    for method in (*LOSS_METHODS, "fda", "mean-teacher", "adabn"):
        check_adapt(AdaptConfig("target", method=method), unlabelled=False)  # type: ignore[arg-type]  # a plain str in this loop
    check_adapt(AdaptConfig("target", method="mean-teacher"), unlabelled=True)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("weight", -0.1, "unlabelled.weight must be 0 or more and finite"),
        ("weight", math.nan, "unlabelled.weight must be 0 or more and finite"),
        ("weight", math.inf, "unlabelled.weight must be 0 or more and finite"),
        ("batch_size", 0, "unlabelled.batch_size must be 1 or more, or null"),
        ("ramp_up", 1.1, "unlabelled.ramp_up must be from 0 to 1"),
        ("threshold", -0.5, "unlabelled.threshold must be from 0 to 1"),
        ("intensity", math.inf, "unlabelled.intensity must be from 0 to inf and finite"),
        ("noise", 256, "unlabelled.noise must be from 0 to 255"),
    ],
)
def test_unlabelled_names_the_key_that_is_out_of_range(key: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_unlabelled(dataclasses.replace(UnlabelledConfig(), **{key: value}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": -1.0}, "adapt.weight must be 0 or more and finite"),
        ({"batch_size": 0}, "adapt.batch_size must be 1 or more, or null"),
        ({"method": "fda", "weight": 2.0}, "adapt.weight has no effect with method fda; leave it out"),
        ({"method": "adabn", "batch_size": 4}, "adapt.batch_size has no effect with method adabn; leave it out"),
        ({"method": "coral", "beta": 0.1}, "adapt.beta has no effect with method coral; leave it out"),
        ({"method": "dann", "bandwidths": [1.0]}, "adapt.bandwidths has no effect with method dann; leave it out"),
        ({"method": "fda", "beta": 0.0}, "adapt.beta must be above 0 and at most 1"),
        ({"method": "fda", "beta": 1.5}, "adapt.beta must be above 0 and at most 1"),
        ({"method": "mmd", "bandwidths": []}, "adapt.bandwidths must be one or more numbers above 0"),
        ({"method": "mmd", "bandwidths": [1.0, 0.0]}, "adapt.bandwidths must be one or more numbers above 0"),
    ],
)
def test_adapt_refuses_what_is_out_of_range_or_would_be_ignored(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_adapt(AdaptConfig("target", **changes), unlabelled=False)


def test_each_method_has_a_weight_unless_one_is_given() -> None:
    assert [AdaptConfig("target", method).factor for method in ("coral", "mmd", "dann", "mean-teacher")] == [1.0, 0.1, 1.0, 1.0]
    assert AdaptConfig("target", "mmd", weight=0.0).factor == 0.0


def test_beside_unlabelled_only_a_mean_teacher_trains_with_its_settings() -> None:
    for method in ("coral", "fda", "adabn"):
        with pytest.raises(InputError, match=f"adapt.method {method} and unlabelled do not train together"):
            check_adapt(AdaptConfig("target", method=method), unlabelled=True)
    for adapt in (AdaptConfig("target", "mean-teacher", weight=2.0), AdaptConfig("target", "mean-teacher", batch_size=4)):
        with pytest.raises(InputError, match="beside the block unlabelled, set them there"):
            check_adapt(adapt, unlabelled=True)
