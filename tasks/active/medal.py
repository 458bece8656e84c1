"""MedAL: among the most uncertain rows, those farthest from all that is labelled."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from umsrep.errors import InputError, nearest
from umsrep.tasks.active.checks import Array, Rows, best, check_count, check_features, check_labelled, highest
from umsrep.tasks.active.distances import distance_to, mean_row, sum_of_distances
from umsrep.tasks.active.uncertainty import entropy

Distance = Literal["mean", "centroid"]
DISTANCES: tuple[Distance, ...] = ("mean", "centroid")
_IN_MEMORY = 256 << 20
"""Up to this many bytes the candidates' features are held as float64 instead of being read anew for each pick."""


@dataclasses.dataclass(frozen=True)
class Picks:
    """Rows in the order in which they were taken, and the distance that each was taken for.

    Attributes:
        rows: int64 [budget].
        distances: float64 [budget], at the time of the pick.
    """

    rows: Rows
    distances: NDArray[np.float64]


def default_candidates(budget: int) -> int:
    """Return how many of the most uncertain rows are looked at if nobody says: 50, or five times the budget where that is more."""
    return max(50, 5 * budget)


def medal_select(
    features: Any,
    labelled: Any,
    probabilities: Any,
    budget: int,
    *,
    candidates: int | None = None,
    distance: Distance = "mean",
    multi_label: bool | None = None,
) -> Rows:
    """Select rows by MedAL (Smailagic et al. 2018, arXiv 1809.09287).

    Of the unlabelled rows the ``candidates`` with the highest entropy are kept. Of those the one with the greatest mean Euclidean distance
    to all labelled rows is taken; it counts as labelled for the next one. Equal entropies and equal distances go by row number.

    ``distance="centroid"`` takes the greatest distance to the mean of the labelled rows, as the authors' published code does. The two
    differ: between two groups of labelled rows the mean is near, though every row is far.

    Args:
        features: Numbers [N, D], all finite; may be a memory-mapped array of any float type.
        labelled: Row numbers (each once), or bools [N]; one or more.
        probabilities: [N, K], of all rows, a softmax or sigmoids; see `umsrep.tasks.active.entropy`.
        budget: How many rows.
        candidates: M; default 50, or five times the budget where that is more. More than there are unlabelled rows means all of them.
        distance: "mean" or "centroid".
        multi_label: See `umsrep.tasks.active.entropy`.

    Returns:
        int64 [budget], row numbers of ``features`` in the order taken, no labelled row among them. Inputs are not changed.

    Raises:
        InputError: for NaN, shapes that do not fit, no labelled row (`orb_initial_set` gives the first ones), a budget above the
            number of unlabelled rows or of candidates.
    """
    features = check_features(features)
    scores = entropy(probabilities, multi_label=multi_label)
    if len(scores) != len(features):
        raise InputError(f"probabilities: {len(scores):,} rows, but features have {len(features):,}")
    return pick_farthest(features, check_labelled(labelled, len(features)), scores, budget, candidates=candidates, distance=distance).rows


def pick_farthest(
    features: Array,
    labelled: NDArray[np.bool_],
    uncertainty: Array,
    budget: int,
    *,
    candidates: int | None = None,
    distance: Distance = "mean",
) -> Picks:
    """Select as `medal_select` does by any measure of uncertainty [N] (0 or more), and tell the distances.

    Rows with an uncertainty of minus infinity are never taken.
    """
    if distance not in DISTANCES:
        raise InputError(f"distance '{distance}'{nearest(str(distance), DISTANCES)}")
    free = np.flatnonzero(~labelled & (uncertainty > -np.inf))
    budget = check_count(budget, "budget", len(free))
    kept = default_candidates(budget) if candidates is None else check_count(candidates, "candidates")
    if kept < budget:
        raise InputError(f"candidates {kept:,}: fewer than the budget of {budget:,} rows")
    points = np.flatnonzero(labelled)
    if not len(points):
        raise InputError("labelled: no row, so nothing to be distant from; take the first rows with orb_initial_set or at random")
    rows = np.sort(free[highest(uncertainty[free], min(kept, len(free)))])
    return _by_mean(features, rows, points, budget) if distance == "mean" else _by_centroid(features, rows, points, budget)


def _by_mean(features: Array, rows: Rows, points: Rows, budget: int) -> Picks:
    """One sum a candidate, to which every pick adds one distance: nothing is computed twice."""
    total = sum_of_distances(features, rows, points)
    near, own = _held(features, rows)
    left = np.ones(len(rows), dtype=bool)
    taken, found = [], []
    for number in range(budget):
        place = best(np.where(left, total, -np.inf))
        taken.append(place)
        found.append(total[place] / (len(points) + number))
        left[place] = False
        total += distance_to(near, own, np.asarray(near[own[place]], dtype=np.float64))
    return Picks(rows[taken], np.array(found))


def _by_centroid(features: Array, rows: Rows, points: Rows, budget: int) -> Picks:
    centre, count = mean_row(features, points), len(points)
    near, own = _held(features, rows)
    left = np.ones(len(rows), dtype=bool)
    taken, found = [], []
    for _ in range(budget):
        apart = distance_to(near, own, centre)
        place = best(np.where(left, apart, -np.inf))
        taken.append(place)
        found.append(apart[place])
        left[place] = False
        centre = (centre * count + np.asarray(near[own[place]], dtype=np.float64)) / (count + 1)
        count += 1
    return Picks(rows[taken], np.array(found))


def _held(features: Array, rows: Rows) -> tuple[Array, Rows]:
    """Return an array and which of its rows the candidates are: a copy in memory where that is small, else the features themselves."""
    if 8 * len(rows) * features.shape[1] <= _IN_MEMORY:
        return np.asarray(features[rows], dtype=np.float64), np.arange(len(rows))
    return features, rows
