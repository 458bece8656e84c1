"""Decision curves by their definition, and predictive values by Bayes' rule."""

from __future__ import annotations

import numpy as np
import pytest

from umsrep.errors import InputError
from umsrep.tasks.evaluation.decision import curve, net_benefit, predictive_values, statistic, treat_all
from umsrep.tasks.evaluation.resample import Draws, sample

SCORES = np.array([0.05, 0.2, 0.2, 0.4, 0.7, 0.9])
TRUTH = np.array([False, False, True, False, True, True])


def test_net_benefit_by_hand() -> None:
    found = net_benefit(SCORES, TRUTH, [0.1, 0.2, 0.5, 0.95])
    assert found == pytest.approx([3 / 6 - 2 / 6 * (1 / 9), 3 / 6 - 2 / 6 * 0.25, 2 / 6, 0])
    assert treat_all(0.5, [0.1, 0.5]) == pytest.approx([0.5 - 0.5 / 9, 0])
    assert net_benefit(SCORES, TRUTH, [0.01])[0] == pytest.approx(treat_all(0.5, [0.01])[0]), "everybody is treated at a low threshold"


def test_a_draw_is_the_curve_of_its_rows() -> None:
    rows = np.array([0, 0, 2, 4, 5, 5])
    weights = np.bincount(rows, minlength=6)[None].astype(float)
    thresholds = [0.1, 0.3, 0.8]
    np.testing.assert_allclose(net_benefit(SCORES, TRUTH, thresholds, weights)[0], net_benefit(SCORES[rows], TRUTH[rows], thresholds))


def test_a_curve_with_its_interval() -> None:
    generator = np.random.default_rng(0)
    truth = generator.random(300) < 0.3
    scores = np.clip(0.3 + 0.25 * truth + 0.15 * generator.normal(size=300), 0, 1)
    draws = Draws([str(i // 2) for i in range(300)], resamples=200)
    found = curve(sample({"c": statistic(scores, truth)}, draws)["c"], truth, draws)
    assert len(found["thresholds"]) == len(found["low"]) == 99
    assert all(
        low <= value <= high for low, value, high in zip(found["low"], found["net_benefit"], found["high"], strict=True) if low == low
    )
    assert found["net_benefit"][30] > max(found["treat_all"][30], 0), "the model is worth something in between"
    assert found["prevalence"] == truth.mean()


def test_predictive_values() -> None:
    ppv, npv = predictive_values(0.9, 0.9, 0.01)
    assert ppv == pytest.approx(0.009 / (0.009 + 0.099))
    assert npv == pytest.approx(0.891 / 0.892)
    assert predictive_values(0.9, 0.9, 0.5)[0] == pytest.approx(0.9)
    nothing_called, _ = predictive_values(0.0, 1.0, 0.3)
    assert np.isnan(nothing_called)
    with pytest.raises(InputError, match="write 5 % as"):
        predictive_values(0.9, 0.9, 5)
    with pytest.raises(InputError, match="above 0 and below 1"):
        net_benefit(SCORES, TRUTH, [0.0])
