"""Core-set: rows such that no row is far from the nearest labelled one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from umsrep.tasks.active.checks import TIE, Array, Rows, check_count, check_features, check_labelled
from umsrep.tasks.active.distances import distance_to, least_distance, mean_row
from umsrep.tasks.active.medal import Picks

_REFRESH = 1024
"""Rows whose distances are brought up to date at once."""


def core_set_select(features: Any, labelled: Any, probabilities: Any, budget: int) -> Rows:
    """Select rows by k-centre greedy (Sener and Savarese 2018, arXiv 1708.00489, algorithm 1).

    The row whose nearest labelled row is farthest is taken, counts as labelled, and so on; equal distances go by row number. If nothing is
    labelled, the first is the row nearest to the mean of all.

    Args:
        features: Numbers [N, D], all finite; may be a memory-mapped array.
        labelled: Row numbers, or bools [N]; none is allowed.
        probabilities: Not used, so that all strategies are called alike; may be None.
        budget: How many rows.

    Returns:
        int64 [budget], in the order taken, no labelled row among them.

    Raises:
        InputError: for NaN, shapes that do not fit, or a budget above the number of unlabelled rows.
    """
    features = check_features(features)
    mask = check_labelled(labelled, len(features))
    return pick_uncovered(features, mask, ~mask, budget).rows


def pick_uncovered(features: Array, labelled: NDArray[np.bool_], free: NDArray[np.bool_], budget: int) -> Picks:
    """Select among the ``free`` rows as `core_set_select` does, and tell each pick's distance to its nearest centre.

    Distances to the nearest centre only fall as centres are added, so an old one is an upper bound: only rows whose bound reaches the
    best are brought up to date (lazy greedy evaluation). The result is that of the full computation.
    """
    rows = np.flatnonzero(free & ~labelled)
    budget = check_count(budget, "budget", len(rows))
    centres = np.flatnonzero(labelled).tolist()
    picks: list[int] = []
    found: list[float] = []
    if not centres:
        apart = distance_to(features, rows, mean_row(features))
        place = int(np.argmax(apart <= apart.min() * (1 + TIE)))
        picks, found, centres = [place], [float(apart[place])], [int(rows[place])]
    bound = least_distance(features, rows, np.array(centres))
    bound[picks] = -np.inf
    seen = np.full(len(rows), len(centres))
    while len(picks) < budget:
        place = _farthest(features, rows, bound, seen, centres)
        picks.append(place)
        found.append(float(bound[place]))
        bound[place] = -np.inf
        centres.append(int(rows[place]))
    return Picks(rows[picks], np.array(found))


def _farthest(features: Array, rows: Rows, bound: NDArray[np.float64], seen: NDArray[np.int64], centres: list[int]) -> int:
    """Return the place of the row that is farthest from its nearest centre; ``bound`` and ``seen`` are brought up to date on the way."""
    while True:
        current = seen == len(centres)
        top = bound[current].max(initial=-np.inf)
        stale = np.flatnonzero(~current & (bound >= top - TIE * abs(top) if np.isfinite(top) else ~current & (bound > -np.inf)))
        if not len(stale):
            return int(np.argmax(current & (bound >= top - TIE * abs(top))))
        if len(stale) > _REFRESH:
            stale = np.sort(stale[np.argpartition(-bound[stale], _REFRESH)[:_REFRESH]])
        for since in np.unique(seen[stale]):
            some = stale[seen[stale] == since]
            bound[some] = np.minimum(bound[some], least_distance(features, rows[some], np.array(centres[since:])))
        seen[stale] = len(centres)
