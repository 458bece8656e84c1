"""What a distribution shift is: one deterministic function of an image at five magnitudes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

SEVERITIES = (1, 2, 3, 4, 5)
REFERENCE_SIDE = 224
"""Pixels of a side for which lengths in pixels are stated (MedMNIST-C's images); they scale with the root of an image's area."""

MODALITIES: tuple[str, ...] = ("cxr", "us", "doppler", "dermoscopy", "histology", "fundus", "oct")
FAMILIES: tuple[str, ...] = ("strong-augment", "medmnist-c", "acquisition")

Magnitude = float | tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Shift:
    """A distribution shift: the same change on every image of a test set (Pohjonen et al. 2022, arXiv 2206.15274, section 2.3).

    Attributes:
        name: Key in `SHIFTS`.
        family: One of `FAMILIES`.
        modalities: For which kinds of image it is meant, of `MODALITIES`; empty is every kind. It can be applied to all.
        meaning: What the magnitude of a severity is, with its unit.
        magnitudes: Of severities 1 to 5; a tuple where several numbers belong together.
        operation: Not geometric: (images [B, C, H, W], magnitude, draws) to images. Geometric: (images, masks [B, ..., H, W] or None,
            magnitude, draws) to (images, masks).
        source: Where the magnitudes come from; "ours" where we chose them.
        geometric: It moves or hides what is seen, so that masks must move along.
        colour: It only means something on images of three channels.
    """

    name: str
    family: str
    modalities: tuple[str, ...]
    meaning: str
    magnitudes: tuple[Magnitude, Magnitude, Magnitude, Magnitude, Magnitude]
    operation: Callable[..., Any]
    source: str
    geometric: bool = False
    colour: bool = False

    def suits(self, modality: str | None) -> bool:
        """Tell whether it is meant for a modality; None is an unknown one, which the shifts for every kind suit."""
        return not self.modalities or modality in self.modalities
