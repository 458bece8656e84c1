"""Two models on the same rows: DeLong for AUROC, a paired bootstrap over patients for everything else, Holm over all of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from umsrep.errors import InputError
from umsrep.tasks.classification import Classification
from umsrep.tasks.evaluation.delong import areas, difference
from umsrep.tasks.evaluation.metrics import IMAGE_METRICS, statistic_of
from umsrep.tasks.evaluation.resample import Draws, Statistic, estimate, sample
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.statistics import holm
from umsrep.tasks.task import Task

COMPARED = {
    "classification": ("auroc", "average_precision", "balanced_accuracy", "brier", "ece"),
    "segmentation": ("dice", "iou", "hd95", "surface_dice"),
    "denoising": ("psnr_gain", "ssim"),
}
"""Metrics of a comparison, by kind: few, as each costs the others power."""


def bootstrap_p(drawn: np.ndarray) -> float:
    """Return the two-sided p of a difference of 0 from its bootstrap draws: 2 (1 + min(#<=0, #>=0)) / (draws + 1), at most 1.

    The percentile interval turned round (Davison & Hinkley 1997, 4.4.1 and 5.4): p < .05 where the 95 % interval leaves out 0. It cannot be
    below 2 / (draws + 1).
    """
    known = drawn[~np.isnan(drawn)]
    if not len(known):
        return math.nan
    return min(1.0, 2 * (1 + min(int((known <= 0).sum()), int((known >= 0).sum()))) / (len(known) + 1))


def paired_difference(one: Statistic, other: Statistic, draws: Draws, metrics: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return one minus other for each metric: `estimate` of the difference, both values, and ``p``.

    Both are measured on the same draws of whole patients, so that what patients have in common cancels out.

    Args:
        one: Of a model, on weights of rows.
        other: Of another, on the same rows.
        draws: Over the rows.
        metrics: Which; those that either lacks are left out.
    """
    sampled = sample({"one": one, "other": other}, draws)
    a, b = sampled["one"], sampled["other"]
    n, patients = len(draws.groups), draws.patients()
    result = {}
    for metric in metrics:
        if metric not in a.values or metric not in b.values:
            continue
        drawn = a.draws[metric] - b.draws[metric]
        found = estimate(a.values[metric] - b.values[metric], drawn, n=n, patients=patients, level=draws.level, method="paired bootstrap")
        p = bootstrap_p(drawn) if found["method"] != "none" else math.nan
        result[metric] = found | {"one": a.values[metric], "other": b.values[metric], "p": p}
    return result


def compare(
    task: Task,
    rows: Mapping[str, np.ndarray],
    other_rows: Mapping[str, np.ndarray],
    draws: Draws,
    *,
    other: str,
    thresholds: Sequence[float] | None = None,
    other_thresholds: Sequence[float] | None = None,
) -> list[dict[str, Any]]:
    """Return the schema's COMPARISONs of a task, before `adjust`.

    Args:
        task: Of both models: the same classes.
        rows: Of this model.
        other_rows: Of the other, on the same items.
        draws: Over the rows.
        other: Name of the other model.
        thresholds: Of this model's head.
        other_thresholds: Of the other's.

    Raises:
        InputError: if the rows are not the same items with the same targets.
    """
    if not np.array_equal(rows["index"], other_rows["index"]):
        raise InputError(f"'{other}' was not measured on the same rows; a comparison needs both on each")
    if isinstance(task, Classification) and not np.array_equal(rows["target"], other_rows["target"], equal_nan=True):
        raise InputError(f"'{other}' was measured against other targets")
    result = []
    wanted = [m for m in COMPARED[task.kind] if not (isinstance(task, Classification) and task.binary and m == "auroc")]
    if isinstance(task, Classification):
        result += _delong(task, rows, other_rows, draws, other)
    if isinstance(task, Segmentation):
        rows, other_rows = _both_defined(rows, other_rows)
    found = paired_difference(statistic_of(task, rows, thresholds), statistic_of(task, other_rows, other_thresholds), draws, wanted)
    for metric, one in found.items():
        result.append(
            {
                "other": other,
                "metric": metric,
                "class": None,
                "value": one["one"],
                "other_value": one["other"],
                "difference": one["value"],
                **{key: one[key] for key in ("low", "high", "p", "n", "patients")},
                "method": "paired bootstrap",
                "note": one.get("note"),
            }
        )
    return result


def _both_defined(
    rows: Mapping[str, np.ndarray], other_rows: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Leave out (image, class) pairs that one of the models has no number for, so that both means are over the same images."""
    one, two = dict(rows), dict(other_rows)
    for name in IMAGE_METRICS:
        if name in one and name in two:
            known = ~(np.isnan(one[name]) | np.isnan(two[name]))
            one[name], two[name] = np.where(known, one[name], np.nan), np.where(known, two[name], np.nan)
    return one, two


def _delong(
    task: Classification, rows: Mapping[str, np.ndarray], other_rows: Mapping[str, np.ndarray], draws: Draws, other: str
) -> list[dict[str, Any]]:
    result = []
    for column in [1] if task.binary else range(len(task.classes)):
        target = rows["target"][:, column] if task.multi_label else (rows["target"] == column).astype(np.float64)
        known = np.flatnonzero(~np.isnan(target))
        scores = np.stack([some["probabilities"][known, column] for some in (rows, other_rows)])
        groups = [draws.groups[row] for row in known.tolist()]
        mask = ~np.isnan(target)
        one: dict[str, Any] = {"other": other, "metric": "auroc", "class": task.classes[column], "method": "delong", "note": None}
        one |= {"n": len(known), "patients": draws.patients(mask)}
        try:
            found = areas(scores, target[known] == 1, groups)
        except InputError as error:
            blank = dict.fromkeys(("value", "other_value", "difference", "low", "high", "p"), math.nan)
            result.append(one | blank | {"note": str(error)})
            continue
        delta = difference(found, level=draws.level)
        one |= {"value": float(found.auroc[0]), "other_value": float(found.auroc[1]), "difference": delta.difference}
        one |= {"low": delta.low, "high": delta.high, "p": delta.p}
        if found.clustered:
            one["note"] = "with Obuchowski's variance, as patients have several rows"
        result.append(one)
    return result


def adjust(comparisons: Sequence[dict[str, Any]]) -> None:
    """Add ``p_holm`` and ``family`` to all comparisons of a review, which are one family; in place."""
    adjusted = holm([one["p"] for one in comparisons])
    family = sum(not math.isnan(one["p"]) for one in comparisons)
    for one, p in zip(comparisons, adjusted, strict=True):
        one["p_holm"], one["family"] = p, family
