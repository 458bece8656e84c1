"""Augmentation and noise on the device, a batch at a time; what is random was drawn for each item as it is without (`JointDataset`)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from umsrep.tasks.data.augment import IGNORE, Augment
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.noise import GREY_LEVELS, NORMAL_NOISES, add_noise
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.task import Task
from umsrep.zoo import InputContract


@dataclasses.dataclass(frozen=True)
class OnDevice:
    """Turns a batch of raw items into the batch that items augmented one by one would make.

    Attributes:
        augment: What `JointDataset` was told to leave to the device; its policy is ``default``.
        contract: Of the encoder.
        tasks: Name to task.
    """

    augment: Augment
    contract: InputContract
    tasks: Mapping[str, Task]

    @torch.no_grad()
    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the batch with ``image``, ``noisy.*`` and ``target.*`` as `collate` gives them without, on the batch's own device.

        Args:
            batch: With ``image`` in 0-1, ``draws`` [B, 8] (`Augment.draw`) on the CPU, masks as ``target.*``, and for each denoising task
                ``level.<name>`` [n] (CPU) and ``normal.<name>`` [n, C, H, W] or ``seed.<name>`` [n] (CPU).
        """
        assert self.augment.policy == "default", "FineTuneConfig refuses it"
        done, settings = dict(batch), self.augment
        unit, draws = batch["image"], done.pop("draws").double()
        grid = sampling_grids(settings, draws, unit) if settings.rotate or settings.shift or settings.scale else None
        flips = ((draws[:, 7] + 1) / 2 < settings.flip).to(unit.device, non_blocking=True) if settings.flip else None
        for name, task in self.tasks.items():
            if isinstance(task, Segmentation) and f"target.{name}" in batch:
                rows = batch[f"rows.{name}"]
                mask = batch[f"target.{name}"]
                mask = mask if flips is None else _flipped(mask, flips[rows])
                mask = mask if grid is None else _sample_masks(mask, grid[rows])
                done[f"target.{name}"] = mask if task.ignore_index == IGNORE else mask.masked_fill(mask == IGNORE, task.ignore_index)
        unit = unit if flips is None else _flipped(unit, flips)
        unit = unit if grid is None else F.grid_sample(unit, grid, mode="bilinear", align_corners=False)
        unit = self._intensity(unit, draws)
        done["image"] = self.contract.normalise(unit)
        for name, task in self.tasks.items():
            if isinstance(task, Denoising) and f"level.{name}" in batch:
                done[f"target.{name}"] = clean = unit[batch[f"rows.{name}"]]
                done[f"noisy.{name}"] = self.contract.normalise(_noisy(done, name, task, clean))
        return done

    def _intensity(self, unit: Tensor, draws: Tensor) -> Tensor:
        def column(values: Tensor) -> Tensor:
            return values.to(unit.device, unit.dtype, non_blocking=True)[:, None, None, None]

        settings = self.augment
        if settings.brightness or settings.contrast:
            contrast = 1 + settings.contrast * draws[:, 4]
            offset = 1 + settings.brightness * draws[:, 5] - contrast
            unit = unit * column(contrast) + unit.mean((1, 2, 3), keepdim=True) * column(offset)
        unit = unit.clamp(0, 1)
        if settings.gamma:
            unit = unit.log().mul_(column(torch.exp(math.log1p(settings.gamma) * draws[:, 6]))).exp_()
        return unit


def _noisy(done: dict[str, Any], name: str, task: Denoising, clean: Tensor) -> Tensor:
    """Add each row's noise: its own normal numbers, or counts of photons from a generator of its own."""
    levels = done.pop(f"level.{name}")
    if task.noise in NORMAL_NOISES:
        normal: Tensor = done.pop(f"normal.{name}")
        noise = (levels / GREY_LEVELS).to(clean, non_blocking=True)[:, None, None, None] * normal
        noisy: Tensor = clean + (clean * noise if task.noise == "speckle" else noise)
        return noisy
    seeds = done.pop(f"seed.{name}").tolist()
    rows = zip(clean, levels.tolist(), seeds, strict=True)
    return torch.stack([add_noise(row, task.noise, level, torch.Generator(row.device).manual_seed(seed)) for row, level, seed in rows])


def sampling_grids(augment: Augment, draws: Tensor, like: Tensor) -> Tensor:
    """Return `umsrep.tasks.data.augment._sampling_grid` of every row of draws [B, 8] at once, [B, H, W, 2] on the device of ``like``."""
    height, width = like.shape[-2:]
    angle, scale = torch.deg2rad(augment.rotate * draws[:, 0]), 1 + augment.scale * draws[:, 3]
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    right, down = (width - 1) / 2 + augment.shift * draws[:, 1] * width, (height - 1) / 2 + augment.shift * draws[:, 2] * height
    parts = [2 * cos / width, 2 * sin / width, -2 * sin / height, 2 * cos / height, right, down]
    # one small copy; the products and sums below are those of one image, number for number
    x_cos, y_sin, x_sin, y_cos, x_0, y_0 = torch.stack(parts).to(like.device, torch.float32, non_blocking=True)[:, :, None, None]
    x = torch.arange(width, dtype=torch.float32, device=like.device) - x_0
    y = torch.arange(height, dtype=torch.float32, device=like.device)[:, None] - y_0
    return torch.stack((x * x_cos + y * y_sin, x * x_sin + y * y_cos), dim=-1)


def _flipped(values: Tensor, flips: Tensor) -> Tensor:
    chosen = flips.reshape(-1, *[1] * (values.ndim - 1))
    return torch.where(chosen, values.flip(-1), values)


def _sample_masks(masks: Tensor, grid: Tensor) -> Tensor:
    """Move index masks [n, H, W] or [n, K, H, W] by nearest neighbour; what comes from outside is ignored."""
    planes = (masks if masks.ndim == 4 else masks[:, None]).to(torch.float32) - IGNORE
    moved = F.grid_sample(planes, grid, mode="nearest", align_corners=False) + IGNORE
    return moved.to(masks.dtype).reshape(masks.shape)
