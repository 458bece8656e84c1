"""Random choice: by seed, unlabelled rows only, each equally often."""

from __future__ import annotations

import numpy as np
import pytest

from umsrep import InputError
from umsrep.tasks.active import random_select


def test_it_draws_unlabelled_rows_by_seed() -> None:
    features = np.zeros((10, 2))
    first = random_select(features, [0, 1, 2], None, 7, seed=4)
    assert sorted(first.tolist()) == list(range(3, 10))
    assert first.tolist() == random_select(None, [0, 1, 2], features, 7, seed=4).tolist()
    assert first.tolist() != random_select(features, [0, 1, 2], None, 7, seed=5).tolist()


def test_each_row_is_drawn_equally_often() -> None:
    counts = np.bincount([int(random_select(np.zeros((5, 1)), [], None, 1, seed=s)[0]) for s in range(1000)], minlength=5)
    assert counts.min() > 150  # 200 expected, sd 12.6


def test_it_needs_to_know_how_many_rows_there_are() -> None:
    with pytest.raises(InputError, match="how many rows"):
        random_select(None, [], None, 1)
