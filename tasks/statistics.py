"""Statistics of comparisons: patient-clustered bootstrap, paired tests, Holm, Friedman and Nemenyi, rank correlations, regret."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from umsrep.errors import InputError


def _clusters(groups: Sequence[str | None]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows ordered by cluster, and each cluster's first position and size; clusters in the order of their first row."""
    numbers: dict[str | int, int] = {}
    cluster = np.array([numbers.setdefault(group or row, len(numbers)) for row, group in enumerate(groups)], dtype=np.int64)
    sizes = np.bincount(cluster, minlength=len(numbers))
    return np.argsort(cluster, kind="stable"), np.cumsum(sizes) - sizes, sizes


def _picks(clusters: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    if resamples < 1:
        raise InputError(f"resamples must be 1 or more, not {resamples}")
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        yield generator.integers(clusters, size=clusters)


def cluster_draws(groups: Sequence[str | None], *, resamples: int = 1000, seed: int = 0) -> Iterator[np.ndarray]:
    """Draw bootstrap samples of whole patients with replacement.

    Rows of one patient are not independent, so it is patients that are drawn (cluster bootstrap; Davison & Hinkley 1997, 3.8).

    Args:
        groups: The patient of each row; None or "" is unknown and counts as a patient of its own.
        resamples: Number of draws.
        seed: Of the draws.

    Yields:
        int64 row indices of one draw: as many patients as there are, so the number of rows varies with their sizes.
    """
    order, starts, sizes = _clusters(groups)
    for picks in _picks(len(sizes), resamples, seed) if len(sizes) else ():
        some = sizes[picks]
        before = np.cumsum(some) - some
        yield order[np.repeat(starts[picks] - before, some) + np.arange(some.sum())]


def cluster_counts(groups: Sequence[str | None], *, resamples: int = 1000, seed: int = 0) -> tuple[np.ndarray, Iterator[np.ndarray]]:
    """Return the draws of `cluster_draws` as counts, for statistics that weigh rows instead of copying them.

    Args:
        groups: As there.
        resamples: As there.
        seed: As there: the same seed gives the same draws.

    Returns:
        The patient of each row as a number [n], and an iterator over draws: how often each patient was drawn [patients], int64.
    """
    order, _, sizes = _clusters(groups)
    cluster = np.empty(len(order), dtype=np.int64)
    cluster[order] = np.repeat(np.arange(len(sizes)), sizes)
    picks = _picks(len(sizes), resamples, seed) if len(sizes) else iter(())
    return cluster, (np.bincount(p, minlength=len(sizes)) for p in picks)


def bootstrap_interval(
    statistic: Callable[[np.ndarray], float], groups: Sequence[str | None], *, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Return the percentile interval of a statistic over draws of `cluster_draws`.

    Draws in which the statistic is NaN (an AUROC of one class) are left out. The interval is NaN where all are, and where there are
    fewer than two patients: nothing can then be said about others.

    Args:
        statistic: Row indices [n] to a number.
        groups: As for `cluster_draws`.
        resamples: Number of draws.
        seed: Of the draws.
        level: Coverage, above 0 and below 1.
    """
    if len(_clusters(groups)[2]) < 2:
        return math.nan, math.nan
    return percentile_interval([statistic(rows) for rows in cluster_draws(groups, resamples=resamples, seed=seed)], level)


def percentile_interval(draws: Sequence[float] | np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return the central interval that holds ``level`` of the draws; NaN draws are left out, and NaN where all are NaN."""
    if not 0 < level < 1:
        raise InputError(f"level must be above 0 and below 1, not {level}")
    known = np.asarray(draws, dtype=np.float64)
    known = known[~np.isnan(known)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A test of a against b.

    Attributes:
        difference: Mean of a minus mean of b (Wilcoxon: median of the paired differences).
        statistic: t, or the signed-rank sum.
        p: Two-sided. 1 where all differences are zero; NaN where it is undefined (fewer than two values, or no spread to compare with).
        n: Pairs, or the size of the smaller sample.
    """

    difference: float
    statistic: float
    p: float
    n: int


def _pairs(a: Sequence[float], b: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.shape != y.shape:
        raise InputError(f"pairs need two lists of one length, not {len(x)} and {len(y)}")
    known = ~(np.isnan(x) | np.isnan(y))
    return x[known], y[known]


ROUNDING = 1e-12
"""Differences below this part of the largest value are rounding: .9 - .8 and .8 - .7 are the same difference."""


def _differences(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return x - y in steps of `ROUNDING`, so that equal differences are equal and none of them passes for a spread."""
    step = ROUNDING * max(np.abs(x).max(initial=0), np.abs(y).max(initial=0))
    return np.asarray(np.round((x - y) / step) * step if step else x - y)


def paired_t_test(a: Sequence[float], b: Sequence[float]) -> Comparison:
    """Student's t-test of paired differences (the same seed, split or image on both sides); pairs with a NaN are left out."""
    from scipy import stats

    x, y = _pairs(a, b)
    differences = _differences(x, y)
    if len(x) < 2 or np.ptp(differences) == 0:
        return _degenerate(differences, len(x))
    result = stats.ttest_1samp(differences, 0)
    return Comparison(float((x - y).mean()), float(result.statistic), float(result.pvalue), len(x))


def welch_t_test(a: Sequence[float], b: Sequence[float]) -> Comparison:
    """Two-sample t-test without the assumption of one variance (Welch 1947); NaN values are left out."""
    from scipy import stats

    x, y = (np.asarray(v, dtype=np.float64) for v in (a, b))
    x, y = x[~np.isnan(x)], y[~np.isnan(y)]
    n = min(len(x), len(y))
    if n < 2 or max(np.ptp(x), np.ptp(y)) <= ROUNDING * max(np.abs(x).max(), np.abs(y).max()):
        return _degenerate(_differences(np.array([x.mean()]), np.array([y.mean()])) if n else np.empty(0), n)
    result = stats.ttest_ind(x, y, equal_var=False)
    return Comparison(float(x.mean() - y.mean()), float(result.statistic), float(result.pvalue), n)


def wilcoxon(a: Sequence[float], b: Sequence[float]) -> Comparison:
    """Signed-rank test of paired differences (Wilcoxon 1945), exact for small samples; pairs with a NaN, and zeros, are left out.

    With n pairs the smallest p it can reach is 2^(1-n): five seeds never give p < 0.05, whatever they show.
    """
    from scipy import stats

    x, y = _pairs(a, b)
    differences = _differences(x, y)
    if not differences.any():
        return _degenerate(differences, len(x))
    result = stats.wilcoxon(differences)
    return Comparison(float(np.median(x - y)), float(result.statistic), float(result.pvalue), len(x))


def _degenerate(differences: np.ndarray, n: int) -> Comparison:
    same = n >= 2 and not differences.any()
    return Comparison(float(differences.mean()) if len(differences) else math.nan, 0.0 if same else math.nan, 1.0 if same else math.nan, n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for the family-wise error rate (Holm 1979), in the order given; a NaN stays one and counts for none."""
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(len(p), np.nan)
    order = np.argsort(p, kind="stable")[: np.count_nonzero(~np.isnan(p))]
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return [float(v) for v in adjusted]


def smallest_wilcoxon_p(n: int) -> float:
    """Return the smallest two-sided p that the exact signed-rank test of n pairs can reach."""
    return min(1.0, 2.0 ** (1 - n))


@dataclasses.dataclass(frozen=True)
class Friedman:
    """Friedman's test of k methods on N blocks (data sets, or data sets x seeds), with Nemenyi's critical difference.

    Attributes:
        ranks: Mean rank of each method, 1 is best, ties share the mean of their ranks.
        statistic: Chi-squared of k - 1 degrees of freedom.
        p: Of it. NaN with fewer than three methods or two blocks.
        critical_difference: Two methods whose mean ranks differ by at least this differ at ``alpha`` (Demšar 2006, JMLR 7, 3.2.2).
        blocks: N.
    """

    ranks: list[float]
    statistic: float
    p: float
    critical_difference: float
    blocks: int


def friedman(table: np.ndarray, *, alpha: float = 0.05) -> Friedman:
    """Rank methods over blocks.

    Args:
        table: Quality [N blocks, k methods], higher is better; rows with a NaN are left out, as ranks need every method.
        alpha: Level of the critical difference.
    """
    from scipy import stats

    quality = np.asarray(table, dtype=np.float64)
    quality = quality[~np.isnan(quality).any(axis=1)]
    blocks, k = quality.shape
    if not blocks or k < 2:
        return Friedman([math.nan] * k, math.nan, math.nan, math.nan, blocks)
    ranks = stats.rankdata(-quality, axis=1).mean(axis=0)
    statistic, p = math.nan, math.nan
    if k >= 3 and blocks >= 2 and np.ptp(quality, axis=1).any():
        statistic, p = (float(v) for v in stats.friedmanchisquare(*quality.T))
    return Friedman([float(r) for r in ranks], statistic, p, nemenyi_critical_difference(k, blocks, alpha), blocks)


def nemenyi_critical_difference(methods: int, blocks: int, alpha: float = 0.05) -> float:
    """Return q_alpha sqrt(k (k + 1) / 6 N), with q the studentised range of infinite degrees of freedom over sqrt 2 (Demšar 2006)."""
    from scipy import stats

    q = float(stats.studentized_range.ppf(1 - alpha, methods, np.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * blocks))


def kendall_tau(scores: Sequence[float], truth: Sequence[float]) -> float:
    """Return Kendall's tau-b, -1 to 1; NaN with fewer than two pairs or where either side is constant. Pairs with a NaN are left out."""
    from scipy import stats

    x, y = _pairs(scores, truth)
    return float(stats.kendalltau(x, y).statistic) if len(x) > 1 and np.ptp(x) > 0 and np.ptp(y) > 0 else math.nan


def weighted_tau(scores: Sequence[float], truth: Sequence[float]) -> float:
    """Return Vigna's weighted tau (2015), -1 to 1: hyperbolic weights, so that the best count most.

    SciPy's default, the mean of ranking by either side, as the literature on transferability uses it. NaN as in `kendall_tau`.
    """
    from scipy import stats

    x, y = _pairs(scores, truth)
    return float(stats.weightedtau(x, y).statistic) if len(x) > 1 and np.ptp(x) > 0 and np.ptp(y) > 0 else math.nan


def regret(scores: Sequence[float], truth: Sequence[float], *, normalised: bool = False) -> float:
    """Return the quality lost by trusting a score: that of the best candidate minus that of the one with the highest score.

    Where several have the highest score, the mean of their qualities counts, as if one were drawn. A candidate without a score (NaN)
    is never chosen but can be the best; one without a truth is left out.

    Args:
        scores: One a candidate, higher is better.
        truth: Quality of each, in any unit.
        normalised: Divide by the span from best to worst: 0 is the best choice, 1 the worst. 0 where all are equally good.

    Returns:
        0 or more, in units of ``truth``; NaN where no candidate has both.
    """
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if x.shape != y.shape:
        raise InputError(f"regret needs a score and a truth of each candidate, not {len(x)} and {len(y)}")
    x, y = x[~np.isnan(y)], y[~np.isnan(y)]
    if not (~np.isnan(x)).any():
        return math.nan
    lost = float(y.max() - y[x == np.nanmax(x)].mean())
    if not normalised:
        return lost
    span = float(np.ptp(y))
    return lost / span if span > 0 else 0.0
