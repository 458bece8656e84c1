"""What stands at the head of a review: the verdict, its limits, what was evaluated and how; only what the JSON says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from umsrep.tasks.evaluation import page_text as text
from umsrep.tasks.evaluation.page_text import estimate
from umsrep.zoo.card import RESEARCH_ONLY

FEW_PATIENTS = 100
"""Below so many patients the head of the page says that the numbers are imprecise; a convention, not a calculation."""


def verdict(found: Mapping[str, Any]) -> str:
    """Say in one sentence what was measured: the main metric of each head, and on how many."""
    parts = [
        f"{name}: {text.label(task['main'])} {estimate(task['metrics'][task['main']], text.digits(task['main']))}"
        for name, task in found["tasks"].items()
    ]
    data = found["data"]
    sites = f", {len(data['sites'])} site{'' if len(data['sites']) == 1 else 's'}" if data["sites"] else ""
    return f"On {data['n']:,} images of {data['patients']:,} patients (split {data['split']}{sites}): {'; '.join(parts)}."


def limits(found: Mapping[str, Any]) -> list[str]:
    """Say what a reader has to keep in mind, the most general first."""
    data, calibration = found["data"], found.get("calibration_data")
    lines = [RESEARCH_ONLY]
    if not data["sites"]:
        lines.append("The data name no site: whether it holds elsewhere was not tested here.")
    elif len(data["sites"]) == 1:
        lines.append("All evaluated rows are of one site: how much sites differ was not tested here.")
    if data["rows_without_patient"]:
        lines.append(
            f"{data['rows_without_patient']:,} of {data['n']:,} rows name no patient; each counts as a patient of its own, so the "
            "intervals are too narrow where several are of one patient."
        )
    if data["patients"] < FEW_PATIENTS:
        lines.append(f"Only {data['patients']:,} patients: read the intervals, not the values.")
    if calibration and calibration.get("shared_patients"):
        lines.append(
            f"{calibration['shared_patients']:,} patients are in the calibration data as well: temperature and coverage look too good."
        )
    if not found["settings"]["groups"]:
        lines.append("No subgroups were asked for (--groups): fairness was not looked at.")
    return [*lines, *(line for line in found["notes"] if line not in lines)]


def evaluated(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return name and value of what was evaluated."""
    model, data, settings = found["model"], found["data"], found["settings"]
    size = model["contract"].get("size")
    heads = "; ".join(
        f"{name} ({head['kind']}" + (f": {', '.join(map(str, head['args']['classes']))}" if head["args"].get("classes") else "") + ")"
        for name, head in model["heads"].items()
    )
    facts = [
        ("model", str(model["name"])),
        ("architecture", f"{model['arch']}" + (f", {model['parameters']:,} parameters" if model.get("parameters") else "")),
        ("heads", heads),
        (
            "input",
            f"{model['contract'].get('channels')} channel(s), " + (" x ".join(map(str, size)) + " px" if size else "the file's own size"),
        ),
    ]
    facts += [(f"sha256 of {file}", digest) for file, digest in (model.get("sha256") or {}).items()]
    facts += [
        ("data", str(data["path"])),
        ("fingerprint of the table", str(data["fingerprint"])),
        ("split", f"{data['split']} (column {data['split_column']})"),
        ("rows and patients", f"{data['n']:,} rows, {data['patients']:,} patients"),
        ("sites", ", ".join(f"{text.group_name(site)} ({n:,})" for site, n in data["sites"].items()) or "not named"),
    ]
    for name, task in found["tasks"].items():
        if task["kind"] == "classification":
            column = task["target"].get("column") or "label"
            shares = ", ".join(f"{label} {text.percent(one['value'])}" for label, one in task["prevalence"]["overall"].items())
            facts.append((f"{name}: label and prevalence", f"column {text.group_name(column)}; {shares}"))
    if calibration := found.get("calibration_data"):
        facts.append(
            (
                "calibrated on",
                f"{calibration['path']}, split {calibration['split']}: {calibration['n']:,} rows, {calibration['patients']:,} patients"
                + ("" if calibration["same_data"] else " (other data than reviewed)"),
            )
        )
    if any(task["kind"] == "denoising" for task in found["tasks"].values()):
        facts.append(("noise", f"{settings['noise']}, level {settings['level']:g} of 255, seed {settings['seed']}"))
    return [*facts, ("made", f"{found['created']} by umsrep {found['umsrep']}")]


def methods(found: Mapping[str, Any]) -> list[str]:
    """Say how the numbers were made."""
    settings = found["settings"]
    lines = [
        f"Intervals: percentile bootstrap over whole patients, {settings['resamples']:,} resamples, seed {settings['seed']}, "
        f"{100 * settings['interval_level']:g} %; groups of fewer than {settings['small_group']} rows have none."
    ]
    kinds = {task["kind"] for task in found["tasks"].values()}
    if "classification" in kinds:
        lines.append(
            "AUROC against another model: DeLong's test for correlated curves; all else: paired bootstrap over patients; Holm's p."
        )
        lines.append(
            f"Conformal sets: split conformal with alpha {settings['alpha']:g}, the ceil((n + 1)(1 - alpha))-th smallest score of the "
            "calibration rows; mondrian: one quantile a class. The promise holds on average over rows "
            "like the calibration rows, not for each group."
        )
    if "segmentation" in kinds:
        mm = f", {settings['tolerance_mm']:g} mm" if settings.get("tolerance_mm") is not None else ""
        lines.append(
            f"HD95: 95th percentile of the pooled surface distances; surface Dice: share of both surfaces within {settings['tolerance']:g} "
            f"pixels{mm} of the other. At the size the model sees."
        )
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items() if version)
    return [*lines, f"Software: umsrep {found['umsrep']}, {versions}."]
