"""What further runs add to a review: metrics under shifts, and reviews of models that were trained without a site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from umsrep.errors import InputError
from umsrep.tasks.evaluation import page_text as text
from umsrep.tasks.evaluation.charts import sparkline
from umsrep.tasks.evaluation.page_text import Cell, Grid, estimate, grid


def check_shifts(shifts: Any, review: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return shifts.json of `umsrep evaluate --shifts` if it belongs to a review.

    Raises:
        InputError: if it is none, or of another split, of other heads or of other numbers of rows than the review.
    """
    if not isinstance(shifts, dict) or not isinstance(shifts.get("heads"), dict) or not isinstance(shifts.get("shifts"), dict):
        raise InputError(f"{where}: is no JSON of `umsrep evaluate MODEL DATA --shifts --json F`")
    for name, head in shifts["heads"].items():
        task = review["tasks"].get(name)
        if task is None or head.get("n") != task["n"] or shifts.get("split") != review["data"]["split"]:
            here = f"{task['n']} rows of split {review['data']['split']}" if task else "no such head"
            raise InputError(f"{where}: has '{name}' on {head.get('n')} rows of split {shifts.get('split')}, the review {here}")
    return shifts


def shift_grids(shifts: Mapping[str, Any]) -> list[Grid]:
    """Return a table a head: each shift with the main metric at five severities, a small curve, and the drop; the worst first."""
    found = []
    for name, head in shifts["heads"].items():
        main = head["main"]
        places, clean = text.digits(main), head["unshifted"].get(main)
        entries = [(shift, entry["heads"][name]) for shift, entry in shifts["shifts"].items() if name in entry["heads"]]
        entries.sort(key=lambda item: -_drop(item[1], main))
        known = [s.get(main) for _, e in entries for s in e["severity"].values()]
        span = _ends([clean, *known])
        rows: list[Sequence[Cell]] = []
        for shift, entry in entries:
            at = [entry["severity"][key].get(main) for key in sorted(entry["severity"], key=int)]
            numbers = [text.number(value, places) for value in at]
            rows.append([shift, *numbers, sparkline([clean, *at], span), estimate(entry["drop"].get(main), places)])
        count = max((len(entry["severity"]) for _, entry in entries), default=0)
        header = ("shift", *(f"severity {k}" for k in range(1, count + 1)), "from unshifted to the strongest", "mean drop (interval)")
        caption = (
            f"{name}: {text.label(main)} under shifts, unshifted {text.number(clean, places)}; on average "
            f"{estimate(head['overall'].get(main), places)} worse. The largest drop first."
        )
        found.append(grid(caption, header, rows))
    return found


def _drop(entry: Mapping[str, Any], main: str) -> float:
    value = (entry["drop"].get(main) or {}).get("value")
    return -1e9 if value is None else float(value)


def _ends(values: Sequence[float | None]) -> tuple[float, float]:
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if known else (0.0, 1.0)


def left_out_entry(review: Mapping[str, Any]) -> dict[str, Any]:
    """Return what another review says in one row: model, sites, rows, and each head's main metric."""
    return {
        "model": review["model"]["name"],
        "data": review["data"]["path"],
        "split": review["data"]["split"],
        "sites": review["data"]["sites"],
        "n": review["data"]["n"],
        "patients": review["data"]["patients"],
        "heads": {name: {"main": task["main"], "estimate": task["metrics"][task["main"]]} for name, task in review["tasks"].items()},
    }


def left_out_grids(found: Mapping[str, Any]) -> list[Grid]:
    """Return a table a head of the reviews of models trained without a site, each on the site it never saw."""
    grids = []
    for name, task in found["tasks"].items():
        entries = [one for one in found["left_out"] if name in one["heads"] and one["heads"][name]["main"] == task["main"]]
        if not entries:
            continue
        places, here = text.digits(task["main"]), task["metrics"][task["main"]]
        shown = [one["heads"][name]["estimate"] for one in entries]
        span = _ends([end for one in (here, *shown) for end in (one["low"], one["value"], one["high"])])
        lines = [("the model of this page", found["data"]["sites"], here, ""), *_lines(entries, name)]
        rows: list[Sequence[Cell]] = [
            [
                ", ".join(map(text.group_name, sites)) or "not named",
                label,
                text.count(one["n"]),
                text.count(one["patients"]),
                estimate(one, places),
                text.bar(one, span, here["value"]),
                split,
            ]
            for label, sites, one, split in lines
        ]
        header = ("tested on site", "model", "rows", "patients", text.label(task["main"]), "this page's value as a line", "split")
        grids.append(grid(f"{name}: one model a row, each tested on the rows named; read beside how each was trained", header, rows))
    return grids


def _lines(entries: Sequence[Mapping[str, Any]], name: str) -> list[tuple[str, Any, Mapping[str, Any], str]]:
    return [(str(one["model"]), one["sites"], one["heads"][name]["estimate"], str(one["split"])) for one in entries]
