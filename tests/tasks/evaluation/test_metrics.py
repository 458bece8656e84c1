"""Metrics as statistics of weighted rows: the values and intervals of the plain loop, for every metric of every task."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from umsrep.errors import InputError
from umsrep.tasks.classification import Classification
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.evaluation.metrics import PixelMetrics, counted, decision_thresholds, intervals_of, rows_of_metric, statistic_of
from umsrep.tasks.evaluation.resample import Draws, estimates, sample
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.statistics import bootstrap_interval, cluster_draws
from umsrep.tasks.task import Task

GROUPS = [None if i % 17 == 0 else f"p{i // 3}" for i in range(60)]


def rows_of(task: Task, seed: int) -> dict[str, np.ndarray]:
    """Per-row statistics as evaluation collects them, of random outputs."""
    generator = torch.Generator().manual_seed(seed)
    if isinstance(task, Classification):
        k = len(task.classes)
        if task.multi_label:
            target = (torch.rand(60, k, generator=generator) < 0.4).float()
            target[torch.rand(60, k, generator=generator) < 0.2] = math.nan
            logits = torch.randn(60, k, generator=generator) + target.nan_to_num(0)
        else:
            target = torch.randint(k, (60,), generator=generator)
            logits = torch.randn(60, k, generator=generator) + torch.nn.functional.one_hot(target, k)
        return task.rows((logits * 4).round() / 4, target)  # ties
    if isinstance(task, Segmentation):
        target = (torch.rand(60, 12, 12, generator=generator) < 0.1).long() * torch.randint(3, (60, 1, 1), generator=generator)
        spacing = torch.full((60, 2), 0.5)
        return task.rows(
            torch.randn(60, 3, 12, 12, generator=generator) + torch.tensor([3.0, 0, 0])[:, None, None], target, spacing=spacing
        )
    clean = torch.rand(60, 1, 16, 16, generator=generator)
    noisy = clean + 0.2 * torch.randn(clean.shape, generator=generator)
    return task.rows((noisy + clean) / 2, clean, noisy=noisy)


TASKS = {
    "binary": Classification(["a", "b"]),
    "multi-class": Classification(["a", "b", "c", "d"]),
    "multi-label": Classification(["a", "b", "c"], multi_label=True),
    "segmentation": Segmentation(["background", "one", "two"]),
    "denoising": Denoising(),
}


@pytest.mark.parametrize("name", TASKS)
def test_values_and_intervals_are_those_of_the_plain_loop(name: str) -> None:
    task = TASKS[name]
    rows = rows_of(task, 5)
    draws = Draws(GROUPS, resamples=20, seed=4)
    sampled = sample({"all": statistic_of(task, rows)}, draws)["all"]
    plain = task.summarise(rows)
    assert plain.keys() <= sampled.values.keys()
    for metric, value in plain.items():
        assert sampled.values[metric] == pytest.approx(value, abs=2e-6, nan_ok=True), metric
    loops = [task.summarise({k: v[some] for k, v in rows.items()}) for some in cluster_draws(GROUPS, resamples=20, seed=4)]
    found = estimates(sampled, draws)
    for metric in plain:
        np.testing.assert_allclose(sampled.draws[metric], [one[metric] for one in loops], atol=2e-6, err_msg=metric)

        def again(some: np.ndarray, metric: str = metric) -> float:
            return task.summarise({k: v[some] for k, v in rows.items()})[metric]

        if metric.startswith(("auroc", "dice", "psnr_gain")):
            interval = bootstrap_interval(again, GROUPS, resamples=20, seed=4)
            assert (found[metric]["low"], found[metric]["high"]) == pytest.approx(interval, abs=2e-6), metric


def test_some_rows_alone() -> None:
    task = TASKS["binary"]
    rows = rows_of(task, 6)
    some = np.arange(0, 60, 2)
    one = statistic_of(task, rows, chosen=some)(np.ones((1, 60)))
    other = task.summarise({k: v[some] for k, v in rows.items()})
    assert float(one["auroc"][0]) == pytest.approx(other["auroc"], abs=1e-6)


def test_labels_count_their_own_rows() -> None:
    task = TASKS["multi-label"]
    rows = rows_of(task, 7)
    draws = Draws(GROUPS, resamples=20)
    found = estimates(sample({"all": statistic_of(task, rows)}, draws)["all"], draws, rows_of_metric(task, rows))
    assert found["auroc"]["n"] == 60
    assert found["auroc/b"]["n"] == int((~np.isnan(rows["target"][:, 1])).sum()) < 60
    assert found["auroc/b"]["patients"] <= found["auroc"]["patients"] == draws.patients()


def test_counts_of_a_known_table() -> None:
    """Ninety of a hundred ill are found, and eighty of a thousand well are called ill."""
    found = {k: float(v[0]) for k, v in counted(*(np.array([float(v)]) for v in (90, 80, 920, 10))).items()}
    assert found["sensitivity"] == pytest.approx(0.9)
    assert found["specificity"] == pytest.approx(0.92)
    assert found["ppv"] == pytest.approx(90 / 170)
    assert found["npv"] == pytest.approx(920 / 930)
    assert found["balanced_accuracy"] == pytest.approx(0.91)
    assert found["f1"] == pytest.approx(180 / 270)
    nobody = counted(*(np.array([float(v)]) for v in (0, 5, 5, 0)))
    assert math.isnan(nobody["sensitivity"][0])
    assert math.isnan(nobody["balanced_accuracy"][0])


def test_thresholds_that_are_used() -> None:
    assert decision_thresholds(TASKS["binary"], None) == [0.5]  # type: ignore[arg-type]  # it classifies
    assert decision_thresholds(TASKS["multi-label"], (0.1, 0.2, 0.3)) == [0.1, 0.2, 0.3]  # type: ignore[arg-type]
    assert decision_thresholds(TASKS["multi-class"], None) == []  # type: ignore[arg-type]
    with pytest.raises(InputError, match="1 threshold"):
        decision_thresholds(TASKS["multi-label"], (0.5,))  # type: ignore[arg-type]


def test_pixels_from_sums() -> None:
    """Two images, two bins of (n, summed confidence, right): the ECE is the weighted mean of |confidence - share right|."""
    sums = np.zeros((2, 3, 3))
    sums[0, 0], sums[1, 1] = (10, 4, 5), (30, 27, 24)
    sums[:, 2] = [(10, 2.0, 6.0), (30, 3.0, 3.0)]
    found = {k: float(v[0]) for k, v in PixelMetrics(sums)(np.ones((1, 2))).items()}
    assert found == pytest.approx({"ece": (10 * 0.1 + 30 * 0.1) / 40, "mce": 0.1, "brier": 5 / 40, "nll": 9 / 40})
    shares = PixelMetrics(sums).bin_draws(np.array([[1.0, 1], [0, 2]]))
    assert shares["1"].tolist() == [0.8, 0.8]
    assert [math.isnan(v) for v in shares["0"]] == [False, True]


def test_intervals_of_all_tasks_at_once() -> None:
    rows = {"one": rows_of(TASKS["binary"], 1), "two": rows_of(TASKS["denoising"], 2)}
    tasks = {"one": TASKS["binary"], "two": TASKS["denoising"]}
    found = intervals_of(rows, tasks, dict.fromkeys(rows, GROUPS), {"one": (0.3,)}, resamples=20)
    assert found["two"]["psnr_gain"]["method"] == "bootstrap"
    at = TASKS["binary"].summarise(rows["one"], thresholds=(0.3,))  # type: ignore[call-arg]  # it classifies
    assert found["one"]["balanced_accuracy"]["value"] == pytest.approx(at["balanced_accuracy"], abs=1e-6)
