"""Entropy: known values for both forms, which form is taken, and selection against scikit-activeml."""

from __future__ import annotations

import numpy as np
import pytest

from umsrep import InputError
from umsrep.tasks.active import entropy, entropy_select


def test_known_values() -> None:
    np.testing.assert_allclose(entropy(np.array([[1.0, 0.0], [0.5, 0.5]])), [0, np.log(2)], atol=1e-12)
    np.testing.assert_allclose(entropy(np.full((1, 5), 0.2)), [np.log(5)])
    np.testing.assert_allclose(entropy(np.array([[0.5, 0.5, 0.5], [0.0, 1.0, 1.0]])), [3 * np.log(2), 0], atol=1e-12)  # sigmoids
    np.testing.assert_allclose(entropy(np.array([[0.5], [1.0]])), [np.log(2), 0], atol=1e-12)
    np.testing.assert_allclose(entropy(np.array([[0.5, 0.5]]), multi_label=True), [2 * np.log(2)])


def test_a_softmax_in_half_precision_is_one() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(7), 50)
    np.testing.assert_allclose(entropy(p.astype(np.float16)), entropy(p, multi_label=False), atol=5e-3)


def test_rows_that_do_not_sum_to_one_are_refused_when_a_softmax_is_said() -> None:
    with pytest.raises(InputError, match=r"row 1 sums to 1\.2"):
        entropy(np.array([[0.5, 0.5], [0.6, 0.6]]), multi_label=False)


def test_it_agrees_with_scikit_activeml() -> None:
    library = pytest.importorskip("skactiveml.pool")
    p = np.random.default_rng(1).dirichlet(np.ones(4), 300)
    scores = library.uncertainty_scores(p, method="entropy")
    np.testing.assert_allclose(entropy(p), scores)
    labelled = np.arange(0, 300, 7)
    free = np.setdiff1d(np.arange(300), labelled)
    assert entropy_select(None, labelled, p, 20).tolist() == free[np.argsort(-scores[free], kind="stable")[:20]].tolist()


def test_equal_entropies_go_by_row_number() -> None:
    p = np.array([[0.9, 0.1], [0.3, 0.7], [0.5, 0.5], [0.7, 0.3], [0.3, 0.7]])
    assert entropy_select(None, [], p, 3).tolist() == [2, 1, 3]
    assert entropy_select(None, [1], p, 4).tolist() == [2, 3, 4, 0]


def test_features_of_another_length_are_refused() -> None:
    with pytest.raises(InputError, match="3 rows, but features have 2"):
        entropy_select(np.zeros((2, 4)), [], np.full((3, 2), 0.5), 1)
