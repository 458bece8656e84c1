"""H-score and regularised H-score against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf

from tests.zoo.transferability.sets import Array, clusters, decaying, rotation
from umsrep.errors import InputError
from umsrep.zoo.transferability import h_score, regularized_h_score


def class_means(features: Array, labels: Array) -> Array:
    means = features.copy()
    for label in np.unique(labels):
        means[labels == label] = features[labels == label].mean(axis=0)
    return means


def direct_h(features: Array, labels: Array) -> float:
    inverse = np.linalg.pinv(np.cov(features.T, ddof=0), rcond=1e-10, hermitian=True)
    return float(np.trace(inverse @ np.cov(class_means(features, labels).T, ddof=0)))


def direct_regularized(features: Array, labels: Array) -> float:
    covariance, a = ledoit_wolf(features)
    return float(np.trace(np.linalg.solve(covariance, (1 - a) * np.cov(class_means(features, labels).T, ddof=0))))


SHAPES = [(200, 12, 4), (200, 12, 30), (40, 90, 3), (300, 2, 2), (64, 64, 5)]


@pytest.mark.parametrize(("rows", "columns", "classes"), SHAPES)
@pytest.mark.parametrize("apart", [0.0, 0.3, 5.0])
def test_equals_the_definition(rows: int, columns: int, classes: int, apart: float) -> None:
    features, labels = clusters(rows, columns, classes, apart)
    assert h_score(features, labels) == pytest.approx(direct_h(features, labels), rel=1e-8)
    assert regularized_h_score(features, labels) == pytest.approx(direct_regularized(features, labels), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 60), st.integers(1, 80), st.integers(2, 8), st.sampled_from([0.0, 1.0, 100.0]), st.integers(0, 99))
def test_bounds(rows: int, columns: int, classes: int, apart: float, seed: int) -> None:
    classes = min(classes, rows)
    features, labels = clusters(rows, columns, classes, apart, seed)
    h, regularized = h_score(features, labels), regularized_h_score(features, labels)
    assert 0 <= h <= min(columns, classes - 1)
    assert 0 <= regularized <= h + 1e-9


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.floats(1e-6, 1e6), st.floats(-10, 10))
def test_rotation_scale_and_shift(seed: int, scale: float, shift: float) -> None:
    features, labels = clusters(50, 6, 3, seed=seed)
    moved = features @ rotation(6, seed) * scale + shift * scale
    assert h_score(moved, labels) == pytest.approx(h_score(features, labels), rel=1e-6)
    assert regularized_h_score(moved, labels) == pytest.approx(regularized_h_score(features, labels), rel=1e-6)


def test_any_invertible_map_leaves_h() -> None:
    features, labels = clusters(100, 5)
    mixed = features @ np.random.default_rng(3).normal(size=(5, 5))
    assert h_score(mixed, labels) == pytest.approx(h_score(features, labels), rel=1e-8)


@pytest.mark.parametrize("shape", [(120, 10), (20, 50)])
def test_without_shrinkage_the_regularised_score_is_the_h_score(shape: tuple[int, int]) -> None:
    features, labels = clusters(*shape)
    h = h_score(features, labels)
    values = [regularized_h_score(features, labels, shrinkage=a) for a in (1, 0.5, 0.1, 1e-3, 1e-9, 0)]
    assert values == sorted(values)
    assert values[0] == 0
    assert values[-2] == pytest.approx(h, rel=1e-6)
    assert values[-1] == pytest.approx(h, rel=1e-12)
    with pytest.raises(InputError, match="0-1"):
        regularized_h_score(features, labels, shrinkage=2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_features_that_leave_a_layer_norm_stay_within_the_bound(dtype: type) -> None:
    """They lie on a hyperplane; published scores of 40.45 for two classes came from inverting its rounding."""
    random = np.random.default_rng(0)
    raw = random.normal(size=(400, 96))
    features = ((raw - raw.mean(axis=1, keepdims=True)) / raw.std(axis=1, keepdims=True)).astype(dtype)
    labels = random.integers(0, 2, 400)
    if dtype is np.float64:
        values = np.linalg.eigvalsh(np.cov(features.T))
        assert values[0] < 1e-13 * values[-1]
    without = h_score(features[:, :-1], labels)  # the last column follows from the others
    assert 0 < h_score(features, labels) <= 1
    assert h_score(features, labels) == pytest.approx(without, rel=1e-6 if dtype is np.float64 else 0.05)
    assert h_score(features, labels) == pytest.approx(direct_h(features.astype(np.float64), labels), rel=1e-6)


def test_perfect_features_reach_the_bound() -> None:
    labels = np.arange(60) % 5
    assert h_score(np.eye(5)[labels], labels) == pytest.approx(4)
    assert h_score(decaying(20, 40), np.arange(20) % 3) == pytest.approx(2)  # D > N: any labels are a plane's


def test_covariances_divide_alike() -> None:
    """With 1/N in one and 1/(N-1) in the other, a perfect score of 1 on four rows would be 0.75 or 1.33."""
    assert h_score([[0.0], [0.0], [1.0], [1.0]], [0, 0, 1, 1]) == pytest.approx(1, rel=1e-12)
