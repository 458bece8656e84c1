"""Rows at random: what every strategy has to beat."""

from __future__ import annotations

from typing import Any

import numpy as np

from umsrep.errors import InputError
from umsrep.tasks.active.checks import Rows, check_count, check_labelled


def random_select(features: Any, labelled: Any, probabilities: Any, budget: int, *, seed: int = 0) -> Rows:
    """Draw unlabelled rows, each with the same probability, without putting back.

    Args:
        features: [N, D]; only N is used. May be None if probabilities are given.
        labelled: Row numbers, or bools [N].
        probabilities: [N, K]; only N is used. May be None if features are given.
        budget: How many rows.
        seed: The same seed and rows give the same draw.

    Returns:
        int64 [budget], in the order drawn.

    Raises:
        InputError: for arguments that are not these, or too few unlabelled rows.
    """
    known = features if features is not None else probabilities
    if known is None:
        raise InputError("random_select: features and probabilities are both None; one of them tells how many rows there are")
    free = np.flatnonzero(~check_labelled(labelled, len(known)))
    count = check_count(budget, "budget", len(free))
    return np.random.default_rng(seed).permutation(free)[:count].astype(np.int64)
