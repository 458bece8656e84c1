"""DeLong's test: areas under correlated ROC curves, their covariance without resampling, and the difference of two."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from umsrep.errors import InputError


@dataclasses.dataclass(frozen=True)
class Areas:
    """Areas under the ROC curves of k tests on the same rows.

    Attributes:
        auroc: [k], 0 to 1; ties count half.
        covariance: [k, k] of the areas.
        n: Rows.
        positives: Of them.
        clustered: Whether the covariance is Obuchowski's, for several rows of one patient.
    """

    auroc: np.ndarray
    covariance: np.ndarray
    n: int
    positives: int
    clustered: bool

    @property
    def standard_error(self) -> np.ndarray:
        """Standard errors of the areas [k]."""
        return np.asarray(np.sqrt(np.maximum(np.diag(self.covariance), 0)))


@dataclasses.dataclass(frozen=True)
class Difference:
    """One area minus another.

    Attributes:
        difference: Of the areas.
        standard_error: Of the difference.
        low: Of the interval, normal approximation.
        high: Of the interval.
        z: Difference over standard error.
        p: Two-sided. 1 where both tests rank alike (no difference, no error); NaN where the error is 0 otherwise.
    """

    difference: float
    standard_error: float
    low: float
    high: float
    z: float
    p: float


def areas(scores: np.ndarray, truth: np.ndarray, groups: Sequence[str | None] | None = None) -> Areas:
    """Return areas under ROC curves and their covariance.

    The components of each row (how many rows of the other outcome it is ranked right against) come from mid-ranks, in O(k n log n) (Sun &
    Xu, IEEE Signal Processing Letters 21, 2014); their covariances over rows are DeLong, DeLong & Clarke-Pearson's (Biometrics 44, 1988).
    With ``groups`` in which a patient has several rows, the components are summed over patients first (Obuchowski, Biometrics 53,
    1997), as rows of one patient are not independent; with one row each both are the same.

    Args:
        scores: float [n] or [k, n], higher for positive.
        truth: bool or 0/1 [n].
        groups: Patient of each row; None or "" is a patient of its own.

    Raises:
        InputError: for lengths that differ, scores that are not finite, or fewer than two rows (patients) of an outcome.
    """
    from scipy.stats import rankdata

    x = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    y = np.asarray(truth).astype(bool)
    if x.shape[1] != len(y) or (groups is not None and len(groups) != len(y)):
        raise InputError(
            f"scores of {x.shape[1]} rows, truth of {len(y)}{'' if groups is None else f', groups of {len(groups)}'}: need one length"
        )
    if not np.isfinite(x).all():
        raise InputError("scores that are not finite have no ROC curve")
    m, n = int(y.sum()), int((~y).sum())
    if m < 2 or n < 2:
        raise InputError(f"{m} positive and {n} negative rows: DeLong's variance needs two of each")
    positive, negative = x[:, y], x[:, ~y]
    every = rankdata(np.concatenate([positive, negative], axis=1), axis=1)
    # of each positive the share of negatives below it (ties half), and of each negative the share of positives above it
    v10 = (every[:, :m] - rankdata(positive, axis=1)) / n
    v01 = 1 - (every[:, m:] - rankdata(negative, axis=1)) / m
    auroc = v10.mean(axis=1)
    cluster = _numbers(groups, len(y))
    clustered = len(np.unique(cluster)) < len(y)
    if not clustered:
        return Areas(auroc, np.atleast_2d(np.cov(v10)) / m + np.atleast_2d(np.cov(v01)) / n, len(y), m, False)
    count = int(cluster.max()) + 1
    with_positive, with_negative = len(np.unique(cluster[y])), len(np.unique(cluster[~y]))
    if with_positive < 2 or with_negative < 2:
        raise InputError(
            f"{with_positive} patient(s) with a positive and {with_negative} with a negative row: the variance needs two of each"
        )
    sum10 = np.stack([np.bincount(cluster[y], v - a, count) for v, a in zip(v10, auroc, strict=True)])
    sum01 = np.stack([np.bincount(cluster[~y], v - a, count) for v, a in zip(v01, auroc, strict=True)])
    s10 = with_positive / ((with_positive - 1) * m) * (sum10 @ sum10.T)
    s01 = with_negative / ((with_negative - 1) * n) * (sum01 @ sum01.T)
    cross = count / (count - 1) * (sum10 @ sum01.T)
    return Areas(auroc, s10 / m + s01 / n + (cross + cross.T) / (m * n), len(y), m, True)


def _numbers(groups: Sequence[str | None] | None, n: int) -> np.ndarray:
    if groups is None:
        return np.arange(n)
    numbers: dict[str | int, int] = {}
    return np.array([numbers.setdefault(group or row, len(numbers)) for row, group in enumerate(groups)], dtype=np.int64)


def difference(found: Areas, first: int = 0, second: int = 1, *, level: float = 0.95) -> Difference:
    """Return the first area minus the second with a normal interval and two-sided p-value.

    Args:
        found: Of `areas`.
        first: Number of one test.
        second: Of the other.
        level: Of the interval.
    """
    from scipy.stats import norm

    contrast = np.zeros(len(found.auroc))
    contrast[first] += 1
    contrast[second] -= 1
    delta = float(contrast @ found.auroc)
    variance = float(contrast @ found.covariance @ contrast)
    error = math.sqrt(variance) if variance > 1e-18 else 0.0  # equal rankings leave rounding
    half = float(norm.ppf((1 + level) / 2)) * error
    if error == 0:
        same = abs(delta) < 1e-12
        return Difference(delta, 0.0, delta if same else math.nan, delta if same else math.nan, math.nan, 1.0 if same else math.nan)
    z = delta / error
    return Difference(delta, error, delta - half, delta + half, z, float(2 * norm.sf(abs(z))))


def interval(found: Areas, test: int = 0, *, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of one area: normal on the logit of it, which keeps it in 0-1 (plain where the area is 0 or 1)."""
    from scipy.stats import norm

    area, error = float(found.auroc[test]), float(found.standard_error[test])
    z = float(norm.ppf((1 + level) / 2))
    if not 0 < area < 1:
        return area, area
    logit, half = math.log(area / (1 - area)), z * error / (area * (1 - area))
    low, high = (1 / (1 + math.exp(-v)) for v in (logit - half, logit + half))
    return low, high
