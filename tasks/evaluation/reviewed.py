"""Tasks that keep more of every row than training needs: logits, losses, surface Dice, and the calibration of pixels, memory bounded."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from umsrep.tasks.classification import Classification
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.evaluation.calibration import BINS, SMALLEST
from umsrep.tasks.segmentation import Segmentation, surface_distances
from umsrep.tasks.task import Task

SAMPLED_PIXELS = 256
"""Annotated pixels of each image whose logits are kept to fit a temperature on."""


class ReviewedClassification(Classification):
    """A classification whose rows also hold ``logits`` [n, K] float64 and ``loss`` [n]."""

    @torch.no_grad()
    def rows(self, output: Tensor, target: Tensor, **extra: Tensor) -> dict[str, np.ndarray]:
        """See the class."""
        more = {"logits": output.detach().cpu().double().numpy(), "loss": self.loss(output, target).cpu().numpy()}
        return super().rows(output, target, **extra) | more


class ReviewedDenoising(Denoising):
    """A denoising task whose rows also hold ``loss`` [n]."""

    @torch.no_grad()
    def rows(self, output: Tensor, target: Tensor, **extra: Tensor) -> dict[str, np.ndarray]:
        """See the class."""
        return super().rows(output, target, **extra) | {"loss": self.loss(output, target).cpu().numpy()}


class ReviewedSegmentation(Segmentation):
    """A segmentation whose rows also hold what calibration of pixels and surface Dice need.

    ``surface_dice`` [n, K'] at a tolerance in pixels and ``surface_dice_mm`` at one in mm; ``pixels`` [n, bins + 1, 3], for each bin of the
    confidence in the predicted class the number of pixels, their summed confidence and how many are right, and in the last row the number
    of pixels, their summed Brier score and NLL; ``pixels_scaled``, the same at a temperature; ``sample`` [n, 256, K] logits and
    ``sample_target`` of pixels drawn at random, NaN and -1 where an image has fewer annotated ones; ``loss`` and ``empty`` [n, K', 3]
    (class in neither, in the truth alone, in the prediction alone). Overlapping classes count as one yes-no question a class and pixel.
    """

    tolerance: float
    tolerance_mm: float | None
    temperature: float | None
    sampled: bool

    @classmethod
    def of(
        cls,
        task: Segmentation,
        *,
        tolerance: float = 2.0,
        tolerance_mm: float | None = None,
        temperature: float | None = None,
        sampled: bool = False,
    ) -> ReviewedSegmentation:
        """Return a task's twin.

        Args:
            task: Whose classes and masks.
            tolerance: Of the surface Dice, in pixels of the model's input.
            tolerance_mm: The same in mm, for images whose spacing is known; None for none.
            temperature: At which to also measure calibration, or None.
            sampled: Keep logits of some pixels (only fitting a temperature needs them).
        """
        own = cls(task.classes, task.multi_label, ignore_index=task.ignore_index)
        for key, value in (("tolerance", tolerance), ("tolerance_mm", tolerance_mm), ("temperature", temperature), ("sampled", sampled)):
            object.__setattr__(own, key, value)
        return own

    @torch.no_grad()
    def rows(self, output: Tensor, target: Tensor, **extra: Tensor) -> dict[str, np.ndarray]:
        """See the class."""
        statistics = super().rows(output, target, **extra)
        logits, target = self._check(output, target)
        statistics["loss"] = self.loss(output, target).cpu().numpy()
        truth, predicted = (a.cpu().numpy() for a in self._masks(logits, target))
        in_truth, in_predicted = truth.any((2, 3)), predicted.any((2, 3))
        statistics["empty"] = np.stack([~in_truth & ~in_predicted, in_truth & ~in_predicted, ~in_truth & in_predicted], axis=2)
        spacing = extra["spacing"].double().cpu().numpy() if "spacing" in extra else np.full((len(truth), 2), np.nan)
        statistics["surface_dice"] = self._surfaces(truth, predicted, np.ones_like(spacing), self.tolerance)
        if self.tolerance_mm is not None:
            statistics["surface_dice_mm"] = self._surfaces(truth, predicted, spacing, self.tolerance_mm)
        statistics["pixels"] = self._pixels(logits, target, 1.0)
        if self.temperature is not None:
            statistics["pixels_scaled"] = self._pixels(logits, target, self.temperature)
        return statistics | (self._sample(logits, target) if self.sampled else {})

    def _masks(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        valid = target != self.ignore_index
        if not self.softmax:
            return target == 1, (logits > 0) & valid
        indices = torch.arange(1, len(self.classes), device=target.device)[:, None, None]
        return target[:, None] == indices, (logits.argmax(1)[:, None] == indices) & valid[:, None]

    @staticmethod
    def _surfaces(truth: np.ndarray, predicted: np.ndarray, spacing: np.ndarray, tolerance: float) -> np.ndarray:
        found = np.full(truth.shape[:2], np.nan, dtype=np.float32)
        for n, k in zip(*np.nonzero(truth.any((2, 3)) | predicted.any((2, 3))), strict=True):
            if not np.isnan(spacing[n]).any():
                found[n, k] = surface_dice(truth[n, k], predicted[n, k], tolerance, (spacing[n, 0], spacing[n, 1]))
        return found

    def _pixels(self, logits: Tensor, target: Tensor, temperature: float) -> np.ndarray:
        """Sum up each image's pixels; see the class."""
        z = logits.detach().float() / temperature
        valid = target != self.ignore_index
        if self.softmax:
            log_p = z.log_softmax(1)
            p = log_p.exp()
            confidence, best = p.max(1)
            label = target.masked_fill(~valid, 0)
            right = best == label
            own = torch.gather(log_p, 1, label[:, None])[:, 0]
            square = p.square().sum(1) - 2 * own.exp() + 1
            if len(self.classes) == 2:
                square = square / 2  # as for binary classification: (p - y)^2 of class 1
        else:
            p1 = z.sigmoid()
            confidence, right = torch.maximum(p1, 1 - p1), (p1 > 0.5) == (target == 1)
            own = torch.nn.functional.logsigmoid(torch.where(target == 1, z, -z))
            square = (p1 - (target == 1).float()).square()
        nll = -own.clamp(min=math.log(SMALLEST))
        bins = (confidence * BINS).long().clamp(max=BINS - 1)
        values = [torch.ones_like(confidence), confidence, right.float()]
        n = len(logits)
        slot = (torch.arange(n, device=z.device).reshape(n, *[1] * (bins.ndim - 1)) * BINS + bins)[valid]
        sums = torch.zeros(n * BINS, 3, dtype=torch.float64, device=z.device)
        for j, value in enumerate(values):
            sums[:, j].index_add_(0, slot, value[valid].double())
        last = [torch.where(valid, v, 0.0).double().flatten(1).sum(1) for v in (torch.ones_like(nll), square, nll)]
        return torch.cat([sums.reshape(n, BINS, 3), torch.stack(last, 1)[:, None]], 1).cpu().numpy()

    def _sample(self, logits: Tensor, target: Tensor) -> dict[str, np.ndarray]:
        """Draw annotated pixels, the same ones for the same image."""
        z, y = logits.detach().float().cpu(), target.cpu()
        z = z.permute(0, 2, 3, 1).flatten(1, 2) if self.softmax else z.flatten(1)[..., None]
        y = y.flatten(1)
        n, width = len(z), z.shape[2]
        kept = np.full((n, SAMPLED_PIXELS, width), np.nan, dtype=np.float32)
        label = np.full((n, SAMPLED_PIXELS), -1, dtype=np.int64)
        for row in range(n):
            known = np.flatnonzero(y[row].numpy() != self.ignore_index)
            generator = np.random.default_rng(zlib.crc32(y[row].numpy().tobytes()))
            some = generator.choice(known, min(len(known), SAMPLED_PIXELS), replace=False) if len(known) else known
            kept[row, : len(some)] = z[row].numpy()[some]
            label[row, : len(some)] = y[row].numpy()[some]
        return {"sample": kept, "sample_target": label}


def surface_dice(truth: np.ndarray, predicted: np.ndarray, tolerance: float, spacing: tuple[float, float] = (1.0, 1.0)) -> float:
    """Return the share of both surfaces that lies within a tolerance of the other: normalised surface Dice.

    Nikolov et al., JMIR 23, 2021 (arXiv 1809.04430), eq. 2, with the surfaces of `umsrep.tasks.segmentation.surface_distances`: their
    pixels are counted (as MONAI does by default), not weighted by the length of the contour through them.

    Args:
        truth: bool [H, W].
        predicted: bool [H, W].
        tolerance: In the unit of ``spacing``, 0 or more.
        spacing: Pixel height and width; the default gives pixels.

    Returns:
        0-1; 0 where only one mask is empty, NaN where both are.
    """
    if not truth.any() and not predicted.any():
        return math.nan
    if not truth.any() or not predicted.any():
        return 0.0
    one, other = surface_distances(truth, predicted, spacing)
    return float(((one <= tolerance).sum() + (other <= tolerance).sum()) / (len(one) + len(other)))


def reviewed(task: Task, **segmentation: Any) -> Task:
    """Return the twin of a task that keeps what a review needs; further arguments as in `ReviewedSegmentation.of`."""
    if isinstance(task, Classification):
        return ReviewedClassification(task.classes, task.multi_label, specificity=task.specificity)
    if isinstance(task, Segmentation):
        return ReviewedSegmentation.of(task, **segmentation)
    assert isinstance(task, Denoising)
    return ReviewedDenoising(task.noise, task.level)
