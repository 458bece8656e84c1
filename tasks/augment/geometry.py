"""Where pixels go: sampling grids of affine maps, and masks that move with the image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORE = 255
Matrix = tuple[tuple[float, float], tuple[float, float]]


def affine_grid(size: tuple[int, int], matrix: Matrix, right: float = 0.0, down: float = 0.0) -> Tensor:
    """Return where each pixel of the new image lies in the old one, [1, H, W, 2] as `torch.nn.functional.grid_sample` takes it.

    Args:
        size: (height, width).
        matrix: From (x, y) of the new image, in pixels from the middle, to that of the old one. Pixels are square, so circles that
            are turned stay circles in an image that is not square.
        right: Shift of the content to the right, as a fraction of the width.
        down: Shift downwards, as a fraction of the height.
    """
    height, width = size
    (xx, xy), (yx, yy) = matrix
    x = torch.arange(width, dtype=torch.float32) - ((width - 1) / 2 + right * width)
    y = (torch.arange(height, dtype=torch.float32) - ((height - 1) / 2 + down * height))[:, None]
    # one plane a coordinate: adding to every second number of [H, W, 2] takes twice as long
    planes = torch.empty(2, height, width)
    torch.add(x * (2 * xx / width), y * (2 * xy / width), out=planes[0])
    torch.add(x * (2 * yx / height), y * (2 * yy / height), out=planes[1])
    return planes.permute(1, 2, 0)[None]


def sample(image: Tensor, masks: dict[str, Tensor], grid: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Move an image [C, H, W] (bilinear, 0 outside) and its index masks by one grid [1, H, W, 2]."""
    moved = F.grid_sample(image[None], grid.to(image), mode="bilinear", align_corners=False)[0]
    return moved, {name: sample_mask(mask, grid) for name, mask in masks.items()}


def sample_mask(mask: Tensor, grid: Tensor) -> Tensor:
    """Move an index mask [..., H, W] by nearest neighbour; what comes from outside is ignored."""
    planes = mask.reshape(1, -1, *mask.shape[-2:]).to(torch.float32) - IGNORE  # grid_sample fills with 0
    moved = F.grid_sample(planes, grid.to(planes), mode="nearest", align_corners=False) + IGNORE
    return moved.to(mask.dtype).reshape(mask.shape)
