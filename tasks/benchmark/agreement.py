"""How well scores rank candidates: rank correlations and regret with bootstrap intervals over candidates."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from umsrep.tasks.statistics import kendall_tau, percentile_interval, regret, weighted_tau


@dataclasses.dataclass(frozen=True)
class Agreement:
    """A score against the truth. Higher is better, except for the regrets; NaN where undefined.

    Attributes:
        kendall: Tau-b, mean over tasks.
        kendall_low: Of the 95 % percentile interval over draws of candidates with replacement.
        kendall_high: Likewise.
        weighted: Vigna's weighted tau, mean over tasks.
        weighted_low: See ``kendall_low``.
        weighted_high: See ``kendall_low``.
        regret: Quality lost by trusting the score, in units of the truth, mean over tasks (see `umsrep.tasks.statistics.regret`).
        normalised_regret: As a share of the span from the worst to the best candidate, mean over tasks.
        regret_low: Of ``normalised_regret``'s interval.
        regret_high: Likewise.
        n: Candidates that have a score and a truth in at least one task.
        tasks: Tasks in which the correlation is defined.
    """

    kendall: float
    kendall_low: float
    kendall_high: float
    weighted: float
    weighted_low: float
    weighted_high: float
    regret: float
    normalised_regret: float
    regret_low: float
    regret_high: float
    n: int
    tasks: int


def agreement(
    scores: np.ndarray, truth: np.ndarray, *, draws: Mapping[int, np.ndarray] | None = None, resamples: int = 2000, seed: int = 0
) -> Agreement:
    """Compare one score with the truth over tasks that share their candidates.

    A draw takes candidates with replacement, the same for all tasks: what is not known is how the score would rank other candidates.
    Copies of a candidate tie on both sides, as tau-b allows. Where the score's own bootstrap over rows is given, each draw also takes one
    of its draws, so that the interval holds both.

    Args:
        scores: [tasks, candidates], higher is better; NaN is no score.
        truth: [tasks, candidates], higher is better; NaN is unknown.
        draws: Task (row of ``scores``) to the score's bootstrap values [B, candidates].
        resamples: Number of draws.
        seed: Of the draws.
    """
    generator = np.random.default_rng(seed)
    tasks, candidates = scores.shape
    picks = generator.integers(candidates, size=(resamples, candidates))
    found: dict[str, list[np.ndarray]] = {"kendall": [], "weighted": [], "regret": []}
    for task in range(tasks):
        x = np.broadcast_to(scores[task], (resamples, candidates))
        if draws is not None and task in draws:
            x = draws[task][generator.integers(len(draws[task]), size=resamples)]
        x, y = np.take_along_axis(x, picks, axis=1), truth[task][picks]
        kendall, weighted = taus(x, y)
        found["kendall"].append(kendall)
        found["weighted"].append(weighted)
        found["regret"].append(_normalised_regrets(x, y))
    points = [
        (
            kendall_tau(scores[t], truth[t]),
            weighted_tau(scores[t], truth[t]),
            regret(scores[t], truth[t]),
            regret(scores[t], truth[t], normalised=True),
        )
        for t in range(tasks)
    ]
    means = [_mean(np.array(column)) for column in zip(*points, strict=True)]
    intervals = {key: percentile_interval(_means(np.array(values))) for key, values in found.items()}
    both = ~np.isnan(scores) & ~np.isnan(truth)
    return Agreement(
        *(means[0], *intervals["kendall"]),
        *(means[1], *intervals["weighted"]),
        *(means[2], means[3], *intervals["regret"]),
        int(both.any(axis=0).sum()),
        int(sum(not np.isnan(p[0]) for p in points)),
    )


def _mean(values: np.ndarray) -> float:
    return float(values[~np.isnan(values)].mean()) if (~np.isnan(values)).any() else float("nan")


def _means(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is not NaN, [resamples]."""
    known = ~np.isnan(values)
    means = np.full(values.shape[1], np.nan)
    np.divide(np.where(known, values, 0).sum(axis=0), known.sum(axis=0), out=means, where=known.any(axis=0))
    return means


def taus(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Kendall's tau-b and Vigna's weighted tau of many pairs of lists at once, equal to SciPy's one by one.

    Args:
        x: [lists, candidates]; a candidate that is NaN in either is left out of its list.
        y: Likewise.

    Returns:
        Two arrays [lists]; NaN where a side is constant.
    """
    out = np.isnan(x) | np.isnan(y)
    signs_x, signs_y = (_signs(np.where(out, 0.0, side), out) for side in (x, y))
    plain = _ratio(signs_x, signs_y, np.ones_like(signs_x))
    # SciPy's default: the mean of importance by x (ties by y) and by y (ties by x)
    weighted = [_ratio(signs_x, signs_y, _weights(first, second, out)) for first, second in ((x, y), (y, x))]
    return plain, (weighted[0] + weighted[1]) / 2


def _signs(values: np.ndarray, out: np.ndarray) -> np.ndarray:
    pairs: np.ndarray = np.sign(values[:, :, None] - values[:, None, :])
    pairs[out[:, :, None] | out[:, None, :]] = 0
    return pairs


def _weights(first: np.ndarray, second: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Sum of the hyperbolic weights 1 / (rank + 1) of both members of each pair; rank 0 is the largest."""
    low = -np.inf
    order = np.lexsort((np.where(out, low, second), np.where(out, low, first)), axis=1)[:, ::-1]
    weights = np.empty(first.shape)
    np.put_along_axis(weights, order, np.broadcast_to(1 / np.arange(1, first.shape[1] + 1), first.shape), axis=1)
    return np.asarray(weights[:, :, None] + weights[:, None, :])


def _ratio(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    axes = (1, 2)
    scale = np.sqrt((weights * a * a).sum(axis=axes) * (weights * b * b).sum(axis=axes))
    ratios = np.full(len(a), np.nan)
    np.divide((weights * a * b).sum(axis=axes), scale, out=ratios, where=scale > 0)
    return ratios


def _normalised_regrets(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`regret` with ``normalised``, of each list."""
    known = ~np.isnan(y)
    best, worst = np.where(known, y, -np.inf).max(axis=1), np.where(known, y, np.inf).min(axis=1)
    scored = known & ~np.isnan(x)
    top = np.where(scored, x, -np.inf).max(axis=1, keepdims=True)
    picked = scored & (x == top)
    mean = np.divide(np.where(picked, y, 0).sum(axis=1), picked.sum(axis=1), out=np.full(len(x), np.nan), where=picked.any(axis=1))
    with np.errstate(invalid="ignore"):
        lost, span = best - mean, best - worst
    return np.asarray(np.where(np.isnan(mean), np.nan, np.divide(lost, span, out=np.zeros(len(x)), where=span > 0)))
