"""Ultrasound against numbers that follow from its formulas."""

from __future__ import annotations

import math

import pytest
import torch

from tests.tasks.shift.phantoms import draws, flat
from umsrep.tasks.shift import ultrasound


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


def test_doppler_has_a_display_of_its_own_range() -> None:
    torch.testing.assert_close(ultrasound.doppler_gain(flat(0.5), 6, draws()), flat(0.5 + 6 / 40))


def test_a_higher_frequency_loses_the_depth_to_noise() -> None:
    """One dB a centimetre and MHz, both ways: 15 cm at the lower border."""
    made = ultrasound.higher_frequency(flat(0.9, 64), 1.0, draws())
    torch.testing.assert_close(made[0, 0, 0], torch.full((64,), 0.9))
    assert float(made[0, 0, -1].median()) == pytest.approx(0.9 - 15 / 60, abs=0.01)
    rows = made[0, 0].mean(1)
    assert float(rows.diff().max()) < 0.02
    assert float(ultrasound.higher_frequency(flat(0.0, 64), 3.0, draws()).abs().max()) == 0  # outside the sector
