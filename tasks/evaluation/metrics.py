"""The metrics of `umsrep evaluate` and of a review as statistics of weighted rows: the same numbers, for thousands of draws at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from umsrep.errors import InputError
from umsrep.tasks.classification import RANKED, Classification
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.evaluation.calibration import Calibration, ece_of_sums
from umsrep.tasks.evaluation.ranking import Ranking
from umsrep.tasks.evaluation.resample import Draws, Statistic, estimates, mean_of_known, sample, weighted_mean
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.task import Task

MAIN = {"classification": "auroc", "segmentation": "dice", "denoising": "psnr_gain"}
LOWER_IS_BETTER = frozenset(
    {"hd95", "hd95_mm", "hd95_undefined", "brier", "nll", "ece", "ece_adaptive", "ece_classwise", "mce"}
    | {f"{name}_scaled" for name in ("brier", "nll", "ece")}
)
IMAGE_METRICS = ("dice", "iou", "hd95", "hd95_mm", "surface_dice", "surface_dice_mm")
COUNTED = ("balanced_accuracy", "f1", "sensitivity", "specificity", "ppv", "npv")


def statistic_of(
    task: Task,
    rows: Mapping[str, np.ndarray],
    thresholds: Sequence[float] | None = None,
    *,
    chosen: np.ndarray | None = None,
    calibration: bool = True,
) -> Statistic:
    """Return a task's metrics as a statistic of its rows.

    Keys are those of `Task.summarise` (the mean over classes) and ``metric/class``; for classification also sensitivity, specificity,
    predictive values, the base rate of average precision, and calibration. In a draw a class without both outcomes is left out of
    the mean, as `Task.summarise` does it.

    Args:
        task: Of any kind.
        rows: Per-row statistics of `Task.rows`.
        thresholds: Of classification, as in `Classification.summarise`.
        chosen: Indices of the rows to use, or None for all; weights are always those of all rows.
        calibration: Of classification, with ECE, Brier and NLL.
    """
    picked = rows if chosen is None else {key: values[chosen] for key, values in rows.items()}
    if isinstance(task, Classification):
        own: Statistic = ClassificationMetrics(task, picked["probabilities"], picked["target"], thresholds, calibration=calibration)
    elif isinstance(task, Segmentation):
        own = SegmentationMetrics(task, picked)
    else:
        assert isinstance(task, Denoising)
        own = DenoisingMetrics(picked)
    return own if chosen is None else lambda weights: own(weights[:, chosen])


def rows_of_metric(task: Task, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return, for metrics that are not about all rows, the mask [n] of rows they are about (annotated, or holding the class)."""
    result: dict[str, np.ndarray] = {}
    if isinstance(task, Classification) and task.multi_label:
        for k, label in enumerate(task.classes):
            known = ~np.isnan(rows["target"][:, k])
            names = (*RANKED, *COUNTED, "average_precision_base", "accuracy")
            result |= {f"{name}/{label}": known for name in names}
    if isinstance(task, Segmentation):
        for name in IMAGE_METRICS:
            if name in rows:
                known = ~np.isnan(rows[name])
                result[name] = known.any(axis=1)
                result |= {f"{name}/{label}": known[:, k] for k, label in enumerate(task.foreground)}
    return result


