"""Which training rows are labelled for a task, and which are not."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from umsrep.errors import InputError
from umsrep.tasks.classification import Classification
from umsrep.tasks.data.dataset import MASK_COLUMN, Target
from umsrep.tasks.data.labels import LABEL_COLUMN, read_label
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.task import Task

_PLAIN = {"classification": LABEL_COLUMN, "segmentation": MASK_COLUMN}
"""Tasks that can be named without a model and without --targets, and the column where their annotation stands."""


@dataclasses.dataclass(frozen=True)
class Pool:
    """The training rows of a data set.

    Attributes:
        rows: Rows of the manifest with split ``train``, ascending.
        labelled: bool [rows], whether each is annotated for the task.
        task: Its name.
        columns: Where its annotation stands.
        cells: Where one column of names of classes says the annotation: each row's class ("" without one); else None.
        notes: What the user should know, one line each.
    """

    rows: tuple[int, ...]
    labelled: NDArray[np.bool_]
    task: str
    columns: tuple[str, ...]
    cells: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def find_pool(
    manifest: Manifest,
    *,
    split_column: str = "split",
    name: str | None = None,
    task: Task | None = None,
    targets: Mapping[str, Target] | None = None,
) -> Pool:
    """Find the training rows, and which of them a task's annotation covers.

    A row is labelled if its label cell is not empty (nor mapped to nothing), if one of several label columns is filled, or if it has all
    its masks. A default column that the table does not have means that nothing is labelled.

    Args:
        manifest: The set.
        split_column: Column with train, validation, test.
        name: Of the task. Without a model: one of ``targets``, or classification (column label) or segmentation (mask_file_name); None
            takes the only one of these that is annotated.
        task: The task of a model's head, or None without a model; its classes are then held against the cells.
        targets: Task's name to where its annotation stands.

    Raises:
        InputError: for no training row, a patient in two splits, an unknown column or task, a cell that is no class, or several tasks.
    """
    rows = tuple(manifest.rows("train", split_column))
    manifest.check_patients(split_column)
    targets = dict(targets or {})
    if task is None:
        name = _plain_name(manifest, rows, name, targets)
    assert name is not None
    target = targets.get(name, Target())
    columns = _columns(name, task, target)
    missing = [c for c in columns if c not in manifest.columns]
    notes: tuple[str, ...] = ()
    if missing and target.column is not None:
        manifest.column(missing[0])  # raises, with the nearest names
    if missing:
        notes = (f"{manifest.table}: no column '{missing[0]}', so no row counts as labelled for '{name}'",)
        return Pool(rows, np.zeros(len(rows), dtype=bool), name, columns, None, notes)
    cells = None
    if isinstance(task, Classification):
        labelled = [read_label(name, task, manifest, row, target.column, target.map) is not None for row in rows]
    elif len(columns) == 1:
        values = manifest.columns[columns[0]]
        cells = tuple(target.map.get(values[row], values[row]) or "" if values[row] else "" for row in rows)
        labelled = [bool(cell) for cell in cells]
    else:
        filled = [[bool(manifest.columns[c][row]) for c in columns] for row in rows]
        labelled = [all(one) if isinstance(task, Segmentation) else any(one) for one in filled]
    if columns[0].startswith(MASK_COLUMN):
        cells = None
    return Pool(rows, np.array(labelled, dtype=bool), name, columns, cells, notes)


def _columns(name: str, task: Task | None, target: Target) -> tuple[str, ...]:
    if isinstance(target.column, tuple):
        return target.column
    if isinstance(task, Segmentation):
        base = target.column or MASK_COLUMN
        return tuple(f"{base}.{c}" for c in task.classes) if task.multi_label else (base,)
    return (target.column or _PLAIN.get(name, LABEL_COLUMN),)


def _plain_name(manifest: Manifest, rows: tuple[int, ...], name: str | None, targets: Mapping[str, Target]) -> str:
    """Name the task where no model does."""
    known = list(dict.fromkeys([*targets, *_PLAIN]))
    if name is not None:
        if name not in known:
            raise InputError(
                f"task '{name}': without a model say where its annotation stands, as --targets.{name}.column C, or take one of "
                f"{', '.join(known)}"
            )
        return name
    if targets:
        if len(targets) > 1:
            raise InputError(f"targets of several tasks ({', '.join(targets)}): name one with --task")
        return next(iter(targets))
    filled = [task for task, column in _PLAIN.items() if any(manifest.columns.get(column, [""] * len(manifest))[row] for row in rows)]
    if len(filled) > 1:
        raise InputError(f"{manifest.table}: holds labels and masks; name the task to annotate next with --task {' or '.join(filled)}")
    return filled[0] if filled else "classification"
