"""Scores against the truth: many correlations at once are SciPy's one by one, and intervals hold what they should."""

from __future__ import annotations

import math

import numpy as np
import pytest

from umsrep.tasks.benchmark.agreement import agreement, taus
from umsrep.tasks.statistics import kendall_tau, regret, weighted_tau


def lists() -> tuple[np.ndarray, np.ndarray]:
    """Random lists with ties, copies, constant sides and gaps."""
    generator = np.random.default_rng(5)
    x, y = generator.integers(0, 5, (200, 8)).astype(float), generator.integers(0, 5, (200, 8)).astype(float)
    x[:40], y[:40] = generator.normal(size=(2, 40, 8))
    x[40] = 3.0
    y[41, 2:5] = math.nan
    x[42, :7] = math.nan
    picks = generator.integers(8, size=(50, 8))
    x[50:100], y[50:100] = x[:50][np.arange(50)[:, None], picks], y[:50][np.arange(50)[:, None], picks]
    return x, y


def test_taus_are_those_of_scipy() -> None:
    x, y = lists()
    kendall, weighted = taus(x, y)
    for i in range(len(x)):
        assert kendall[i] == pytest.approx(kendall_tau(x[i], y[i]), abs=1e-12, nan_ok=True)
        assert weighted[i] == pytest.approx(weighted_tau(x[i], y[i]), abs=1e-12, nan_ok=True)
    assert np.isnan(kendall[[40, 42]]).all()


def test_agreement_over_tasks() -> None:
    truth = np.array([[0.6, 0.7, 0.8, 0.9, 0.95], [0.1, 0.4, 0.2, 0.8, 0.9], [0.5, math.nan, math.nan, math.nan, math.nan]])
    scores = np.array([[1.0, 2.0, 3.0, 5.0, 4.0], [5.0, 4.0, 3.0, math.nan, 1.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    found = agreement(scores, truth, resamples=500)
    pairs = [(scores[t], truth[t]) for t in range(2)]
    assert found.kendall == pytest.approx(np.mean([kendall_tau(x, y) for x, y in pairs]))
    assert found.weighted == pytest.approx(np.mean([weighted_tau(x, y) for x, y in pairs]))
    assert found.regret == pytest.approx((0.05 + 0.8 + 0) / 3)
    assert found.normalised_regret == pytest.approx((regret(*pairs[0], normalised=True) + 1 + 0) / 3)
    assert found.n == 5
    assert found.tasks == 2, "one candidate correlates with nothing"
    assert found.kendall_low < found.kendall < found.kendall_high
    assert 0 <= found.regret_low < found.normalised_regret < found.regret_high <= 1


def test_a_perfect_score_and_noise() -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(size=(1, 12))
    perfect = agreement(truth**3, truth, resamples=300)
    assert (perfect.kendall, perfect.kendall_low, perfect.weighted_high, perfect.regret) == pytest.approx((1, 1, 1, 0))
    noise = agreement(generator.normal(size=(1, 12)), truth, resamples=300)
    assert noise.kendall_low < 0 < noise.kendall_high, "twelve candidates do not show what is not there"


def test_uncertain_scores_widen_the_interval() -> None:
    truth = np.arange(8.0)[None] / 10
    scores = truth.copy()
    generator = np.random.default_rng(1)
    draws = {0: scores[0] + generator.normal(scale=0.3, size=(400, 8))}
    sure, unsure = agreement(scores, truth, resamples=800), agreement(scores, truth, draws=draws, resamples=800)
    assert (sure.kendall, unsure.kendall) == pytest.approx((1, 1))
    assert sure.kendall_low == pytest.approx(1)
    assert unsure.kendall_low < 0.6


def test_a_score_that_nobody_has() -> None:
    found = agreement(np.full((1, 4), math.nan), np.arange(4.0)[None], resamples=20)
    assert math.isnan(found.kendall)
    assert math.isnan(found.regret)
    assert (found.n, found.tasks) == (0, 0)
