"""Apply a shift to one image or a batch, with or without masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from umsrep.errors import InputError
from umsrep.tasks.shift.draws import Draws
from umsrep.tasks.shift.registry import find_shift
from umsrep.tasks.shift.shift import SEVERITIES, Shift

_ROUNDING = 1e-3
_MIN_SIDE = 8


def apply_shift(image: Tensor, name: str, severity: int, seed: int) -> Tensor:
    """Apply one shift to one image.

    Args:
        image: Float [C, H, W] in 0-1, sides of 8 or more; stays as it is.
        name: Key of `SHIFTS`.
        severity: 1 (least) to 5.
        seed: Of noise, places, directions; the same seed gives the same result on every device, up to rounding.

    Returns:
        float32 [C, H, W] in 0-1, the same size and device.

    Raises:
        InputError: (a ValueError) for an unknown shift or severity, an image that is not float [C, H, W] in 0-1, or a shift of colour on an
            image that has not three channels, or three equal ones.
    """
    return apply_shift_batch(_one(image), name, severity, [seed])[0]


def apply_shift_with_mask(image: Tensor, mask: Tensor, name: str, severity: int, seed: int) -> tuple[Tensor, Tensor]:
    """Apply one shift to an image and the mask of what it shows.

    Args:
        image: As for `apply_shift`.
        mask: Class indices [H, W], or [K, H, W] with a plane for each overlapping class; any integer type.
        name: As there; only a geometric shift (``SHIFTS[name].geometric``) changes the mask.
        severity: As there.
        seed: As there.

    Returns:
        The image, and a mask of the same shape and type, 255 (ignore) where nothing was imaged.

    Raises:
        InputError: as `apply_shift`, and for a mask of another size or type.
    """
    images, masks = shift_batch(_one(image), mask[None], name, severity, [seed])
    assert masks is not None
    return images[0], masks[0]


def apply_shift_batch(images: Tensor, name: str, severity: int, seeds: Sequence[int]) -> Tensor:
    """Apply one shift to a batch [B, C, H, W]; row i is what `apply_shift` gives with ``seeds[i]``, up to rounding. Errors as there."""
    return shift_batch(images, None, name, severity, seeds)[0]


@torch.no_grad()
def shift_batch(
    images: Tensor, masks: Tensor | None, name: str, severity: int, seeds: Sequence[int], *, mixed: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Apply one shift to a batch and its masks [B, ..., H, W], if given. Errors as in `apply_shift_with_mask`.

    With ``mixed``, images of three equal channels are let through a shift of colour: rows of a set whose others have colours.
    """
    shift = find_shift(name)
    _check(shift, images, masks, severity, seeds, mixed)
    magnitude = shift.magnitudes[severity - 1]
    batch = images.to(torch.float32).clamp(0, 1)
    draws = Draws(name, seeds, images.device)
    if shift.geometric:
        shifted, masks = shift.operation(batch, masks, magnitude, draws)
    else:
        shifted, masks = shift.operation(batch, magnitude, draws), None if masks is None else masks.clone()
    return shifted.clamp(0, 1), masks


def _one(image: Tensor) -> Tensor:
    if not isinstance(image, Tensor) or image.ndim != 3:
        found = list(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise InputError(f"an image to shift must be a float tensor [C, H, W] in 0-1, not {found}")
    return image[None]


def is_grey(images: Tensor) -> Tensor:
    """Tell which rows of [B, C, H, W] have no colour: one channel, or equal ones. Returns bool [B]."""
    return (images == images[:, :1]).flatten(1).all(1)


def _check(shift: Shift, images: Tensor, masks: Tensor | None, severity: int, seeds: Sequence[int], mixed: bool) -> None:
    if isinstance(severity, bool | float) or severity not in SEVERITIES:
        raise InputError(f"severity must be a whole number from 1 to 5, not {severity!r}")
    if not isinstance(images, Tensor) or images.ndim != 4 or not images.is_floating_point():
        found = f"{images.dtype} {list(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
        raise InputError(f"images to shift must be float [B, C, H, W] in 0-1, not {found}; divide 8-bit values by 255")
    if len(seeds) != len(images):
        raise InputError(f"{len(seeds)} seeds for {len(images)} images; give one each")
    if min(images.shape[-2:]) < _MIN_SIDE:
        raise InputError(f"images to shift must have sides of {_MIN_SIDE} pixels or more, not {list(images.shape[-2:])}")
    if images.numel():
        low, high = (float(v) for v in torch.aminmax(images))
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # also NaN
            raise InputError(f"images to shift must be in 0-1, not {low:.3g} to {high:.3g}; undo a normalisation first")
    if shift.colour and images.shape[1] != 3:
        raise InputError(f"shift '{shift.name}' changes colours, but the image has {images.shape[1]} channel(s), not 3")
    if shift.colour and not mixed and bool(is_grey(images).any()):
        raise InputError(f"shift '{shift.name}' changes colours, but the image is grey: its three channels are equal")
    if masks is not None and (masks.shape[-2:] != images.shape[-2:] or len(masks) != len(images) or masks.is_floating_point()):
        raise InputError(
            f"masks must be whole numbers [B, ..., H, W], H x W {list(images.shape[-2:])}, not {masks.dtype} {list(masks.shape)}"
        )
