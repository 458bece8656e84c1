"""One head's part of a review."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from umsrep.errors import InputError
from umsrep.tasks.classification import Classification
from umsrep.tasks.data.dataset import Target
from umsrep.tasks.data.labels import LABEL_COLUMN
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.evaluation.calibration import BINS
from umsrep.tasks.evaluation.classes import classification_block, scaled
from umsrep.tasks.evaluation.comparison import compare
from umsrep.tasks.evaluation.evaluating import thresholds_of
from umsrep.tasks.evaluation.filters import classical_block
from umsrep.tasks.evaluation.metrics import LOWER_IS_BETTER, MAIN, ClassificationMetrics, PixelMetrics, rows_of_metric, statistic_of
from umsrep.tasks.evaluation.records import records
from umsrep.tasks.evaluation.resample import Draws, estimate, estimates, sample
from umsrep.tasks.evaluation.sides import Calibrated, Settings, Side, items_of
from umsrep.tasks.evaluation.tables import Grouping, class_names, read_grouping, table, truth_of
from umsrep.tasks.segmentation import Segmentation

PIXEL_VARIANT = f"{BINS} bins of equal width; confidence in the predicted class of each annotated pixel against how often it is right, l1"
SCALED = ("ece", "brier", "nll")


def task_block(name: str, side: Side, settings: Settings, *, calibrated: Calibrated | None, second: Side | None) -> dict[str, Any]:
    """Return the schema's TASK.

    Args:
        name: Of the head.
        side: The model on the reviewed rows.
        settings: Of the review.
        calibrated: What the calibration rows gave, or None.
        second: The model to compare with on the same rows, or None.
    """
    task, rows = side.dataset.tasks[name], side.rows[name]
    thresholds = thresholds_of(side.model).get(name)
    draws = settings.draws(side.patients(name))
    places = side.manifest_rows(name)
    groupings = [read_grouping(side.manifest, places, column, settings.edges.get(column)) for column in settings.groups]
    sites = _sites(side, places)
    sampled = sample({"all": statistic_of(task, rows, thresholds)}, draws)["all"]
    every = estimates(sampled, draws, rows_of_metric(task, rows))
    temperature = calibrated.temperature(name) if calibrated is not None else None
    if isinstance(task, Classification) and temperature is not None:
        every |= _scaled_numbers(task, rows, temperature, draws)
    per_class: dict[str, dict[str, Any]] = {label: {} for label in class_names(task)}
    for key, value in every.items():
        metric, slash, label = key.partition("/")
        if slash:
            per_class[label][metric] = value
    if isinstance(task, Classification) and task.binary:
        per_class = {task.classes[1]: {m: v for m, v in every.items() if m in ("auroc", "average_precision", "sensitivity", "specificity")}}
    target = settings.targets.get(name, Target())
    counts = truth_of(task, rows)
    options: dict[str, Any] = {"thresholds": thresholds, "truth_counts": counts}
    block: dict[str, Any] = {
        "kind": task.kind,
        "classes": list(getattr(task, "classes", ())),
        "multi_label": bool(getattr(task, "multi_label", False)),
        "positive": task.classes[1] if isinstance(task, Classification) and task.binary else None,
        "n": len(draws.groups),
        "patients": draws.patients(),
        "target": {"column": target.column, "map": dict(target.map)},
        "main": MAIN[task.kind],
        "metrics": {m: v for m, v in every.items() if "/" not in m},
        "per_class": per_class,
        "lower_is_better": sorted(m for m in every if m in LOWER_IS_BETTER),
        "subgroups": [table(task, rows, [g], draws, **options) for g in groupings],
        "intersections": [table(task, rows, [a, b], draws, **options) for a, b in itertools.combinations(groupings, 2)],
        "sites": None if sites is None or len(sites.order) < 2 else table(task, rows, [sites], draws, **options),
        "comparisons": [],
    }
    sets = None
    if isinstance(task, Classification):
        more, sets = classification_block(
            task,
            rows,
            sampled,
            draws,
            thresholds=thresholds,
            calibration_rows=calibrated.side.rows.get(name) if calibrated is not None else None,
            temperature=temperature,
            groupings=groupings,
            sites=sites,
            definition=_definition(name, target),
            alpha=settings.alpha,
            shift=calibrated is not None and not calibrated.same_data,
            prevalences=settings.prevalences,
        )
        block |= more
    elif isinstance(task, Segmentation):
        block |= _segmentation(task, rows, draws)
    if not isinstance(task, Denoising):
        block["temperature"] = _temperature(name, calibrated)
    else:
        block["classical"] = None
        if settings.filters:
            block["classical"] = classical_block(
                name, task, side.dataset, rows, _tuning(side, settings), draws, filters=settings.filters, title=settings.title
            )
    if second is not None and name in second.rows:
        theirs = thresholds_of(second.model).get(name)
        block["comparisons"] = compare(
            task, rows, second.rows[name], draws, other=second.name, thresholds=thresholds, other_thresholds=theirs
        )
    block["records"] = records(task, rows, side.dataset, groupings, thresholds=thresholds, sets=sets)
    return block


def _sites(side: Side, places: list[int]) -> Grouping | None:
    if "site" not in side.manifest.columns or not any(side.manifest.columns["site"][row] for row in places):
        return None
    values = [side.manifest.columns["site"][row] or None for row in places]
    known = sorted({v for v in values if v is not None})
    return Grouping("site", values, [*known, *([None] if None in values else [])])


def _definition(name: str, target: Target) -> str:
    """Say in words what the label of a task is in this data set: sites that define it differently have different tasks."""
    column = target.column or LABEL_COLUMN
    text = f"column {column}" if isinstance(column, str) else f"columns {', '.join(column)}"
    mapped = ", ".join(f"{a} -> {b or 'not annotated'}" for a, b in target.map.items())
    return f"{text}; {mapped}" if mapped else text


def _scaled_numbers(task: Classification, rows: Mapping[str, np.ndarray], temperature: float, draws: Draws) -> dict[str, Any]:
    """Return ``ece_scaled``, ``brier_scaled`` and ``nll_scaled``: the same rows at the fitted temperature."""
    own = ClassificationMetrics(task, scaled(task, rows, temperature), rows["target"]).calibration
    assert own is not None
    found = estimates(sample({"all": own}, draws)["all"], draws)
    return {f"{metric}_scaled": found[metric] for metric in SCALED}


def _temperature(name: str, calibrated: Calibrated | None) -> dict[str, Any] | None:
    found = calibrated.temperatures.get(name) if calibrated is not None else None
    if found is None or calibrated is None:
        return None
    patients = len({group or i for i, group in enumerate(calibrated.side.patients(name))})
    one = {"value": found.value, "nll_before": found.nll_before, "nll_after": found.nll_after, "n": found.n, "patients": patients}
    return one | {"split": calibrated.split, "note": found.note or None}


def _segmentation(task: Segmentation, rows: Mapping[str, np.ndarray], draws: Draws) -> dict[str, Any]:
    """Return calibration of pixels, and how often a class was in neither, only the truth, or only the prediction."""
    after = _pixel_calibration(rows["pixels_scaled"], draws) if "pixels_scaled" in rows else None
    empty = {
        label: dict(zip(("both", "truth_only", "predicted_only"), map(int, rows["empty"][:, k].sum(axis=0)), strict=True))
        for k, label in enumerate(task.foreground)
    }
    calibration = {
        "definition": {"bins": BINS, "variant": PIXEL_VARIANT},
        "before": _pixel_calibration(rows["pixels"], draws),
        "after": after,
    }
    return {"calibration": calibration, "empty": empty}


def _pixel_calibration(sums: np.ndarray, draws: Draws) -> dict[str, Any]:
    pixels = PixelMetrics(sums)
    sampled = sample({"numbers": pixels, "bins": pixels.bin_draws}, draws)
    counts: dict[str, Any] = {"n": len(draws.groups), "patients": draws.patients(), "level": draws.level}
    found: dict[str, Any] = {m: estimate(v, sampled["numbers"].draws[m], **counts) for m, v in sampled["numbers"].values.items()}
    bins = []
    totals = sums[:, :-1].sum(axis=0)
    for k in range(pixels.bins):
        holding = sums[:, k, 0] > 0
        one: dict[str, Any] = {"low": k / pixels.bins, "high": (k + 1) / pixels.bins, "n": int(totals[k, 0])}
        one |= dict.fromkeys(("patients", "confidence", "accuracy", "accuracy_low", "accuracy_high"))
        if holding.any():
            patients = draws.patients(holding)
            share = totals[k, 2] / totals[k, 0]
            interval = estimate(share, sampled["bins"].draws[str(k)], n=int(holding.sum()), patients=patients, level=draws.level)
            one |= {"patients": patients, "confidence": totals[k, 1] / totals[k, 0], "accuracy": share}
            one |= {"accuracy_low": interval["low"], "accuracy_high": interval["high"]}
        bins.append(one)
    return {**found, "ece_adaptive": None, "ece_classwise": None, "brier_parts": None, "reliability": bins}


def _tuning(side: Side, settings: Settings) -> Any:
    """Return the items that classical filters are tuned on: validation rows of the reviewed data."""
    if settings.split == "validation" or "validation" not in side.manifest.split_values(settings.split_column):
        raise InputError(
            f"{side.manifest.table}: classical filters are tuned on validation rows, and there are none besides those under review"
        )
    names = [n for n, task in side.dataset.tasks.items() if isinstance(task, Denoising)]
    root: Any = side.manifest.root
    return items_of(side.model, root, settings, split="validation", targets={}, tasks=names)
