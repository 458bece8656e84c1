"""Comparisons of two models: equal models differ in nothing, a better one is found, Holm counts them all."""

from __future__ import annotations

import numpy as np
import pytest

from umsrep.errors import InputError
from umsrep.tasks.classification import Classification
from umsrep.tasks.evaluation.comparison import adjust, bootstrap_p, compare
from umsrep.tasks.evaluation.resample import Draws
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.statistics import cluster_draws, holm, percentile_interval

GROUPS = [f"p{i // 2}" for i in range(200)]


def classified(strength: float, seed: int) -> dict[str, np.ndarray]:
    target = np.arange(200) % 2
    z = strength * (target - 0.5) + np.random.default_rng(seed).normal(size=200)
    p = 1 / (1 + np.exp(-z))
    return {"probabilities": np.stack([1 - p, p], axis=1), "target": target, "index": np.arange(200)}


def test_a_model_with_itself() -> None:
    task, rows = Classification(["a", "b"]), classified(2, 0)
    found = compare(task, rows, rows, Draws(GROUPS, resamples=100), other="same")
    assert [one["metric"] for one in found] == ["auroc", "average_precision", "balanced_accuracy", "brier", "ece"]
    assert {one["difference"] for one in found} == {0}
    assert {one["p"] for one in found} == {1}
    assert {one["method"] for one in found} == {"delong", "paired bootstrap"}


def test_a_better_model_and_the_paired_loop() -> None:
    task, rows, other = Classification(["a", "b"]), classified(3, 0), classified(0.5, 1)
    found = {one["metric"]: one for one in compare(task, rows, other, Draws(GROUPS, resamples=300, seed=1), other="weak")}
    assert found["auroc"]["difference"] > 0.2
    assert found["auroc"]["p"] < 1e-4
    assert found["brier"]["difference"] < 0
    assert found["balanced_accuracy"]["p"] == pytest.approx(2 / 301)
    draws = [
        task.summarise({k: v[some] for k, v in rows.items()})["average_precision"]
        - task.summarise({k: v[some] for k, v in other.items()})["average_precision"]
        for some in cluster_draws(GROUPS, resamples=300, seed=1)
    ]
    assert (found["average_precision"]["low"], found["average_precision"]["high"]) == pytest.approx(percentile_interval(draws), abs=1e-5)
    everything = list(found.values())
    adjust(everything)
    assert [one["p_holm"] for one in everything] == holm([one["p"] for one in everything])
    assert {one["family"] for one in everything} == {5}


def test_distances_are_compared_where_both_have_one() -> None:
    task = Segmentation(["background", "a"])
    base = {"index": np.arange(20), "hd95_undefined": np.zeros((20, 1)), "dice": np.full((20, 1), 0.5), "iou": np.full((20, 1), 0.3)}
    one = base | {"hd95": np.full((20, 1), 2.0)}
    other = base | {"hd95": np.where(np.arange(20)[:, None] < 5, np.nan, 3.0)}
    one["hd95"][:5] = 50  # the hard images, on which the other has found nothing at all
    found = {c["metric"]: c for c in compare(task, one, other, Draws([str(i) for i in range(20)], resamples=50), other="blind")}
    assert found["hd95"]["difference"] == pytest.approx(-1), "the mean over the same images"


def test_other_rows_are_refused() -> None:
    task, rows = Classification(["a", "b"]), classified(2, 0)
    draws = Draws(GROUPS, resamples=10)
    with pytest.raises(InputError, match="same rows"):
        compare(task, rows, rows | {"index": np.arange(200) + 1}, draws, other="x")
    with pytest.raises(InputError, match="other targets"):
        compare(task, rows, rows | {"target": 1 - rows["target"]}, draws, other="x")
    one_outcome = {k: v[::2] for k, v in rows.items()}
    (delong, *_) = compare(task, one_outcome, one_outcome, Draws(GROUPS[::2], resamples=10), other="x")
    assert np.isnan(delong["p"])
    assert "needs two of each" in delong["note"]


def test_p_of_draws() -> None:
    assert bootstrap_p(np.ones(99)) == pytest.approx(0.02)
    assert bootstrap_p(np.zeros(99)) == 1
    assert bootstrap_p(np.array([-1.0, 1, 1, 1])) == pytest.approx(0.8)
    assert np.isnan(bootstrap_p(np.array([np.nan])))
