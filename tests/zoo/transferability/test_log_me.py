"""LogME against the Gaussian evidence itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from tests.zoo.transferability.sets import Array, clusters, decaying, rotation
from umsrep.errors import InputError
from umsrep.zoo.transferability import log_me
from umsrep.zoo.transferability.log_me import best_evidence


def direct(features: Array, y: Array, alpha: float, beta: float) -> float:
    covariance = np.eye(len(y)) / beta + features @ features.T / alpha
    return float(multivariate_normal.logpdf(y, np.zeros(len(y)), covariance)) / len(y)


def fixed_point(features: Array, y: Array) -> tuple[float, float]:
    """The published iteration, run to its end."""
    left, values, _ = np.linalg.svd(features, full_matrices=False)
    s2, z2, alpha, beta = values**2, (left.T @ y) ** 2, 1.0, 1.0
    for _ in range(2000):
        t = alpha / beta
        gamma = (s2 / (s2 + t)).sum()
        m2 = (s2 * z2 / (s2 + t) ** 2).sum()
        rest = (z2 * t**2 / (t + s2) ** 2).sum() + y @ y - z2.sum()
        alpha, beta = gamma / m2, (len(y) - gamma) / rest
    return alpha, beta


@pytest.mark.parametrize(("rows", "columns"), [(300, 20), (300, 600), (60, 60), (200, 1)])
def test_equals_the_gaussian_evidence_at_its_maximum(rows: int, columns: int) -> None:
    random = np.random.default_rng(0)
    features = decaying(rows, columns) + 0.1
    y = (features @ random.normal(size=columns) + 0.3 * random.normal(size=rows) > 0).astype(float)
    expected = []
    for target in (1 - y, y):
        alpha, beta = fixed_point(features, target)
        at = direct(features, target, alpha, beta)
        for step in ((1.2, 1), (1 / 1.2, 1), (1, 1.2), (1, 1 / 1.2)):
            assert direct(features, target, alpha * step[0], beta * step[1]) < at
        expected.append(at)
    assert log_me(features, y) == pytest.approx(np.mean(expected), abs=1e-8)


def test_more_columns_than_rows_do_not_raise_it() -> None:
    """The copied code takes (D / 2) log alpha where the rank belongs: positive values that grow with D."""
    labels = np.random.default_rng(1).integers(0, 2, 300)

    def defect(features: Array) -> float:
        alpha, _ = fixed_point(features, labels.astype(float))
        rank = min(features.shape)
        excess: float = (features.shape[1] - rank) / 2 * np.log(alpha) / len(labels)
        return log_me(features, labels) + excess

    values = [log_me(decaying(300, columns), labels) for columns in (600, 1200)]
    assert all(-1.2 < value < -0.6 for value in values)
    wrong = [defect(decaying(300, columns)) for columns in (600, 1200)]
    assert 0 < wrong[0] < wrong[1]


@pytest.mark.parametrize("columns", [30, 80])
def test_maximum_over_both_parameters(columns: int) -> None:
    features, labels = clusters(30, columns, 2)
    features = features / np.sqrt(columns)
    y = labels.astype(float)[:, None]
    value, t = best_evidence(features, y)

    def loss(logs: Array) -> float:
        return -direct(features, y[:, 0], *np.exp(logs))

    best = min(
        (minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13}) for start in ([0, 0], [8, 3])),
        key=lambda r: r.fun,
    )
    assert value[0] >= -best.fun - 1e-9
    assert value[0] == pytest.approx(-best.fun, abs=1e-6)
    assert np.isfinite(t[0])


def test_flat_spectrum_has_a_closed_form() -> None:
    """F F' = I and D > N: all that counts is 1 / alpha + 1 / beta; the plain fixed point divides 0 by 0."""
    random = np.random.default_rng(0)
    features = np.linalg.qr(random.normal(size=(90, 40)))[0].T
    y = (random.normal(size=40) > 0).astype(float)
    expected = np.mean([-0.5 * np.log(2 * np.pi * target.mean()) - 0.5 for target in (y, 1 - y)])
    for scale in (1, 1e-6, 1e6):
        assert log_me(features * scale, y) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("columns", [8, 39, 40, 41, 80, 400])
