"""Geometric and intensity augmentation that moves image and masks together, reproducible from one generator."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from umsrep.errors import InputError

IGNORE = 255


@dataclasses.dataclass(frozen=True)
class Augment:
    """Mild augmentation for radiographs: nothing that crops or blurs disease away (MoCo-CXR, Sowrirajan et al. 2021).

    Each value is drawn uniformly for each image. Pixels that come from outside are 0 in the image and ignored in masks. What the
    defaults cost, in lung area and in a small nodule's contrast, is measured in docs/augmentation.md.

    Attributes:
        rotate: Largest rotation in degrees, both ways.
        shift: Largest shift as a fraction of the side, both ways.
        scale: Largest change of size as a fraction, both ways.
        brightness: Largest change of brightness, as a factor 1 +- this.
        contrast: Largest change of contrast around the image's mean, as a factor 1 +- this.
        gamma: Largest exponent change: exponent from 1 / (1 + gamma) to 1 + gamma.
        flip: Probability of a mirror image (left and right of the body change places: off by default).
    """

    rotate: float = 10.0
    shift: float = 0.03
    scale: float = 0.05
    brightness: float = 0.15
    contrast: float = 0.15
    gamma: float = 0.2
    flip: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            limit = {"rotate": 180.0, "gamma": 10.0, "flip": 1.0}.get(field.name, 0.9)
            if not 0 <= value <= limit:
                raise InputError(f"augment.{field.name} must be from 0 to {limit:g}, not {value}")

    @staticmethod
    def draw(generator: torch.Generator) -> Tensor:
        """Return what is random for one image, uniform from -1 to 1 [8]: rotate, right, down, scale, contrast, brightness, gamma, flip."""
        return torch.rand(8, generator=generator) * 2 - 1

    def __call__(self, unit_CHW: Tensor, masks: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Augment one image in 0-1 and its index masks [..., H, W]; returns both anew."""
        draws = self.draw(generator).tolist()
        if self.flip and (draws[7] + 1) / 2 < self.flip:
            unit_CHW = unit_CHW.flip(-1)
            masks = {name: mask.flip(-1) for name, mask in masks.items()}
        if self.rotate or self.shift or self.scale:
            size = (unit_CHW.shape[-2], unit_CHW.shape[-1])
            grid = _sampling_grid(size, self.rotate * draws[0], self.shift * draws[1], self.shift * draws[2], 1 + self.scale * draws[3])
            unit_CHW = F.grid_sample(unit_CHW[None], grid, mode="bilinear", align_corners=False)[0]
            masks = {name: _sample_mask(mask, grid) for name, mask in masks.items()}
        if self.brightness or self.contrast:
            contrast = 1 + self.contrast * draws[4]
            unit_CHW = unit_CHW * contrast + unit_CHW.mean() * (1 + self.brightness * draws[5] - contrast)
        unit_CHW = unit_CHW.clamp(0, 1)
        if self.gamma:
            # x ** exponent by its logarithm, which torch computes four times as fast; 0 stays 0
            unit_CHW = unit_CHW.log_().mul_(math.exp(math.log1p(self.gamma) * draws[6])).exp_()
        return unit_CHW, masks


def _sampling_grid(size: tuple[int, int], degrees: float, right: float, down: float, scale: float) -> Tensor:
    """Return where each pixel of the new image lies in the old one, [1, H, W, 2] as `grid_sample` takes it.

    The image turns clockwise about its middle and grows by ``scale``, then moves by fractions of its width and height; lengths are
    measured in pixels, so that circles stay circles in an image that is not square.
    """
    height, width = size
    cos, sin = math.cos(math.radians(degrees)) / scale, math.sin(math.radians(degrees)) / scale
    x = torch.arange(width, dtype=torch.float32) - ((width - 1) / 2 + right * width)
    y = (torch.arange(height, dtype=torch.float32) - ((height - 1) / 2 + down * height))[:, None]
    # one plane a coordinate: adding to every second number of [H, W, 2] takes twice as long
    planes = torch.empty(2, height, width)
    torch.add(x * (2 * cos / width), y * (2 * sin / width), out=planes[0])
    torch.add(x * (-2 * sin / height), y * (2 * cos / height), out=planes[1])
    return planes.permute(1, 2, 0)[None]


def _sample_mask(mask: Tensor, grid: Tensor) -> Tensor:
    """Move an index mask [..., H, W] by nearest neighbour; what comes from outside is ignored."""
    planes = mask.reshape(1, -1, *mask.shape[-2:]).to(torch.float32) - IGNORE  # grid_sample fills with 0
    moved = F.grid_sample(planes, grid, mode="nearest", align_corners=False) + IGNORE
    return moved.to(mask.dtype).reshape(mask.shape)
