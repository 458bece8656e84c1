"""What all tasks share: the score with its fallbacks, and the checks of their arguments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from umsrep.errors import InputError
from umsrep.tasks.classification import Classification
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.task import Task, check_choice, check_classes, check_weights, finite_mean


@pytest.mark.parametrize("task", [Denoising(), Segmentation(["a", "b"]), Classification(["a", "b"])])
def test_every_task_says_what_it_is(task: Task) -> None:
    assert task.kind in ("denoising", "segmentation", "classification")
    assert task.input == ("noisy" if task.kind == "denoising" else "clean")
    assert task.score({task.metric: 0.25}) == 0.25


def test_score_falls_back_in_order_and_then_to_nan() -> None:
    task = Classification(["a", "b"])
    assert task.fallbacks, "AUROC is undefined where a split holds one class"
    first, *others = task.fallbacks
    assert task.score({task.metric: math.nan, first: 0.5, **dict.fromkeys(others, 0.1)}) == 0.5
    assert math.isnan(task.score({task.metric: math.nan}))
    assert math.isnan(task.score({}))


def test_a_task_must_be_whole() -> None:
    class Half(Task):
        kind = "half"

    with pytest.raises(TypeError, match="abstract"):
        Half()  # type: ignore[abstract]


def test_check_choice() -> None:
    check_choice("a", ["a", "b"], "letter")
    with pytest.raises(InputError, match="unknown noise 'gausian'; did you mean 'gaussian'"):
        check_choice("gausian", ["gaussian", "poisson"], "noise")


@pytest.mark.parametrize(
    ("classes", "minimum", "message"),
    [
        ("lung", 1, r"write \['lung'\]"),
        (["a", "a"], 1, "duplicate class name 'a'"),
        (["a", ""], 1, "non-empty"),
        ([True], 1, "quote it"),
        (["a"], 2, "at least 2"),
    ],
)
def test_check_classes(classes: Any, minimum: int, message: str) -> None:
    assert check_classes(["x", "y"], minimum) == ("x", "y")
    with pytest.raises(InputError, match=message):
        check_classes(classes, minimum)


@pytest.mark.parametrize(
    ("weights", "message"), [([1.0], "1 value"), ([-1, 1], ">= 0"), ([0, 0], "not all zero"), ([math.inf, 1], "finite")]
)
def test_check_weights(weights: list[float], message: str) -> None:
    assert check_weights(None, ["a", "b"]) is None
    assert check_weights([2, 0], ["a", "b"]) == (2.0, 0.0)
    with pytest.raises(InputError, match=message):
        check_weights(weights, ["a", "b"])


def test_finite_mean() -> None:
    assert finite_mean(np.array([1.0, np.nan, 3.0])) == 2.0
    assert math.isnan(finite_mean(np.array([np.nan])))
    assert math.isnan(finite_mean(np.array([])))
