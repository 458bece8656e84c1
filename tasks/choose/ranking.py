"""Ranks with ties shown as ties, from values and their draws on random halves of the patients, paired over encoders."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

LEVEL = 0.95
_Z = 1.959963984540054  # standard normal quantile of 0.975


@dataclasses.dataclass(frozen=True)
class Place:
    """One encoder's place by one number.

    Attributes:
        value: The number, higher is better.
        interval: Estimate plus and minus 1.96 standard deviations of its draws; None without draws.
        rank: 1 and how many encoders are better beyond their paired interval; without draws, how many have a higher value.
    """

    value: float
    interval: tuple[float, float] | None
    rank: int


def places(values: Mapping[str, float], draws: Mapping[str, np.ndarray]) -> dict[str, Place]:
    """Rank encoders by one number.

    Intervals are the estimate plus and minus 1.96 standard deviations of its draws on random halves (`half_draws`), for the difference of
    two encoders as well as for each alone. Percentiles of the draws would not serve, as scores of fewer rows lie elsewhere.

    Args:
        values: Encoder to value.
        draws: Encoder to draws [R], the r-th of the same rows for all; empty where there are none.

    Returns:
        Encoder to place. Encoders whose paired difference is not beyond its interval share a rank; as such ties do not carry over (a may
        tie with b, b with c, and a beat c), a rank counts those that are better.
    """
    found = {}
    for name, value in values.items():
        spread = _spread(draws.get(name))
        interval = None if spread is None else (value - _Z * spread, value + _Z * spread)
        better = sum(_beats(other, name, values, draws) for other in values if other != name)
        found[name] = Place(value, interval, 1 + better)
    return found


def _spread(draws: np.ndarray | None) -> float | None:
    """Standard deviation of the draws that are no NaN; None of fewer than two."""
    known = np.empty(0) if draws is None else draws[np.isfinite(draws)]
    return float(known.std(ddof=1)) if len(known) > 1 else None


def _beats(a: str, b: str, values: Mapping[str, float], draws: Mapping[str, np.ndarray]) -> bool:
    difference = values[a] - values[b]
    first, second = (draws.get(name, np.empty(0)) for name in (a, b))
    count = min(len(first), len(second))
    spread = _spread(first[:count] - second[:count])
    rounding = 1e-9 * max(abs(values[a]), abs(values[b]))
    return difference > max(rounding, _Z * spread if spread is not None else 0.0)


def mean_ranks(
    values: Sequence[Mapping[str, float]], draws: Sequence[Mapping[str, np.ndarray]], names: Sequence[str]
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return minus the mean rank of each encoder over several numbers, and the same in each draw.

    Ranks here are plain ones of the values (1 is best, equal values share the mean of their ranks); higher (nearer -1) is better.

    Args:
        values: For each number, encoder to value; every encoder has each.
        draws: For each number, encoder to draws; numbers without draws keep their ranks in every draw.
        names: The encoders.
    """
    from scipy.stats import rankdata

    ranks = [rankdata([-v[name] for name in names]) for v in values]
    lengths = [min(len(d.get(name, ())) for name in names) for d in draws]
    count = min((n for n in lengths if n), default=0)
    drawn = np.full((len(values), count, len(names)), math.nan)
    for k, (rank, some, length) in enumerate(zip(ranks, draws, lengths, strict=True)):
        if not length:
            drawn[k] = rank
            continue
        table = np.stack([some[name][:count] for name in names], axis=1)
        known = np.isfinite(table).all(axis=1)
        drawn[k, known] = rankdata(-table[known], axis=1) if known.any() else drawn[k, known]
    means = np.mean(ranks, axis=0)
    together = drawn.mean(axis=0) if count else np.empty((0, len(names)))  # a draw that one number cannot be had of is NaN
    return (
        {name: -float(means[i]) for i, name in enumerate(names)},
        {name: -together[:, i] for i, name in enumerate(names)},
    )
