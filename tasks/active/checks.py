"""What every strategy asks of its arguments, and how equal scores are told apart."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umsrep.errors import InputError

Array = NDArray[Any]
Rows = NDArray[np.int64]

TIE = 1e-10
"""Scores that differ by less than this fraction of the best count as equal: then the lowest row number wins, whatever order sums ran in."""
CHUNK_BYTES = 64 << 20
"""Most bytes of a block of rows, as float64."""


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Divide rows into blocks that fit `CHUNK_BYTES` as float64 [.., columns]."""
    step = max(1, CHUNK_BYTES // (8 * max(1, columns)))
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))


def check_features(features: Any, name: str = "features") -> Array:
    """Return features as an array, memory-mapped ones still mapped, after one pass over them that finds NaN and infinite numbers.

    Raises:
        InputError: if they are not numbers [N, D] with N and D of 1 or more, all finite.
    """
    array: Array = np.asanyarray(features)
    if array.ndim != 2 or array.dtype.kind not in "fiu" or 0 in array.shape:
        raise InputError(f"{name}: {array.dtype} {list(array.shape)}, but numbers [N, D] are needed, one row an image")
    if array.dtype.kind != "f":
        return array
    for block in blocks(*array.shape):
        part = array[block]
        with np.errstate(over="ignore", invalid="ignore"):
            total = part.sum(dtype=np.float32 if part.dtype == np.float16 else None)  # half the time of isfinite
        if not np.isfinite(total) and not (finite := np.isfinite(part).all(axis=1)).all():
            raise InputError(f"{name}: row {block.start + int(finite.argmin())} holds NaN or an infinite number; leave such rows out")
    return array


def check_labelled(labelled: Any, rows: int) -> NDArray[np.bool_]:
    """Return which rows are labelled.

    Args:
        labelled: Row numbers (any integers, each once) or bools [rows].
        rows: How many rows there are.

    Raises:
        InputError: for a mask of another length, a number that is no row, or a row named twice.
    """
    array = np.asarray(labelled)
    if array.dtype.kind == "b":
        if array.shape != (rows,):
            raise InputError(f"labelled: a mask {list(array.shape)}, but there are {rows:,} rows")
        return array.copy()
    if array.size == 0:
        return np.zeros(rows, dtype=bool)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InputError(f"labelled: {array.dtype} {list(array.shape)}, but row numbers [L] or bools [{rows}] are needed")
    if (wrong := (array < 0) | (array >= rows)).any():
        raise InputError(f"labelled: {int(array[wrong.argmax()])} is no row; there are rows 0 to {rows - 1}")
    mask = np.zeros(rows, dtype=bool)
    mask[array] = True
    if mask.sum() != len(array):
        values, counts = np.unique(array, return_counts=True)
        raise InputError(f"labelled: row {int(values[counts.argmax()])} is named twice; a mask of 0 and 1 has to be of dtype bool")
    return mask


def check_count(value: Any, name: str, free: int | None = None) -> int:
    """Return a whole number of 1 or more, at most ``free`` unlabelled rows.

    Raises:
        InputError: for anything else.
    """
    try:
        number = operator.index(value)
    except TypeError as error:
        raise InputError(f"{name}: {value!r} is no whole number") from error
    if isinstance(value, bool | np.bool_) or number < 1:
        raise InputError(f"{name} must be 1 or more, not {value}")
    if free is not None and number > free:
        raise InputError(f"{name} {number:,}: only {free:,} unlabelled row(s) are left")
    return number


def best(scores: Array) -> int:
    """Return the place of the highest score, the first of those that are equal within `TIE`; scores are 0 or more."""
    top = scores.max()
    return int(np.argmax(scores >= top - TIE * abs(top)))


def highest(scores: Array, count: int) -> Rows:
    """Return the places of the ``count`` highest scores, best first, equal ones (to 12 digits of the largest) by their place."""
    scale = np.abs(scores).max(initial=0.0) or 1.0
    rounded = np.round(scores / scale, 12)
    if count < len(rounded):  # those that may be among them, without sorting a million
        bound = np.partition(rounded, len(rounded) - count)[len(rounded) - count]
        sure, equal = np.flatnonzero(rounded > bound), np.flatnonzero(rounded == bound)
        places = np.sort(np.concatenate([sure, equal[: count - len(sure)]]))
    else:
        places = np.arange(len(rounded))
    order = np.argsort(-rounded[places], kind="stable")
    return places[order].astype(np.int64)
