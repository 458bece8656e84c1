"""Radiography against numbers that follow from its formulas."""

from __future__ import annotations

import math

import pytest
import torch

from tests.tasks.shift.phantoms import draws, flat, phantom
from umsrep.tasks.shift import radiography


def test_half_the_exposure_is_whiter_by_ln2_over_the_range() -> None:
    shifted = radiography.exposure(flat(0.4), 0.5, draws())
    torch.testing.assert_close(shifted, flat(0.4 + math.log(2) / math.log(50)))


def test_quantum_noise_follows_poisson_at_any_size() -> None:
    """In the log display sd = 1 / (D sqrt(photons)), photons falling with a pixel's area."""
    for side in (112, 224):
        photons = 4000 * (224 / side) ** 2 * math.exp(-radiography.RANGE * 0.3)
        noisy = radiography.dose(flat(0.3, side), 4000, draws())
        assert float(noisy.std()) == pytest.approx(1 / (radiography.RANGE * math.sqrt(photons)), rel=0.03)
        assert float(noisy.mean()) == pytest.approx(0.3, abs=0.003)


def test_scatter_leaves_a_flat_field_and_divides_contrast() -> None:
    torch.testing.assert_close(radiography.scatter(flat(0.5), 2.0, draws()), flat(0.5), atol=1e-5, rtol=0)
    image = flat(0.5, 128)
    image[..., 60:68, 60:68] = 0.52  # small: its own scatter is negligible
    shifted = radiography.scatter(image, 1.0, draws())
    contrast = float(shifted[0, 0, 64, 64] - shifted[0, 0, 10, 10])
    assert contrast == pytest.approx(0.02 / 2, rel=0.06)


def test_without_magnitude_nothing_changes() -> None:
    image = phantom(32)[None]
    for same in (
        radiography.exposure(image, 1.0, draws()),
        radiography.scatter(image, 0.0, draws()),
        radiography.grid_lines(image, 0.0, draws()),
        radiography.grid_cutoff(image, 0.0, draws()),
        radiography.detector(image, (0.0, 0.0), draws()),
    ):
        torch.testing.assert_close(same, image, atol=1e-5, rtol=0)


def test_a_grid_takes_signal_and_never_adds_it() -> None:
    """The most that is lost is the stated share, which is whiter by -ln(1 - share) / D."""
    whitest = -math.log(1 - 0.4) / radiography.RANGE
    lines = radiography.grid_lines(flat(0.3, 96), 0.4, draws()) - 0.3
    assert float(lines.min()) > -1e-6
    assert float(lines.max()) == pytest.approx(whitest, rel=0.02)
    turns = (lines[0, 0, 48] > whitest / 2).int().diff().clamp(min=0).sum()
    assert int(turns) in (24, 25)  # 24.5 lines across the image
    cutoff = radiography.grid_cutoff(flat(0.3, 96), 0.4, draws())[0, 0, 0] - 0.3
    assert sorted([float(cutoff[0]), float(cutoff[-1])]) == pytest.approx([0, whitest], abs=1e-5)
    steps = cutoff.diff()
    assert bool((steps >= 0).all()) or bool((steps <= 0).all())


def test_a_detector_adds_its_noise_to_a_flat_field() -> None:
    noisy = radiography.detector(flat(0.5, 128), (2.0, 0.03), draws())
    assert float(noisy.std()) == pytest.approx(0.03, rel=0.05)
    assert float(noisy.mean()) == pytest.approx(0.5, abs=0.002)
