"""What scores accept: features, classes of any kind, multi-label matrices, patients; every refusal names the row."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umsrep.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LARGEST = 1e100
"""Squares of larger features, summed over rows, could leave float64."""


def array_of(values: Any) -> NDArray[Any]:
    """Return an array or a torch tensor (on any device, of any float type) as a numpy array, without a copy where there need be none."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = (values.float() if str(values.dtype) == "torch.bfloat16" else values).numpy()
    if isinstance(values, list | tuple) and any(isinstance(v, str) for v in values):
        return np.array([*values, None], dtype=object)[:-1]  # numpy would write NaN as the text "nan"
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InputError(f"rows differ in length ({error}); give one array") from None


def as_matrix(values: Any, name: str) -> Floats:
    """Check numbers in rows.

    Args:
        values: [N, D], of any real type; array, nested lists or torch tensor.
        name: What to call them in messages.

    Returns:
        float64 [N, D]; it may share memory with the input, so nothing writes to it.

    Raises:
        InputError: Not two-dimensional, empty, not real numbers; NaN, infinite or beyond 1e100 (the message names the row).
    """
    array = array_of(values)
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} hold {array.dtype}; real numbers are needed")
    if array.ndim != 2:
        raise InputError(f"{name} have shape {list(array.shape)}; [N, D] is needed, one row for each image")
    if not array.size:
        raise InputError(f"{name} are empty (shape {list(array.shape)})")
    checked = array.astype(np.float64, copy=False)
    if not np.isfinite(low := checked.min()) or not np.isfinite(high := checked.max()) or max(-low, high) > LARGEST:
        row = int(np.argmin((np.isfinite(checked) & (np.abs(checked) <= LARGEST)).all(axis=1)))
        column = int(np.argmin(np.isfinite(checked[row]) & (np.abs(checked[row]) <= LARGEST)))
        raise InputError(
            f"{name}: row {row}, column {column} (counted from 0) holds {checked[row, column]:g}; leave the image out or repair the encoder"
        )
    return checked


def as_features(features: Any) -> Floats:
    """Check features [N, D]; see `as_matrix`."""
    return as_matrix(features, "features")


def as_codes(values: Any, rows: int, name: str) -> Ints:
    """Number classes of any kind (whole numbers, also negative or with gaps, truth values, texts, objects) from 0.

    Args:
        values: [N], one class for each row.
        rows: N.
        name: What to call them in messages.

    Returns:
        int64 [N], every number from 0 to C - 1 at least once.

    Raises:
        InputError: Another number of rows, a missing class (None, NaN, ""), or numbers that are not whole.
    """
    array = array_of(values)
    if array.ndim != 1:
        raise InputError(f"{name} have shape {list(array.shape)}; [N] is needed, one class for each row")
    same_length(array, rows, name)
    if array.dtype.kind == "O":
        empty = np.array([v is None or (isinstance(v, str) and not v) or (isinstance(v, float) and v != v) for v in array])
        if not all(isinstance(v, Hashable) for v in array):
            raise InputError(f"{name} hold objects that cannot be compared; give numbers or texts")
    elif array.dtype.kind == "f":
        empty = np.isnan(array)
    elif array.dtype.kind in "US":
        empty = np.char.str_len(array) == 0
    elif array.dtype.kind in "iub":
        empty = np.zeros(rows, dtype=bool)
    else:
        raise InputError(f"{name} hold {array.dtype}; give whole numbers, truth values or texts")
    if empty.any():
        raise InputError(f"{name}: row {int(np.argmax(empty))} (counted from 0) has none; leave rows without a label out")
    if array.dtype.kind == "f" and (array != np.floor(array)).any():
        row = int(np.argmax(array != np.floor(array)))
        raise InputError(f"{name}: row {row} (counted from 0) holds {array[row]:g}, which is not a class; log_me takes regression=True")
    if array.dtype.kind == "O":
        known: dict[Any, int] = {}
        return np.array([known.setdefault(v, len(known)) for v in array], dtype=np.int64)
    return np.unique(array, return_inverse=True)[1].astype(np.int64)


def as_questions(labels: Any, rows: int) -> list[Ints]:
    """Return what the labels ask: one question with C classes, or a yes-no question for each column of a multi-label matrix.

    Args:
        labels: [N] of any kind (see `as_codes`), or [N, K] of 0 and 1 (any numeric type).
        rows: N.

    Returns:
        One int64 [N] for each question, dense from 0.

    Raises:
        InputError: See `as_codes`; a question with one answer only; a matrix that holds something else than 0 and 1.
    """
    array = array_of(labels)
    if array.ndim == 2:
        return list(as_binary(array, rows).T.astype(np.int64))
    codes = as_codes(array, rows, "labels")
    if codes.max() == 0:
        raise InputError(f"labels: all {rows} rows are of one class; a score compares at least two")
    return [codes]


def as_binary(array: NDArray[Any], rows: int) -> NDArray[np.bool_]:
    """Check a multi-label matrix [N, K]: 0 and 1, both in every column."""
    same_length(array, rows, "labels")
    if array.dtype.kind not in "fiub" or not array.size:
        raise InputError(f"labels of shape {list(array.shape)} hold {array.dtype}; multi-label [N, K] means 0 and 1")
    wrong = (array != 0) & (array != 1)
    if wrong.any():
        row, column = (int(v) for v in np.argwhere(wrong)[0])
        value = array[row, column]
        raise InputError(f"labels: row {row}, column {column} (counted from 0) holds {value}; multi-label [N, K] means 0 and 1")
    binary: NDArray[np.bool_] = array != 0
    single = binary.all(axis=0) | ~binary.any(axis=0)
    if single.any():
        column = int(np.argmax(single))
        raise InputError(f"labels: column {column} (counted from 0) is {int(binary[0, column])} in every row; leave it out")
    return binary


def as_groups(groups: Sequence[Hashable | None] | NDArray[Any] | None, rows: int) -> Ints:
    """Number patients from 0; None, NaN and "" are a patient of their own, and so is every row where no groups are given."""
    if groups is None:
        return np.arange(rows, dtype=np.int64)
    values = array_of(groups).tolist()
    same_length(values, rows, "groups")
    known: dict[Any, int] = {}
    unknown = [v is None or v == "" or v != v for v in values]
    return np.array([known.setdefault(("", k) if unknown[k] else v, len(known)) for k, v in enumerate(values)], dtype=np.int64)


def same_length(values: Any, rows: int, name: str) -> None:
    """Refuse another number of rows than that of the features."""
    if len(values) != rows:
        raise InputError(f"{name} have {len(values)} rows, the features {rows}; one for each image is needed")


def one_hot(codes: Ints) -> Floats:
    """Return float64 [N, C] with a 1 at each row's class."""
    hot = np.zeros((len(codes), int(codes.max()) + 1))
    hot[np.arange(len(codes)), codes] = 1
    return hot
