"""Noise models for self-made denoising pairs, in the unit intensity range 0-1.

Levels are in 8-bit grey levels: the strength is ``s = level / 255``. Noise is never clipped: clipping would make it
depend on the image, bias the mean near black and white, and make the measured PSNR of the noisy input flattering.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from umsrep.errors import InputError

NOISES: tuple[str, ...] = ("gaussian", "speckle", "poisson", "mixed")
NORMAL_NOISES: tuple[str, ...] = ("gaussian", "speckle")
"""Those made of one normal number a pixel, whatever the image."""
GREY_LEVELS = 255.0


def level_range(level: float | Sequence[float]) -> tuple[float, float]:
    """``level`` as ``(low, high)`` in 8-bit grey levels; a number is a fixed level.

    Raises:
        InputError: not one or two numbers, negative, not finite, or ``high < low``.
    """
    values = (level, level) if isinstance(level, (int, float)) else tuple(level)
    if len(values) != 2:
        raise InputError(f"level must be one number or a pair [low, high] in 8-bit grey levels, got {list(values)}")
    low, high = float(values[0]), float(values[1])
    if not (math.isfinite(low) and math.isfinite(high)) or low < 0:
        raise InputError(f"level {level} must be finite and >= 0 (8-bit grey levels, 25 means sigma = 25/255)")
    if high < low:
        raise InputError(f"level [{low:g}, {high:g}] runs backwards: write [{high:g}, {low:g}]")
    return low, high


def draw_level(level: float | Sequence[float], generator: torch.Generator) -> float:
    """A level drawn uniformly from the range (a fixed level draws nothing from the generator)."""
    low, high = level_range(level)
    if low == high:
        return low
    uniform = torch.rand((), generator=generator, device=generator.device, dtype=torch.float64)
    return low + (high - low) * float(uniform)


def add_noise(image: Tensor, noise: str, level: float, generator: torch.Generator) -> Tensor:
    """``image`` with noise of one level added.

    With ``s = level / 255``, ``n`` standard normal and ``x`` the clean pixel:

    * gaussian: ``x + s n``.
    * speckle: ``x + s x n`` (multiplicative, the first-order model of ultrasound and SAR speckle).
    * poisson: ``P(x p) / p`` with ``p = 0.5 / s**2`` photons at white, so the standard deviation is ``s sqrt(2 x)``: ``s``
      at mid-grey 0.5. Pixels below zero count as black.
    * mixed: poisson, then gaussian, each at ``s / sqrt(2)`` (the Poisson-Gaussian sensor model of Foi et al., IEEE TIP
      2008): the standard deviation at mid-grey is again ``s``.

    Args:
        image: float tensor of any shape, unit range 0-1, on the generator's device.
        noise: one of :data:`NOISES`.
        level: strength in 8-bit grey levels, >= 0.
        generator: source of all randomness.

    Returns:
        The noisy image, same shape, dtype and device, not clipped.

    Raises:
        ValueError: the image is not floating point, or the noise is unknown.
    """
    if not image.is_floating_point():
        raise ValueError(f"noise needs a float image in the range 0-1, got {image.dtype}: divide by its maximum first")
    strength = level / GREY_LEVELS
    if noise == "gaussian":
        return image + strength * _normal(image, generator)
    if noise == "speckle":
        return image + strength * image * _normal(image, generator)
    if noise == "poisson":
        return _poisson(image, strength, generator)
    if noise == "mixed":
        half = strength / math.sqrt(2.0)
        return _poisson(image, half, generator) + half * _normal(image, generator)
    raise ValueError(f"unknown noise {noise!r}: choose one of {', '.join(NOISES)}")


def _normal(image: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(image.shape, generator=generator, device=image.device, dtype=image.dtype)


def _poisson(image: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    if strength == 0:
        return image.clone()
    photons = 0.5 / strength**2
    # Half-precision rates overflow at 65504 photons, so counts are drawn in at least float32.
    rates = image.to(torch.promote_types(image.dtype, torch.float32)).clamp(min=0) * photons
    return (torch.poisson(rates, generator=generator) / photons).to(image.dtype)
