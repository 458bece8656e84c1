"""Any pool strategy of scikit-activeml on the same arguments (extra ``active``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from umsrep.errors import InputError
from umsrep.tasks.active.checks import Rows, check_count, check_features, check_labelled


def library_select(strategy: Any, features: Any, labelled: Any, labels: Any, budget: int, **options: Any) -> Rows:
    """Select rows by a query strategy of scikit-activeml, such as ``skactiveml.pool.TypiClust(random_state=0)``.

    Our own `entropy_select` and `core_set_select` are tested against the library's; they stand beside it because the library's core-set
    holds a float64 [budget, N] and passes over all features for each pick, and its uncertainty sampling wants a classifier of its own.

    Args:
        strategy: An instance with the library's ``query``.
        features: Numbers [N, D].
        labelled: Row numbers, or bools [N].
        labels: Class indices [N]; those of unlabelled rows are not looked at. None where the strategy needs none.
        budget: How many rows.
        options: Further arguments of its ``query``, such as ``clf``.

    Returns:
        int64 [budget], in the library's order, no labelled row among them.

    Raises:
        InputError: if the library is not installed, the strategy is none of its pool, or an argument does not fit.
    """
    try:
        from skactiveml.base import SingleAnnotatorPoolQueryStrategy
    except ImportError as error:
        raise InputError("library_select needs scikit-activeml: pip install 'umsrep[active]'") from error
    if not isinstance(strategy, SingleAnnotatorPoolQueryStrategy):
        raise InputError(f"{strategy!r}: not an instance of a strategy in skactiveml.pool")
    features = check_features(features)
    mask = check_labelled(labelled, len(features))
    budget = check_count(budget, "budget", int((~mask).sum()))
    known = np.zeros(len(features)) if labels is None else np.asarray(labels, dtype=np.float64)
    if known.shape != mask.shape:
        raise InputError(f"labels: {list(known.shape)}, but features have {len(features)} rows")
    rows = np.asarray(strategy.query(features, np.where(mask, known, np.nan), batch_size=budget, **options), dtype=np.int64)
    if len(set(rows.tolist())) != budget or mask[rows].any():
        raise InputError(f"{type(strategy).__name__}: gave {len(rows)} row(s), some twice or labelled, for a budget of {budget}")
    return rows
