"""LogME: the largest log evidence of a Bayesian linear model from features to labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from umsrep.errors import InputError
from umsrep.zoo.transferability.checks import Floats, array_of, as_binary, as_features, as_matrix, as_questions, one_hot, same_length
from umsrep.zoo.transferability.spectra import Spectrum, spectrum, unit_scale

PER_DECADE = 4
"""Points of the grid over alpha / beta for each factor of ten."""

NOISE_FLOOR = 1e-24
"""Least part of y'y that counts as unexplained where the rank is below N: labels that a plane fits without error have no finite maximum."""


def log_me(features: Any, labels: Any, *, regression: bool = False) -> float:
    """Log of the maximum evidence, by samples, in nats: max over alpha, beta of log N(y; 0, I / beta + F F' / alpha) / N.

    The mean over the targets: each class against the others, each column of a multi-label matrix, or each regression target. Features
    are not centred. The score does not change with rotation or scale of the features (it does with their shift).

    The maximum over beta has a closed form for each t = alpha / beta; the maximum over t is searched over its whole range and then
    narrowed by golden sections, so a flat or separable spectrum, whose maximum lies at the edge, needs no special case. The value is the
    evidence at an actual alpha and beta and so never above the maximum. Where labels are fitted without error by fewer columns than rows,
    the evidence has no upper bound: a part of 1e-24 of y'y counts as noise then.

    Args:
        features: [N, D].
        labels: Classes [N] of any kind; multi-label [N, K] of 0 and 1; with ``regression`` real numbers [N] or [N, K].
        regression: Whether the labels are real numbers. The score then falls by log(c) when targets are multiplied by c.

    Returns:
        Any finite number, for classes usually between -1 and 1; higher is better.

    Raises:
        InputError: The input cannot be scored; names the row.

    Source:
        You et al., LogME: practical assessment of pre-trained models for transfer learning, ICML 2021.
    """
    f = as_features(features)
    return float(best_evidence(unit_scale(f), _targets(labels, len(f), regression))[0].mean())


def best_evidence(features: Floats, targets: Floats) -> tuple[Floats, Floats]:
    """Maximise the evidence of each target.

    Args:
        features: float64 [N, D]; scale them to a largest magnitude near 1.
        targets: float64 [N, C], no column all 0.

    Returns:
        Log evidence / N [C], and alpha / beta at the maximum [C], which is the penalty of the ridge regression with the best evidence.
    """
    s = spectrum(features, targets)
    value, t = _search(s, len(features))
    # a Gram matrix knows squares of singular values to 1e-16 of the largest, and what is unexplained to 1e-16 of y'y
    if len(s.squares) and ((t < 1e-8 * s.squares[0]).any() or (_unexplained(s, t) < 1e-7 * s.total).any()):
        value, t = _search(spectrum(features, targets, exact=True), len(features))
    return value, t


def _targets(labels: Any, rows: int, regression: bool) -> Floats:
    array = array_of(labels)
    if not regression:
        return as_binary(array, rows).astype(np.float64) if array.ndim == 2 else one_hot(as_questions(labels, rows)[0])
    targets = as_matrix(array[:, None] if array.ndim == 1 else array, "labels")
    same_length(targets, rows, "labels")
    if not targets.any(axis=0).all():
        column = int(np.argmin(targets.any(axis=0)))
        raise InputError(f"labels: target {column} (counted from 0) is 0 in every row, which has no finite evidence; leave it out")
    return targets


def _unexplained(s: Spectrum, t: Floats) -> Floats:
    """Return N / beta at its best for each target's own t [C]: [C]."""
    shrunk: Floats = (t / (s.squares[:, None] + t) * s.reached).sum(axis=0) + s.rest
    return shrunk


def _value(unexplained: Floats, log_det: Floats, rows: int) -> Floats:
    value: Floats = -0.5 * (np.log(2 * np.pi * unexplained / rows) + 1 + log_det / rows)
    return value


def _search(s: Spectrum, rows: int) -> tuple[Floats, Floats]:
    """Return the maximum over t of the evidence that beta already maximises, and the t [C]."""
    if not len(s.squares):  # features of 0: y is noise
        return _value(s.total, np.zeros(1), rows), np.ones(len(s.total))
    if len(s.squares) < rows:
        s = s._replace(rest=np.maximum(s.rest, NOISE_FLOOR * s.total))
    low, high = np.log(s.squares[-1]) - np.log(1e10), np.log(s.squares[0]) + np.log(1e12)
    grid = np.linspace(low, high, int((high - low) / np.log(10) * PER_DECADE) + 2)
    shrink = np.exp(grid)[:, None] / (s.squares + np.exp(grid)[:, None])  # [T, k]
    values = _value(shrink @ s.reached + s.rest, -np.log(shrink).sum(axis=1)[:, None], rows)  # [T, C]
    best = values.argmax(axis=0)

    def at(u: Floats) -> Floats:
        t = np.exp(u)
        return _value(_unexplained(s, t), np.log1p(s.squares[:, None] / t).sum(axis=0), rows)

    u = _golden(at, grid[np.maximum(best - 1, 0)], grid[np.minimum(best + 1, len(grid) - 1)])
    refined, coarse = at(u), values[best, np.arange(len(best))]
    return np.maximum(refined, coarse), np.exp(np.where(refined >= coarse, u, grid[best]))


def _golden(function: Any, low: Floats, high: Floats) -> Floats:
    """Return where functions of one number, one for each element, have their maximum between two ends."""
    golden = (np.sqrt(5) - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(36):  # 1.2 * 0.618^36 = 4e-8 in log t, and the value is flat there
        up = at_left < at_right
        low, high = np.where(up, left, low), np.where(up, high, right)
        new = np.where(up, low + golden * (high - low), high - golden * (high - low))
        at_new = function(new)
        left, right = np.where(up, right, new), np.where(up, new, left)
        at_left, at_right = np.where(up, at_right, at_new), np.where(up, at_new, at_left)
    middle: Floats = (low + high) / 2
    return middle
