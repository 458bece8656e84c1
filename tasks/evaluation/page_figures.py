"""The charts of a review, each with what a screen reader says of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from umsrep.tasks.evaluation.charts import SERIES, Chart, legend, style_of
from umsrep.tasks.evaluation.page_text import digits, label, number

_BINS = 20
_FEW = 2
"""Of so many curves the numbers are said under the picture too; of more they stand in the tables only."""
DECISION_TEXT = (
    "Decision curve: the net benefit of acting where the probability is at or above a threshold (thin lines: its interval), against acting "
    "on all and on none. A threshold says how many needless actions one missed case is worth; which range makes sense is "
    "for clinicians to say."
)
_TENTHS = [0, 0.2, 0.4, 0.6, 0.8, 1]


@dataclasses.dataclass(frozen=True)
class Picture:
    """A chart: heading, drawing, legend (may be empty), and a line under it."""

    title: str
    drawing: Markup
    legend: Markup
    text: str


def _few(curves: Mapping[str, Any]) -> tuple[list[str], str]:
    """Return the classes that are drawn, and what to say of the others."""
    names = list(curves)[:SERIES]
    return names, f" The first {SERIES} of {len(curves)} classes; the others are in review.json." if len(curves) > SERIES else ""


def roc(task: Mapping[str, Any]) -> Picture:
    """Draw the ROC curves with the point that the threshold in use gives."""
    names, more = _few(task["curves"])
    chart = Chart(x=(0, 1), y=(0, 1), labels=("1 − specificity", "sensitivity"), ticks=(_TENTHS, _TENTHS))
    chart.line([(0, 0), (1, 1)], style="chance")
    points = operating_points(task)
    spoken = []
    for k, name in enumerate(names):
        chart.line(task["curves"][name]["roc"], style=style_of(k))
        if name in points:
            sensitivity, specificity = points[name]
            chart.dots([(1 - specificity, sensitivity)], style=style_of(k), radius=5)
            spoken.append(f"{name}: sensitivity {number(sensitivity)}, specificity {number(specificity)}")
    said = f" ({'; '.join(spoken)})" if len(names) <= _FEW else ""
    text = (f"Dot: the threshold in use{said}. " if spoken else "") + "Dashed: chance." + more
    return Picture("ROC", chart.svg(f"ROC curve. {text}"), _names(names), text)


def operating_points(task: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Return sensitivity and specificity of each class at the threshold in use, where they are defined."""
    found = {}
    for one in task.get("predictive_values") or []:
        if one["observed"] and one["sensitivity"] is not None and one["specificity"] is not None:
            found[one["class"]] = (_value(one["sensitivity"]), _value(one["specificity"]))
    return found


def _value(found: Any) -> float:
    return float(found["value"] if isinstance(found, Mapping) else found)


def precision_recall(task: Mapping[str, Any]) -> Picture:
    """Draw precision over recall, with each class's base rate."""
    names, more = _few(task["curves"])
    chart = Chart(x=(0, 1), y=(0, 1), labels=("recall (sensitivity)", "precision"), ticks=(_TENTHS, _TENTHS))
    rates = task["prevalence"]["overall"]
    spoken = []
    for k, name in enumerate(names):
        rate = rates.get(name, {}).get("value")
        chart.line(task["curves"][name]["pr"], style=style_of(k))
        if rate is not None:
            chart.line([(0, rate), (1, rate)], style="chance")
            spoken.append(f"{name} {number(rate)}")
    said = f" ({', '.join(spoken)})" if len(names) <= _FEW else ""
    text = f"Dashed: the base rate, the precision of chance{said}.{more}" if spoken else more.strip()
    return Picture("Precision and recall", chart.svg(f"Precision over recall. {text}"), _names(names), text)


def reliability(calibration: Mapping[str, Any]) -> Picture:
    """Draw accuracy over confidence, before and after temperature scaling, with the share of rows in each bin."""
    chart = Chart(x=(0, 1), y=(0, 1), labels=("confidence", "accuracy"), ticks=(_TENTHS, _TENTHS))
    chart.line([(0, 0), (1, 1)], style="chance")
    before = calibration["before"]["reliability"]
    total = sum(one["n"] for one in before) or 1
    edges = [one["low"] for one in before] + [before[-1]["high"]]
    chart.bars(edges, [one["n"] / total for one in before], style="pale")
    names, styles, spoken = [], [], []
    for key, style in (("before", "s0"), ("after", "s1")):
        if not calibration.get(key):
            continue
        bins = calibration[key]["reliability"]
        chart.whiskers([(one["confidence"], one["accuracy_low"], one["accuracy_high"]) for one in bins], style=f"{style} thin")
        chart.line([(one["confidence"], one["accuracy"]) for one in bins if one["n"]], style=style)
        for one in bins:
            faint = " faint" if one["accuracy_low"] is None else ""
            chart.dots([(one["confidence"], one["accuracy"])], style=f"{style}{faint}", radius=3.5)
        names.append({"before": "as it is", "after": "after temperature scaling"}[key])
        styles.append(style)
        spoken.append(f"{names[-1]}: calibration error {number(calibration[key]['ece']['value'])}")
    text = (
        "Dashed: perfect; above it too cautious, below too sure. Grey bars: share of the rows in each bin; faint dots: bins of too "
        "few rows for an interval."
    )
    return Picture("Reliability", chart.svg(f"Reliability diagram. {'; '.join(spoken)}. {text}"), legend(names, styles), text)


