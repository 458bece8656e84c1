"""Weighted ranking metrics against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from umsrep.tasks.evaluation.ranking import Ranking


@pytest.mark.parametrize("ties", [False, True])
def test_weighted_auroc_and_average_precision_are_scikit_learns(ties: bool) -> None:
    generator = np.random.default_rng(0)
    truth = generator.random(200) < 0.3
    scores = generator.normal(size=200) + truth
    scores = scores.round(0) if ties else scores
    weights = generator.integers(0, 4, size=(5, 200)).astype(float)
    found = Ranking(scores, truth).metrics(weights, 0.9)
    for k in range(5):
        assert found["auroc"][k] == pytest.approx(metrics.roc_auc_score(truth, scores, sample_weight=weights[k]), abs=1e-12)
        assert found["average_precision"][k] == pytest.approx(
            metrics.average_precision_score(truth, scores, sample_weight=weights[k]), abs=1e-12
        )
        fpr, tpr, _ = metrics.roc_curve(truth, scores, sample_weight=weights[k], drop_intermediate=False)
        assert found["sensitivity_at_specificity"][k] == pytest.approx(tpr[fpr <= 0.1 + 1e-6].max(), abs=1e-12)


def test_one_outcome_is_undefined() -> None:
    ranking = Ranking(np.array([0.1, 0.4, 0.3]), np.array([True, False, False]))
    found = ranking.metrics(np.array([[1.0, 1, 1], [0, 1, 1], [2, 0, 0]]))
    assert np.isnan(found["auroc"]).tolist() == [False, True, True]
    assert np.isnan(Ranking(np.empty(0), np.empty(0)).metrics(np.ones((2, 0)))["auroc"]).all()
    assert Ranking(np.array([0.1, 0.4]), np.array([True, True])).curves() == {"roc": [], "pr": []}


def test_curves_end_where_they_must_and_are_thin() -> None:
    generator = np.random.default_rng(1)
    truth = generator.random(5000) < 0.3
    curves = Ranking(generator.normal(size=5000) + truth, truth).curves()
    assert len(curves["roc"]) <= 201
    assert curves["roc"][0] == [0, 0]
    assert curves["roc"][-1] == [1, 1]
    assert curves["pr"][-1] == [1, pytest.approx(truth.mean())]


def test_counts_at_thresholds() -> None:
    scores, truth = np.array([0.2, 0.5, 0.5, 0.9]), np.array([False, True, False, True])
    ranking = Ranking(scores, truth)
    thresholds = np.array([0.0, 0.2, 0.5, 0.6, 0.95])
    tp, fp = ranking.called_at(thresholds, *ranking.cumulative(np.ones((1, 4))))
    assert tp[0].tolist() == [2, 2, 2, 1, 0]
    assert fp[0].tolist() == [2, 2, 1, 0, 0]
