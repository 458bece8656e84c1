"""Feature maps at drawn pixels: what the scores of dense tasks look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umsrep.errors import InputError
from umsrep.zoo.transferability.checks import Floats, Ints, array_of


def as_levels(levels: Sequence[Any], images: int) -> list[NDArray[Any]]:
    """Check feature maps: a sequence of [N, C, H, W], fine to coarse or in any order; they keep their type, as they may be large.

    Raises:
        InputError: No level, other than four dimensions, another number of images.
    """
    arrays = [array_of(level) for level in levels]
    if not arrays:
        raise InputError("levels are empty; give one array [N, C, H, W] for each level of the encoder")
    for k, array in enumerate(arrays):
        if array.ndim != 4 or array.dtype.kind not in "fiu" or not array.size or len(array) != images:
            raise InputError(f"level {k} is {array.dtype} {list(array.shape)}; [{images}, C, H, W] of real numbers is needed")
    return arrays


def at_pixels(maps: NDArray[Any], image: int, pixels: Ints, size: tuple[int, int], name: str) -> Floats:
    """Interpolate one image's map bilinearly, as ``torch.nn.functional.interpolate(align_corners=False)`` would at these pixels.

    Args:
        maps: [N, C, h, w].
        image: Which of the N.
        pixels: Flat indices [P] into an image of ``size``.
        size: Height and width of that image.
        name: What to call the maps in messages.

    Returns:
        float64 [P, C].

    Raises:
        InputError: A value that was looked at is NaN or infinite.
    """
    source = maps[image]
    low, high, part = [], [], []
    for position, length, whole in zip(np.unravel_index(pixels, size), source.shape[1:], size, strict=True):
        centre = np.clip((position + 0.5) * length / whole - 0.5, 0, length - 1)
        floor = np.floor(centre).astype(np.int64)
        low.append(floor)
        high.append(np.minimum(floor + 1, length - 1))
        part.append(centre - floor)
    (top, left), (bottom, right), (down, across) = low, high, part

    def value(y: Ints, x: Ints) -> Floats:
        picked: Floats = source[:, y, x].astype(np.float64)
        return picked

    upper = value(top, left) * (1 - across) + value(top, right) * across
    lower = value(bottom, left) * (1 - across) + value(bottom, right) * across
    result: Floats = (upper * (1 - down) + lower * down).T
    if not np.isfinite(result).all():
        raise InputError(f"{name}: image {image} (counted from 0) holds NaN or infinite values; leave it out or repair the encoder")
    return result
