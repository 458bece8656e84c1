"""Gram matrices give what decompositions of the features themselves give."""

from __future__ import annotations

import numpy as np
import pytest

from tests.zoo.transferability.sets import decaying
from umsrep.zoo.transferability.spectra import centred, principal_components, spectrum, unit_scale


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (20, 20), (30, 1)])
@pytest.mark.parametrize("exact", [True, False])
def test_spectrum_is_that_of_the_features(shape: tuple[int, int], exact: bool) -> None:
    features, targets = decaying(*shape), np.random.default_rng(1).normal(size=(shape[0], 3))
    left, values, _ = np.linalg.svd(features, full_matrices=False)
    s = spectrum(features, targets, exact=exact)
    np.testing.assert_allclose(s.squares, values**2, rtol=1e-9)
    np.testing.assert_allclose(s.reached, (left.T @ targets) ** 2, rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(s.total, (targets**2).sum(axis=0))
    np.testing.assert_allclose(s.rest, ((targets - left @ left.T @ targets) ** 2).sum(axis=0), atol=1e-12)


def test_rank_is_found() -> None:
    features = decaying(40, 5) @ np.random.default_rng(0).normal(size=(5, 30))
    for exact in (True, False):
        assert len(spectrum(features, np.ones((40, 1)), exact=exact).squares) == 5
    assert len(spectrum(np.zeros((6, 3)), np.ones((6, 1))).squares) == 0


@pytest.mark.parametrize("shape", [(60, 20), (20, 60), (20, 20)])
def test_singular_values_far_below_the_largest_are_found(shape: tuple[int, int]) -> None:
    """A Gram matrix alone loses those below 1e-8 of the largest."""
    random = np.random.default_rng(0)
    side = min(shape)
    left, right = (np.linalg.qr(random.normal(size=(n, side)))[0] for n in shape)
    values, targets = np.logspace(0, -7.5, side), random.normal(size=(shape[0], 2))
    s = spectrum(left * values @ right.T, targets)
    np.testing.assert_allclose(np.sqrt(s.squares), values, rtol=0.02)
    np.testing.assert_allclose(s.reached, (left.T @ targets) ** 2, atol=0.02)


def test_centred_columns_that_are_constant_but_for_rounding_are_zero() -> None:
    random = np.random.default_rng(0)
    features = np.stack([np.full(50, 0.1), 1e6 + random.normal(size=50) * 1e-8, random.normal(size=50)], axis=1)
    result = centred(features)
    assert not result[:, :2].any()
    np.testing.assert_allclose(result[:, 2], features[:, 2] - features[:, 2].mean())


def test_unit_scale() -> None:
    assert unit_scale(np.array([[1.0, -4.0]])).tolist() == [[0.25, -1.0]]
    assert not unit_scale(np.zeros((2, 2))).any()


@pytest.mark.parametrize("shape", [(40, 12), (12, 40)])
def test_principal_components(shape: tuple[int, int]) -> None:
    features = centred(decaying(*shape))
    _, values, axes = np.linalg.svd(features, full_matrices=False)
    for most in (1, 4, 11):
        points = principal_components(features, most=most)
        np.testing.assert_allclose(np.abs(points), np.abs(features @ axes[:most].T), atol=1e-9)
    assert principal_components(features, most=64).shape == (shape[0], min(shape))
    share = np.cumsum(values**2) / (values**2).sum()
    for variance in (0.5, 0.8, 0.99):
        assert principal_components(features, variance=variance).shape[1] == int((share < variance).sum()) + 1
