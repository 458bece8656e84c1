"""Entropy: how undecided a model is about a row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from umsrep.errors import InputError
from umsrep.tasks.active.checks import Rows, check_count, check_labelled, highest

_SUM = 1e-3
"""How far the sum of a softmax row may be from 1: float16 rounds that much."""


def entropy(probabilities: Any, *, multi_label: bool | None = None) -> NDArray[np.float64]:
    """Return each row's entropy in nats.

    Classes that exclude each other: -sum_k p_k ln p_k, at most ln K. Several labels a row: the sum over labels of the binary entropies
    -p ln p - (1 - p) ln(1 - p), at most K ln 2. 0 ln 0 is 0.

    Args:
        probabilities: Numbers [N, K] from 0 to 1: a softmax, or sigmoids. [N, 1] is one sigmoid.
        multi_label: Which; None decides by the sums: a softmax if every row sums to 1 (to 0.001), else sigmoids.

    Raises:
        InputError: for another shape, NaN, numbers outside 0 to 1, or rows that do not sum to 1 though ``multi_label`` is False.
    """
    array = np.asarray(probabilities)
    if array.ndim != 2 or array.dtype.kind not in "fiu" or 0 in array.shape:
        raise InputError(
            f"probabilities: {array.dtype} {list(array.shape)}, but numbers [N, K] are needed (a mask's entropy: `umsrep acquire`)"
        )
    p = array.astype(np.float64)
    wrong = ~(np.isfinite(p) & (p >= -_SUM) & (p <= 1 + _SUM)).all(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(f"probabilities: row {row} is {np.array2string(array[row][:8])}, not numbers from 0 to 1; give no logits")
    sums = p.sum(axis=1)
    off = np.abs(sums - 1) > _SUM
    if multi_label is None:
        multi_label = bool(p.shape[1] == 1 or off.any())
    elif not multi_label and (p.shape[1] == 1 or off.any()):
        raise InputError(f"probabilities: row {int(off.argmax())} sums to {sums[off.argmax()]:.3g}, not 1; multi_label=True for sigmoids")
    p = np.clip(p, 0, 1)
    terms = _x_ln_x(p) + _x_ln_x(1 - p) if multi_label else _x_ln_x(p)
    found: NDArray[np.float64] = np.maximum(-terms.sum(axis=1), 0)
    return found


def _x_ln_x(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x * np.log(np.where(x > 0, x, 1))


def entropy_select(features: Any, labelled: Any, probabilities: Any, budget: int, *, multi_label: bool | None = None) -> Rows:
    """Select the rows with the highest entropy (uncertainty sampling), equal ones by row number.

    Args:
        features: Not used, so that all strategies are called alike; may be None.
        labelled: Row numbers, or bools [N].
        probabilities: [N, K], of all rows; see `entropy`.
        budget: How many rows.
        multi_label: See `entropy`.

    Returns:
        int64 [budget], most uncertain first, no labelled row among them.

    Raises:
        InputError: for arguments that are not these, or too few unlabelled rows.
    """
    scores = entropy(probabilities, multi_label=multi_label)
    if features is not None and len(features) != len(scores):
        raise InputError(f"probabilities: {len(scores):,} rows, but features have {len(features):,}")
    free = np.flatnonzero(~check_labelled(labelled, len(scores)))
    return free[highest(scores[free], check_count(budget, "budget", len(free)))].astype(np.int64)
