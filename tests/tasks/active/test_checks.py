"""Order by score: what equal scores and partial sorting do. The refusals are tested through the strategies."""

from __future__ import annotations

import numpy as np
import pytest

from umsrep import InputError
from umsrep.tasks.active.checks import best, blocks, check_features, check_labelled, highest


def test_the_highest_are_those_of_a_stable_sort() -> None:
    random = np.random.default_rng(0)
    for scores in (random.integers(0, 5, 60).astype(float), random.normal(size=60), np.zeros(60)):
        for count in (1, 7, 59, 60):
            assert highest(scores, count).tolist() == np.argsort(-scores, kind="stable")[:count].tolist()


def test_scores_equal_but_for_rounding_are_equal() -> None:
    assert best(np.array([0.1, 0.3, 0.1 + 0.2])) == 1
    assert highest(np.array([0.3, 0.1 + 0.2]), 1).tolist() == [0]


def test_blocks_cover_all_rows_once() -> None:
    assert [i for block in blocks(1000, 1 << 17) for i in range(1000)[block]] == list(range(1000))


def test_an_infinite_number_is_found_and_large_ones_are_none() -> None:
    features = np.full((3, 2), 3e38, dtype=np.float32)  # whose sum is infinite
    assert check_features(features) is features
    features[2, 1] = -np.inf
    with pytest.raises(InputError, match="row 2"):
        check_features(features)


def test_a_mask_is_copied() -> None:
    mask = np.array([True, False])
    check_labelled(mask, 2)[1] = True
    assert mask.tolist() == [True, False]
