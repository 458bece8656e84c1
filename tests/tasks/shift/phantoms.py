"""Images that shifts are tried on: a phantom, flat grey, a point; and random numbers for one operation."""

from __future__ import annotations

import torch
from torch import Tensor

from umsrep.tasks.shift import SHIFTS
from umsrep.tasks.shift.draws import Draws


def draws(seed: int = 0, rows: int = 1) -> Draws:
    """Random numbers for ``rows`` images."""
    return Draws("test", [seed + k for k in range(rows)], torch.device("cpu"))


def flat(level: float, side: int = 32) -> Tensor:
    """One grey level: [1, 1, side, side]."""
    return torch.full((1, 1, side, side), level)


def phantom(side: int = 32, channels: int = 1) -> Tensor:
    """Bright and dark discs on a slope with texture: [channels, side, side]."""
    generator = torch.Generator().manual_seed(1)
    down, across = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    image = 0.25 + 0.3 * down + 0.05 * torch.rand(channels, side, side, generator=generator)
    for k, (row, column, radius, level) in enumerate(((0.3, 0.3, 0.18, 0.45), (0.6, 0.65, 0.25, -0.25), (0.8, 0.2, 0.1, 0.35))):
        disc = torch.sigmoid((radius - torch.hypot(down - row, across - column)) * 2 * side)
        image = image + level * disc * torch.linspace(1, 0.4 + 0.2 * k, channels)[:, None, None]
    return image.clamp(0, 1)


def image_for(name: str, side: int = 32) -> Tensor:
    """The phantom in the channels that a shift needs."""
    return phantom(side, 3 if SHIFTS[name].colour else 1)
