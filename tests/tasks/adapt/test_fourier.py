"""FDA: amplitudes of the target in the window, of the source outside, phases of the source everywhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from umsrep.errors import InputError
from umsrep.tasks.adapt import fourier_domain_adapt


def window(height: int, width: int, border: int) -> np.ndarray:
    """The centred square of 2 b + 1 frequencies, in the order of a shifted spectrum."""
    inside = np.zeros((height, width), dtype=bool)
    row, column = height // 2, width // 2
    inside[max(0, row - border) : row + border + 1, max(0, column - border) : column + border + 1] = True
    return inside


def reference(source: np.ndarray, target: np.ndarray, beta: float) -> np.ndarray:
    """The paper's equation 3 on the whole shifted spectrum, with the inverse's imaginary part checked to vanish."""
    height, width = source.shape
    inside = window(height, width, math.floor(min(height, width) * beta))
    s, t = np.fft.fftshift(np.fft.fft2(source)), np.fft.fftshift(np.fft.fft2(target))
    amplitude = np.where(inside, np.abs(t), np.abs(s))
    result = np.fft.ifft2(np.fft.ifftshift(amplitude * np.exp(1j * np.angle(s))))
    return result.real


def image(height: int = 32, width: int = 32, channels: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(channels, height, width, dtype=dtype)


SIZES = [(32, 32), (31, 33), (24, 40), (17, 16)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("beta", [0.01, 0.09, 0.25])
def test_equals_the_papers_equation_on_the_whole_spectrum(size: tuple[int, int], beta: float) -> None:
    source, target = image(*size), image(*size)
    np.testing.assert_allclose(
        fourier_domain_adapt(source, target, beta)[0], reference(source[0].numpy(), target[0].numpy(), beta), atol=1e-12
    )


@pytest.mark.parametrize("size", SIZES)
def test_amplitude_is_the_targets_inside_and_the_sources_outside_and_phase_the_sources(size: tuple[int, int]) -> None:
    source, target, beta = image(*size), image(*size), 0.1
    result = fourier_domain_adapt(source, target, beta)
    spectra = [np.fft.fftshift(np.fft.fft2(x[0].numpy())) for x in (source, target, result)]
    inside = window(*size, math.floor(min(size) * beta))
    assert inside.sum() == (2 * math.floor(min(size) * beta) + 1) ** 2
    s, t, r = (np.abs(x) for x in spectra)
    np.testing.assert_allclose(r[inside], t[inside], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(r[~inside], s[~inside], rtol=1e-9, atol=1e-9)
    turned = np.angle(spectra[2] * spectra[0].conj())  # difference of the phases
    np.testing.assert_allclose(turned, 0, atol=1e-9)


def test_a_target_that_is_the_source_changes_nothing() -> None:
    source = image(channels=3, dtype=torch.float32)
    for beta in (0.0, 0.05, 0.5, 1.0):
        torch.testing.assert_close(fourier_domain_adapt(source, source, beta), source, rtol=0, atol=1e-6)


def test_beta_zero_is_off_and_a_small_beta_takes_the_mean_alone() -> None:
    source, target = image(), image() * 0.5
    result = fourier_domain_adapt(source, target, 0.0)
    assert torch.equal(result, source)
    assert result.data_ptr() != source.data_ptr()
    result = fourier_domain_adapt(source, target, 0.02)  # floor(32 * .02) = 0
    torch.testing.assert_close(result, source - source.mean() + target.mean())


def test_beta_from_a_half_on_exchanges_all_amplitudes() -> None:
    source, target = image(), image()
    result = fourier_domain_adapt(source, target, 0.5)
    torch.testing.assert_close(torch.fft.fft2(result).abs(), torch.fft.fft2(target).abs())
    assert torch.equal(fourier_domain_adapt(source, target, 1.0), result)


def test_a_constant_source_of_one_brightness_takes_the_targets() -> None:
    result = fourier_domain_adapt(torch.full((1, 16, 16), 0.2), torch.full((1, 16, 16), 0.7), 0.1)
    torch.testing.assert_close(result, torch.full((1, 16, 16), 0.7))


def test_batches_are_images_one_by_one_and_channels_are_their_own() -> None:
    source, target = torch.rand(3, 2, 16, 20), torch.rand(3, 2, 16, 20)
    result = fourier_domain_adapt(source, target, 0.2)
    for i in range(3):
        torch.testing.assert_close(result[i], fourier_domain_adapt(source[i], target[i], 0.2))
        torch.testing.assert_close(result[i, :1], fourier_domain_adapt(source[i, :1], target[i, :1], 0.2))
        torch.testing.assert_close(fourier_domain_adapt(source, target[:1], 0.2)[i], fourier_domain_adapt(source[i], target[0], 0.2))
    torch.testing.assert_close(fourier_domain_adapt(source, target[0], 0.2), fourier_domain_adapt(source, target[:1], 0.2))
    assert fourier_domain_adapt(source[0], target[:1], 0.2).shape == (2, 16, 20)


def test_inputs_stay_and_dtypes_are_kept() -> None:
    source, target = image(dtype=torch.float32), image(dtype=torch.float32)
    copies = source.clone(), target.clone()
    assert fourier_domain_adapt(source, target, 0.1).dtype == torch.float32
    assert fourier_domain_adapt(source.half(), target.half(), 0.1).dtype == torch.float16
    assert torch.equal(source, copies[0])
    assert torch.equal(target, copies[1])


def test_wrong_images_are_refused() -> None:
    good = image()
    cases = [
        (good[0], "must be float images"),
        (good.to(torch.uint8), "torch.uint8"),
        (image(16, 32), r"target \[1, 16, 32\] does not fit source \[1, 32, 32\]; resize"),
        (image(channels=3), "does not fit"),
        (torch.rand(2, 1, 32, 32), "one target or as many"),
        (good * math.nan, "the target has values that are NaN"),
    ]
    for target, message in cases:
        with pytest.raises(InputError, match=message):
            fourier_domain_adapt(good, target, 0.1)
    with pytest.raises(InputError, match="not ndarray"):
        fourier_domain_adapt(good.numpy(), good, 0.1)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the source has values"):
        fourier_domain_adapt(good * math.inf, good, 0.1)
    for beta in (-0.1, 1.1, math.nan):
        with pytest.raises(InputError, match="beta must be between 0 and 1"):
            fourier_domain_adapt(good, good, beta)
