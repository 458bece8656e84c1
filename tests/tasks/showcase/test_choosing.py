"""Cases are chosen by rule: percentiles, medians of right answers, sure errors, one a patient."""

from __future__ import annotations

import numpy as np
import pytest

from umsrep.errors import InputError
from umsrep.tasks.showcase.choosing import at_percentiles, classified, losses


def test_percentiles_are_nearest_ranks_and_undefined_scores_are_never_chosen() -> None:
    scores = [0.5, np.nan, 0.9, 0.1, 0.3, 0.7, np.inf]
    assert at_percentiles(scores, (0, 50, 100)) == [(0, 3), (50, 0), (100, 2)]
    assert at_percentiles(scores, (10, 25, 90)) == [(10, 3), (25, 4), (90, 2)]  # ranks .4, 1, 3.6 of 0 to 4


def test_ties_go_by_row_and_a_row_is_chosen_once() -> None:
    assert at_percentiles([1.0, 1.0, 1.0], (0, 50, 100)) == [(0, 0), (50, 1), (100, 2)]
    assert at_percentiles([2.0, 1.0], (0, 10, 50, 100)) == [(0, 1), (50, 0)]


@pytest.mark.parametrize(("scores", "percentiles", "says"), [([np.nan], (0,), "finite score"), ([1.0], (101,), "0 to 100")])
def test_nothing_to_choose_by_is_refused(scores: list[float], percentiles: tuple[int, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        at_percentiles(scores, percentiles)


def test_sure_errors_come_first_and_one_a_patient() -> None:
    second = np.array([0.1, 0.4, 0.2, 0.95, 0.9, 0.99, 0.3, 0.05])
    target = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    p = np.stack([1 - second, second], 1)
    found = classified(p, target, ["a", "b", "c", "d", "e", "d", "f", "g"], wrong=3)
    assert found.wrong == [5, 7, 4]  # row 3 is of the same patient as row 5
    assert (found.errors, found.n) == (5, 8)
    assert (found.typical, found.surest) == ({0: 2}, {0: 0})  # losses of rows 0, 2, 1 ascend; no row of class 1 is right
    assert classified(p, target, [""] * 8, wrong=9).wrong == [5, 7, 3, 4, 6]  # unknown patients are all different


def test_the_threshold_decides_what_is_right() -> None:
    p = np.array([[0.6, 0.4], [0.6, 0.4]])
    assert classified(p, np.array([0, 1]), ["", ""], wrong=2).wrong == [1]
    assert classified(p, np.array([0, 1]), ["", ""], wrong=2, threshold=0.4).wrong == [0]


def test_losses_are_those_of_the_true_class_and_finite() -> None:
    assert losses(np.array([[0.25, 0.75], [1.0, 0.0]]), np.array([0, 1])) == pytest.approx([np.log(4), 300 * np.log(10)])
