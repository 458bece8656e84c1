"""Split conformal prediction: sets of classes that hold the true one with a chosen probability, whatever the model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from umsrep.errors import InputError


class TooFewRows(InputError):
    """Fewer calibration rows than the coverage needs."""


@dataclasses.dataclass(frozen=True)
class Conformal:
    """A calibrated rule: class c is in the set where 1 - p_c is at most its quantile.

    Attributes:
        alpha: Share of sets that may miss the true class.
        quantiles: One a class [K]; the same for all in the marginal method.
        counts: Calibration rows behind each [K].
        mondrian: Whether each class has its own.
    """

    alpha: float
    quantiles: np.ndarray
    counts: np.ndarray
    mondrian: bool

    def sets(self, probabilities: np.ndarray) -> np.ndarray:
        """Return which classes are in each row's set: bool [n, K]."""
        return np.asarray(1.0 - np.asarray(probabilities, dtype=np.float64) <= self.quantiles[None])


def rows_needed(alpha: float) -> int:
    """Return the fewest calibration rows for which a quantile exists: ceil((1 - alpha) / alpha)."""
    _check(alpha)
    return math.ceil((1 - alpha) / alpha - 1e-9)


def conformal_quantile(scores: Sequence[float] | np.ndarray, alpha: float) -> float:
    """Return the ceil((n + 1)(1 - alpha))-th smallest of n scores (Vovk et al. 2005; Angelopoulos & Bates 2023, 1.1).

    Sets of all classes whose score is at most this hold the true class with probability of at least 1 - alpha, over draws of calibration
    and test row together, where those are exchangeable: the same patients' population, equipment and labelling.

    Raises:
        TooFewRows: if there is no such score, with the number needed.
        InputError: for an alpha that is none, or scores that are NaN.
    """
    _check(alpha)
    known = np.sort(np.asarray(scores, dtype=np.float64))
    if np.isnan(known).any():
        raise InputError("scores that are NaN have no order")
    n = len(known)
    rank = math.ceil((n + 1) * (1 - alpha) - 1e-9)  # in floating point 20 * (1 - 0.05) is a little more than 19
    if rank > n:
        raise TooFewRows(f"{n} calibration row(s) are too few for alpha {alpha:g}: {rows_needed(alpha)} needed, or a larger alpha")
    return float(known[rank - 1])


def calibrate(
    probabilities: np.ndarray, target: np.ndarray, alpha: float = 0.1, *, mondrian: bool = False, classes: Sequence[str] = ()
) -> Conformal:
    """Find the quantile of 1 - p of the true class (LAC: Sadinle, Lei & Wasserman, JASA 114, 2019).

    Args:
        probabilities: float [n, K] of rows that were not trained on.
        target: int [n].
        alpha: Above 0, below 1.
        mondrian: A quantile for each true class (Vovk 2012): the coverage then holds within each class, also where prevalence shifts.
        classes: Names for messages.

    Raises:
        TooFewRows: if a class (or, without ``mondrian``, the whole) has too few rows, with the number needed.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    own = 1.0 - np.take_along_axis(p, np.asarray(target, dtype=np.int64)[:, None], 1)[:, 0] if len(p) else np.empty(0)
    k = p.shape[1]
    if not mondrian:
        return Conformal(alpha, np.full(k, conformal_quantile(own, alpha)), np.full(k, len(own)), False)
    counts = np.bincount(np.asarray(target, dtype=np.int64), minlength=k)
    if counts.min() < rows_needed(alpha):
        names = [str(classes[j]) if classes else str(j) for j in range(k)]
        short = ", ".join(f"{names[j]} {counts[j]}" for j in range(k) if counts[j] < rows_needed(alpha))
        raise TooFewRows(f"calibration rows are too few for alpha {alpha:g} in each class: {rows_needed(alpha)} needed, there are {short}")
    return Conformal(alpha, np.array([conformal_quantile(own[target == j], alpha) for j in range(k)]), counts, True)


def coverage(sets: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return whether each set [n, K] holds the true class: float [n] of 0 and 1."""
    target = np.asarray(target, dtype=np.int64)
    return np.take_along_axis(np.asarray(sets, dtype=bool), target[:, None], 1)[:, 0].astype(np.float64)


def coverage_by(covered: np.ndarray, groups: Sequence[str]) -> Mapping[str, float]:
    """Return the mean coverage of each group of rows."""
    names = np.asarray(groups)
    return {str(name): float(covered[names == name].mean()) for name in sorted(set(groups))}


def _check(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise InputError(f"alpha must be above 0 and below 1, not {alpha:g}; 0.1 asks for sets that hold the truth 90 % of the time")
