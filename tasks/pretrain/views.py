"""What each method is shown of an image: noise on it, holes in it, or crops of it."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from umsrep.tasks.data.augment import Augment
from umsrep.tasks.denoising import Denoising
from umsrep.zoo import InputContract

_RATIO = (3 / 4, 4 / 3)  # of a crop's sides, relative to the image's own (Szegedy et al. 2015)


@dataclasses.dataclass(frozen=True)
class Whole:
    """The image as the contract gives it: ``image`` [C, H, W], normalised."""

    contract: InputContract

    def __call__(self, unit_CHW: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Fit and normalise."""
        return {"image": self.contract.normalise(self.contract.fit(unit_CHW))}


@dataclasses.dataclass(frozen=True)
class Noisy:
    """``clean`` [C, H, W] in 0-1 and its noisy twin ``image``, normalised."""

    contract: InputContract
    augment: Augment
    task: Denoising

    def __call__(self, unit_CHW: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Augment, then add noise."""
        clean, _ = self.augment(self.contract.fit(unit_CHW), {}, generator, is_target=True)
        noisy, _ = self.task.corrupt(clean, generator)
        return {"image": self.contract.normalise(noisy), "clean": clean}


@dataclasses.dataclass(frozen=True)
class Masked:
    """``image`` [C, H, W], normalised, and ``hidden`` [H / patch, W / patch], true where the encoder may not look."""

    contract: InputContract
    augment: Augment
    patch: int
    ratio: float

    def __call__(self, unit_CHW: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Augment, and draw which patches are hidden: the same number in every image."""
        unit, _ = self.augment(self.contract.fit(unit_CHW), {}, generator, is_target=True)
        grid = unit.shape[-2] // self.patch, unit.shape[-1] // self.patch
        count = math.prod(grid)
        hidden = torch.zeros(count, dtype=torch.bool)
        hidden[torch.randperm(count, generator=generator)[: min(count - 1, max(1, round(self.ratio * count)))]] = True
        return {"image": self.contract.normalise(unit), "hidden": hidden.reshape(grid)}


@dataclasses.dataclass(frozen=True)
class Crops:
    """Several crops, ``view0``, ``view1`` and so on, each [C, h, w], normalised and augmented on its own.

    Attributes:
        contract: Of the encoder.
        augment: Done to every crop.
        sizes: (height, width) of each.
        areas: Smallest and largest area of each, as fractions of the image.
    """

    contract: InputContract
    augment: Augment
    sizes: tuple[tuple[int, int], ...]
    areas: tuple[tuple[float, float], ...]

    def __call__(self, unit_CHW: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Crop from the pixels of the file, so that a small crop is no blown-up thumbnail."""
        if self.contract.resize == "pad":
            unit_CHW = _pad_to_aspect(unit_CHW, self.sizes[0])
        views = {}
        for number, (size, area) in enumerate(zip(self.sizes, self.areas, strict=True)):
            view, _ = self.augment(crop(unit_CHW, size, area, generator), {}, generator)
            views[f"view{number}"] = self.contract.normalise(view)
        return views


def crop(unit_CHW: Tensor, size: tuple[int, int], area: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Cut out a random rectangle and resize it (bilinear, with a low-pass).

    Args:
        unit_CHW: Image in 0-1.
        size: (height, width) of the result.
        area: Smallest and largest area as fractions of the image; aspects lie within 3/4 and 4/3 of the image's own.
        generator: Of the draws.
    """
    height, width = unit_CHW.shape[-2:]
    draws = torch.rand(4, generator=generator).tolist()
    part = area[0] + (area[1] - area[0]) * draws[0]
    ratio = math.exp(math.log(_RATIO[0]) + (math.log(_RATIO[1]) - math.log(_RATIO[0])) * draws[1])
    h = min(height, max(1, round(height * math.sqrt(part / ratio))))
    w = min(width, max(1, round(width * math.sqrt(part * ratio))))
    top, left = int((height - h + 1) * draws[2]), int((width - w + 1) * draws[3])
    cut = unit_CHW[:, top : top + h, left : left + w]
    if (h, w) == size:
        return cut
    return F.interpolate(cut[None], size=size, mode="bilinear", antialias=True)[0].clamp_(0, 1)


def _pad_to_aspect(unit_CHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Pad right or bottom with zeros to the aspect of ``size``, as `InputContract.fit` does."""
    height, width = unit_CHW.shape[-2:]
    scale = min(size[0] / height, size[1] / width)
    return F.pad(unit_CHW, (0, max(0, round(size[1] / scale) - width), 0, max(0, round(size[0] / scale) - height)))