def decision(name: str, curve: Mapping[str, Any]) -> Picture:
    """Draw the net benefit of acting on the model, on everybody and on nobody."""
    columns = [curve["net_benefit"], curve["low"], curve["high"]]
    known = [v for column in columns for v in column if v is not None and math.isfinite(v)]
    top = max([*known, curve["prevalence"] or 0.0, 0.01])
    thresholds = curve["thresholds"]
    bottom = max(min([-0.05 * top, *known]), -0.3 * top)
    chart = Chart(x=(min(thresholds), max(thresholds)), y=(bottom, top * 1.05), labels=("threshold", "net benefit"))
    chart.line(_inside(thresholds, curve["treat_all"], bottom), style="s1")
    chart.line(zip(thresholds, curve["treat_none"], strict=True), style="chance")
    for column, style in (("low", "s0 thin"), ("high", "s0 thin"), ("net_benefit", "s0")):
        chart.line(_inside(thresholds, curve[column], bottom), style=style)
    names, styles = ["the model", "act on all", "act on none"], ["s0", "s1", "chance"]
    return Picture(name, chart.svg(f"Decision curve of {name}. {DECISION_TEXT}"), legend(names, styles), "")


def _inside(xs: Sequence[float], ys: Sequence[float | None], floor: float) -> list[tuple[float, float | None]]:
    """Leave out what falls far below the chart, which would run along its lower edge."""
    return [(x, y if y is not None and y >= floor else None) for x, y in zip(xs, ys, strict=True)]


def distributions(task: Mapping[str, Any]) -> list[Picture]:
    """Draw how the per-image scores of a dense task are spread: Dice, HD95 and surface Dice of each class, or the gain in PSNR."""
    records = task["records"]
    if task["kind"] == "denoising":
        return [histogram("psnr_gain", [record["psnr_gain"] for record in records], ""), _gain_over_noise(records)]
    found = []
    classes = list(task["per_class"]) or list(records[0]["dice"] if records else ())
    for name in classes:
        for key in ("dice", "surface_dice", "surface_dice_mm", "hd95", "hd95_mm"):
            values = [record[key].get(name) for record in records if key in record]
            if any(v is not None for v in values):
                found.append(histogram(key, values, f" of {name}" if len(classes) > 1 else "", unit_range="dice" in key))
    return found


def histogram(name: str, values: Sequence[float | None], of: str, *, unit_range: bool = False) -> Picture:
    """Draw a histogram of a metric over the images where it is defined, and its middle."""
    known = sorted(float(v) for v in values if v is not None and math.isfinite(v))
    missing = len(values) - len(known)
    title = f"{label(name)}{of}"
    if not known:
        return Picture(title, Markup(""), Markup(""), "Defined for no image.")
    low, high = (0.0, 1.0) if unit_range else (known[0], known[-1] if known[-1] > known[0] else known[0] + 1.0)
    edges = [low + (high - low) * k / _BINS for k in range(_BINS + 1)]
    counts = [0] * _BINS
    for value in known:
        counts[min(_BINS - 1, max(0, int((value - low) / (high - low) * _BINS)))] += 1
    chart = Chart(x=(low, high), y=(0, max(counts) * 1.05), labels=(label(name), "images"), size=(360, 230))
    chart.bars(edges, counts)
    middle = known[len(known) // 2] if len(known) % 2 else (known[len(known) // 2 - 1] + known[len(known) // 2]) / 2
    chart.rule(x=middle)
    places = digits(name)
    text = f"{len(known)} images; line: the middle, {number(middle, places)}; {number(known[0], places)} to {number(known[-1], places)}"
    text += f". Undefined in {missing} more, of which nothing is drawn." if missing else "."
    return Picture(title, chart.svg(f"Histogram of {title}. {text}"), Markup(""), text)


def _gain_over_noise(records: Sequence[Mapping[str, Any]]) -> Picture:
    points = [(r["psnr_noisy"], r["psnr_gain"]) for r in records if r["psnr_noisy"] is not None and r["psnr_gain"] is not None]
    text = "Each dot an image. Below zero the picture was closer to the truth before."
    if not points:
        return Picture("Gain over noise", Markup(""), Markup(""), "Defined for no image.")
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    chart = Chart(x=(min(xs), max(xs)), y=(min(0.0, *ys), max(ys)), labels=(label("psnr_noisy"), label("psnr_gain")), size=(360, 230))
    chart.rule(y=0.0).dots(points, style="s0 faint", radius=2.5)
    return Picture("Gain over noise", chart.svg(f"PSNR gain over the PSNR of the noisy input. {text}"), Markup(""), text)


def _names(names: Sequence[str]) -> Markup:
    return legend(names) if len(names) > 1 else Markup("")
