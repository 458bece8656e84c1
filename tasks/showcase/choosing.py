"""Which cases a gallery shows: by rule, so that nobody picks the pretty ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from umsrep.errors import InputError

PERCENTILES = (0, 10, 50, 100)
"""Worst, poor, median and best."""


def at_percentiles(scores: Sequence[float] | np.ndarray, percentiles: Sequence[float] = PERCENTILES) -> list[tuple[float, int]]:
    """Choose the rows at percentiles of a score, by the nearest rank.

    Args:
        scores: One a row; rows whose score is not finite are never chosen. Of equal scores the earlier row ranks lower.
        percentiles: 0 (lowest score) to 100, ascending.

    Returns:
        (percentile, row), each row once: with fewer rows than percentiles the later ones of a row are left out.

    Raises:
        InputError: if no score is finite, or for a percentile outside 0 to 100.
    """
    if any(not 0 <= p <= 100 for p in percentiles):
        raise InputError(f"percentiles {list(percentiles)} must lie in 0 to 100")
    values = np.asarray(scores, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        raise InputError("no row has a finite score to choose by")
    order = known[np.argsort(values[known], kind="stable")]
    chosen: dict[int, float] = {}
    for p in percentiles:
        chosen.setdefault(int(order[int(np.floor(p / 100 * (len(order) - 1) + 0.5))]), p)
    return [(p, row) for row, p in chosen.items()]


@dataclasses.dataclass(frozen=True)
class Classified:
    """Rows of a classifier chosen by `classified`.

    Attributes:
        typical: Class number to the right row of median loss; classes that are never right are missing.
        surest: Class number to the right row of least loss.
        wrong: Wrong rows, the largest loss first.
        errors: Number of all wrong rows.
        n: Number of all rows.
    """

    typical: dict[int, int]
    surest: dict[int, int]
    wrong: list[int]
    errors: int
    n: int


def losses(probabilities: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return -log of the true class's probability of each row, float64 [n], of probabilities [n, K] and classes [n]."""
    own = np.take_along_axis(np.asarray(probabilities, dtype=np.float64), np.asarray(target, dtype=np.int64)[:, None], 1)[:, 0]
    return np.asarray(-np.log(np.maximum(own, 1e-300)))


def classified(
    probabilities: np.ndarray, target: np.ndarray, cluster: Sequence[str], *, wrong: int, threshold: float | None = None
) -> Classified:
    """Choose typical and sure right rows of each class, and the confident errors.

    Args:
        probabilities: float [n, K] of exclusive classes.
        target: int [n].
        cluster: Patient, or clip, of each row: of the errors at most one a cluster is chosen. "" is a cluster of its own.
        wrong: Most errors.
        threshold: Two classes: the second is predicted from this probability on; None: the most probable class.
    """
    p, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(target, dtype=np.int64)
    predicted = p.argmax(1) if threshold is None else (p[:, 1] >= threshold).astype(np.int64)
    loss, right = losses(p, truth), predicted == truth
    typical, surest = {}, {}
    for k in range(p.shape[1]):
        rows = np.flatnonzero(right & (truth == k))
        if len(rows):
            (_, least), *_ = at_percentiles(loss[rows], (0,))
            (_, median), *_ = at_percentiles(loss[rows], (50,))
            typical[k], surest[k] = int(rows[median]), int(rows[least])
    errors = np.flatnonzero(~right)
    chosen: dict[str, int] = {}
    for row in errors[np.argsort(-loss[errors], kind="stable")].tolist():
        chosen.setdefault(cluster[row] or f"row {row}", row)
    return Classified(typical, surest, list(chosen.values())[:wrong], len(errors), len(p))
