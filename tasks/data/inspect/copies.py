"""Copies as findings: in two splits a problem, within one a note."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from umsrep.tasks.data.inspect.columns import Columns
from umsrep.tasks.data.inspect.duplicates import exact_groups, near_pairs
from umsrep.tasks.data.inspect.findings import Finding
from umsrep.tasks.data.inspect.scan import Facts
from umsrep.tasks.data.manifest import Manifest


def copies(manifest: Manifest, columns: Columns, facts: Sequence[Facts]) -> tuple[dict[str, Any], list[Finding]]:
    """Find exact and near copies.

    Returns:
        JSON values and findings. ``exact``: groups of row numbers from 0; ``near``: [row, row, Hamming distance]; and how many of each are
        ``..._across_splits`` and ``..._across_patients``. A copy in another split is a problem, one within a split a note.
    """
    prints = [one.fingerprint for one in facts]
    exact, near = exact_groups(prints), near_pairs(prints)
    exact_apart = [g for g in exact if _different(columns.splits, g)]
    near_apart = [p for p in near if _different(columns.splits, p[:2])]
    found = [
        Finding(True, "same picture in two splits", f"{_place(manifest, columns, group)}: the same pixels; keep one")
        for group in exact_apart
    ]
    for first, second, bits in near_apart:
        text = f"{_place(manifest, columns, (first, second))}: near copies (perceptual hashes differ in {bits} of 64 bits)"
        found.append(Finding(True, "near copies in two splits", text))
    for kind, inside in (
        ("same pixels", [g for g in exact if not _different(columns.splits, g)]),
        ("near copies", [p[:2] for p in near if not _different(columns.splits, p[:2])]),
    ):
        if inside:
            strangers = sum(_different(columns.patients, g) for g in inside)
            several = f"; {strangers} under different patient ids" if strangers else ""
            text = (
                f"{manifest.table}: {len(inside)} groups of rows within one split{several}; first: {_place(manifest, columns, inside[0])}"
            )
            found.append(Finding(False, kind, f"{kind}: {text}"))
    for group in exact:
        if _annotated_differently(manifest, columns, facts, group):
            text = f"{_place(manifest, columns, group)}: the same pixels, but different labels or masks"
            found.append(Finding(False, "same pixels, different annotation", text))
    numbers = {
        "exact": exact,
        "near": [list(p) for p in near],
        "exact_across_splits": len(exact_apart),
        "near_across_splits": len(near_apart),
        "exact_across_patients": sum(_different(columns.patients, g) for g in exact),
        "near_across_patients": sum(_different(columns.patients, p[:2]) for p in near),
    }
    return numbers, found


def _different(values: Sequence[str], rows: Sequence[int]) -> bool:
    """Whether rows have different values in a column; empty cells are unknown and differ from nothing."""
    return len({values[r] for r in rows} - {""}) > 1


def _place(manifest: Manifest, columns: Columns, rows: Sequence[int]) -> str:
    others = ", ".join(f"row {manifest.lines[r]} ({manifest.columns['file_name'][r]}) in {columns.splits[r]}" for r in rows[1:5])
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    patients = {columns.patients[r] for r in rows}
    relation = "" if "" in patients else ", one patient" if len(patients) == 1 else f", {len(patients)} patients"
    return f"{manifest.where(rows[0])} in {columns.splits[rows[0]]}, and {others}{more}{relation}"


def _annotated_differently(manifest: Manifest, columns: Columns, facts: Sequence[Facts], rows: Sequence[int]) -> bool:
    """Whether labels differ, or masks in how many pixels each class has."""
    if any(_different(manifest.columns[c], rows) for c in columns.labels):
        return True
    areas = [[facts[r].masks[c].pixels for r in rows if c in facts[r].masks] for c in columns.masks]
    return any(a != some[0] for some in areas for a in some)
