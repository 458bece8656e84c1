"""The numbers of a review as rows of text."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from umsrep.tasks.evaluation.charts import interval_bar
from umsrep.zoo.results import metric

NONE = "—"
_LABELS = {
    "nll": ("negative log likelihood", 3),
    "mce": ("largest calibration error of a bin", 3),
    "ece_adaptive": ("calibration error, bins of equal size", 3),
    "ece_classwise": ("calibration error, mean of classes", 3),
    "sensitivity": ("sensitivity", 3),
    "specificity": ("specificity", 3),
    "ppv": ("positive predictive value", 3),
    "npv": ("negative predictive value", 3),
    "average_precision_base": ("average precision of knowing nothing", 3),
    "surface_dice": ("surface Dice", 3),
    "surface_dice_mm": ("surface Dice (tolerance in mm)", 3),
    "hd95_mm": ("HD95 (mm)", 2),
}
"""Metrics of reviews that model cards do not know: how people call them, and their digits."""
Cell = str | Markup
_FEW = 3
"""Of more classes than these a cell would be a list."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """A table of the page: caption, heading, rows whose first cell names them, and the columns that are set to the right."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numbers: frozenset[int] = frozenset()


def grid(caption: str, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Grid:
    """Make a table; columns of plain whole numbers are set to the right, and columns without any content are left out."""
    kept = [
        i for i in range(len(header)) if i == 0 or not rows or any(isinstance(row[i], Markup) or row[i] not in ("", NONE) for row in rows)
    ]
    rows = [[row[i] for i in kept] for row in rows]
    numbers = (i for i in range(1, len(kept)) if rows and all(_is_count(row[i]) for row in rows))
    return Grid(caption, [header[i] for i in kept], rows, frozenset(numbers))


def _is_count(cell: Cell) -> bool:
    return not isinstance(cell, Markup) and (cell in ("", NONE) or cell.replace(",", "").isdigit())


def label(name: str) -> str:
    """Return what people call a metric; ``_scaled`` is after temperature scaling."""
    base, slash, part = name.partition("/")
    plain = base.removesuffix("_scaled")
    text = _LABELS[plain][0] if plain in _LABELS else metric(plain).label
    return text + (" after temperature scaling" if plain != base else "") + (f", {part}" if slash else "")


def digits(name: str) -> int:
    """Return how many digits after the point a metric is written with."""
    plain = name.partition("/")[0].removesuffix("_scaled")
    return _LABELS[plain][1] if plain in _LABELS else metric(plain).digits


def number(value: float | None, places: int = 3) -> str:
    """Write a number; a dash where there is none."""
    if value is None:
        return NONE
    written = f"{value:.{places}f}"
    return (written.removeprefix("-") if float(written) == 0 else written).replace("-", "−")


def count(value: int | None) -> str:
    """Write a whole number."""
    return NONE if value is None else f"{value:,}"


def percent(value: float | None) -> str:
    """Write a share as per cent with one digit."""
    return NONE if value is None else f"{100 * value:.1f} %".replace("-", "−")


def p_text(p: float | None) -> str:
    """Write a p-value; what is smaller than 0.001 as that."""
    return NONE if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def estimate(found: Mapping[str, Any] | None, places: int = 3, *, note: bool = False) -> str:
    """Write an estimate as ``0.913 (0.880 to 0.940)``; without an interval as the number alone, with ``note`` also why."""
    if found is None or found["value"] is None:
        text = NONE
    elif found["low"] is None or found["high"] is None:
        text = number(found["value"], places)
    else:
        text = f"{number(found['value'], places)} ({number(found['low'], places)} to {number(found['high'], places)})"
    reason = (found or {}).get("note")
    return f"{text}: {reason}" if note and reason and text == NONE else text


def metric_rows(metrics: Mapping[str, Mapping[str, Any]], lower: Sequence[str]) -> list[list[Cell]]:
    """Return a row a metric: its name, estimate, rows, patients, method, note."""
    return [
        [
            label(name) + (" (lower is better)" if name.partition("/")[0] in lower else ""),
            estimate(one, digits(name)),
            count(one["n"]),
            count(one["patients"]),
            one["method"] if one["low"] is not None else "no interval",
            one.get("note", "") or "",
        ]
        for name, one in metrics.items()
    ]


METRIC_HEADER = ("metric", "value (interval)", "rows", "patients", "method", "note")


def _span(estimates: Sequence[Mapping[str, Any]], extra: Sequence[float | None] = ()) -> tuple[float, float]:
    ends = [end for one in estimates for end in (one["low"], one["value"], one["high"]) if end is not None]
    ends += [end for end in extra if end is not None]
    return (min(ends), max(ends)) if ends else (0.0, 1.0)


def bar(one: Mapping[str, Any], span: tuple[float, float], reference: float | None = None) -> Markup:
    """Draw an estimate as a row of a forest plot."""
    return interval_bar(one["low"], one["value"], one["high"], span, reference=reference)


def subgroup_grid(table: Mapping[str, Any], task: Mapping[str, Any]) -> Grid:
    """Return a table of subgroups: a forest plot of the main metric, its numbers, and the gap to all other rows."""
    main, places = task["main"], digits(task["main"])
    column = table["column"]
    title = " x ".join(column) if isinstance(column, list) else str(column)
    whole = task["metrics"][main]
    shown = [group["metrics"].get(main, _nothing()) for group in table["groups"]]
    span = _span([whole, *shown])
    rows: list[list[Cell]] = [
        ["all", count(task["n"]), count(task["patients"]), "", estimate(whole, places), bar(whole, span, whole["value"]), ""]
    ]
    for group, one in zip(table["groups"], shown, strict=True):
        counts = group.get("counts") or {}
        rows.append(
            [
                group_name(group["value"]),
                count(group["n"]),
                count(group["patients"]),
                ", ".join(f"{name} {n}" for name, n in counts.items()) if len(counts) <= _FEW else "",
                estimate(one, places) + (f" ({one['note']})" if one.get("note") and one["value"] is None else ""),
                bar(one, span, whole["value"]),
                "too few rows" if group["small"] else estimate(group["gap"].get(main), places),
            ]
        )
    header = (title, "rows", "patients", "classes", label(main), "with the value of all rows as a line", "difference from all other rows")
    spread = table.get("spread", {}).get(main)
    caption = f"{label(main)} by {title}"
    if spread and spread["value"] is not None:
        caption += (
            f": largest minus smallest {number(spread['value'], places)}, {group_name(spread['best'])} against "
            f"{group_name(spread['worst'])} (the more groups, the larger by chance alone)"
        )
    return grid(caption, header, rows)


def group_name(value: Any) -> str:
    """Write the value of a group; rows without one are a group too."""
    if isinstance(value, list):
        return " and ".join(map(group_name, value))
    return "not recorded" if value is None or value == "" else str(value)


def _nothing() -> dict[str, Any]:
    return {"value": None, "low": None, "high": None, "n": 0, "patients": 0, "method": "none"}


def coverage_grid(conformal: Mapping[str, Any], name: str) -> Grid:
    """Return the coverage of one kind of conformal sets: overall, per class, per site and per group, with the mean size of the sets."""
    method = conformal["methods"][name]
    target = 1 - conformal["alpha"]
    coverage, size = method["coverage"], method["size"]
    lines: list[tuple[str, Mapping[str, Any], Mapping[str, Any] | None]] = [("all", coverage["overall"], size["overall"])]
    for key, word in (("per_class", "class"), ("by_site", "site")):
        lines += [(f"{word} {value}", one, size.get(key, {}).get(value)) for value, one in coverage.get(key, {}).items()]
    for column, values in coverage.get("groups", {}).items():
        lines += [
            (f"{column} {group_name(value)}", one, size.get("groups", {}).get(column, {}).get(value)) for value, one in values.items()
        ]
    span = _span([one for _, one, _ in lines], [target])
    rows = [
        [text, count(one["n"]), estimate(one, note=True), bar(one, span, target), estimate(mean, 2) if mean else NONE]
        for text, one, mean in lines
    ]
    header = ("rows of", "rows", "share of sets that hold the truth", f"with the aim of {percent(target)} as a line", "mean size of a set")
    return grid(f"Coverage of the sets of method {name}", header, rows)


def quantile_text(method: Mapping[str, Any]) -> str:
    """Say the quantile of a conformal method, and on how many rows it stands."""

    def each(value: Any, write: Any) -> str:
        if isinstance(value, Mapping) and len(value) > _FEW:
            known = [v for v in value.values() if v is not None]
            ends = list(dict.fromkeys(write(v) for v in (min(known), max(known)))) if known else [NONE]
            return f"{' to '.join(ends)} (by class)"
        return ", ".join(f"{name} {write(v)}" for name, v in value.items()) if isinstance(value, Mapping) else write(value)

    text = f"quantile {each(method['quantile'], number)}; calibration rows {each(method['calibration_n'], count)}"
    return text + (f"; needed: {method['needed']}" if method.get("needed") else "")


def comparison_grid(task: Mapping[str, Any]) -> Grid:
    """Return the comparisons with the other model."""
    rows = []
    for one in task["comparisons"]:
        places = digits(one["metric"])
        interval = "" if one["low"] is None or one["high"] is None else f" ({number(one['low'], places)} to {number(one['high'], places)})"
        rows.append(
            [
                label(one["metric"]) + (f", {one['class']}" if one.get("class") else ""),
                number(one["value"], places),
                number(one["other_value"], places),
                number(one["difference"], places) + interval,
                p_text(one["p"]),
                p_text(one.get("p_holm")),
                one["method"],
                count(one["n"]),
                count(one["patients"]),
                one.get("note", "") or "",
            ]
        )
    other = task["comparisons"][0]["other"]
    family = max(one.get("family", 1) for one in task["comparisons"])
    header = ("metric", "this model", "the other", "difference (interval)", "p", "p (Holm)", "test", "rows", "patients", "note")
    return grid(f"This model against {other}, on the same rows; Holm's p for {family} tests", header, rows)
