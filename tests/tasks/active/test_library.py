"""Strategies of scikit-activeml on our arguments, and the error without it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from umsrep import InputError
from umsrep.tasks.active import core_set_select, library_select


def test_a_strategy_of_the_library_runs() -> None:
    pool = pytest.importorskip("skactiveml.pool")
    features = np.random.default_rng(0).normal(size=(60, 3))
    assert (
        library_select(pool.CoreSet(random_state=0), features, [4, 5], None, 6).tolist()
        == core_set_select(features, [4, 5], None, 6).tolist()
    )
    found = library_select(pool.RandomSampling(random_state=0), features, np.arange(60) < 50, np.zeros(60, dtype=int), 10)
    assert sorted(found.tolist()) == list(range(50, 60))


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = pytest.importorskip("skactiveml.pool")
    with pytest.raises(InputError, match=r"skactiveml\.pool"):
        library_select("CoreSet", np.zeros((3, 1)), [0], None, 1)
    with pytest.raises(InputError, match="labels"):
        library_select(pool.CoreSet(), np.zeros((3, 1)), [0], [0, 1], 1)
    monkeypatch.setitem(sys.modules, "skactiveml.base", None)
    with pytest.raises(InputError, match=r"umsrep\[active\]"):
        library_select(pool.CoreSet(), np.zeros((3, 1)), [0], None, 1)
