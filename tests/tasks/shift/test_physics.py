"""Radiography, ultrasound and geometry against numbers that follow from their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from umsrep.tasks.shift import geometry, radiography, ultrasound
from umsrep.tasks.shift.draws import Draws


def draws(seed: int = 0, rows: int = 1) -> Draws:
    return Draws("test", [seed + k for k in range(rows)], torch.device("cpu"))


def flat(level: float, side: int = 32) -> torch.Tensor:
    return torch.full((1, 1, side, side), level)


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


def test_gain_is_decibels_over_the_display_and_leaves_black() -> None:
    image = flat(0.5)
    image[..., :5] = 0
    louder = ultrasound.gain(image, 6, draws())
    assert float(louder[0, 0, 0, 20]) == pytest.approx(0.6)
    assert float(louder[0, 0, 0, 0]) == 0
    tilted = ultrasound.time_gain(flat(0.5), 12, draws())
    assert float(tilted[0, 0, 0, 0]) == pytest.approx(0.5)
    assert float(tilted[0, 0, -1, 0]) == pytest.approx(0.7)


def test_speckle_of_a_lower_frequency_has_its_share_of_the_rayleigh_spread() -> None:
    made = ultrasound.lower_frequency(flat(0.5, 224), 0.36, draws())
    assert float(made.std()) * ultrasound.B_MODE_DB == pytest.approx(5.57 * math.sqrt(1 - 0.36**2), rel=0.1)
    assert float(made.mean()) == pytest.approx(0.5, abs=0.01)


def test_depth_keeps_the_transducer_and_shrinks_the_rest() -> None:
    image, mask = torch.zeros(1, 1, 60, 60), torch.zeros(1, 60, 60, dtype=torch.long)
    image[..., 40:44, 28:32], mask[..., 40:44, 28:32] = 1, 1
    _, moved = geometry.depth(image, mask, 2.0, draws())
    assert moved is not None
    assert torch.equal(moved[0].eq(1).nonzero().unique(), torch.tensor([20, 21, 29, 30]))  # rows 40-43 to 20-21, columns about the middle
    assert bool((moved[0, 30:] == 255).all())
    assert bool((moved[0, :30, 15:45] != 255).all())


def test_sweep_speed_stretches_time_from_the_left() -> None:
    image, mask = torch.zeros(1, 1, 16, 40), torch.zeros(1, 16, 40, dtype=torch.long)
    mask[..., 10:12] = 1
    _, faster = geometry.sweep_speed(image, mask, 2.0, draws())
    assert faster is not None
    assert faster[0, 0].eq(1).nonzero().flatten().tolist() == [20, 21, 22, 23]
    _, slower = geometry.sweep_speed(image, mask, 0.5, draws())
    assert slower is not None
    assert slower[0, 0].eq(1).nonzero().flatten().tolist() == [5]
    assert bool((slower[..., 20:] == 255).all())


def test_a_lower_velocity_scale_aliases() -> None:
    """At half the scale +0.75 of the old limit, beyond the new one of 0.5, is shown at 0.75 - 1 = -0.25: half way down the new display."""
    image, mask = torch.zeros(1, 1, 80, 8), torch.zeros(1, 80, 8, dtype=torch.long)
    mask[:, 9:11] = 1  # rows run from +1 to -1: row 9.5 is +0.7625 of the limit
    image[:, :, 9:11] = 1
    shown, moved = geometry.velocity_scale(image, mask, 0.5, draws())
    assert moved is not None
    rows = moved[0, :, 0].eq(1).nonzero().flatten()
    assert float(rows.float().mean()) == pytest.approx(39.5 + 0.475 * 40, abs=1)
    assert float(shown[0, 0, rows].min()) > 0.4
    assert not bool((moved == 255).any())


def test_collimation_hides_what_it_darkens() -> None:
    shown, masks = geometry.collimate(flat(0.7).expand(3, 1, 32, 32), torch.ones(3, 2, 32, 32, dtype=torch.uint8), 0.1, draws(rows=3))
    assert masks is not None
    assert torch.equal(masks[:, 0] == 255, shown[:, 0] == 0)
    assert torch.equal(masks[:, 0], masks[:, 1])
    assert 0.2 < float((shown == 0).float().mean()) < 0.5
