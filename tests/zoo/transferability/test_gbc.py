"""GBC against the Bhattacharyya distance with full matrices."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from tests.zoo.transferability.sets import Array, clusters, rotation
from umsrep.zoo.transferability import gbc


def direct(features: Array, labels: Array, covariance: str, most: int = 64) -> float:
    points = PCA(min(*features.shape, most), svd_solver="full").fit_transform(features)
    size = points.shape[1]
    means, matrices = [], []
    for label in np.unique(labels):
        own = points[labels == label]
        variance = np.maximum(own.var(axis=0), 1e-4)
        means.append(own.mean(axis=0))
        matrices.append(np.diag(variance) if covariance == "diagonal" else np.eye(size) * variance.mean())
    total = 0.0
    for i in range(len(means)):
        for j in range(len(means)):
            if i != j:
                mixed, apart = (matrices[i] + matrices[j]) / 2, means[i] - means[j]
                log_dets = [np.linalg.slogdet(m)[1] for m in (mixed, matrices[i], matrices[j])]
                unlike = 0.5 * (log_dets[0] - 0.5 * (log_dets[1] + log_dets[2]))
                total += np.exp(-(apart @ np.linalg.solve(mixed, apart) / 8 + unlike / (size if covariance == "spherical-legacy" else 1)))
    return -float(total)


@pytest.mark.parametrize("covariance", ["diagonal", "spherical", "spherical-legacy"])
@pytest.mark.parametrize(("rows", "columns"), [(90, 5), (200, 100), (30, 100), (10, 3)])
def test_equals_the_definition(rows: int, columns: int, covariance: Literal["diagonal", "spherical", "spherical-legacy"]) -> None:
    features, labels = clusters(rows, columns, apart=0.2)
    features[labels == 1] *= 1.3
    assert gbc(features, labels, covariance) == pytest.approx(direct(features, labels, covariance), rel=1e-7)


def test_spherical_counts_every_component() -> None:
    """Two classes with one mean and spreads 1 and 3 in 9 dimensions: D_B = 9 / 2 ln(5 / 3); public code has a ninth of it."""
    random = np.random.default_rng(0)
    cloud = random.normal(size=(4000, 9))
    cloud = (cloud - cloud.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(cloud.T, ddof=0))).T
    features, labels = np.concatenate([cloud, 3 * cloud]), np.repeat([0, 1], 4000)
    assert gbc(features, labels, "spherical") == pytest.approx(-2 * (5 / 3) ** -4.5, rel=1e-9)
    assert gbc(features, labels, "diagonal") == pytest.approx(-2 * (5 / 3) ** -4.5, rel=1e-9)
    assert gbc(features, labels, "spherical-legacy") == pytest.approx(-2 * (5 / 3) ** -0.5, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 40), st.integers(1, 70), st.integers(2, 6), st.sampled_from([0.0, 1.0, 50.0]), st.integers(0, 99))
def test_bounds(rows: int, columns: int, classes: int, apart: float, seed: int) -> None:
    classes = min(classes, rows)
    features, labels = clusters(rows, columns, classes, apart, seed)
    for covariance in ("diagonal", "spherical", "spherical-legacy"):
        assert -classes * (classes - 1) <= gbc(features, labels, covariance) <= 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.floats(-100, 100))
def test_rotation_and_shift(seed: int, shift: float) -> None:
    features, labels = clusters(60, 7, seed=seed)
    moved = features @ rotation(7, seed) + shift
    assert gbc(moved, labels) == pytest.approx(gbc(features, labels), rel=1e-6)
    assert gbc(moved, labels, "spherical") == pytest.approx(gbc(features, labels, "spherical"), rel=1e-6)


def test_floor_of_the_variance() -> None:
    """Classes without spread, 0.04 apart: D_B = 0.04^2 / 1e-4 / 8 = 2 in the diagonal form."""
    features = np.repeat([[0.0], [0.04]], 10, axis=0)
    assert gbc(features, np.repeat([0, 1], 10)) == pytest.approx(-2 * np.exp(-2), rel=1e-12)


def test_variances_divide_by_the_number_of_rows() -> None:
    """Two rows each at -1, 1 and 5, 7: variance 1 (not 2), means 6 apart, D_B = 36 / 8."""
    assert gbc([[-1.0], [1.0], [5.0], [7.0]], [0, 0, 1, 1]) == pytest.approx(-2 * np.exp(-4.5), rel=1e-12)


def test_alike_classes_reach_the_lower_bound() -> None:
    cloud = np.random.default_rng(0).normal(size=(30, 4))
    assert gbc(np.tile(cloud, (3, 1)), np.repeat([0, 1, 2], 30)) == pytest.approx(-6, rel=1e-12)
