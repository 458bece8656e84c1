"""A review as one HTML page that needs nothing else: a pure function of review.json and the gallery's pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from umsrep.errors import InputError
from umsrep.tasks.evaluation import page_figures as figures
from umsrep.tasks.evaluation import page_text as text
from umsrep.tasks.evaluation.page_elsewhere import left_out_grids, shift_grids
from umsrep.tasks.evaluation.page_facts import evaluated, limits, methods, verdict
from umsrep.tasks.evaluation.page_text import Grid, estimate, grid
from umsrep.tasks.web_page import render_page

_MOST_PICTURE = 8_000_000
_PER_CLASS: tuple[str, ...] = (
    *("auroc", "average_precision", "sensitivity", "specificity", "ppv", "npv"),
    *("dice", "iou", "hd95", "hd95_mm", "surface_dice", "surface_dice_mm"),
)
"""Metrics that the table of classes shows; review.json has all."""


def render(found: Mapping[str, Any], folder: Path | None = None) -> str:
    """Make the page.

    Args:
        found: From `umsrep.tasks.evaluation.review.review`, with what `write_review` added to it.
        folder: Where review.json lies, for the pictures that its gallery names; None for a page without pictures.

    Returns:
        HTML; no script, no address of another file. File names and patients stand on it only where the gallery was made with ids.

    Raises:
        InputError: for a picture that is missing, or lies outside the folder.
    """
    tasks = [_section(name, task, found, folder) for name, task in found["tasks"].items()]
    return render_page(
        "umsrep.tasks.evaluation",
        found=found,
        model=PurePath(found["model"]["name"]).name or found["model"]["name"],
        data=PurePath(str(found["data"]["path"])).name or found["data"]["path"],
        verdict=verdict(found),
        limits=limits(found),
        evaluated=evaluated(found),
        main=_main(found),
        tasks=tasks,
        shifts=shift_grids(found["shifts"]) if found.get("shifts") else None,
        left_out=left_out_grids(found) if found.get("left_out") else None,
        methods=methods(found),
        checklist=_checklist(found),
    )


def _main(found: Mapping[str, Any]) -> Grid:
    """Return one row a head with its main metric and the one or two that say most beside it."""
    beside = {
        "classification": ("average_precision", "balanced_accuracy", "brier", "ece"),
        "segmentation": ("hd95_mm", "hd95", "surface_dice"),
        "denoising": ("psnr", "psnr_noisy", "ssim"),
    }
    rows = []
    for name, task in found["tasks"].items():
        chosen = [task["main"], *(key for key in beside.get(task["kind"], ()) if key in task["metrics"])]
        for line in text.metric_rows({key: task["metrics"][key] for key in chosen}, task["lower_is_better"]):
            rows.append([f"{name}: {line[0]}", *line[1:]])
    level = f"{100 * found['settings']['interval_level']:g} %"
    return grid(f"Main results with {level} intervals", text.METRIC_HEADER, rows)


def _section(name: str, task: Mapping[str, Any], found: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """Return what the template shows of one head."""
    kind = task["kind"]
    tables = [grid(f"All metrics of {name}", text.METRIC_HEADER, text.metric_rows(task["metrics"], task["lower_is_better"]))]
    if len(task["per_class"]) > 1:
        tables.append(_per_class(task))
    pictures: list[figures.Picture] = []
    if kind == "classification" and task["curves"]:
        pictures += [figures.roc(task), figures.precision_recall(task)]
    if kind != "classification" and task["records"]:
        pictures += figures.distributions(task)
    calibration = task.get("calibration")
    subgroups = [*([task["sites"]] if task.get("sites") else []), *task["subgroups"], *task["intersections"]]
    return {
        "name": name,
        "task": task,
        "tables": tables,
        "pictures": [one for one in pictures if one.drawing or one.text],
        "prevalence": _prevalence(task) if kind == "classification" else None,
        "values": _predictive_values(task) if kind == "classification" and task["predictive_values"] else None,
        "calibration": _calibration(task) if calibration else None,
        "temperature": _temperature(task.get("temperature"), "pixels" if kind == "segmentation" else "rows"),
        "reliability": figures.reliability(calibration) if calibration else None,
        "bins": _bins(calibration) if calibration else None,
        "conformal": _conformal(task),
        "decision_text": figures.DECISION_TEXT,
        "decisions": [figures.decision(label, curve) for label, curve in (task.get("decision_curve") or {}).items()][:6],
        "subgroups": [text.subgroup_grid(table, task) for table in subgroups],
        "missing": [
            f"{text.group_name(table['column'])}: not recorded in {table['missing']} row(s)" for table in subgroups if table["missing"]
        ],
        "classical": _classical(task) if task.get("classical") else None,
        "empty": _empty(task) if task.get("empty") else None,
        "comparisons": text.comparison_grid(task) if task["comparisons"] else None,
        "galleries": _galleries(found.get("gallery", {}).get(name), folder),
    }


def _per_class(task: Mapping[str, Any]) -> Grid:
    found = list(dict.fromkeys(key for metrics in task["per_class"].values() for key in metrics))
    names = [key for key in _PER_CLASS if key in found] or found
    rows = [[label, *(estimate(metrics.get(key), text.digits(key)) for key in names)] for label, metrics in task["per_class"].items()]
    title = "Each class against the rest" if task["kind"] == "classification" and not task["multi_label"] else "Each class"
    return grid(title, ("class", *map(text.label, names)), rows)


def _prevalence(task: Mapping[str, Any]) -> Grid:
    """Return a row a class and a column a site, or the other way round where there are more sites."""
    found = task["prevalence"]
    places: list[tuple[str, int, int, Mapping[str, int], Mapping[str, Any]]] = [("all", task["n"], task["patients"], {}, found["overall"])]
    places += [(f"site {text.group_name(s['site'])}", s["n"], s["patients"], s["counts"], s["prevalence"]) for s in found["by_site"]]
    names = list(found["overall"])
    caption = f"Prevalence. What a label means here: {found['definition']}"
    heads = [f"{place}: {text.count(n)} rows, {text.count(patients)} patients" for place, n, patients, _, _ in places]
    columns = [
        [(f"{text.count(counts[name])}: " if name in counts else "") + _share(shares.get(name)) for name in names]
        for _, _, _, counts, shares in places
    ]
    if len(places) > len(names):
        return grid(caption, ("rows of", *names), [[head, *column] for head, column in zip(heads, columns, strict=True)])
    return grid(caption, ("class", *heads), [[name, *(column[k] for column in columns)] for k, name in enumerate(names)])


def _share(one: Mapping[str, Any] | None) -> str:
    if one is None or one["value"] is None:
        return text.NONE
    ends = "" if one["low"] is None else f" ({text.number(100 * one['low'], 1)} to {text.number(100 * one['high'], 1)})"
    return text.percent(one["value"]) + ends


def _predictive_values(task: Mapping[str, Any]) -> list[Grid]:
    """Return the values at the prevalence of these rows and at those that are assumed."""
    found = []
    for observed, caption in ((True, "at the prevalence of these rows"), (False, "at prevalences that are assumed, by Bayes' rule")):
        rows = [
            [
                one["class"],
                text.percent(one["prevalence"]),
                text.number(one["sensitivity"]),
                text.number(one["specificity"]),
                estimate(one["ppv"]),
                estimate(one["npv"]),
            ]
            for one in task["predictive_values"]
            if bool(one["observed"]) == observed
        ]
        header = ("class", "prevalence", "sensitivity", "specificity", "positive predictive value", "negative predictive value")
        found.append(grid(f"What a positive and a negative answer are worth, {caption}", header, rows))
    return found


def _calibration(task: Mapping[str, Any]) -> Grid:
    found = task["calibration"]
    sides = [side for side in (found["before"], found.get("after")) if side]
    rows = []
    for key in ("ece", "ece_adaptive", "ece_classwise", "mce", "brier", "nll"):
        if any(side.get(key) for side in sides):
            rows.append([text.label(key), *(estimate(side.get(key), note=True) for side in sides)])
    for part in ("reliability", "resolution", "uncertainty", "within_bins"):
        values = [(side.get("brier_parts") or {}).get(part) for side in sides]
        if any(value is not None for value in values):
            rows.append([f"Brier score, part: {part.replace('_', ' ')}", *map(text.number, values)])
    of = "Calibration of the pixels" if task["kind"] == "segmentation" else "Calibration"
    return grid(f"{of}: {found['definition']['variant']}", ("measure", "as it is", "after temperature scaling")[: 1 + len(sides)], rows)


def _temperature(found: Mapping[str, Any] | None, unit: str) -> str:
    if not found:
        return "No temperature was fitted."
    if found["value"] is None:
        return f"No temperature: {found.get('note') or 'it could not be fitted'}."
    way = "softer" if found["value"] > 1 else "sharper"
    line = (
        f"Temperature {text.number(found['value'])} (probabilities become {way}), fitted on {text.count(found['n'])} {unit} of "
        f"{text.count(found['patients'])} patients of split {found['split']}: negative log likelihood there "
        f"{text.number(found['nll_before'])} before, {text.number(found['nll_after'])} after."
    )
    return line + (f" {found['note']}" if found.get("note") else "")


def _bins(calibration: Mapping[str, Any]) -> Grid:
    rows = []
    for key, word in (("before", "as it is"), ("after", "after scaling")):
        for one in calibration[key]["reliability"] if calibration.get(key) else []:
            if one["n"]:
                accuracy = {"value": one["accuracy"], "low": one["accuracy_low"], "high": one["accuracy_high"]}
                bounds = f"{text.number(one['low'])} to {text.number(one['high'])}"
                rows.append([f"{word}, {bounds}", text.count(one["n"]), text.number(one["confidence"]), estimate(accuracy)])
    return grid(
        "The bins of the reliability diagram; empty bins are left out", ("bin", "n", "mean confidence", "accuracy (interval)"), rows
    )


def _conformal(task: Mapping[str, Any]) -> dict[str, Any] | None:
    found = task.get("conformal")
    if not found:
        return None
    methods = []
    for name, method in found["methods"].items():
        refused = method["coverage"]["overall"]["value"] is None
        lines = [text.quantile_text(method)]
        if not refused:
            lines.append(f"empty sets {_share(method['empty'])}; sets of one class {_share(method['single'])}")
        if method["shift"]:
            lines.append("Calibrated on other data than these rows come from: nothing guarantees the coverage here.")
        methods.append({"name": name, "lines": lines, "grid": None if refused else text.coverage_grid(found, name), "refused": refused})
    return {"note": found.get("note") or "", "aim": text.percent(1 - found["alpha"]), "methods": methods}


def _classical(task: Mapping[str, Any]) -> Grid:
    rows = [["this model", "", "", *(estimate(task["metrics"].get(key), text.digits(key)) for key in ("psnr", "psnr_gain", "ssim")), ""]]
    for one in task["classical"].values():
        parameters = ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in (one["parameters"] or {}).items())
        values = (estimate(one.get(key), text.digits(key)) for key in ("psnr", "psnr_gain", "ssim", "difference"))
        rows.append([one["title"], parameters, str(one["tuned_on"] or ""), *values])
    header = ("filter", "settings", "tuned on", text.label("psnr"), text.label("psnr_gain"), text.label("ssim"), "this model minus it (dB)")
    return grid("Classical filters on the same noisy pixels", header, rows)


def _empty(task: Mapping[str, Any]) -> Grid:
    rows = [[name, *(text.count(one[k]) for k in ("both", "truth_only", "predicted_only"))] for name, one in task["empty"].items()]
    header = ("class", "in neither", "only in the truth (Dice 0)", "only in the prediction (Dice 0)")
    return grid("Images without a class: Dice is undefined where it is in neither, HD95 where it is in only one", header, rows)


# ---- gallery -------------------------------------------------------------------------------------------------------
def _galleries(found: Mapping[str, Any] | None, folder: Path | None) -> list[dict[str, Any]]:
    if not found or folder is None:
        return []
    return [
        {
            "title": title,
            "pictures": [{"src": _inline(folder, one["picture"]), "caption": one["caption"]} for one in found[key]],
            "note": found[f"{key}_note"],
        }
        for key, title in (("worst", "Worst cases"), ("random", "Drawn at random, for comparison"))
        if found.get(key) or found.get(f"{key}_note")
    ]


def _inline(folder: Path, name: str) -> str:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()) or path.suffix != ".png":  # the JSON may come from anybody
        raise InputError(f"{folder}: the gallery names '{name}', which is no PNG in this folder")
    if not path.is_file() or path.stat().st_size > _MOST_PICTURE:
        raise InputError(f"{path}: missing or larger than {_MOST_PICTURE:,} bytes; make the review again, or with --review-pictures 0")
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


# ---- checklists ---------------------------------------------------------------------------------------------------
def _checklist(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a table a guideline, and how many of its items umsrep could fill in."""
    shown = []
    for guideline in found.get("checklist", ()):
        items = guideline["items"]
        tally = {status: sum(item["status"] == status for item in items) for status in dict.fromkeys(item["status"] for item in items)}
        rows = [[item["number"], item["section"], item["asks"], item["status"], item["answer"]] for item in items]
        caption = f"{guideline['name']} ({guideline['source']}): " + ", ".join(f"{n} {status}" for status, n in tally.items())
        shown.append({"name": guideline["name"], "grid": grid(caption, ("item", "section", "asks for", "state", "answer"), rows)})
    return shown
