"""The weighted bootstrap: the same draws and the same intervals as the plain loop, for every metric of every task."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch

from umsrep.errors import InputError
from umsrep.tasks.classification import Classification
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.evaluation.metrics import rows_of_metric, statistic_of
from umsrep.tasks.evaluation.resample import Draws, estimate, estimates, sample
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.statistics import bootstrap_interval, cluster_counts, cluster_draws
from umsrep.tasks.task import Task

GROUPS = [None if i % 17 == 0 else f"p{i // 3}" for i in range(60)]


def test_counts_are_the_draws() -> None:
    cluster, counts = cluster_counts(GROUPS, resamples=20, seed=3)
    for count, rows in zip(counts, cluster_draws(GROUPS, resamples=20, seed=3), strict=True):
        np.testing.assert_array_equal(count[cluster], np.bincount(rows, minlength=60))


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
    draws = Draws(GROUPS, resamples=60, seed=4)
    sampled = sample({"all": statistic_of(task, rows)}, draws)["all"]
    plain = task.summarise(rows)
    assert plain.keys() <= sampled.values.keys()
    for metric, value in plain.items():
        assert sampled.values[metric] == pytest.approx(value, abs=2e-6, nan_ok=True), metric
    loops = [task.summarise({k: v[some] for k, v in rows.items()}) for some in cluster_draws(GROUPS, resamples=60, seed=4)]
    found = estimates(sampled, draws)
    for metric in plain:
        np.testing.assert_allclose(sampled.draws[metric], [one[metric] for one in loops], atol=2e-6, err_msg=metric)

        def again(some: np.ndarray, metric: str = metric) -> float:
            return task.summarise({k: v[some] for k, v in rows.items()})[metric]

        if metric.startswith(("auroc", "dice", "psnr_gain")):
            interval = bootstrap_interval(again, GROUPS, resamples=60, seed=4)
            assert (found[metric]["low"], found[metric]["high"]) == pytest.approx(interval, abs=2e-6), metric


def test_some_rows_alone() -> None:
    task = TASKS["binary"]
    rows = rows_of(task, 6)
    some = np.arange(0, 60, 2)
    one = statistic_of(task, rows, chosen=some)(np.ones((1, 60)))
    other = task.summarise({k: v[some] for k, v in rows.items()})
    assert float(one["auroc"][0]) == pytest.approx(other["auroc"], abs=1e-6)


def test_what_has_no_interval_says_why() -> None:
    drawn = np.linspace(0, 1, 101)
    assert estimate(0.5, drawn, n=10, patients=2)["method"] == "bootstrap"
    for n, patients, reason in ((9, 9, "fewer than 10 rows"), (20, 1, "one patient")):
        found = estimate(0.5, drawn, n=n, patients=patients)
        assert (found["method"], math.isnan(found["low"])) == ("none", True)
        assert reason in found["note"]
    assert "undefined on these rows" in estimate(math.nan, drawn, n=20, patients=20)["note"]
    half = np.where(drawn > 0.5, math.nan, drawn)
    assert "undefined in 49.5%" in estimate(0.2, half, n=20, patients=20)["note"]
    assert "undefined in every draw" in estimate(0.2, drawn * math.nan, n=20, patients=20)["note"]
    with pytest.raises(InputError, match="resamples must be 1 or more"):
        Draws(GROUPS, resamples=0)
    with pytest.raises(InputError, match="level"):
        Draws(GROUPS, level=95)


def test_labels_count_their_own_rows() -> None:
    task = TASKS["multi-label"]
    rows = rows_of(task, 7)
    draws = Draws(GROUPS, resamples=20)
    found = estimates(sample({"all": statistic_of(task, rows)}, draws)["all"], draws, rows_of_metric(task, rows))
    assert found["auroc"]["n"] == 60
    assert found["auroc/b"]["n"] == int((~np.isnan(rows["target"][:, 1])).sum()) < 60
    assert found["auroc/b"]["patients"] <= found["auroc"]["patients"] == draws.patients()


def test_intervals_cover_what_they_should() -> None:
    """Means of patients with four like rows each: 95 % intervals hold the true mean about as often; those over rows far less."""
    generator = np.random.default_rng(8)
    clustered, naive = 0, 0
    for _ in range(100):
        values = np.repeat(generator.normal(size=40), 4) + 0.1 * generator.normal(size=160)
        for groups, count in (([str(i // 4) for i in range(160)], "clustered"), ([None] * 160, "naive")):
            draws = Draws(groups, resamples=200)
            drawn = np.concatenate([w @ values / w.sum(axis=1) for w in draws.weights()])
            low, high = np.quantile(drawn, [0.025, 0.975])
            hit = int(low <= 0 <= high)
            clustered, naive = clustered + hit * (count == "clustered"), naive + hit * (count == "naive")
    assert clustered >= 86
    assert naive <= 80


def test_two_thousand_resamples_of_ten_thousand_rows() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(2, size=10_000)
    p = 1 / (1 + np.exp(-generator.normal(size=10_000) - truth))
    rows = {"probabilities": np.stack([1 - p, p], axis=1), "target": truth}
    draws = Draws([str(i // 2) for i in range(10_000)], resamples=200)
    start = time.process_time()
    sample({"all": statistic_of(TASKS["binary"], rows)}, draws)
    assert time.process_time() - start < 2, "2,000 take ten times as long: benchmarks/bench_bootstrap.py has the number"
