"""Subgroups and their intersections: every group with its n, also the small ones, and how far it is from the rest."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from umsrep.errors import InputError
from umsrep.tasks.classification import Classification
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.evaluation.metrics import LOWER_IS_BETTER, statistic_of
from umsrep.tasks.evaluation.resample import SMALL, Draws, Sampled, Statistic, estimate, sample
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.task import Task

MOST_VALUES = 30
"""A column of more different values is no set of groups, unless edges bin it."""


@dataclasses.dataclass(frozen=True)
class Grouping:
    """A column's value for each row, in its order.

    Attributes:
        column: Its name.
        values: One a row, None where the cell is empty.
        order: The values that occur, in the order of the table; None last.
        edges: Cut points of bins, or None.
    """

    column: str
    values: list[str | None]
    order: list[str | None]
    edges: tuple[float, ...] | None = None


def read_grouping(manifest: Manifest, rows: Sequence[int], column: str, edges: Sequence[float] | None = None) -> Grouping:
    """Read the groups of some rows.

    Args:
        manifest: The table.
        rows: Rows of it.
        column: Any column.
        edges: Ascending cut points for a column of numbers: ``[40, 60]`` gives ``<40``, ``40-60`` (it holds 40, not 60) and ``>=60``.

    Raises:
        InputError: for an unknown column (with the nearest), a cell that is no number where there are edges, edges that are not
            ascending, or more than 30 different values without edges.
    """
    cells = manifest.column(column)
    if edges is None:
        values = [cells[row] or None for row in rows]
        known = sorted({v for v in values if v is not None})
        if len(known) > MOST_VALUES:
            raise InputError(
                f"{manifest.table}: column '{column}' has {len(known)} different values (such as '{known[0]}'): too many groups; "
                f"for numbers give cut points, as --groups {column}:40:60"
            )
    else:
        cuts = [float(e) for e in edges]
        if not cuts or any(not math.isfinite(c) for c in cuts) or any(a >= b for a, b in itertools.pairwise(cuts)):
            raise InputError(f"cut points of '{column}' must be numbers in ascending order, not {list(edges)}")
        names = [f"<{cuts[0]:g}", *(f"{a:g}-{b:g}" for a, b in itertools.pairwise(cuts)), f">={cuts[-1]:g}"]
        values = []
        for row in rows:
            try:
                number = float(cells[row]) if cells[row] else None
            except ValueError:
                number = math.nan
            if number is not None and not math.isfinite(number):
                raise InputError(f"{manifest.where(row)}: {column} '{cells[row]}' is no number, which cut points need")
            values.append(None if number is None else names[int(np.searchsorted(cuts, number, side="right"))])
        known = [name for name in names if name in set(values)]
    order: list[str | None] = [*known, *([None] if None in values else [])]
    return Grouping(column, values, order, None if edges is None else tuple(float(e) for e in edges))


def table(
    task: Task,
    rows: Mapping[str, np.ndarray],
    groupings: Sequence[Grouping],
    draws: Draws,
    thresholds: Sequence[float] | None = None,
    *,
    truth_counts: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return the schema's TABLE of one column, or of the combinations of several that occur.

    Patients are drawn from all rows together, so that a patient with rows in two groups is drawn for both; ``gap`` is the group minus all
    other rows in the same draw.

    Args:
        task: Of the rows.
        rows: Per-row statistics.
        groupings: One column, or several for their intersection.
        draws: Over the rows.
        thresholds: Of classification.
        truth_counts: As `truth_of`; computed if None.
    """
    keys = list(zip(*(g.values for g in groupings), strict=True))
    places = [{value: k for k, value in enumerate(g.order)} for g in groupings]
    present = sorted(set(keys), key=lambda key: [place[value] for place, value in zip(places, key, strict=True)])
    number = {key: k for k, key in enumerate(present)}
    member = np.array([number[key] for key in keys], dtype=np.int64)
    truth = truth_of(task, rows) if truth_counts is None else truth_counts
    statistics: dict[str, Statistic] = {}
    for k in range(len(present)):
        if len(present) > 1:
            statistics[f"rest {k}"] = statistic_of(task, rows, thresholds, chosen=np.flatnonzero(member != k), calibration=False)
        statistics[f"group {k}"] = statistic_of(task, rows, thresholds, chosen=np.flatnonzero(member == k))
    sampled = sample(statistics, draws)
    groups = []
    for k, key in enumerate(present):
        mask = member == k
        own, rest = sampled[f"group {k}"], sampled.get(f"rest {k}")
        one: dict[str, Any] = {
            "value": key[0] if len(groupings) == 1 else list(key),
            "n": int(mask.sum()),
            "patients": draws.patients(mask),
            "counts": {c: int(v) for c, v in zip(class_names(task), truth[mask].sum(axis=0), strict=True)},
            "small": bool(mask.sum() < SMALL),
        }
        counts = {"n": one["n"], "patients": one["patients"], "level": draws.level}
        one["metrics"] = {m: estimate(v, own.draws[m], **counts) for m, v in own.values.items() if "/" not in m}
        one["gap"] = {} if rest is None else _gaps(own, rest, counts)
        groups.append(one)
    column = groupings[0].column if len(groupings) == 1 else [g.column for g in groupings]
    edges = groupings[0].edges if len(groupings) == 1 else None
    missing = sum(any(value is None for value in key) for key in keys)
    return {
        "column": column,
        "edges": None if edges is None else list(edges),
        "missing": missing,
        "groups": groups,
        "spread": _spread(groups),
    }


def _gaps(own: Sampled, rest: Sampled, counts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        metric: estimate(value - rest.values[metric], own.draws[metric] - rest.draws[metric], **counts)
        for metric, value in own.values.items()
        if "/" not in metric and metric in rest.values and metric != "hd95_undefined"
    }


def _spread(groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the largest minus the smallest value over the groups that are not small."""
    found: dict[str, Any] = {}
    usable = [g for g in groups if not g["small"]]
    for metric in dict.fromkeys(m for g in usable for m in g["metrics"]):
        values = {k: g["metrics"][metric]["value"] for k, g in enumerate(usable) if metric in g["metrics"]}
        known = {k: v for k, v in values.items() if not math.isnan(v)}
        if len(known) < 2:
            continue
        low, high = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
        best, worst = (low, high) if metric in LOWER_IS_BETTER else (high, low)
        found[metric] = {"value": known[high] - known[low], "low": math.nan, "high": math.nan}
        found[metric] |= {"best": usable[best]["value"], "worst": usable[worst]["value"], "n_groups": len(known)}
    return found


def class_names(task: Task) -> tuple[str, ...]:
    """Return the classes whose rows are counted: all of classification, the foreground of segmentation, none of denoising."""
    if isinstance(task, Classification):
        return task.classes
    return task.foreground if isinstance(task, Segmentation) else ()


def truth_of(task: Task, rows: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return which of `class_names` each row holds: 0 or 1 [n, K]."""
    if isinstance(task, Classification):
        target = rows["target"]
        return np.asarray(np.nan_to_num(target) if task.multi_label else target[:, None] == np.arange(len(task.classes)), dtype=np.float64)
    if isinstance(task, Segmentation):
        in_truth = ~np.isnan(rows["dice"]) if "empty" not in rows else ~(rows["empty"][..., 0] | rows["empty"][..., 2])
        return np.asarray(in_truth, dtype=np.float64)
    return np.zeros((len(rows["index"]), 0))
