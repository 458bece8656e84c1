"""Distances: by products as by differences, also where rows coincide, and in blocks of any size."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from umsrep.tasks.active import distances


def test_products_keep_the_digits_of_near_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    y = 1e3 + random.normal(size=(20, 30))
    x = np.concatenate([y[:5], y[5:10] + 1e-7, random.normal(size=(10, 30))])
    monkeypatch.setattr(distances, "_DIRECT", 0)
    np.testing.assert_allclose(distances.distances(x, y), cdist(x, y), rtol=1e-6, atol=1e-9)
    assert (np.diag(distances.distances(x, y))[:5] == 0).all()


@pytest.mark.parametrize("size", [8, 300, 1 << 20])
def test_sums_and_minima_do_not_depend_on_blocks(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    features = random.normal(size=(40, 7)).astype(np.float32)
    rows, points = np.arange(0, 40, 2), np.array([1, 5, 39])
    monkeypatch.setattr("umsrep.tasks.active.checks.CHUNK_BYTES", size)
    wanted = cdist(features[rows], features[points])
    np.testing.assert_allclose(distances.sum_of_distances(features, rows, points), wanted.sum(axis=1))
    np.testing.assert_allclose(distances.least_distance(features, rows, points), wanted.min(axis=1))
    np.testing.assert_allclose(distances.mean_row(features, points), features[points].mean(axis=0, dtype=np.float64))
    np.testing.assert_allclose(distances.mean_row(features), features.mean(axis=0, dtype=np.float64))
