"""What a review keeps of every row: what was seen, what was true, and how wrong it was; the failure gallery chooses from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from umsrep.tasks.classification import Classification
from umsrep.tasks.data.dataset import JointDataset
from umsrep.tasks.evaluation.evaluating import patients_of
from umsrep.tasks.evaluation.metrics import IMAGE_METRICS, decision_thresholds
from umsrep.tasks.evaluation.tables import Grouping
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.task import Task


def records(
    task: Task,
    rows: Mapping[str, np.ndarray],
    dataset: JointDataset,
    groupings: Sequence[Grouping],
    *,
    thresholds: Sequence[float] | None = None,
    sets: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """Return the schema's RECORDs.

    Args:
        task: Of the rows.
        rows: Per-row statistics.
        dataset: The items.
        groupings: Columns of interest, over the rows.
        thresholds: Of classification.
        sets: Conformal sets, bool [n, K], or None.
    """
    manifest = dataset.sources[0].manifest
    sites = manifest.columns.get("site")
    patients = patients_of(dataset, rows["index"].tolist())
    result = []
    for k, index in enumerate(rows["index"].tolist()):
        row = dataset.items[index][1]
        one: dict[str, Any] = {
            "row": row,
            "line": manifest.lines[row],
            "file": manifest.columns["file_name"][row],
            "patient": patients[k],
            "site": (sites[row] or None) if sites is not None else None,
            "groups": {g.column: g.values[k] for g in groupings},
            "loss": float(rows["loss"][k]),
        }
        if isinstance(task, Classification):
            one |= _classified(task, rows, k, thresholds, sets)
        elif isinstance(task, Segmentation):
            names = [name for name in IMAGE_METRICS if name in rows]
            one |= {name: dict(zip(task.foreground, map(float, rows[name][k]), strict=True)) for name in names}
            known = rows["dice"][k][~np.isnan(rows["dice"][k])]
            one["score"] = float(known.mean()) if len(known) else math.nan
        else:
            one |= {name: float(rows[name][k]) for name in ("psnr", "psnr_noisy", "ssim", "ssim_noisy") if name in rows}
            one["psnr_gain"] = one["score"] = one["psnr"] - one.get("psnr_noisy", math.nan)
        result.append(one)
    return result


def _classified(
    task: Classification, rows: Mapping[str, np.ndarray], k: int, thresholds: Sequence[float] | None, sets: np.ndarray | None
) -> dict[str, Any]:
    p, target = rows["probabilities"][k], rows["target"][k]
    limits = decision_thresholds(task, thresholds)
    found: dict[str, Any] = {"probabilities": dict(zip(task.classes, p.tolist(), strict=True))}
    if task.multi_label:
        found["truth"] = {c: None if math.isnan(t) else int(t) for c, t in zip(task.classes, target.tolist(), strict=True)}
        found["predicted"] = {c: int(q >= limit) for c, q, limit in zip(task.classes, p.tolist(), limits, strict=True)}
        found["correct"] = all(t is None or t == found["predicted"][c] for c, t in found["truth"].items())
    else:
        number = int(p[1] >= limits[0]) if task.binary else int(p.argmax())
        found |= {"truth": task.classes[int(target)], "predicted": task.classes[number], "correct": number == int(target)}
    found["set"] = None if sets is None else [c for c, held in zip(task.classes, sets[k], strict=True) if held]
    return found
