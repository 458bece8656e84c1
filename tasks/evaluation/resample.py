"""Fast bootstrap over patients: rows are weighted by how often their patient was drawn, so that nothing is copied or sorted again."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from umsrep.errors import InputError
from umsrep.tasks.statistics import cluster_counts, percentile_interval

Statistic = Callable[[np.ndarray], dict[str, np.ndarray]]
"""Weights [R, n] of n rows in R draws to metrics, each [R]; NaN where undefined. Weights of 1 give the value on the rows themselves."""

SMALL = 10
"""Groups of fewer rows get no interval: a bootstrap of so few says more about the draw than about patients."""
_CHUNK = 1 << 14  # weights at once: what stays in a core's cache is four times as fast as 1 << 18


@dataclasses.dataclass(frozen=True)
class Draws:
    """Bootstrap draws of whole patients (`umsrep.tasks.statistics.cluster_draws`), as weights of rows.

    Attributes:
        groups: The patient of each row; None or "" is unknown and counts as a patient of its own.
        resamples: Number of draws.
        seed: Of the draws.
        level: Of the percentile intervals.
    """

    groups: Sequence[str | None]
    resamples: int = 2000
    seed: int = 0
    level: float = 0.95

    def __post_init__(self) -> None:
        """Refuse what is no number of draws or no level."""
        if self.resamples < 1:
            raise InputError(f"resamples must be 1 or more, not {self.resamples}")
        if not 0 < self.level < 1:
            raise InputError(f"the level of intervals must be above 0 and below 1, not {self.level}")

    def weights(self) -> Iterator[np.ndarray]:
        """Yield float64 weights [R, n], R draws at a time."""
        cluster, counts = cluster_counts(self.groups, resamples=self.resamples, seed=self.seed)
        at_once = max(1, _CHUNK // max(1, len(cluster)))
        pending: list[np.ndarray] = []
        for count in counts:
            pending.append(count.astype(np.float64)[cluster])
            if len(pending) == at_once:
                yield np.stack(pending)
                pending = []
        if pending:
            yield np.stack(pending)

    def patients(self, rows: np.ndarray | None = None) -> int:
        """Return the number of patients, of some rows (a mask) or all."""
        some = range(len(self.groups)) if rows is None else np.flatnonzero(rows).tolist()
        return len({self.groups[row] or row for row in some})


@dataclasses.dataclass(frozen=True)
class Sampled:
    """A statistic's metrics on the rows themselves, and in each draw.

    Attributes:
        values: Metric to its value.
        draws: Metric to its values [resamples].
    """

    values: dict[str, float]
    draws: dict[str, np.ndarray]


def sample(statistics: Mapping[str, Statistic], draws: Draws) -> dict[str, Sampled]:
    """Evaluate statistics on all rows and in every draw, in one pass over the draws."""
    ones = np.ones((1, len(draws.groups)))
    values = {name: {m: float(v[0]) for m, v in statistic(ones).items()} for name, statistic in statistics.items()}
    parts: dict[str, dict[str, list[np.ndarray]]] = {name: {m: [] for m in found} for name, found in values.items()}
    for weights in draws.weights() if statistics else ():
        for name, statistic in statistics.items():
            for metric, drawn in statistic(weights).items():
                parts[name][metric].append(drawn)
    joined = {name: {m: np.concatenate(p) if p else np.empty(0) for m, p in some.items()} for name, some in parts.items()}
    return {name: Sampled(values[name], joined[name]) for name in statistics}


def estimate(
    value: float,
    drawn: np.ndarray,
    *,
    n: int,
    patients: int,
    level: float = 0.95,
    method: str = "bootstrap",
) -> dict[str, Any]:
    """Return a number with its percentile interval as the schema's ESTIMATE (docs/evaluation.md).

    Args:
        value: On the rows themselves.
        drawn: In the draws; NaN ones are left out.
        n: Rows.
        patients: Of them.
        level: Of the interval.
        method: Named in the result.
    """
    result: dict[str, Any] = {"value": value, "low": math.nan, "high": math.nan, "n": int(n), "patients": int(patients), "method": "none"}
    if math.isnan(value):
        return result | {"note": "undefined on these rows"}
    if n < SMALL:
        return result | {"note": f"no interval: fewer than {SMALL} rows"}
    if patients < 2:
        return result | {"note": "no interval: one patient says nothing about others"}
    low, high = percentile_interval(drawn, level)
    if math.isnan(low):
        return result | {"note": "no interval: undefined in every draw"}
    result |= {"low": low, "high": high, "method": method}
    if low == high == value:
        return result | {"note": "the same in every draw: a bootstrap cannot see errors that did not occur"}
    undefined = float(np.isnan(drawn).mean())
    return result | ({"note": f"undefined in {undefined:.1%} of the draws, which are left out"} if undefined > 0.01 else {})


def estimates(sampled: Sampled, draws: Draws, counts: Mapping[str, np.ndarray] | None = None) -> dict[str, dict[str, Any]]:
    """Return each metric's `estimate`.

    Args:
        sampled: Of `sample`.
        draws: That it was sampled with.
        counts: Metric to the rows (a mask [n]) that it is about, where those are not all.
    """
    everyone = len(draws.groups), draws.patients()
    known: dict[bytes, tuple[int, int]] = {}
    result = {}
    for metric, value in sampled.values.items():
        n, patients = everyone
        if counts is not None and metric in counts:
            mask = counts[metric]
            key = mask.tobytes()
            if key not in known:
                known[key] = int(mask.sum()), draws.patients(mask)
            n, patients = known[key]
        result[metric] = estimate(value, sampled.draws[metric], n=n, patients=patients, level=draws.level)
    return result


def weighted_mean(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the means [R] (or [R, ...]) of values [n] (or [n, ...]) that are not NaN; NaN where none has weight."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    known = ~np.isnan(flat)
    total = weights @ known.astype(np.float64)
    mean = weights @ np.where(known, flat, 0.0) / np.where(total > 0, total, np.nan)
    return np.asarray(mean.reshape(len(weights), *values.shape[1:]))


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """Return the means [R] over the last axis of [R, K], NaN left out; NaN where all are."""
    known = ~np.isnan(values)
    count = known.sum(-1)
    return np.asarray(np.where(known, values, 0.0).sum(-1) / np.where(count > 0, count, np.nan))


def mean_estimates(values: Mapping[str, np.ndarray], draws: Draws, rows: np.ndarray | None = None) -> dict[str, dict[str, Any]]:
    """Return the `estimate` of the mean of each array of values [n].

    Args:
        values: Name to one number a row; NaN is left out.
        draws: Over all rows.
        rows: Mask [n] of the rows to take; the patients are still drawn from all.
    """
    names = list(values)
    table = np.stack([np.asarray(values[name], dtype=np.float64) for name in names], axis=1)
    if rows is not None:
        table = np.where(rows[:, None], table, np.nan)
    counts = {name: ~np.isnan(table[:, k]) for k, name in enumerate(names)}
    statistic: Statistic = lambda weights: dict(zip(names, weighted_mean(weights, table).T, strict=True))  # noqa: E731
    return estimates(sample({"all": statistic}, draws)["all"], draws, counts)
