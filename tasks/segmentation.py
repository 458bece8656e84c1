"""Segmentation: a class, or a set of classes, for every pixel. 255 in a mask means "not annotated: ignore"."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from umsrep.errors import InputError
from umsrep.tasks.task import Task, check_choice, check_classes, check_decoupling, check_weights, finite_mean

LOSSES: tuple[str, ...] = ("dice+ce", "dice+focal", "ce", "dice")
FOCAL_GAMMA = 2.0
DICE_SMOOTH = 1.0  # pixels


@dataclass(frozen=True, init=False)
class Segmentation(Task):
    """Segmentation of one class (sigmoid), of exclusive classes (softmax), or of overlapping classes (sigmoids).

    One class name makes a *binary* task: logits ``[n, 1, H, W]``, mask value 1 is the class and 0 the background.
    ``multi_label`` makes K independent sigmoids. Otherwise class 0 is the background of a softmax over K classes; it counts
    in the cross-entropy, but not in the Dice loss nor in any metric.

    Attributes:
        classes: class names; K of them.
        multi_label: whether classes may overlap.
        loss_name: set by the argument ``loss``; ``"dice+ce"``, ``"dice+focal"``, ``"ce"`` or ``"dice"``.
        class_weights: softmax: weight of the pixels of each class (background included); sigmoids: weight of the positive
            pixels of each class (negatives weigh 1). They act in the cross-entropy or focal term.
        ignore_index: mask value of pixels left out of loss and metrics.
        spectral_decoupling: lambda >= 0 of a penalty on the logits (Pezeshki et al., NeurIPS 2021), see `loss`; 0 is off.
    """

    classes: tuple[str, ...]
    multi_label: bool
    loss_name: str
    class_weights: tuple[float, ...] | None
    ignore_index: int
    spectral_decoupling: float

    kind: ClassVar[str] = "segmentation"
    input: ClassVar[Literal["clean", "noisy"]] = "clean"
    metric: ClassVar[str] = "dice"

    def __init__(
        self,
        classes: Sequence[str],
        multi_label: bool = False,
        loss: str = "dice+ce",
        class_weights: Sequence[float] | None = None,
        ignore_index: int = 255,
        spectral_decoupling: float = 0.0,
    ) -> None:
        """Check and keep the configuration.

        Raises:
            InputError: repeated or missing class names, an unknown loss (names the nearest), class weights of another
                length or without effect, an ``ignore_index`` that is also a class, or a negative spectral decoupling.
        """
        names = check_classes(classes)
        check_choice(loss, LOSSES, "segmentation loss")
        if loss == "dice" and class_weights is not None:
            raise InputError("class_weights act in the cross-entropy term, which loss 'dice' has not: use 'dice+ce' or leave them out")
        values = len(names) if len(names) > 1 and not multi_label else 2
        if 0 <= ignore_index < values:
            raise InputError(f"ignore_index {ignore_index} is also a mask value of {_legend(names, multi_label)}: use 255")
        object.__setattr__(self, "classes", names)
        object.__setattr__(self, "multi_label", bool(multi_label))
        object.__setattr__(self, "loss_name", loss)
        object.__setattr__(self, "class_weights", check_weights(class_weights, names))
        object.__setattr__(self, "ignore_index", int(ignore_index))
        object.__setattr__(self, "spectral_decoupling", check_decoupling(spectral_decoupling))

    @property
    def softmax(self) -> bool:
        """Whether the classes exclude each other (softmax, class 0 = background)."""
        return len(self.classes) > 1 and not self.multi_label

    @property
    def foreground(self) -> tuple[str, ...]:
        """The K' classes that Dice, IoU and HD95 are computed for."""
        return self.classes[1:] if self.softmax else self.classes

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Loss of each row, ``[n]`` float32.

        Cross-entropy and focal loss (Lin et al., ICCV 2017, gamma 2, no alpha) are means over the row's annotated pixels,
        each pixel times its class weight. Soft Dice (Milletari et al., 3DV 2016, without squares, smoothed by 1 pixel) is
        averaged over *all* foreground classes that have an annotated pixel in the row, absent ones included, so that false
        positives on images without the class are punished. A row without any annotated pixel has loss 0. Spectral decoupling
        adds lambda / 2 times the sum over classes of the squared logits, mean over the row's annotated pixels.

        Args:
            output: logits ``[n, K, H, W]``.
            target: integer ``[n, H, W]``, or ``[n, K, H, W]`` of 0 / 1 / ignore for multi-label.
        """
        logits_nKHW, target = self._check(output, target)
        valid = target != self.ignore_index
        loss = logits_nKHW.new_zeros(len(logits_nKHW))
        if self.loss_name != "dice":
            loss = loss + self._pixel_loss(logits_nKHW, target, valid)
        if self.loss_name.startswith("dice"):
            loss = loss + self._dice_loss(logits_nKHW, target, valid)
        if self.spectral_decoupling:
            loss = loss + self.spectral_decoupling / 2 * self._squared(logits_nKHW, valid)
        return loss

    @torch.no_grad()
    def rows(self, output: Tensor, target: Tensor, **extra: Tensor) -> dict[str, np.ndarray]:
        """Statistics of each row and foreground class, each ``[n, K']`` float32.

        ``dice`` and ``iou`` in [0, 1]; ``hd95`` in pixels. A class in neither truth nor prediction is nan everywhere; in only one
        of them it has Dice and IoU 0, ``hd95`` nan and ``hd95_undefined`` 1. Ignored pixels belong to neither. With the optional
        extra ``spacing`` ``[n, 2]`` (mm of a pixel, row and column; nan where unknown) also ``hd95_mm``, nan where the spacing is,
        and ``spaced`` ``[n]``, 1 where it is known.
        """
        logits_nKHW, target = self._check(output, target)
        valid = target != self.ignore_index
        if self.softmax:
            indices = torch.arange(1, len(self.classes), device=target.device)[:, None, None]
            truth = target[:, None] == indices
            predicted = (logits_nKHW.argmax(1)[:, None] == indices) & valid[:, None]
        else:
            truth, predicted = target == 1, (logits_nKHW > 0) & valid
        both = (truth & predicted).sum((2, 3)).double()
        total = truth.sum((2, 3)).double() + predicted.sum((2, 3))
        dice = (2 * both / total).float().cpu().numpy()  # 0 / 0 is nan: the class is in neither
        iou = (both / (total - both)).float().cpu().numpy()
        hd95, undefined = np.full_like(dice, np.nan), np.zeros_like(dice)
        truth_np, predicted_np = truth.cpu().numpy(), predicted.cpu().numpy()
        in_truth, in_predicted = truth_np.any((2, 3)), predicted_np.any((2, 3))
        undefined[in_truth != in_predicted] = 1
        spacing = extra["spacing"].double().cpu().numpy() if "spacing" in extra else np.full((len(dice), 2), np.nan)
        hd95_mm = np.full_like(dice, np.nan)
        for row, k in zip(*np.nonzero(in_truth & in_predicted), strict=True):
            hd95[row, k] = hausdorff95(truth_np[row, k], predicted_np[row, k])
            height, width = spacing[row]
            if height == width:
                hd95_mm[row, k] = hd95[row, k] * height
            elif not math.isnan(height):
                hd95_mm[row, k] = hausdorff95(truth_np[row, k], predicted_np[row, k], spacing=(height, width))
        statistics = {"dice": dice, "iou": iou, "hd95": hd95, "hd95_undefined": undefined}
        if "spacing" in extra:
            statistics |= {"hd95_mm": hd95_mm, "spaced": np.isfinite(spacing).all(1).astype(np.float32)}
        return statistics

    def summarise(self, rows: Mapping[str, np.ndarray]) -> dict[str, float]:
        """``dice``, ``iou``, ``hd95`` (means over images, then over classes), per class ``dice/<class>`` and so on.

        ``hd95_undefined`` counts the (image, class) pairs that ``hd95`` leaves out because only truth or only prediction
        has the class: a mean HD95 without it would flatter a model that misses whole structures. ``hd95_mm`` is there only
        where the spacing of every row is known: a mean over some of the rows would be no companion of ``hd95``.
        """
        summary: dict[str, float] = {}
        spaced = "spaced" in rows and bool(rows["spaced"].all())
        for name in ("dice", "iou", "hd95", *(("hd95_mm",) if spaced else ())):
            per_class = {label: finite_mean(rows[name][:, k]) for k, label in enumerate(self.foreground)}
            summary[name] = finite_mean(np.array(list(per_class.values())))
            summary.update({f"{name}/{label}": value for label, value in per_class.items()})
        summary["hd95_undefined"] = float(rows["hd95_undefined"].sum())
        return summary

    def _check(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Logits as float32 ``[n, K, H, W]``; target as int64, ``[n, H, W]`` for softmax and ``[n, K, H, W]`` for sigmoids."""
        if target.is_floating_point():
            raise ValueError(f"segmentation target must be integer class indices, got {target.dtype}")
        if not self.softmax and target.ndim == 3 and len(self.classes) == 1:
            target = target[:, None]
        n, k, *size = output.shape
        wanted = (n, *size) if self.softmax else (n, k, *size)
        if output.ndim != 4 or k != len(self.classes) or tuple(target.shape) != wanted:
            raise ValueError(
                f"segmentation of {len(self.classes)} class(es) got logits {tuple(output.shape)} and target {tuple(target.shape)}: "
                f"needs [n, {len(self.classes)}, H, W] and {'[n, K, H, W]' if self.multi_label else '[n, H, W]'}"
            )
        return output.float(), target.long()

    def _squared(self, logits_nKHW: Tensor, valid: Tensor) -> Tensor:
        valid_nKHW = valid if valid.ndim == 4 else valid[:, None]
        squared = torch.where(valid_nKHW, logits_nKHW.square(), 0.0).flatten(1).sum(1)
        pixels = valid_nKHW.expand_as(logits_nKHW).flatten(1).sum(1) / len(self.classes)
        return squared / pixels.clamp(min=1)

    def _pixel_loss(self, logits_nKHW: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        if self.softmax:
            loss = F.cross_entropy(logits_nKHW, target, ignore_index=self.ignore_index, reduction="none")
        else:
            loss = F.binary_cross_entropy_with_logits(logits_nKHW, (target == 1).float(), reduction="none")
        if self.loss_name == "dice+focal":
            loss = (1 - torch.exp(-loss)) ** FOCAL_GAMMA * loss  # exp(-CE) is the probability of the true class
        if self.class_weights is not None:
            weights = loss.new_tensor(self.class_weights)
            if self.softmax:
                loss = loss * weights[target.masked_fill(~valid, 0)]
            else:
                loss = torch.where(target == 1, loss * weights[:, None, None], loss)
        loss = torch.where(valid, loss, 0.0)
        return loss.flatten(1).sum(1) / valid.flatten(1).sum(1).clamp(min=1)

    def _dice_loss(self, logits_nKHW: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        if self.softmax:
            indices = torch.arange(1, len(self.classes), device=target.device)[:, None, None]
            truth, probability, valid = target[:, None] == indices, logits_nKHW.softmax(1)[:, 1:], valid[:, None]
        else:
            truth, probability = target == 1, logits_nKHW.sigmoid()
        probability = torch.where(valid, probability, 0.0)
        both = torch.where(truth, probability, 0.0).sum((2, 3))
        total = probability.sum((2, 3)) + truth.sum((2, 3))
        loss = 1 - (2 * both + DICE_SMOOTH) / (total + DICE_SMOOTH)
        annotated = valid.any(3).any(2).expand_as(loss)
        return torch.where(annotated, loss, 0.0).sum(1) / annotated.sum(1).clamp(min=1)


def hausdorff95(truth: np.ndarray, predicted: np.ndarray, spacing: tuple[float, float] = (1.0, 1.0)) -> float:
    """95th percentile of the symmetric surface distances between two masks.

    Distances from either surface to the other are pooled before the percentile is taken (as in MedPy; MONAI takes the larger
    of two percentiles). The surface is the mask pixels with a 4-neighbour outside the mask; the image border is outside.

    Args:
        truth: bool ``[H, W]``.
        predicted: bool ``[H, W]``.
        spacing: pixel height and width; the default gives pixels.

    Returns:
        The distance in the unit of ``spacing``; nan where a mask is empty.
    """
    if not truth.any() or not predicted.any():
        return math.nan
    return float(np.percentile(np.concatenate(surface_distances(truth, predicted, spacing)), 95))


def surface_distances(truth: np.ndarray, predicted: np.ndarray, spacing: tuple[float, float] = (1.0, 1.0)) -> tuple[np.ndarray, np.ndarray]:
    """Distances of the truth's surface pixels to the nearest of the prediction's, and the other way; surfaces as in `hausdorff95`.

    Args:
        truth: bool ``[H, W]``, not empty.
        predicted: bool ``[H, W]``, not empty.
        spacing: pixel height and width.
    """
    from scipy.ndimage import distance_transform_edt  # slow to import: not at import of the package

    # Nothing outside the joint bounding box matters, and distance transforms cost what their box costs.
    union = truth | predicted
    height, width = np.flatnonzero(union.any(1)), np.flatnonzero(union.any(0))
    box = (slice(height[0], height[-1] + 1), slice(width[0], width[-1] + 1))
    surfaces = [_surface(truth[box]), _surface(predicted[box])]
    to_predicted, to_truth = (distance_transform_edt(~other, sampling=spacing)[one] for one, other in (surfaces, surfaces[::-1]))
    return to_predicted, to_truth


def _surface(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    surface: np.ndarray = mask & ~inside
    return surface


def check_mask(mask: np.ndarray, classes: Sequence[str], multi_label: bool = False, ignore_index: int = 255) -> None:
    """Raise an ``InputError`` that names the values of a mask which are no class.

    Args:
        mask: index image ``[H, W]`` (``[K, H, W]`` of 0 / 1 for multi-label), values 0 to K-1, or 0 and 1 where there is one
            class; ``ignore_index`` is always legal.
        classes: class names as in :class:`Segmentation`.
        multi_label: as in :class:`Segmentation`.
        ignore_index: as in :class:`Segmentation`.
    """
    count = len(classes) if len(classes) > 1 and not multi_label else 2
    if mask.dtype.kind not in "biuf":
        raise InputError(f"mask of type {mask.dtype} holds no class indices: {_legend(classes, multi_label)}")
    if mask.size == 0 or (mask.dtype.kind in "bu" and int(mask.max()) < count):
        return  # the usual case, without the sort in np.unique
    values = np.unique(mask)
    wrong = values[~(np.isin(values, np.arange(count)) | (values == ignore_index))]
    if wrong.size:
        shown = ", ".join(f"{value:g}" if math.isfinite(value) else "nan" for value in wrong[:8].tolist())
        shown += f" and {wrong.size - 8} more" if wrong.size > 8 else ""
        plural = "s" if wrong.size > 1 else ""
        raise InputError(f"mask value{plural} {shown}, but classes are {_legend(classes, multi_label)} ({ignore_index} = ignore)")


def _legend(classes: Sequence[str], multi_label: bool) -> str:
    if multi_label and len(classes) > 1:
        return f"0=absent, 1=present (one mask each for {', '.join(classes)})"
    names = classes if len(classes) > 1 else ("background", classes[0])
    return ", ".join(f"{index}={name}" for index, name in enumerate(names))
