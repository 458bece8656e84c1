"""Rows of a results file (docs/cards.md) from what was measured: a review, an evaluation under shifts, a transfer study."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from umsrep.errors import InputError
from umsrep.zoo.results import RESULTS_VERSION, Group, Measurement, Reliability, ReliabilityBin, Results

SHOWN = {
    "classification": ("auroc", "average_precision", "balanced_accuracy", "sensitivity_at_specificity"),
    "segmentation": ("dice", "iou", "hd95"),
    "denoising": ("psnr_gain", "psnr", "ssim"),
}
"""Metrics of a review that go onto a card, by kind; the first is also given by class, subgroup and site."""
Span = tuple[float, float]


def _span(estimate: Mapping[str, Any]) -> Span | None:
    return None if estimate["low"] is None else (estimate["low"], estimate["high"])


def _estimated(estimate: Mapping[str, Any]) -> dict[str, Any]:
    return {"value": estimate["value"], "interval": _span(estimate), "images": estimate["n"], "patients": estimate["patients"]}


def rows_of_review(review: Mapping[str, Any], *, data: str, group: Group = "results", split: str | None = None) -> list[Measurement]:
    """Return the rows of a review (docs/evaluation.md): every head's metrics, calibration, and subgroups and sites of its main metric.

    Args:
        review: What `umsrep evaluate --review` wrote as review.json.
        data: Name of the data set.
        group: Of the metrics: ``results``, or ``shift`` where the set is of another place than the training's.
        split: What to call the split; default its name.

    Returns:
        Rows of the groups ``group``, ``calibration`` and ``subgroups``. A subgroup's note gives its gap to all other rows.
    """
    split = split or review["data"]["split"]
    rows: list[Measurement] = []
    for head, task in review["tasks"].items():
        names = SHOWN[task["kind"]]
        own: dict[str, Any] = {"head": head, "data": data}
        main = names[0]
        rows += [Measurement(group=group, metric=m, split=split, **own, **_estimated(task["metrics"][m])) for m in names]
        if len(task["per_class"]) > 1:
            rows += [
                Measurement(group=group, metric=f"{main}/{label}", split=split, **own, **_estimated(values[main]))
                for label, values in task["per_class"].items()
            ]
        for filter_ in (task.get("classical") or {}).values():
            less = filter_["difference"]
            rows.append(
                Measurement(
                    group=group, metric="psnr_gain", split=split, method=filter_["title"], **own, **_estimated(filter_["psnr_gain"]),
                    difference=less["value"], difference_interval=_span(less),
                )
            )  # fmt: skip
        rows += _calibration(task, split, own)
        for table in [*task["subgroups"], *([task["sites"]] if task["sites"] else [])]:
            for some in table["groups"]:
                value = "not given" if some["value"] is None else some["value"]
                gap = some["gap"].get(main)
                told = f"less all others: {gap['value']:.3f} ({gap['low']:.3f} to {gap['high']:.3f})" if gap and _span(gap) else None
                rows.append(
                    Measurement(
                        group="subgroups", metric=main, split=f"{split}, by {table['column']}", **own, **_estimated(some["metrics"][main]),
                        note="; ".join(filter(None, (value, told))),
                    )
                )  # fmt: skip
    if review["data"]["rows_without_patient"] == review["data"]["n"]:
        rows = [dataclasses.replace(row, patients=None) for row in rows]  # the review counts each as a patient; nobody knows
    return rows


def _calibration(task: Mapping[str, Any], split: str, own: Mapping[str, Any]) -> list[Measurement]:
    if task["kind"] != "classification":
        return []
    metrics, scaled = task["metrics"], task["temperature"]
    rows = [Measurement(group="calibration", metric=m, split=split, **own, **_estimated(metrics[m])) for m in ("ece", "brier")]
    if scaled and scaled["value"] is not None:
        note = f"after temperature scaling fitted on {scaled['split']}: temperature {scaled['value']:.2f}"
        rows += [
            Measurement(group="calibration", metric=m, split=split, note=note, **own, **_estimated(metrics[f"{m}_scaled"]))
            for m in ("ece", "brier")
        ]
    sets = task["conformal"]
    if sets and "lac" in sets["methods"] and sets["methods"]["lac"].get("coverage"):
        found = sets["methods"]["lac"]["coverage"]["overall"]
        note = f"conformal sets that should hold the truth in {1 - sets['alpha']:.0%}"
        rows.append(Measurement(group="calibration", metric="coverage", split=split, note=note, **own, **_estimated(found)))
    return rows


def reliability_of_review(review: Mapping[str, Any], *, data: str, split: str | None = None) -> list[Reliability]:
    """Return the reliability curve of every classification head of a review: the bins that hold rows."""
    curves = []
    for head, task in review["tasks"].items():
        if task["kind"] == "classification":
            bins = [
                ReliabilityBin(confidence=b["confidence"], frequency=b["accuracy"], count=b["n"])
                for b in task["calibration"]["before"]["reliability"]
                if b["n"]
            ]
            curves.append(
                Reliability(head=head, data=data, split=split or review["data"]["split"], class_=task["positive"], bins=tuple(bins))
            )
    return curves


def rows_of_shifts(found: Mapping[str, Any], *, data: str) -> list[Measurement]:
    """Return the rows of `umsrep evaluate --shifts --json`: main metrics, unshifted and under each shift (the mean of five severities)."""
    rows = []
    for head, own in found["heads"].items():
        metric = own["main"]
        about: dict[str, Any] = {
            "group": "shift", "head": head, "metric": metric, "data": data, "split": f"{found['split']}, images changed",
            "images": own["n"],
            # each image its own patient is also how rows without a patient are counted: nothing is known then
            "patients": own["patients"] if own["patients"] < own["n"] else None,
        }  # fmt: skip
        rows.append(Measurement(value=own["unshifted"][metric], note="unchanged", **about))
        for name, shift in found["shifts"].items():
            under = shift["heads"][head]
            drop = under["drop"][metric]
            told = f"{name}, mean of 5 severities; drop {drop['value']:.3f}"
            if drop["low"] is not None:
                told += f" ({drop['low']:.3f} to {drop['high']:.3f})"
            rows.append(Measurement(value=under["mean"][metric], note=told, **about))
    return rows


def read_json(path: Path) -> Any:
    """Read a file of JSON.

    Raises:
        InputError: if it is not there, or none.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}") from error


