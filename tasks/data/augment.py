"""Geometric and intensity augmentation that moves image and masks together, reproducible from one generator."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from umsrep.errors import InputError

IGNORE = 255


@dataclasses.dataclass(frozen=True)
class Augment:
    """Mild augmentation for radiographs: nothing that crops or blurs disease away (MoCo-CXR, Sowrirajan et al. 2021).

    Each value is drawn uniformly for each image. Pixels that come from outside are 0 in the image and ignored in masks.

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
    shift: float = 0.05
    scale: float = 0.1
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

    def __call__(self, unit_CHW: Tensor, masks: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Augment one image in 0-1 and its index masks [..., H, W]; returns both anew."""
        draws = (torch.rand(8, generator=generator) * 2 - 1).tolist()
        if self.flip and (draws[7] + 1) / 2 < self.flip:
            unit_CHW = unit_CHW.flip(-1)
            masks = {name: mask.flip(-1) for name, mask in masks.items()}
        if self.rotate or self.shift or self.scale:
            height, width = unit_CHW.shape[-2:]
            move = {
                "angle": self.rotate * draws[0],
                "translate": [self.shift * draws[1] * width, self.shift * draws[2] * height],
                "scale": 1 + self.scale * draws[3],
                "shear": [0.0, 0.0],
            }
            unit_CHW = TF.affine(unit_CHW, **move, interpolation=InterpolationMode.BILINEAR, fill=[0.0])
            masks = {
                name: TF.affine(
                    mask[None] if mask.ndim == 2 else mask, **move, interpolation=InterpolationMode.NEAREST, fill=[IGNORE]
                ).reshape(mask.shape)
                for name, mask in masks.items()
            }
        mean = unit_CHW.mean()
        unit_CHW = (unit_CHW - mean) * (1 + self.contrast * draws[4]) + mean * (1 + self.brightness * draws[5])
        unit_CHW = unit_CHW.clamp(0, 1)
        if self.gamma:
            unit_CHW = unit_CHW ** math.exp(math.log1p(self.gamma) * draws[6])
        return unit_CHW, masks