class ClassificationMetrics:
    """See `statistic_of`."""

    def __init__(
        self,
        task: Classification,
        probabilities: np.ndarray,
        target: np.ndarray,
        thresholds: Sequence[float] | None = None,
        *,
        calibration: bool = True,
    ) -> None:
        """Sort every class's scores once."""
        p = np.asarray(probabilities, dtype=np.float64)
        limits = decision_thresholds(task, thresholds)
        self.task, k = task, len(task.classes)
        columns = [1] if task.binary else list(range(k))
        chosen = p[:, columns] >= np.array(limits) if limits else p.argmax(axis=1)[:, None] == columns
        truth = target[:, columns].astype(np.float64) if task.multi_label else (target[:, None] == columns).astype(np.float64)
        self.names = [task.classes[c] for c in columns]
        self._classes = []
        for j, column in enumerate(columns):
            known = np.flatnonzero(~np.isnan(truth[:, j]))
            usable = bool(np.isfinite(p[known, column]).all())
            ranking = Ranking(p[known, column] if usable else np.zeros(len(known)), truth[known, j] == 1)
            called, positive = chosen[known, j], truth[known, j] == 1
            cells = np.stack([called & positive, called & ~positive, ~called & ~positive, ~called & positive], axis=1)
            self._classes.append((known if len(known) < len(truth) else None, usable, ranking, cells.astype(np.float64)))
        if task.binary or task.multi_label:
            hits = (chosen == (truth == 1)).astype(np.float64)
        else:
            hits = (p.argmax(axis=1) == target).astype(np.float64)[:, None]
        hits[np.isnan(truth[:, : hits.shape[1]])] = np.nan
        self._hits = hits if np.isfinite(p).all() else np.full_like(hits, np.nan)
        self.calibration = Calibration(p, target) if calibration and np.isfinite(p).all() else None

    def one(self, number: int, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the metrics [R] of one class against the rest."""
        known, usable, ranking, cells = self._classes[number]
        w = weights if known is None else weights[:, known]
        found = ranking.metrics(w, self.task.specificity)
        tp, fp, tn, fn = (w @ cells).T
        found |= counted(tp, fp, tn, fn, mean_recall=self.task.binary or self.task.multi_label)
        total = tp + fp + tn + fn
        found["average_precision_base"] = (tp + fn) / np.where(total > 0, total, np.nan)
        undefined = np.isnan(found["auroc"]) | (not usable)
        return {name: np.where(undefined, np.nan, values) for name, values in found.items()}

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return all metrics [R] of weights [R, n]."""
        each = [self.one(j, weights) for j in range(len(self._classes))]
        found = {name: mean_of_known(np.stack([one[name] for one in each], axis=1)) for name in each[0]}
        found["accuracy"] = _mean_of_entries(weights, self._hits)
        if self.calibration is not None:
            found |= self.calibration(weights)
        if not self.task.binary:
            found |= {f"{name}/{label}": values for label, one in zip(self.names, each, strict=True) for name, values in one.items()}
        return found


def _mean_of_entries(weights: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Return the mean [R] over all entries of hits [n, K] that are not NaN, each row with its weight."""
    known = ~np.isnan(hits)
    total = weights @ known.sum(axis=1).astype(np.float64)
    return np.asarray(weights @ np.where(known, hits, 0.0).sum(axis=1) / np.where(total > 0, total, np.nan))


def counted(tp: np.ndarray, fp: np.ndarray, tn: np.ndarray, fn: np.ndarray, *, mean_recall: bool = True) -> dict[str, np.ndarray]:
    """Return what a confusion table says, each [R]: sensitivity, specificity, predictive values, balanced accuracy and F1.

    Args:
        tp: True positives [R].
        fp: False positives.
        tn: True negatives.
        fn: False negatives.
        mean_recall: Balanced accuracy is the mean of sensitivity and specificity; else (one of several exclusive classes) the recall, whose
            mean over classes is balanced accuracy.
    """

    def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(a / np.where(b > 0, b, np.nan))

    sensitivity, specificity = ratio(tp, tp + fn), ratio(tn, tn + fp)
    return {
        "balanced_accuracy": (sensitivity + specificity) / 2 if mean_recall else sensitivity,
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": ratio(tp, tp + fp),
        "npv": ratio(tn, tn + fn),
    }


class SegmentationMetrics:
    """See `statistic_of`: means over images, then over classes."""

    def __init__(self, task: Segmentation, rows: Mapping[str, np.ndarray]) -> None:
        """Keep the rows; ``hd95_mm`` and ``surface_dice_mm`` only where the spacing of every row is known."""
        spaced = "spaced" in rows and bool(rows["spaced"].all())
        self._values = {n: rows[n].astype(np.float64) for n in IMAGE_METRICS if n in rows and (spaced or not n.endswith("_mm"))}
        self._undefined = rows["hd95_undefined"].astype(np.float64).sum(axis=1)
        self._labels = task.foreground
        self._pixels = PixelMetrics(rows["pixels"]) if "pixels" in rows else None
        self._scaled = PixelMetrics(rows["pixels_scaled"]) if "pixels_scaled" in rows else None

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return all metrics [R] of weights [R, n]."""
        found: dict[str, np.ndarray] = {}
        for name, values in self._values.items():
            each = weighted_mean(weights, values)
            found[name] = mean_of_known(each)
            found |= {f"{name}/{label}": each[:, k] for k, label in enumerate(self._labels)}
        found["hd95_undefined"] = weights @ self._undefined
        if self._pixels is not None:
            found |= self._pixels(weights)
        if self._scaled is not None:
            found |= {f"{name}_scaled": value for name, value in self._scaled(weights).items() if name in ("ece", "brier", "nll")}
        return found


class PixelMetrics:
    """Calibration of pixels from each image's sums: [n, bins + 1, 3], see `umsrep.tasks.evaluation.reviewed`."""

    def __init__(self, sums: np.ndarray) -> None:
        """Keep the sums; the last bin holds number of pixels, summed Brier score and summed NLL."""
        self.bins = sums.shape[1] - 1
        self._flat = sums.reshape(len(sums), -1).astype(np.float64)

    def totals(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the bins' sums [R, bins, 3] and the totals [R, 3]."""
        sums = (weights @ self._flat).reshape(len(weights), self.bins + 1, 3)
        return sums[:, :-1], sums[:, -1]

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return ``ece``, ``mce``, ``brier`` and ``nll`` over all annotated pixels."""
        bins, totals = self.totals(weights)
        ece, mce = ece_of_sums(bins)
        pixels = np.where(totals[:, 0] > 0, totals[:, 0], np.nan)
        return {"ece": ece, "mce": mce, "brier": totals[:, 1] / pixels, "nll": totals[:, 2] / pixels}

    def bin_draws(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the share of right pixels of each bin, ``"0"`` ... [R]."""
        bins, _ = self.totals(weights)
        share = bins[..., 2] / np.where(bins[..., 0] > 0, bins[..., 0], np.nan)
        return {str(k): share[:, k] for k in range(self.bins)}


class DenoisingMetrics:
    """See `statistic_of`: means over images."""

    def __init__(self, rows: Mapping[str, np.ndarray]) -> None:
        """Keep the rows."""
        names = ("psnr", "ssim", "psnr_noisy", "ssim_noisy")
        count = len(rows["psnr"])
        self._values = np.stack([rows[n].astype(np.float64) if n in rows else np.full(count, math.nan) for n in names], axis=1)
        self._names = names

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return all metrics [R] of weights [R, n]."""
        found = dict(zip(self._names, weighted_mean(weights, self._values).T, strict=True))
        return {**found, "psnr_gain": found["psnr"] - found["psnr_noisy"]}


def decision_thresholds(task: Classification, thresholds: Sequence[float] | None) -> list[float]:
    """Return the thresholds in use: 0.5 where none are given, none for several exclusive classes.

    Raises:
        InputError: for a wrong number of them.
    """
    needed = 1 if task.binary else len(task.classes) if task.multi_label else 0
    if thresholds is None:
        return [0.5] * needed
    if len(thresholds) != needed:
        raise InputError(f"{len(thresholds)} threshold(s) for classes {list(task.classes)}: needs {needed}")
    return [float(t) for t in thresholds]


def intervals_of(
    rows: Mapping[str, Mapping[str, np.ndarray]],
    tasks: Mapping[str, Task],
    patients: Mapping[str, Sequence[str | None]],
    thresholds: Mapping[str, Sequence[float] | None] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, dict[str, dict[str, object]]]:
    """Return every task's estimates with patient-clustered intervals, for `umsrep evaluate`.

    Args:
        rows: Task's name to its per-row statistics.
        tasks: Task's name to the task.
        patients: Task's name to the patient of each of its rows.
        thresholds: Task's name to its decision thresholds.
        resamples: Number of draws.
        seed: Of the draws.
        level: Of the intervals.
    """
    result = {}
    for name, values in rows.items():
        draws = Draws(patients[name], resamples=resamples, seed=seed, level=level)
        statistic = statistic_of(tasks[name], values, (thresholds or {}).get(name))
        sampled = sample({"all": statistic}, draws)["all"]
        result[name] = estimates(sampled, draws, rows_of_metric(tasks[name], values))
    return result
