"""Policies of natural images that need no search, for comparison: RandAugment and TrivialAugment. They move masks with the image.

Both draw from the same 14 operations: identity; shear, translation and rotation; brightness, saturation, contrast, sharpness,
posterize, solarize, autocontrast and equalize. Strength runs in 31 steps from 0 to the largest of the table. Three things differ from
torchvision's: every draw is the generator's; geometry is bilinear, shears about the middle, and takes index masks along (255, ignore,
where pixels come from outside, as 0 in the image); translations are fractions of the side, so that small images keep their content.
On an image that has not three channels, saturation is drawn and does nothing, as in torchvision.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from umsrep.errors import InputError
from umsrep.tasks.augment.geometry import affine_grid, sample
from umsrep.tasks.augment.operations import apply_unchecked
from umsrep.tasks.augment.strong import check_unit

STEPS = 31
_GEOMETRY = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
# largest strength of each operation: (RandAugment, TrivialAugment "wide"); None: no strength; rotations in degrees, translations
# as fractions of the side, posterize in bits taken away, solarize in grey levels below 255
TABLE: dict[str, tuple[float, float] | None] = {
    "identity": None,
    "shear_x": (0.3, 0.99),
    "shear_y": (0.3, 0.99),
    "translate_x": (150 / 331, 32 / 224),
    "translate_y": (150 / 331, 32 / 224),
    "rotate": (30.0, 135.0),
    "brightness": (0.9, 0.99),
    "saturation": (0.9, 0.99),
    "contrast": (0.9, 0.99),
    "sharpness": (0.9, 0.99),
    "posterize": (4, 6),
    "solarize": (255, 255),
    "autocontrast": None,
    "equalize": None,
}
_UNSIGNED = ("identity", "posterize", "solarize", "autocontrast", "equalize")


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """N operations, drawn uniformly with replacement, all of strength M (Cubuk et al. 2020, arXiv 1909.13719).

    Attributes:
        operations: N.
        magnitude: M, from 0 to 30, of the 31 steps of strength.
    """

    operations: int = 2
    magnitude: int = 9

    def __post_init__(self) -> None:
        """Check the two numbers."""
        if self.operations < 1 or not 0 <= self.magnitude < STEPS:
            raise InputError(
                f"RandAugment needs operations of 1 or more and magnitude from 0 to {STEPS - 1}, not {self.operations} and {self.magnitude}"
            )

    def draw(self, generator: torch.Generator) -> list[tuple[str, float]]:
        """Return the operations for one image with their signed strengths."""
        return [_draw(0, self.magnitude, generator) for _ in range(self.operations)]

    def __call__(
        self, image: Tensor, masks: dict[str, Tensor] | None = None, *, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Augment one image in 0-1 [C, H, W] and its index masks [..., H, W]; returns both anew (see `StrongAugment` for errors)."""
        return _apply(image, masks or {}, self.draw(generator))


@dataclasses.dataclass(frozen=True)
class TrivialAugment:
    """One operation and one of 31 strengths, each drawn uniformly (Müller & Hutter 2021, arXiv 2103.10158; their wide space)."""

    @staticmethod
    def draw(generator: torch.Generator) -> list[tuple[str, float]]:
        """Return the operation for one image with its signed strength."""
        return [_draw(1, None, generator)]

    def __call__(
        self, image: Tensor, masks: dict[str, Tensor] | None = None, *, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Augment one image in 0-1 [C, H, W] and its index masks [..., H, W]; returns both anew (see `StrongAugment` for errors)."""
        return _apply(image, masks or {}, self.draw(generator))


def _draw(space: int, step: int | None, generator: torch.Generator) -> tuple[str, float]:
    """Draw an operation, its strength unless ``step`` gives it, and a sign; the draws are the same in number for all operations."""
    index = int(torch.randint(len(TABLE), (), generator=generator))
    if step is None:
        step = int(torch.randint(STEPS, (), generator=generator))
    negative = float(torch.rand((), generator=generator)) < 0.5
    name, largest = list(TABLE.items())[index]
    if largest is None:
        return name, 0.0
    strength = largest[space] * step / (STEPS - 1)
    return name, -strength if negative and name not in _UNSIGNED else strength


def _apply(image: Tensor, masks: dict[str, Tensor], drawn: list[tuple[str, float]]) -> tuple[Tensor, dict[str, Tensor]]:
    check_unit(image)
    made, moved = image.clone(), {name: mask.clone() for name, mask in masks.items()}
    for name, strength in drawn:
        if name in _GEOMETRY:
            made, moved = _move(made, moved, name, strength)
        else:
            made = _change(made, name, strength)
    return made, moved


def _move(image: Tensor, masks: dict[str, Tensor], name: str, strength: float) -> tuple[Tensor, dict[str, Tensor]]:
    if strength == 0:
        return image, masks
    size = (image.shape[-2], image.shape[-1])
    cos, sin = (math.cos(math.radians(strength)), math.sin(math.radians(strength))) if name == "rotate" else (1.0, 0.0)
    right, down = (strength if name == "translate_x" else 0.0), (strength if name == "translate_y" else 0.0)
    shear_x, shear_y = (strength if name == "shear_x" else 0.0), (strength if name == "shear_y" else 0.0)
    moved, masks = sample(image, masks, affine_grid(size, ((cos, sin + shear_x), (shear_y - sin, cos)), right, down))
    return moved.clamp_(0, 1), masks


def _change(image: Tensor, name: str, strength: float) -> Tensor:
    if name == "identity" or (name == "saturation" and image.shape[-3] != 3):
        return image
    if name == "posterize":
        return apply_unchecked(image, name, 8 - round(strength)) if round(strength) else image
    if name == "solarize":
        return apply_unchecked(image, name, 255 - strength)
    if name == "sharpness":
        return _sharpness(image, 1 + strength)
    return apply_unchecked(image, name, *(() if TABLE[name] is None else (1 + strength,)))


def _sharpness(image: Tensor, factor: float) -> Tensor:
    from torchvision.transforms.v2 import functional as V  # costs .1 s: not at import

    planes = image.reshape(-1, 1, *image.shape[-2:])  # as grey ones, so that any number of channels will do
    sharpened: Tensor = V.adjust_sharpness(planes, factor)
    return sharpened.reshape(image.shape)
