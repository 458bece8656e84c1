"""Classification: one label for an image, or several (multi-label, where NaN means "not annotated")."""

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
from umsrep.tasks.task import Task, check_classes, check_decoupling, check_weights, finite_mean

RANKED: tuple[str, ...] = ("auroc", "average_precision", "sensitivity_at_specificity")
THRESHOLDED: tuple[str, ...] = ("balanced_accuracy", "f1")


@dataclass(frozen=True, init=False)
class Classification(Task):
    """Single-label (softmax) or multi-label (sigmoids) classification.

    Two exclusive classes make a *binary* task: AUROC, average precision, F1 and sensitivity are those of class 1.

    Attributes:
        classes: class names; K of them.
        multi_label: whether an image may have several labels, or none.
        class_weights: single-label: factor of the loss of a row of each class; multi-label: factor of the positive term of
            each label (negatives weigh 1).
        label_smoothing: in [0, 1): mixes the target with the uniform one (Szegedy et al., CVPR 2016).
        specificity: in (0, 1]: where ``sensitivity_at_specificity`` is read off the ROC curve.
        spectral_decoupling: lambda >= 0 of a penalty on the logits (Pezeshki et al., NeurIPS 2021), see `loss`; 0 is off.
    """

    classes: tuple[str, ...]
    multi_label: bool
    class_weights: tuple[float, ...] | None
    label_smoothing: float
    specificity: float
    spectral_decoupling: float

    kind: ClassVar[str] = "classification"
    input: ClassVar[Literal["clean", "noisy"]] = "clean"
    metric: ClassVar[str] = "auroc"
    fallbacks: ClassVar[tuple[str, ...]] = ("accuracy",)

    def __init__(
        self,
        classes: Sequence[str],
        multi_label: bool = False,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        specificity: float = 0.95,
        spectral_decoupling: float = 0.0,
    ) -> None:
        """Check and keep the configuration.

        Raises:
            InputError: repeated or too few class names, class weights of another length, label smoothing outside [0, 1),
                specificity outside (0, 1], or a negative spectral decoupling.
        """
        names = check_classes(classes, minimum=1 if multi_label else 2)
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing {label_smoothing} must be in [0, 1); 0.1 is usual")
        if not 0 < specificity <= 1:
            raise InputError(f"specificity {specificity} must be in (0, 1]; write 95 % as 0.95")
        object.__setattr__(self, "classes", names)
        object.__setattr__(self, "multi_label", bool(multi_label))
        object.__setattr__(self, "class_weights", check_weights(class_weights, names))
        object.__setattr__(self, "label_smoothing", float(label_smoothing))
        object.__setattr__(self, "specificity", float(specificity))
        object.__setattr__(self, "spectral_decoupling", check_decoupling(spectral_decoupling))

    @property
    def binary(self) -> bool:
        """Whether this is two exclusive classes, with class 1 as the positive one."""
        return len(self.classes) == 2 and not self.multi_label

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of each row (multi-label: binary cross-entropy, mean over annotated labels), ``[n]`` float32.

        With spectral decoupling plus lambda / 2 times the sum of the row's squared logits (multi-label: their mean over annotated
        labels, each being a problem of its own), which class weights leave alone; its gradient is lambda times the logits.

        Args:
            output: logits ``[n, K]``.
            target: int64 ``[n]`` class indices; multi-label: ``[n, K]`` of 0 / 1, NaN where not annotated. A row without any
                annotated label has loss 0.
        """
        logits_nK = self._check(output, target)
        weights = None if self.class_weights is None else logits_nK.new_tensor(self.class_weights)
        if not self.multi_label:
            loss = F.cross_entropy(logits_nK, target.long(), reduction="none", label_smoothing=self.label_smoothing)
            # Times the weight of the true class, smoothed or not: torch's own ``weight`` would reweigh the smoothing too.
            loss = loss if weights is None else loss * weights[target.long()]
            return loss + self.spectral_decoupling / 2 * logits_nK.square().sum(1) if self.spectral_decoupling else loss
        target = target.float()
        annotated = ~target.isnan()
        truth = target.nan_to_num(0.0)
        soft = truth * (1 - self.label_smoothing) + self.label_smoothing / 2
        loss = F.binary_cross_entropy_with_logits(logits_nK, soft, reduction="none")
        if weights is not None:
            loss = torch.where(truth == 1, loss * weights, loss)
        if self.spectral_decoupling:
            loss = loss + self.spectral_decoupling / 2 * logits_nK.square()
        return torch.where(annotated, loss, 0.0).sum(1) / annotated.sum(1).clamp(min=1)

    @torch.no_grad()
    def rows(self, output: Tensor, target: Tensor, **extra: Tensor) -> dict[str, np.ndarray]:
        """``probabilities`` ``[n, K]`` float64 and ``target`` (int64 ``[n]``, or float64 ``[n, K]`` with NaN) of each row."""
        self._check(output, target)
        # float64, because float32 probabilities saturate at logits of 17 and tied scores lower the AUROC.
        logits = output.detach().cpu().double()
        probabilities = logits.sigmoid() if self.multi_label else logits.softmax(1)
        kept = target.cpu().double() if self.multi_label else target.cpu().long()
        return {"probabilities": probabilities.numpy(), "target": kept.numpy()}

    def summarise(self, rows: Mapping[str, np.ndarray], thresholds: Sequence[float] | None = None) -> dict[str, float]:
        """Scalar metrics of concatenated rows, in [0, 1].

        ``auroc``, ``average_precision``, ``sensitivity_at_specificity``, ``balanced_accuracy``, ``f1`` and ``accuracy``. Binary:
        those of class 1, balanced accuracy being the mean of sensitivity and specificity. Multi-class: means of one class
        against the rest, balanced accuracy being the mean recall. Multi-label: means over labels, and ``auroc/<label>``;
        accuracy counts all annotated labels alike. A mean covers the classes with both outcomes in the rows; it is nan if
        there is none, and everything is nan if a probability is not finite.

        Args:
            rows: concatenated :meth:`rows`.
            thresholds: positive at ``probability >= threshold``: one for binary, K for multi-label, none for multi-class
                (the most probable class). None means 0.5.
        """
        probabilities, target = rows["probabilities"], rows["target"]
        limits = self._thresholds(thresholds)
        columns = [1] if self.binary else list(range(len(self.classes)))
        chosen = probabilities[:, columns] >= np.array(limits) if limits else probabilities.argmax(1)[:, None] == columns
        truth = target[:, columns] if self.multi_label else (target[:, None] == columns).astype(np.float64)
        per_class: dict[str, list[float]] = {name: [] for name in (*RANKED, *THRESHOLDED)}
        for j, column in enumerate(columns):
            known = ~np.isnan(truth[:, j])
            values = self._one(probabilities[known, column], chosen[known, j], truth[known, j] == 1)
            for name in per_class:
                per_class[name].append(values.get(name, math.nan))
        summary = {name: finite_mean(np.array(values)) for name, values in per_class.items()}
        hits = (chosen == (truth == 1)) if self.binary or self.multi_label else (probabilities.argmax(1) == target)[:, None]
        hits = np.where(np.isnan(truth[:, : hits.shape[1]]), np.nan, hits)
        summary["accuracy"] = finite_mean(hits) if np.isfinite(probabilities).all() else math.nan
        if self.multi_label:
            summary.update({f"auroc/{label}": per_class["auroc"][k] for k, label in enumerate(self.classes)})
        return summary

    def _one(self, scores: np.ndarray, chosen: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """Metrics of one class against the rest; empty where they are undefined."""
        if truth.all() or not truth.any() or not np.isfinite(scores).all():
            return {}
        from torchmetrics.functional import classification as metrics  # costs a second: not at import

        score_n, truth_n = torch.from_numpy(scores.astype(np.float64)), torch.from_numpy(truth).long()
        fpr, tpr, _ = metrics.binary_roc(score_n, truth_n)
        reached = tpr[fpr <= 1 - self.specificity + 1e-6]  # in floating point 1 - 0.9 is less than 0.1
        tp, fp, tn, fn, _ = metrics.binary_stat_scores(torch.from_numpy(chosen).long(), truth_n).tolist()
        recall, specificity = tp / (tp + fn), tn / (tn + fp)
        return {
            "auroc": float(metrics.binary_auroc(score_n, truth_n)),
            "average_precision": float(metrics.binary_average_precision(score_n, truth_n)),
            "sensitivity_at_specificity": float(reached.max()),
            "balanced_accuracy": (recall + specificity) / 2 if self.binary or self.multi_label else recall,
            "f1": 2 * tp / (2 * tp + fp + fn),
        }

    def _thresholds(self, thresholds: Sequence[float] | None) -> list[float]:
        needed = 1 if self.binary else len(self.classes) if self.multi_label else 0
        if thresholds is None:
            return [0.5] * needed
        if len(thresholds) != needed:
            raise InputError(f"{len(thresholds)} threshold(s) for classes {list(self.classes)}: needs {needed}")
        return [float(value) for value in thresholds]

    def _check(self, output: Tensor, target: Tensor) -> Tensor:
        wanted = tuple(output.shape) if self.multi_label else (len(output),)
        single_float = target.is_floating_point() and not self.multi_label
        if output.ndim != 2 or output.shape[1] != len(self.classes) or tuple(target.shape) != wanted or single_float:
            raise ValueError(
                f"classification of {len(self.classes)} classes got logits {tuple(output.shape)} and {target.dtype} target "
                f"{tuple(target.shape)}: needs [n, {len(self.classes)}] and {'float [n, K]' if self.multi_label else 'int64 [n]'}"
            )
        return output.float()


def choose_thresholds(probabilities: np.ndarray, target: np.ndarray) -> list[float]:
    """Decision thresholds that maximise balanced accuracy (Youden's J, Cancer 1950) on the rows given.

    A threshold lies midway between neighbouring scores, or outside all of them where no split beats chance; of equally
    good ones the nearest to 0.5 is taken. 0.5 where only one outcome occurs.

    Args:
        probabilities: ``[N, K]``.
        target: int ``[N]``, or ``[N, K]`` of 0 / 1 / NaN for multi-label.

    Returns:
        ``[t]`` for class 1 of two classes, K thresholds for multi-label, ``[]`` for more than two exclusive classes.
    """
    if target.ndim == 2:
        known = ~np.isnan(target)
        return [_youden(probabilities[known[:, k], k], target[known[:, k], k] == 1) for k in range(target.shape[1])]
    return [_youden(probabilities[:, 1], target == 1)] if probabilities.shape[1] == 2 else []


def _youden(scores: np.ndarray, truth: np.ndarray) -> float:
    if not truth.any() or truth.all() or not np.isfinite(scores).all():
        return 0.5
    scores = scores.astype(np.float64)
    values, index = np.unique(scores, return_inverse=True)
    positives = np.bincount(index, weights=truth, minlength=len(values)).astype(np.int64)
    negatives = np.bincount(index, weights=~truth, minlength=len(values)).astype(np.int64)
    # Entry i: what stands at or above values[i]; one more entry for "above them all".
    above_p = np.append(positives[::-1].cumsum()[::-1], 0)
    above_n = np.append(negatives[::-1].cumsum()[::-1], 0)
    edges = np.concatenate(([0.0], values, [1.0]))
    middles = (edges[:-1] + edges[1:]) / 2
    middles[1:-1] = np.where(middles[1:-1] > values[:-1], middles[1:-1], values[1:])  # neighbouring floats have no midpoint
    # Youden's J times (positives x negatives), in integers: ties are exact.
    youden = above_p * above_n[0] - above_n * above_p[0]
    if values[-1] >= 1:  # no threshold up to 1 lies above a score of 1
        youden, middles = youden[:-1], middles[:-1]
    best = np.flatnonzero(youden == youden.max())
    return float(middles[best[np.abs(middles[best] - 0.5).argmin()]])


def balanced_class_weights(counts: Sequence[int]) -> list[float]:
    """Weights inversely proportional to the training rows of each class, with mean 1 over those rows.

    ``w_k = N / (K n_k)``, K counting only classes that occur; a class without rows has weight 1.

    Raises:
        InputError: a negative count, or no rows at all.
    """
    if any(count < 0 for count in counts) or sum(counts) == 0:
        raise InputError(f"class counts {list(counts)} must be >= 0 and not all zero: is the label column of the training split empty?")
    present = sum(count > 0 for count in counts)
    return [sum(counts) / (present * count) if count else 1.0 for count in counts]
