"""What is in a data folder, per split and site, and what is wrong with it."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from umsrep.errors import InputError
from umsrep.tasks.data.dataset import image_size
from umsrep.tasks.data.manifest import SPLITS, Manifest, load_manifest

_MOST_PROBLEMS = 20


def inspect(data: str | Path, *, split_column: str = "split") -> dict[str, Any]:
    """Count rows, patients, masks and labels per split and site, and look for what would stop a training run.

    Args:
        data: Folder with metadata.csv, or a MedMNIST npz.
        split_column: Column with train, validation, test.

    Returns:
        JSON values: ``data``, ``rows``, ``annotated`` (column to non-empty cells), ``groups`` and ``problems`` (one line each: missing
        files, masks of another size, unknown splits, patients in two splits, empty splits).

    Raises:
        InputError: if the table itself cannot be read.
    """
    manifest = load_manifest(data)
    splits = manifest.column(split_column)
    masks = [c for c in manifest.columns if c == "mask_file_name" or c.startswith("mask_file_name.")]
    labels = [c for c in manifest.columns if c == "label" or c.startswith("label")]
    sites = manifest.columns.get("site", [""] * len(manifest))
    groups: dict[tuple[str, str], list[int]] = collections.defaultdict(list)
    for row in range(len(manifest)):
        groups[splits[row], sites[row]].append(row)
    patients = manifest.columns.get("patient_id", [""] * len(manifest))
    entries = []
    for (split, site), rows in sorted(groups.items(), key=lambda g: (SPLITS.index(g[0][0]) if g[0][0] in SPLITS else 9, g[0])):
        counts = collections.Counter(manifest.columns[labels[0]][r] or "(none)" for r in rows) if labels else collections.Counter()
        entries.append(
            {
                "split": split,
                "site": site,
                "rows": len(rows),
                "patients": len({patients[r] for r in rows if patients[r]}),
                "masks": sum(any(manifest.columns[c][r] for c in masks) for r in rows),
                "labels": dict(sorted(counts.items())),
            }
        )
    return {
        "data": str(data),
        "rows": len(manifest),
        "annotated": {c: sum(bool(v) for v in manifest.columns[c]) for c in [*labels, *masks]},
        "groups": entries,
        "problems": _problems(manifest, masks, split_column),
    }


def _problems(manifest: Manifest, masks: list[str], split_column: str) -> list[str]:
    problems: list[str] = []
    checks: list[Callable[[], object]] = [functools.partial(manifest.check_patients, split_column)]
    checks += [functools.partial(manifest.rows, split, split_column) for split in SPLITS]
    for check in checks:
        try:
            check()
        except InputError as error:
            if str(error) not in problems:
                problems.append(str(error))
    if manifest.arrays is None:
        for row in range(len(manifest)):
            try:
                size = image_size(manifest.file("file_name", row))
                for column in masks:
                    if manifest.columns[column][row] and (other := image_size(manifest.file(column, row))) != size:
                        problems.append(f"{manifest.where(row)}: {column} is {other} pixels, the image {size}")
            except InputError as error:
                problems.append(str(error))
            if len(problems) >= _MOST_PROBLEMS:
                return [*problems, "... and perhaps more"]
    return problems
