"""Noise and grey levels against the formulas of MedMNIST-C."""

from __future__ import annotations

import colorsys

import pytest
import torch

from tests.tasks.shift.phantoms import draws, flat, phantom
from umsrep.tasks.shift import intensity


def test_noises_have_their_standard_deviation() -> None:
    image = flat(0.4, 128)
    assert float(intensity.gaussian_noise(image, 0.05, draws()).std()) == pytest.approx(0.05, rel=0.04)
    assert float(intensity.speckle_noise(image, 0.05, draws()).std()) == pytest.approx(0.4 * 0.05, rel=0.04)
    counted = intensity.shot_noise(image, 100, draws())
    assert float(counted.std()) == pytest.approx((0.4 / 100) ** 0.5, rel=0.04)
    assert float(counted.mean()) == pytest.approx(0.4, abs=0.003)
    torch.testing.assert_close(counted * 100, (counted * 100).round(), atol=1e-4, rtol=0)


def test_impulses_are_black_and_white_alike_and_more_of_them_keep_the_first() -> None:
    image = flat(0.4, 128)
    hit = [intensity.impulse_noise(image, share, draws()) != 0.4 for share in (0.05, 0.1)]
    assert [float(h.float().mean()) for h in hit] == pytest.approx([0.05, 0.1], rel=0.1)
    assert bool((hit[1] | ~hit[0]).all())
    values = intensity.impulse_noise(image, 0.1, draws())[hit[1]]
    assert set(values.tolist()) == {0.0, 1.0}
    assert float(values.mean()) == pytest.approx(0.5, abs=0.05)


def test_contrast_keeps_the_mean_and_gamma_the_ends() -> None:
    image = phantom(32)[None]
    changed = intensity.contrast(image, 0.4, draws())
    assert float(changed.mean()) == pytest.approx(float(image.mean()), abs=1e-5)
    assert float(changed.std()) == pytest.approx(0.4 * float(image.std()), rel=1e-4)
    ends = torch.tensor([0.0, 0.25, 1.0]).reshape(1, 1, 1, 3)
    assert intensity.gamma(ends, 2.0, draws()).flatten().tolist() == pytest.approx([0, 0.0625, 1])
    torch.testing.assert_close(intensity.brightness(image, 1.5, draws()), 1.5 * image)


def test_saturation_grows_in_hsv_and_hue_and_value_stay() -> None:
    image = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    image[0, :, 0, 0] = 0.5  # grey has no hue: it becomes red's
    more = intensity.saturate(image, 0.2, draws())
    for before, after in zip(image[0].flatten(1).T.tolist(), more[0].flatten(1).T.tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        assert colorsys.rgb_to_hsv(*after) == pytest.approx((hue, min(1, saturation + 0.2), value), abs=1e-4)


def test_jpeg_of_a_lower_quality_is_farther() -> None:
    image = phantom(32)[None]
    changes = [float((intensity.jpeg(image, q, draws()) - image).abs().mean()) for q in (95, 30, 7)]
    assert 0 < changes[0] < changes[1] < changes[2]


def test_luma() -> None:
    image = torch.tensor([1.0, 0.5, 0.25]).reshape(1, 3, 1, 1)
    assert float(intensity.grey(image)) == pytest.approx(0.299 + 0.587 * 0.5 + 0.114 * 0.25)
    assert float(intensity.grey(image[:, :1])) == 1