@pytest.mark.parametrize("spectrum", ["flat", "separable", "decaying", "two"])
def test_edges_stay_finite_and_below_the_maximum(columns: int, spectrum: str) -> None:
    random = np.random.default_rng(0)
    labels = np.arange(40) % 2
    features = random.normal(size=(40, columns)) if spectrum != "decaying" else decaying(40, columns)
    if spectrum == "separable":
        features[:, 0] = labels * 50
    if spectrum == "two":
        features = np.repeat(features[:, :1], columns, axis=1)
    value = log_me(features, labels)
    assert np.isfinite(value)
    s2, vectors = np.linalg.eigh(features @ features.T)
    s2, bounds = np.maximum(s2, 0), []
    for target in (labels == 0, labels == 1):
        inner = (vectors.T @ target) ** 2
        log_t = np.linspace(-70, 40, 4000)[:, None]
        variance = s2 / np.exp(log_t) + 1
        noise = (inner / variance).sum(axis=1) / 40
        bounds.append((-0.5 * (np.log(2 * np.pi * noise) + 1) - 0.5 * np.log(variance).sum(axis=1) / 40).max())
    assert value <= np.mean(bounds) + 1e-3


def test_labels_on_a_plane_stay_finite_and_do_not_depend_on_rounding() -> None:
    labels = np.arange(200) % 4
    features = np.eye(4)[labels] @ np.random.default_rng(0).normal(size=(4, 9))
    values = [log_me(features @ rotation(9, k) * 10.0**k, labels) for k in range(4)]
    assert np.isfinite(values).all()
    assert max(values) - min(values) < 1e-3
    assert min(values) > log_me(features + np.random.default_rng(1).normal(size=features.shape) * 1e-3, labels)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.floats(1e-9, 1e9), st.sampled_from([(50, 6), (20, 45)]))
def test_rotation_and_scale(seed: int, scale: float, shape: tuple[int, int]) -> None:
    features, labels = clusters(*shape, seed=seed)
    assert log_me(features @ rotation(shape[1], seed) * scale, labels) == pytest.approx(log_me(features, labels), abs=1e-6)


def test_one_hot_columns_are_one_against_the_rest() -> None:
    features, labels = clusters()
    assert log_me(features, np.eye(3)[labels]) == pytest.approx(log_me(features, labels), rel=1e-12)


def test_regression() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(100, 5))
    y = features @ random.normal(size=(5, 2)) + 0.1 * random.normal(size=(100, 2))
    expected = [direct(features, column, *fixed_point(features, column)) for column in y.T]
    assert log_me(features, y, regression=True) == pytest.approx(np.mean(expected), abs=1e-8)
    assert log_me(features, y[:, 0], regression=True) == pytest.approx(expected[0], abs=1e-8)
    assert log_me(features, y * 7, regression=True) == pytest.approx(np.mean(expected) - np.log(7), abs=1e-8)
    with pytest.raises(InputError, match=r"target 1 .* is 0 in every row"):
        log_me(features, y * [1, 0], regression=True)
    with pytest.raises(InputError, match=r"labels: row 5, column 0 .* holds nan"):
        log_me(features, np.where(np.arange(100) == 5, np.nan, y[:, 0]), regression=True)
    with pytest.raises(InputError, match="labels have 99 rows"):
        log_me(features, y[1:], regression=True)


def test_a_gram_matrix_that_is_too_coarse_is_not_used() -> None:
    """Labels in a direction that carries 1e-14 of the variance: the square of its singular value is rounding in a Gram matrix."""
    random = np.random.default_rng(0)
    features = random.normal(size=(200, 3)) * [1e7, 1, 1]
    y = features[:, 1] + 1e-4 * random.normal(size=200)
    left, values, _ = np.linalg.svd(features, full_matrices=False)
    alpha, beta = fixed_point(features, y)
    variance = 1 / beta + values**2 / alpha
    beyond = y - left @ (left.T @ y)
    squares = ((left.T @ y) ** 2 / variance).sum() + beta * beyond @ beyond
    expected = -0.5 * (200 * np.log(2 * np.pi) + np.log(variance).sum() - 197 * np.log(beta) + squares) / 200
    assert log_me(features, y, regression=True) == pytest.approx(expected, abs=1e-8)
    assert expected > 5
