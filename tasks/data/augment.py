"""Geometric and intensity augmentation that moves image and masks together, reproducible from one generator."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import torch
from torch import Tensor

from umsrep.errors import InputError, nearest
from umsrep.tasks.augment.automatic import RandAugment, TrivialAugment
from umsrep.tasks.augment.geometry import IGNORE, affine_grid, sample
from umsrep.tasks.augment.strong import StrongAugment
from umsrep.tasks.noise import add_noise, draw_level

__all__ = ["IGNORE", "Augment"]
POLICIES = ("default", "strong", "randaugment", "trivialaugment")
NOISE_SPARED = 0.5
_STRONG, _STRONG_CLEAN = StrongAugment(), StrongAugment(leave_out=("noise",))


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
        policy: What follows the geometry: ``default``, the mild changes of grey above; or, in their place, ``strong``
            (`umsrep.tasks.augment.StrongAugment`), ``randaugment`` or ``trivialaugment``, which also move the image.
        operations: Of randaugment: how many operations; null is 2.
        magnitude: Of randaugment: strength from 0 to 30; null is 9.
        noise: Largest standard deviation, in 8-bit grey levels, of Gaussian noise (drawn uniformly from 0 to this, not clipped) on every
            second image, as segmentation and classification read it; denoising has a noise and a clean target of its own. Such heads
            otherwise see clean images only, and fail on noisy ones (docs/augmentation.md).
    """

    rotate: float = 10.0
    shift: float = 0.03
    scale: float = 0.05
    brightness: float = 0.15
    contrast: float = 0.15
    gamma: float = 0.2
    flip: float = 0.0
    policy: Literal["default", "strong", "randaugment", "trivialaugment"] = "default"
    operations: int | None = None
    magnitude: int | None = None
    noise: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        for name in ("rotate", "shift", "scale", "brightness", "contrast", "gamma", "flip", "noise"):
            value = getattr(self, name)
            limit = {"rotate": 180.0, "gamma": 10.0, "flip": 1.0, "noise": 255.0}.get(name, 0.9)
            if not 0 <= value <= limit:
                raise InputError(f"augment.{name} must be from 0 to {limit:g}, not {value}")
        if self.policy not in POLICIES:
            raise InputError(f"augment.policy: no policy '{self.policy}'{nearest(str(self.policy), POLICIES)}")
        for name, high in (("operations", 14), ("magnitude", 30)):
            value = getattr(self, name)
            if value is None:
                continue
            if self.policy != "randaugment":
                raise InputError(f"augment.{name} belongs to policy randaugment, not to {self.policy}; leave it out")
            if not (name == "operations") <= value <= high:
                raise InputError(f"augment.{name} must be from {int(name == 'operations')} to {high}, not {value}")

    @property
    def on_device(self) -> bool:
        """Whether a device can do all of it, a batch at a time (`umsrep.tasks.data.on_device`)."""
        return self.policy == "default" and not self.noise

    @staticmethod
    def draw(generator: torch.Generator) -> Tensor:
        """Return what is random for one image, uniform from -1 to 1 [8]: rotate, right, down, scale, contrast, brightness, gamma, flip."""
        return torch.rand(8, generator=generator) * 2 - 1

    def __call__(
        self, unit_CHW: Tensor, masks: dict[str, Tensor], generator: torch.Generator, *, is_target: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Augment one image in 0-1 and its index masks [..., H, W]; returns both anew.

        Args:
            unit_CHW: The image.
            masks: Name to mask.
            generator: Of all draws.
            is_target: The image is what a denoiser or an autoencoder shall give back: the policy adds no noise of its own, which
                nobody could tell from noise to be removed. What is drawn stays the same.
        """
        draws = self.draw(generator).tolist()
        if self.flip and (draws[7] + 1) / 2 < self.flip:
            unit_CHW = unit_CHW.flip(-1)
            masks = {name: mask.flip(-1) for name, mask in masks.items()}
        if self.rotate or self.shift or self.scale:
            size = (unit_CHW.shape[-2], unit_CHW.shape[-1])
            grid = _sampling_grid(size, self.rotate * draws[0], self.shift * draws[1], self.shift * draws[2], 1 + self.scale * draws[3])
            unit_CHW, masks = sample(unit_CHW, masks, grid)
        if self.policy == "default":
            return self._grey_levels(unit_CHW, draws), masks
        unit_CHW = unit_CHW.clamp(0, 1)
        if self.policy == "strong":
            return (_STRONG_CLEAN if is_target else _STRONG)(unit_CHW, generator=generator), masks
        if self.policy == "trivialaugment":
            return TrivialAugment()(unit_CHW, masks, generator=generator)
        given = {name: value for name in ("operations", "magnitude") if (value := getattr(self, name)) is not None}
        return RandAugment(**given)(unit_CHW, masks, generator=generator)

    def add_noise(self, unit_CHW: Tensor, generator: torch.Generator) -> Tensor:
        """Return the image with the noise of ``noise``, drawn anew, or as it is (in every second draw, and where ``noise`` is 0)."""
        if not self.noise or torch.rand((), generator=generator) < NOISE_SPARED:
            return unit_CHW
        return add_noise(unit_CHW, "gaussian", draw_level((0.0, self.noise), generator), generator)

    def _grey_levels(self, unit_CHW: Tensor, draws: list[float]) -> Tensor:
        if self.brightness or self.contrast:
            contrast = 1 + self.contrast * draws[4]
            unit_CHW = unit_CHW * contrast + unit_CHW.mean() * (1 + self.brightness * draws[5] - contrast)
        unit_CHW = unit_CHW.clamp(0, 1)
        if self.gamma:
            # x ** exponent by its logarithm, which torch computes four times as fast; 0 stays 0
            unit_CHW = unit_CHW.log_().mul_(math.exp(math.log1p(self.gamma) * draws[6])).exp_()
        return unit_CHW


def _sampling_grid(size: tuple[int, int], degrees: float, right: float, down: float, scale: float) -> Tensor:
    """Return the grid [1, H, W, 2] of a clockwise turn about the middle and growth by ``scale``, then shifts by fractions of the sides."""
    cos, sin = math.cos(math.radians(degrees)) / scale, math.sin(math.radians(degrees)) / scale
    return affine_grid(size, ((cos, sin), (-sin, cos)), right, down)
