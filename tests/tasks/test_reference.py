"""The stored reference: its embedding, coordinates, scores and file; with a model folder in tests/tasks/data/inspect/test_modality.py."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from umsrep.tasks.reference import REFERENCE_FILE, Reference, pyramid_statistics


def test_the_embedding_is_means_then_deviations_of_every_level() -> None:
    maps = [torch.randn(3, 2, 8, 6), torch.randn(3, 4, 4, 3)]
    found = pyramid_statistics(maps).numpy()
    assert found.shape == (3, 12)
    np.testing.assert_allclose(found[1, :2], maps[0][1].numpy().mean(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(found[1, 2:6], maps[1][1].numpy().mean(axis=(1, 2)), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found[1, 6:8], maps[0][1].numpy().std(axis=(1, 2)), rtol=1e-5)
    assert pyramid_statistics([m.half() for m in maps]).dtype == torch.float32


@pytest.fixture
def reference() -> Reference:
    generator = np.random.default_rng(0)
    some = generator.normal(size=(200, 3)) @ generator.normal(size=(3, 20)) + 0.1 * generator.normal(size=(200, 20)) + 5
    made = Reference.fit(some.astype(np.float32), directions=3, source="synthetic", weights="0")
    return dataclasses.replace(made, threshold=2.0)


def test_the_score_is_the_square_of_the_last_coordinate(reference: Reference) -> None:
    others = np.random.default_rng(1).normal(size=(7, 20)).astype(np.float32)
    coordinates = reference.coordinates(others)
    assert coordinates.shape == (7, 4)
    np.testing.assert_allclose(coordinates[:, -1] ** 2 / reference.residual, reference.scores(others), rtol=1e-4)
    lengths = np.linalg.norm((others - reference.mean) / reference.scale, axis=1)
    np.testing.assert_allclose(np.linalg.norm(coordinates, axis=1), lengths, rtol=1e-3)  # the directions are stored in half precision
    np.testing.assert_allclose(reference.coordinates(reference.mean[None]), 0, atol=1e-6)


def test_the_file_gives_back_the_same(reference: Reference, tmp_path: Path) -> None:
    reference.save(tmp_path / REFERENCE_FILE)
    read = Reference.load(tmp_path / REFERENCE_FILE)
    for name in ("mean", "scale", "directions"):
        np.testing.assert_array_equal(getattr(read, name), getattr(reference, name))
    assert (read.residual, read.threshold, read.source, read.weights) == (reference.residual, 2.0, "synthetic", "0")