def rows_of_interference(path: Path, *, data: str, note: str, joint: str = "joint") -> list[Measurement]:
    """Return both sides of every task from the results.json of a benchmark with a joint variant and others that train one task each.

    Args:
        path: The file.
        data: Name of the data set.
        note: Of every row: size, budget.
        joint: Name of the joint variant.

    Raises:
        InputError: where a task has no such pair.
    """
    found = read_json(path)
    table: dict[str, dict[str, dict[str, Any]]] = {row["variant"]: row["metrics"] for row in found["table"]}
    tasks = dict.fromkeys(key.partition("/")[0] for metrics in table.values() for key in metrics)
    rows = []
    for task in tasks:
        metric = next(names[0] for names in SHOWN.values() if any(f"{task}/{names[0]}" in metrics for metrics in table.values()))
        alone = [variant for variant, metrics in table.items() if {key.partition("/")[0] for key in metrics} == {task}]
        if len(alone) != 1 or joint not in table:
            raise InputError(f"{path}: '{task}' needs the variant '{joint}' and one that trains it alone, not {', '.join(alone) or 'none'}")
        for variant, method in ((joint, "joint"), (alone[0], "alone")):
            value = table[variant][f"{task}/{metric}"]
            rows.append(
                Measurement(
                    group="interference", head=task, metric=metric, data=data, split="test", method=method, note=note,
                    value=value["mean"], sd=value["sd"], seeds=value["n"],
                )
            )  # fmt: skip
    return rows


def rows_of_variants(path: Path, *, data: str, split: str, names: Mapping[str, str | None]) -> list[Measurement]:
    """Return rows of models fine-tuned on all labels, from the results.json of a benchmark of variants: means and spread over seeds.

    Args:
        path: The file.
        data: Name of the data set.
        split: Of the rows.
        names: Variant to what it starts from, None for this model.

    Raises:
        InputError: for a variant that the file does not hold.
    """
    found = read_json(path)
    rows = []
    for variant, method in names.items():
        cells = [cell for cell in found["cells"] if cell["variant"] == variant]
        if not cells:
            raise InputError(f"{path}: no variant '{variant}'")
        for head, metrics in cells[0]["test"].items():
            metric = next(some[0] for some in SHOWN.values() if some[0] in metrics)
            values = [cell["test"][head][metric] for cell in cells]
            rows.append(
                Measurement(
                    group="transfer", head=head, metric=metric, data=data, split=split, labels=1.0, mode="fine-tuned", method=method,
                    value=statistics.fmean(values), sd=statistics.stdev(values) if len(values) > 1 else None, seeds=len(values),
                    images=int(metrics["n"]),
                )
            )  # fmt: skip
    return rows


def rows_of_transfer(path: Path, preset: str) -> list[Measurement]:
    """Return one preset's rows of a report of benchmarks/study_transfer.py."""
    report: Mapping[str, Any] = read_json(path)
    return list(
        Results.from_dict({"schema_version": RESULTS_VERSION, "measurements": report.get(preset, [])}, where=str(path)).measurements
    )
