"""What a model is worth at a threshold: decision curves, and predictive values at prevalences other than the data's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from umsrep.errors import InputError
from umsrep.tasks.evaluation.ranking import Ranking
from umsrep.tasks.evaluation.resample import Draws, Sampled, Statistic, estimate

THRESHOLDS: tuple[float, ...] = tuple(round(t / 100, 2) for t in range(1, 100))


def net_benefit(
    scores: np.ndarray, truth: np.ndarray, thresholds: Sequence[float] = THRESHOLDS, weights: np.ndarray | None = None
) -> np.ndarray:
    """Return the net benefit of treating rows with a probability of at least t: TP/n - FP/n t/(1-t).

    Vickers & Elkin, Medical Decision Making 26, 2006, equation on page 567. At threshold t one who treats deems a missed case (1-t)/t times
    as bad as a needless treatment.

    Args:
        scores: Probabilities [n]. They must be calibrated: a threshold means what it says only then.
        truth: bool [n].
        thresholds: Above 0 and below 1, [T].
        weights: [R, n], or None for one row of ones.

    Returns:
        [R, T] ([T] without weights), in true positives per row.
    """
    t = _check(thresholds)
    ranking = Ranking(scores, truth)
    w = np.ones((1, len(ranking.truth))) if weights is None else weights
    found = _net_benefit(ranking, t, w)
    return found[0] if weights is None else found


def _net_benefit(ranking: Ranking, t: np.ndarray, weights: np.ndarray) -> np.ndarray:
    if not len(ranking.truth):
        return np.full((len(weights), len(t)), np.nan)
    tp, fp = ranking.called_at(t, *ranking.cumulative(weights))
    n = weights.sum(axis=1, keepdims=True)
    return np.asarray((tp - fp * t / (1 - t)) / np.where(n > 0, n, np.nan))


def treat_all(prevalence: float, thresholds: Sequence[float] = THRESHOLDS) -> np.ndarray:
    """Return the net benefit [T] of treating every row; treating none has 0."""
    t = _check(thresholds)
    return np.asarray(prevalence - (1 - prevalence) * t / (1 - t))


def _check(thresholds: Sequence[float]) -> np.ndarray:
    t = np.asarray(thresholds, dtype=np.float64)
    if not ((t > 0) & (t < 1)).all():
        raise InputError("thresholds of a decision curve are probabilities above 0 and below 1")
    return t


def statistic(scores: np.ndarray, truth: np.ndarray, thresholds: Sequence[float] = THRESHOLDS) -> Statistic:
    """Return the net benefits as a statistic of bootstrap draws, keyed by the number of the threshold."""
    t, ranking = _check(thresholds), Ranking(scores, truth)
    return lambda weights: {str(k): v for k, v in enumerate(_net_benefit(ranking, t, weights).T)}


def curve(drawn: Sampled, truth: np.ndarray, draws: Draws, thresholds: Sequence[float] = THRESHOLDS) -> dict[str, Any]:
    """Return a decision curve as the schema has it, from the draws of `statistic`."""
    prevalence, n, patients = float(truth.mean()), len(truth), draws.patients()
    points = [
        estimate(drawn.values[str(k)], drawn.draws[str(k)], n=n, patients=patients, level=draws.level) for k in range(len(thresholds))
    ]
    return {
        "thresholds": [float(t) for t in thresholds],
        "net_benefit": [p["value"] for p in points],
        "low": [p["low"] for p in points],
        "high": [p["high"] for p in points],
        "treat_all": treat_all(prevalence, thresholds).tolist(),
        "treat_none": [0.0] * len(thresholds),
        "prevalence": prevalence,
        "n": n,
    }


def predictive_values(sensitivity: np.ndarray | float, specificity: np.ndarray | float, prevalence: float) -> tuple[np.ndarray, np.ndarray]:
    """Return positive and negative predictive value at a prevalence, by Bayes' rule; NaN where nothing is called so.

    They hold where sensitivity and specificity carry over, that is where only the prevalence differs (label shift) and not the spectrum of
    cases.

    Args:
        sensitivity: 0-1, number or array.
        specificity: 0-1, likewise.
        prevalence: 0-1.

    Raises:
        InputError: for a prevalence that is none.
    """
    if not 0 <= prevalence <= 1:
        raise InputError(f"prevalence {prevalence:g} must be in 0-1; write 5 % as 0.05")
    se, sp = np.asarray(sensitivity, dtype=np.float64), np.asarray(specificity, dtype=np.float64)
    tp, fp, tn, fn = se * prevalence, (1 - sp) * (1 - prevalence), sp * (1 - prevalence), (1 - se) * prevalence
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(tp / (tp + fp)), np.asarray(tn / (tn + fn))
