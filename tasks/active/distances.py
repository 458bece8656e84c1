"""Euclidean distances of many rows to some, in blocks and in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from umsrep.tasks.active.checks import Array, blocks

Numbers = NDArray[np.float64]

_DIRECT = 1 << 27
"""Up to this many differences (rows x points x columns) are taken one by one; above, products are four times faster."""
_CLOSE = 1e-9
"""Squared distances below this fraction of the squared lengths have lost digits in the products, and are taken anew."""


def distances(x: Array, y: Array) -> Numbers:
    """Return the Euclidean distances [n, m] of rows [n, D] and [m, D], right to a relative 1e-7 also where rows nearly coincide."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.shape[0] * y.size <= _DIRECT or y.shape[0] < 4:
        direct: Numbers = cdist(x, y)
        return direct
    centre = y.mean(axis=0)
    x, y = x - centre, y - centre
    scale = np.einsum("ij,ij->i", x, x)[:, None] + np.einsum("ij,ij->i", y, y)
    squares = x @ y.T
    squares *= -2
    squares += scale
    first, second = np.nonzero(squares < _CLOSE * scale)
    for block in blocks(len(first), x.shape[1]):
        difference = x[first[block]] - y[second[block]]
        squares[first[block], second[block]] = np.einsum("ij,ij->i", difference, difference)
    found: Numbers = np.sqrt(np.maximum(squares, 0, out=squares), out=squares)
    return found


def _parts(rows: Array, columns: int, points: int) -> Any:
    """Give blocks of row numbers whose features, and whose distances to the points, fit a block."""
    for block in blocks(len(rows), max(columns, points)):
        yield block, rows[block]


def sum_of_distances(features: Array, rows: Array, points: Array) -> Numbers:
    """Return, for some rows of [N, D], the sum of their distances to points [L, D]; memory does not grow with N or L x rows.

    Args:
        features: [N, D], may be memory-mapped.
        rows: Which of them, ascending.
        points: Row numbers of the points.
    """
    total = np.zeros(len(rows))
    for some in blocks(len(points), features.shape[1]):
        y = np.asarray(features[points[some]], dtype=np.float64)
        for block, part in _parts(rows, features.shape[1], len(y)):
            total[block] += distances(features[part], y).sum(axis=1)
    return total


def least_distance(features: Array, rows: Array, points: Array) -> Numbers:
    """Return, for some rows, the distance to the nearest of the points; arguments as in `sum_of_distances`."""
    least = np.full(len(rows), np.inf)
    for some in blocks(len(points), features.shape[1]):
        y = np.asarray(features[points[some]], dtype=np.float64)
        for block, part in _parts(rows, features.shape[1], len(y)):
            np.minimum(least[block], distances(features[part], y).min(axis=1), out=least[block])
    return least


def mean_row(features: Array, rows: Array | None = None) -> Numbers:
    """Return the mean of some rows, or of all, float64 [D]."""
    total = np.zeros(features.shape[1])
    number = features.shape[0] if rows is None else len(rows)
    for block in blocks(number, features.shape[1]):
        total += np.asarray(features[block if rows is None else rows[block]], dtype=np.float64).sum(axis=0)
    return total / number


def distance_to(features: Array, rows: Array, point: Numbers) -> Numbers:
    """Return the distance of some rows to one point [D]."""
    found = np.empty(len(rows))
    for block, part in _parts(rows, features.shape[1], 1):
        found[block] = distances(features[part], point[None])[:, 0]
    return found
