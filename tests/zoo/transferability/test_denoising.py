"""The denoising score: exact where the best linear estimate is known, and in the right order elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from tests.zoo.transferability.sets import Array
from umsrep.errors import InputError
from umsrep.zoo.transferability import denoising_gain


def pictures(images: int = 12, noise: float = 0.3, smooth: float = 2.0, seed: int = 0) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    clean = gaussian_filter(random.normal(size=(images, 1, 32, 32)), (0, 0, smooth, smooth)) * smooth * 3
    return clean + noise * random.normal(size=clean.shape), clean


def test_pixel_alone_gains_what_wiener_says() -> None:
    """White signal and noise: the best linear estimate of one pixel scales it; MSE s^2 n^2 / (s^2 + n^2) against n^2."""
    random = np.random.default_rng(0)
    clean = random.normal(size=(30, 1, 40, 40))
    noisy = clean + random.normal(size=clean.shape)
    assert denoising_gain([], noisy, clean, window=1, samples=800) == pytest.approx(10 * np.log10(2), abs=0.1)
    assert denoising_gain([], noisy, clean, window=5, samples=800) == pytest.approx(10 * np.log10(2), abs=0.1)


def test_features_that_hold_the_clean_image_gain_much() -> None:
    noisy, clean = pictures()
    window = denoising_gain([], noisy, clean)
    assert window > 1
    assert denoising_gain([clean], noisy, clean) > 30
    useless = np.random.default_rng(1).normal(size=(12, 8, 8, 8))
    assert denoising_gain([useless], noisy, clean) == pytest.approx(window, abs=0.3)


def test_wider_context_gains_where_the_image_is_smooth() -> None:
    noisy, clean = pictures(noise=1.0, smooth=5.0)
    wider = np.stack([gaussian_filter(noisy[:, 0], (0, s, s)) for s in (3, 5)], axis=1)
    assert denoising_gain([wider], noisy, clean) > denoising_gain([], noisy, clean) + 0.5


def test_features_that_say_where_to_smooth_gain() -> None:
    """Half of each image is flat and half is a fine pattern; a map that only tells which half is no estimate of the noise, but steers."""
    random = np.random.default_rng(0)
    pattern = np.where(np.arange(32) < 16, 0, random.normal(size=(12, 1, 32, 32)))
    noisy = pattern + 0.5 * random.normal(size=pattern.shape)
    half = np.broadcast_to(np.where(np.arange(32) < 16, 0.0, 1.0), (12, 1, 32, 32))
    assert denoising_gain([half], noisy, pattern) > denoising_gain([], noisy, pattern) + 1


def test_dead_features_change_nothing() -> None:
    noisy, clean = pictures()
    assert denoising_gain([np.full((12, 3, 4, 4), 2.5)], noisy, clean) == pytest.approx(denoising_gain([], noisy, clean), rel=1e-9)


def test_nothing_to_learn_gains_about_nothing() -> None:
    random = np.random.default_rng(0)
    clean = random.normal(size=(12, 1, 32, 32)) * 100
    noisy = clean + random.normal(size=clean.shape) * 0.1
    features = random.normal(size=(12, 40, 16, 16))
    assert denoising_gain([features], noisy, clean) == pytest.approx(0, abs=0.3)


def test_units_channels_types_and_seed() -> None:
    noisy, clean = pictures()
    levels = [np.stack([gaussian_filter(noisy[:, 0], (0, s, s)) for s in (1, 3)], axis=1)]
    for array in (noisy, clean, *levels):
        array.setflags(write=False)
    value = denoising_gain(levels, noisy, clean)
    assert value == denoising_gain(levels, noisy, clean) != denoising_gain(levels, noisy, clean, seed=1)
    assert denoising_gain([levels[0] * 1e-4 + 3], noisy * 255 + 7, clean * 255 + 7) == pytest.approx(value, abs=1e-5)
    tensors = [torch.tensor(np.array(a)) for a in (levels[0], noisy, clean)]
    assert denoising_gain(tensors[:1], tensors[1], tensors[2]) == value
    colour = [np.repeat(a, 3, axis=1) for a in (noisy, clean)]
    assert denoising_gain(levels, *colour) == pytest.approx(value, abs=0.05)


def test_patients_stay_whole() -> None:
    """A feature that only tells images apart, each with its own offset as noise: it helps on known images alone."""
    random = np.random.default_rng(0)
    clean = random.normal(size=(10, 1, 16, 16))
    offsets = random.normal(size=(5, 1, 1, 1)) * 5
    noisy = clean + np.repeat(offsets, 2, axis=0)
    names = np.eye(5)[np.repeat(np.arange(5), 2)][:, :, None, None] * np.ones((1, 1, 4, 4))
    assert denoising_gain([names], noisy, clean, folds=10) > denoising_gain([names], noisy, clean, groups=np.repeat(np.arange(5), 2)) + 3


def test_refusals() -> None:
    noisy, clean = pictures(4)
    with pytest.raises(InputError, match="image 2"):
        denoising_gain([], np.where(np.arange(4)[:, None, None, None] == 2, clean, noisy), clean)
    with pytest.raises(InputError, match="image 0"):
        denoising_gain([], noisy * np.nan, clean)
    with pytest.raises(InputError, match=r"noisy is \[3, 1, 32, 32\]"):
        denoising_gain([], noisy[:3], clean)
    with pytest.raises(InputError, match="level 0 is"):
        denoising_gain([noisy[:3]], noisy, clean)
    with pytest.raises(InputError, match="two patients"):
        denoising_gain([], noisy, clean, groups=[1] * 4)
    with pytest.raises(InputError, match="odd"):
        denoising_gain([], noisy, clean, window=4)
