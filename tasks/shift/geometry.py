"""Shifts that move or hide what is seen: magnification, depth, sweep speed, velocity scale, collimation. Masks move along.

An operation takes images [B, C, H, W] and masks [B, ..., H, W] of class indices, or None, and returns both. Images are interpolated
linearly, masks take the nearest pixel. Where nothing was imaged the image is black and the mask 255 (ignore).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from umsrep.tasks.shift.draws import Draws

IGNORE = 255


def _positions(image: Tensor, rows: float, columns: float, centre: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Where in the source, from -1 to 1 over its sides, each row and column of the result comes from when magnified about a centre."""
    height, width = image.shape[-2:]
    down, across = ((2 * torch.arange(n, device=image.device, dtype=torch.float64) + 1) / n - 1 for n in (height, width))
    return centre[0] + (down - centre[0]) / rows, centre[1] + (across - centre[1]) / columns


def _sample(image: Tensor, masks: Tensor | None, down: Tensor, across: Tensor) -> tuple[Tensor, Tensor | None]:
    """Read both at the positions rows x columns."""
    grid = torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1).to(image.dtype)
    moved = F.grid_sample(image, grid.expand(len(image), -1, -1, -1), mode="bilinear", padding_mode="border", align_corners=False)
    height, width = image.shape[-2:]
    tall, wide = (((p + 1) * n / 2).floor().long() for p, n in ((down, height), (across, width)))
    inside = ((tall >= 0) & (tall < height))[:, None] & ((wide >= 0) & (wide < width))[None, :]
    moved = torch.where(inside, moved, 0.0)
    if masks is None:
        return moved, None
    taken = masks[..., tall.clamp(0, height - 1), :][..., wide.clamp(0, width - 1)]
    return moved, torch.where(inside, taken, torch.full_like(taken, IGNORE))


def magnify(image: Tensor, masks: Tensor | None, factor: float, draws: Draws) -> tuple[Tensor, Tensor | None]:
    """Magnify about the centre.

    A point at distance o from the detector is magnified by s / (s - o), s being the distance from source to detector: the heart (o of 5
    to 10 cm) by 1.04 postero-anterior at 180 cm, and (o of 10 to 18 cm) by 1.2 antero-posterior at 100 cm (Bushberg et al., The
    Essential Physics of Medical Imaging, 3rd ed., ch. 7). The whole image is magnified here, as if it lay in one plane.
    """
    return _sample(image, masks, *_positions(image, factor, factor, (0.0, 0.0)))


def depth(image: Tensor, masks: Tensor | None, factor: float, draws: Draws) -> tuple[Tensor, Tensor | None]:
    """Set the depth of an ultrasound image to ``factor`` times: the picture shrinks by it about the transducer, the middle of the top."""
    return _sample(image, masks, *_positions(image, 1 / factor, 1 / factor, (-1.0, 0.0)))


def sweep_speed(image: Tensor, masks: Tensor | None, factor: float, draws: Draws) -> tuple[Tensor, Tensor | None]:
    """Set the sweep speed (mm/s) of a Doppler display to ``factor`` times: time, from the left border on, is stretched by it."""
    return _sample(image, masks, *_positions(image, 1.0, factor, (0.0, -1.0)))


def velocity_scale(image: Tensor, masks: Tensor | None, factor: float, draws: Draws) -> tuple[Tensor, Tensor | None]:
    """Set the velocity scale (the Nyquist limit) of a spectral Doppler display to ``factor`` times.

    The spectrum shrinks by the factor about the baseline, which is taken to be the middle row. At a lower scale what lies beyond the new
    limit N wraps to the other side, v -> v - 2 N (aliasing; Evans & McDicken, Doppler Ultrasound, 2nd ed., 2000); where it falls on
    other signal, the brighter is shown, and a mask takes the class that is not background. A higher scale shows velocities that were
    not imaged.
    """
    down, across = _positions(image, 1 / factor, 1.0, (0.0, 0.0))
    shown, masks_shown = _sample(image, masks, down, across)
    if factor >= 1:
        return shown, masks_shown
    for wrap in (2 * factor, -2 * factor):
        copy, masks_copy = _sample(image, masks, down + wrap, across)
        shown = torch.maximum(shown, copy)
        if masks_shown is not None and masks_copy is not None:
            found = (masks_copy != IGNORE) & (masks_shown == 0)
            masks_shown = torch.where(found, masks_copy, masks_shown)
    return shown, masks_shown


def collimate(image: Tensor, masks: Tensor | None, share: float, draws: Draws) -> tuple[Tensor, Tensor | None]:
    """Close the collimator to the rectangle that leaves ``share`` of each side dark on the mean, 0.5 to 1.5 of it by the seed.

    What is outside is shuttered to black, as viewing stations do (DICOM PS3.3, C.7.6.11).
    """
    height, width = image.shape[-2:]
    drawn = 0.5 + draws.uniform(4)
    down = (torch.arange(height, device=image.device) + 0.5) / height
    across = (torch.arange(width, device=image.device) + 0.5) / width
    top, bottom, left, right = (share * drawn[:, k, None] for k in range(4))
    seen = ((down >= top) & (down < 1 - bottom))[:, :, None] & ((across >= left) & (across < 1 - right))[:, None, :]
    shown = image * seen[:, None]
    if masks is None:
        return shown, None
    wide = seen.reshape(len(seen), *(1,) * (masks.ndim - 3), height, width)
    return shown, torch.where(wide, masks, torch.full_like(masks, IGNORE))
