"""The weighted bootstrap: the draws of the plain loop, coverage, speed, and what has no interval."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from umsrep.errors import InputError
from umsrep.tasks.classification import Classification
from umsrep.tasks.evaluation.metrics import statistic_of
from umsrep.tasks.evaluation.resample import Draws, estimate, sample
from umsrep.tasks.statistics import cluster_counts, cluster_draws

GROUPS = [None if i % 17 == 0 else f"p{i // 3}" for i in range(60)]


def test_counts_are_the_draws() -> None:
    cluster, counts = cluster_counts(GROUPS, resamples=20, seed=3)
    for count, rows in zip(counts, cluster_draws(GROUPS, resamples=20, seed=3), strict=True):
        np.testing.assert_array_equal(count[cluster], np.bincount(rows, minlength=60))


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
    sample({"all": statistic_of(Classification(["a", "b"]), rows)}, draws)
    assert time.process_time() - start < 2, "2,000 take ten times as long: benchmarks/bench_bootstrap.py has the number"
