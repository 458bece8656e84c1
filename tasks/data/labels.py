"""From a manifest's cells to what classification learns: a class index, or 0, 1 and NaN for labels that occur together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from umsrep.errors import InputError, nearest
from umsrep.tasks.classification import Classification
from umsrep.tasks.data.manifest import Manifest

LABEL_COLUMN = "label"


def read_label(
    name: str,
    task: Classification,
    manifest: Manifest,
    row: int,
    column: str | tuple[str, ...] | None = None,
    names: Mapping[str, str | None] | None = None,
) -> int | np.ndarray | None:
    """Read one row's label.

    Args:
        name: Of the task, for messages.
        task: With its classes.
        manifest: The table.
        row: Which of its rows.
        column: One column (default ``label``; with several labels to a row, names divided by ``|``), or one of 0, 1 or nothing a class.
        names: Stored value to class name, or to None for "not annotated".

    Returns:
        The class index; with several labels float32 [K] of 0, 1 and NaN (not annotated); None for a row that is not annotated.

    Raises:
        InputError: for a value that is no class, naming the row and the key that maps it.
    """
    if isinstance(column, tuple):
        return _several_columns(name, task, manifest, row, column)
    value = manifest.column(column or LABEL_COLUMN)[row]
    if not value:
        return None
    names = names or {}
    if task.multi_label:
        found = [_mapped(v.strip(), names, name, task, manifest, row) for v in value.split("|")]
        labels: np.ndarray = np.isin(task.classes, [n for n in found if n]).astype(np.float32)
        return labels
    mapped = _mapped(value, names, name, task, manifest, row)
    return None if mapped is None else task.classes.index(mapped)


def _mapped(value: str, names: Mapping[str, str | None], name: str, task: Classification, manifest: Manifest, row: int) -> str | None:
    """Bring a stored value to a class name; a value that is neither mapped nor a class is an error."""
    if value in names:
        value = names[value] or ""
        if not value:
            return None
    if value not in task.classes:
        raise InputError(
            f"{manifest.where(row)}: label '{value}' is no class of '{name}' ({', '.join(task.classes)}); "
            f"add it to the classes or map it under data.targets.{name}.map{nearest(value, task.classes) if len(task.classes) > 20 else ''}"
        )
    return value


def _several_columns(name: str, task: Classification, manifest: Manifest, row: int, columns: Sequence[str]) -> np.ndarray | None:
    if len(columns) != len(task.classes) or not task.multi_label:
        raise InputError(
            f"task '{name}': {len(columns)} target columns need multi_label and one class each, in order ({', '.join(task.classes)})"
        )
    values = []
    for column in columns:
        text = {"True": "1", "true": "1", "False": "0", "false": "0"}.get(cell := manifest.column(column)[row], cell)
        if text not in ("", "0", "1", "0.0", "1.0"):
            raise InputError(f"{manifest.where(row)}: {column} is '{text}', but a column of several labels holds 0, 1 or nothing")
        values.append(float(text) if text else np.nan)
    return None if np.isnan(values).all() else np.array(values, dtype=np.float32)
