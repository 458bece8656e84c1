"""What is in a data folder, per split and site, and what is wrong with it."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from umsrep.errors import InputError
from umsrep.tasks.data.manifest import SPLITS, Manifest, load_manifest
from umsrep.tasks.progress import track

_MOST_PROBLEMS = 20


def inspect(data: str | Path, *, split_column: str = "split") -> dict[str, Any]:
    """Count rows, patients, masks and labels per split and site, and look for what would stop a training run.

    Args:
        data: Folder with metadata.csv, or a MedMNIST npz.
        split_column: Column with train, validation, test.

    Returns:
        JSON values: ``data``, ``rows``, ``annotated`` (column to non-empty cells), ``groups`` and ``problems`` (one line each: missing
        or damaged files, masks of another size, unknown splits, patients in two splits, empty splits).

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
    if manifest.arrays is not None:
        return problems
    for row in track(range(len(manifest)), "reading images", total=len(manifest)):
        try:
            size = _decode(manifest.file("file_name", row), manifest.where(row))
            for column in masks:
                if not manifest.columns[column][row]:
                    continue
                other = _decode(manifest.file(column, row), f"{manifest.where(row)}: {column}")
                if size is not None and other is not None and other != size:
                    problems.append(f"{manifest.where(row)}: {column} is {other[0]}x{other[1]} pixels, the image {size[0]}x{size[1]}")
        except InputError as error:
            problems.append(str(error))
        if len(problems) >= _MOST_PROBLEMS:
            return [*problems, "... and perhaps more"]
    return problems


def _decode(path: Path, where: str) -> tuple[int, int] | None:
    """Read all pixels of an image and return its (width, height); None for arrays, whose shape may mean anything.

    Raises:
        InputError: if it is damaged.
    """
    if path.suffix == ".npy":
        return None
    try:
        with Image.open(path) as image:
            image.load()
            return image.size
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{where}: {path.name} is damaged or no image ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from error
