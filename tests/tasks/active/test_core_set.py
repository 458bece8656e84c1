"""Core-set: lazy evaluation gives what the full computation and scikit-activeml give."""

from __future__ import annotations

import numpy as np
import pytest

from umsrep import InputError
from umsrep.tasks.active import core_set, core_set_select


@pytest.mark.parametrize("refresh", [1, 7, 2048])
def test_it_agrees_with_scikit_activeml(refresh: int, monkeypatch: pytest.MonkeyPatch) -> None:
    library = pytest.importorskip("skactiveml.pool")
    monkeypatch.setattr(core_set, "_REFRESH", refresh)
    features = np.random.default_rng(0).normal(size=(200, 5))
    labels = np.full(200, np.nan)
    labels[[3, 7]] = 0
    wanted = library.CoreSet(random_state=0).query(features, labels, batch_size=40)
    assert core_set_select(features, [3, 7], None, 40).tolist() == wanted.tolist()


def test_without_labels_it_begins_in_the_middle_and_equal_distances_go_by_row_number() -> None:
    line = np.arange(5.0)[:, None]
    assert core_set_select(line, [], None, 3).tolist() == [2, 0, 4]
    twice = np.zeros((4, 2))
    assert core_set_select(twice, [0], None, 3).tolist() == [1, 2, 3]


def test_only_rows_that_are_free_are_taken() -> None:
    line = np.arange(5.0)[:, None]
    labelled, free = np.array([True, False, False, False, False]), np.array([False, True, True, False, False])
    picks = core_set.pick_uncovered(line, labelled, free, 2)
    assert picks.rows.tolist() == [2, 1]
    np.testing.assert_allclose(picks.distances, [2, 1])
    with pytest.raises(InputError, match="only 2 unlabelled"):
        core_set.pick_uncovered(line, labelled, free, 3)
