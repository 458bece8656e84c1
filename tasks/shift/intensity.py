"""Noise, brightness and compression as MedMNIST-C defines them (Di Salvo et al. 2024, arXiv 2406.17536), on [B, C, H, W] in 0-1.

Noise is that of each pixel, whatever the size of the image. Results may leave 0-1; `apply_shift` clips them, as the original does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from umsrep.tasks.augment.operations import apply_operation
from umsrep.tasks.shift.draws import Draws

_LUMA = (0.299, 0.587, 0.114)


def grey(image: Tensor) -> Tensor:
    """Return the BT.601 luma of three channels, the mean of any other number: [B, 1, H, W]."""
    if image.shape[1] != 3:
        return image.mean(1, keepdim=True)
    weights = image.new_tensor(_LUMA)[:, None, None]
    return (image * weights).sum(1, keepdim=True)


def gaussian_noise(image: Tensor, sigma: float, draws: Draws) -> Tensor:
    """Add normal noise: x + sigma n."""
    return image + sigma * draws.normal(*image.shape[1:])


def speckle_noise(image: Tensor, sigma: float, draws: Draws) -> Tensor:
    """Multiply by noise: x (1 + sigma n)."""
    return image * (1 + sigma * draws.normal(*image.shape[1:]))


def impulse_noise(image: Tensor, share: float, draws: Draws) -> Tensor:
    """Set this share of the values to black or white, evenly."""
    drawn = draws.uniform(2, *image.shape[1:])
    return torch.where(drawn[:, 0] < share, (drawn[:, 1] < 0.5).to(image.dtype), image)


def shot_noise(image: Tensor, rate: float, draws: Draws) -> Tensor:
    """Counting noise: P(x rate) / rate."""
    return draws.poisson(image * rate) / rate


def brightness(image: Tensor, factor: float, draws: Draws) -> Tensor:
    """Multiply by a factor."""
    return image * factor


def contrast(image: Tensor, factor: float, draws: Draws) -> Tensor:
    """Multiply the distance from the image's mean luma."""
    mean = grey(image).mean((2, 3), keepdim=True)
    return mean + factor * (image - mean)


def gamma(image: Tensor, exponent: float, draws: Draws) -> Tensor:
    """X to this power."""
    return image**exponent


def saturate(image: Tensor, amount: float, draws: Draws) -> Tensor:
    """Add to the saturation of HSV, up to 1; hue and value stay.

    In HSV each channel is V (1 - S g) with a g of the hue alone, so V - channel is multiplied by the quotient of saturations. A grey
    pixel has no hue; its saturation becomes red's, as in scikit-image.
    """
    value = image.amax(1, keepdim=True)
    saturation = (value - image.amin(1, keepdim=True)) / value.clamp(min=1e-6)
    wanted = (saturation + amount).clamp(max=1)
    coloured = value - (value - image) * wanted / saturation.clamp(min=1e-6)
    red = torch.cat([value, value * (1 - wanted), value * (1 - wanted)], dim=1)
    return torch.where(saturation > 1e-6, coloured, red)


def jpeg(image: Tensor, quality: float, draws: Draws) -> Tensor:
    """Compress as JPEG of this quality (1-100), 8 bits, and decompress; channels that are not RGB one by one."""
    return apply_operation(image, "jpeg", int(quality))


def seeded(image: Tensor, draws: Draws, name: str, magnitude: float) -> Tensor:
    """Apply an operation of StrongAugment that draws, row by row."""
    rows = [apply_operation(row, name, magnitude, g) for row, g in zip(image.cpu(), draws.generators, strict=True)]
    return torch.stack(rows).to(image.device)


def blended(image: Tensor, name: str, share: float) -> Tensor:
    """Mix the image with the result of an operation that knows no magnitude."""
    if name == "grayscale":
        return torch.lerp(image, apply_operation(image, name), share)
    planes = image.flatten(0, 1)[:, None]  # it works channel by channel, whatever their number
    return torch.lerp(image, apply_operation(planes, name).reshape(image.shape), share)
