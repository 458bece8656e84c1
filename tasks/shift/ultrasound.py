"""What changes between ultrasound scanners and their settings, on log-compressed images [B, C, H, W] in 0-1.

The model of the display: grey is decibels, x = 1 + (level / R), with R = 60 dB from black to white for B-mode and 40 dB for spectral
Doppler, so a change of g dB moves grey by g / R. The transducer is at the top and depth grows downwards (linear probes; sectors nearly
so). Black is what is outside the sector or below the floor: whether there is signal cannot be known, so black stays black, and grey
below 0.02 follows in proportion.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from umsrep.tasks.shift.draws import Draws
from umsrep.tasks.shift.filters import gaussian_blur, length

B_MODE_DB = 60.0
DOPPLER_DB = 40.0
_FLOOR = 0.02


def _louder(image: Tensor, decibel: Tensor | float, span: float) -> Tensor:
    """Move grey by decibels where there is signal."""
    return image + (image / _FLOOR).clamp(max=1) * (decibel / span)


def _depth(image: Tensor) -> Tensor:
    """0 at the transducer to 1 at the lower border: [H, 1]."""
    return torch.linspace(0, 1, image.shape[-2], device=image.device)[:, None]


def gain(image: Tensor, decibel: float, draws: Draws) -> Tensor:
    """Overall gain of B-mode, dB."""
    return _louder(image, decibel, B_MODE_DB)


def doppler_gain(image: Tensor, decibel: float, draws: Draws) -> Tensor:
    """Gain of a spectral Doppler display, dB."""
    return _louder(image, decibel, DOPPLER_DB)


def time_gain(image: Tensor, decibel: float, draws: Draws) -> Tensor:
    """Wrong time-gain compensation: a gain that grows evenly with depth, from 0 at the transducer to ``decibel`` at the lower border."""
    return _louder(image, decibel * _depth(image), B_MODE_DB)


def lower_frequency(image: Tensor, ratio: float, draws: Draws) -> Tensor:
    """A probe of ``ratio`` times the frequency: a wider point spread and coarser, stronger speckle.

    Wavelength, and with it pulse length and beam width, grow by 1 / ratio (Szabo, Diagnostic Ultrasound Imaging, 2nd ed., ch. 6 and 9). A
    Gaussian point spread of s pixels (at 224 px: 0.6 along depth, 1.2 across) becomes s / ratio by a further blur of s sqrt(1/ratio^2 - 1).
    Blurring a detected image averages its speckle away, which a real coarser beam does not: fully developed speckle of the new grain is
    put back, a log-compressed Rayleigh field (standard deviation 5.57 dB; Goodman, Speckle Phenomena, 2007), times sqrt(1 - ratio^2),
    the share of the new beam that is not in the old.
    """
    wider = math.sqrt(1 / ratio**2 - 1)
    down, across = length(0.6, image), length(1.2, image)
    blurred = gaussian_blur(image, down * wider, across * wider).clamp(0, 1)
    field = draws.normal(2, 1, *image.shape[-2:])
    field = gaussian_blur(field, down / ratio, across / ratio)
    power = field.square().sum(1)
    power = power / power.mean((2, 3), keepdim=True)
    decibel = 10 * torch.log10(power.clamp(min=1e-4)) + 2.507  # the mean of the logarithm of an exponential variate of mean 1 is -2.507 dB
    return _louder(blurred, math.sqrt(1 - ratio**2) * decibel, B_MODE_DB)


def higher_frequency(image: Tensor, megahertz: float, draws: Draws) -> Tensor:
    """A probe of so many MHz more: loss of penetration.

    Soft tissue attenuates 0.5 dB / cm / MHz each way (Szabo, ch. 4), so at depth z (15 cm at the lower border) the echo is weaker by
    1.0 z dB for each MHz; what sinks into the scanner's noise is replaced by noise of the same floor (-50 dB, 5.57 dB of spread).
    """
    loss = 1.0 * 15.0 * megahertz * _depth(image)
    weaker = _louder(image, -loss, B_MODE_DB)
    floor = (1 - 50.0 / B_MODE_DB) + (5.57 / B_MODE_DB) * draws.normal(1, *image.shape[-2:])
    compensated = (loss / (15.0 * 3.0)).clamp(max=1)  # the scanner's compensation raises the noise where it is deep
    return torch.maximum(weaker, (image / _FLOOR).clamp(max=1) * compensated * floor)
