"""What changes between X-ray rooms: exposure, dose, scatter, grid, detector; on displayed images [B, C, H, W] in 0-1, bright = dense.

The model of the display. A digital radiograph shows the logarithm of the detector's signal (its raw data are proportional to that
logarithm; AAPM Task Group 116, Med. Phys. 36, 2009). With white where least gets through,

    x = -ln(I / I0) / D,    I / I0 = exp(-D x),    D = ln 50,

so that black is the open beam I0 and white 1/50 of it, about the range behind a chest (D is our choice). A change of the physics is made
on I and shown through the same curve; `_shown` returns to x.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from umsrep.tasks.shift.draws import Draws
from umsrep.tasks.shift.filters import gaussian_blur, length
from umsrep.tasks.shift.shift import REFERENCE_SIDE

RANGE = math.log(50.0)


def _signal(image: Tensor) -> Tensor:
    return torch.exp(-RANGE * image)


def _shown(signal: Tensor) -> Tensor:
    return -torch.log(signal.clamp(min=1e-6)) / RANGE


def exposure(image: Tensor, factor: float, draws: Draws) -> Tensor:
    """More or less exposure without the automatic ranging that hides it: I -> factor I, so x -> x - ln(factor) / D (less is whiter)."""
    return image - math.log(factor) / RANGE


def dose(image: Tensor, photons: float, draws: Draws) -> Tensor:
    """Quantum noise of a lower dose, brightness ranged back: I -> Poisson(N I) / N.

    ``photons`` is N in the open beam for a pixel of a 224 x 224 image; a smaller pixel gets fewer in proportion to its area, so that the
    noise seen at any size is that of one exposure. A real chest image has some 10^5 in such a pixel (30,174 photons per mm^2 and uGy at
    RQA5, IEC 62220-1; 2.5 uGy; pixels of 1.6 mm), whose noise is invisible at this size: the severities are a stress test.
    """
    per_pixel = photons * REFERENCE_SIDE**2 / (image.shape[-2] * image.shape[-1])
    counts = draws.poisson(per_pixel * _signal(image))
    return _shown(counts.clamp(min=0.5) / per_pixel)  # where no photon came, half a one is shown: the logarithm of 0 is not


def scatter(image: Tensor, ratio: float, draws: Draws) -> Tensor:
    """Veiling by scattered radiation: I -> (I + ratio x (I * G)) / (1 + ratio), G a Gaussian of 0.15 of the image's width.

    ``ratio`` is scatter to primary, on the image's mean, on top of what the image already has. In chest radiography it is 0.5 to 3
    without a grid (Niklason et al., Med. Phys. 8, 1981). Exposure is ranged back to the mean.
    """
    primary = _signal(image)
    spread = gaussian_blur(primary, 0.15 * image.shape[-2], 0.15 * image.shape[-1]).clamp(min=0)
    return _shown((primary + ratio * spread) / (1 + ratio))


def grid_lines(image: Tensor, depth: float, draws: Draws) -> Tensor:
    """Lines of a stationary anti-scatter grid that beat with the detector's pixels: I -> I (1 - depth (1 - cos phase) / 2).

    ``depth`` is the loss of signal in the middle of a line. Lines run down the image, 24.5 of them across it, tilted by up to 2 degrees;
    phase and tilt from the seed.
    """
    height, width = image.shape[-2:]
    drawn = draws.uniform(2)[:, :, None, None]
    rows = torch.linspace(-0.5, 0.5, height, device=image.device)[:, None]
    columns = torch.linspace(-0.5, 0.5, width, device=image.device)[None, :]
    place = columns + torch.tan((drawn[:, 0] - 0.5) * math.radians(4.0)) * rows
    wave = (1 - torch.cos(2 * math.pi * (24.5 * place + drawn[:, 1]))) / 2
    return image - torch.log(1 - depth * wave)[:, None] / RANGE


def grid_cutoff(image: Tensor, loss: float, draws: Draws) -> Tensor:
    """A grid off its axis: signal falls evenly across the image to 1 - ``loss`` at one side, which the seed decides."""
    columns = torch.linspace(0, 1, image.shape[-1], device=image.device)
    left = draws.uniform(1)[:, :, None, None] < 0.5
    share = torch.where(left, 1 - columns, columns)
    return image - torch.log(1 - loss * share) / RANGE


def detector(image: Tensor, magnitude: tuple[float, float], draws: Draws) -> Tensor:
    """A detector of lower resolution: its transfer function times exp(-2 (pi sigma f)^2), then electronic noise in the display.

    ``magnitude`` is (sigma in pixels at 224 px, standard deviation of the noise in 0-1).
    """
    sigma, noise = magnitude
    return gaussian_blur(image, length(sigma, image)) + noise * draws.normal(*image.shape[1:])
