"""Which tasks a data set annotates, by its own columns, and which training rows stand for each."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from umsrep.errors import InputError, nearest
from umsrep.tasks.classification import Classification
from umsrep.tasks.config import TaskConfig
from umsrep.tasks.data.dataset import MASK_COLUMN, Target, read_mask
from umsrep.tasks.data.inspect.columns import Columns, read_columns
from umsrep.tasks.data.labels import read_label
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.feature_cache import load_batches

IGNORE = 255
LEVEL = 25.0
"""Gaussian noise of the denoising task, in 8-bit grey levels."""
LEAST_ROWS = 10
"""Fewest annotated training rows of a task that are scored."""


@dataclasses.dataclass(frozen=True)
class Annotated:
    """A task that a data set annotates.

    Attributes:
        name: ``classification`` for column ``label``, ``segmentation`` for ``mask_file_name``, ``findings`` for columns ``label.<n>``
            of 0 and 1; other columns by their own names with ``_`` for ``.``; the name under --targets; ``denoising``.
        config: As in a fine-tuning configuration.
        target: Where its target stands.
        rows: Annotated training rows.
        labels: Classification: of each row its class index, or for several labels a row float32 [K] of 0 and 1; else empty.
        notes: What was left out, one line each.
    """

    name: str
    config: TaskConfig
    target: Target
    rows: tuple[int, ...]
    labels: tuple[int | np.ndarray, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """``denoising``, ``segmentation`` or ``classification``."""
        return self.config.kind


def annotated_tasks(
    manifest: Manifest,
    *,
    split_column: str = "split",
    targets: Mapping[str, Target] | None = None,
    tasks: Sequence[str] | None = None,
    workers: int = 2,
) -> list[Annotated]:
    """Find the tasks that the training rows annotate.

    Args:
        manifest: The set.
        split_column: Column with train, validation, test.
        targets: Name of a classification task to where its target stands; replaces what the column would give by itself.
        tasks: Only these; default all.
        workers: Threads that read masks.

    Raises:
        InputError: if there is no training row, an unknown task is named (with the nearest), a named task has one class or too few
            rows, or no task is left besides denoising, which needs no annotation but was not asked for alone.
    """
    rows = manifest.rows("train", split_column)
    manifest.check_patients(split_column)
    columns = read_columns(manifest, split_column)
    wanted = {name: _classification(manifest, rows, name, target) for name, target in (targets or {}).items()}
    used = {c for target in (targets or {}).values() for c in _columns(target)}
    several = [c for c in columns.multi_label if set(manifest.columns[c]) <= {"", "0", "1"} and c not in used]
    if several:
        wanted["findings"] = _findings(manifest, rows, several)
    for column in columns.labels:
        if column not in several and column not in used:
            name = "classification" if column == "label" else column.replace(".", "_")
            wanted.setdefault(name, _classification(manifest, rows, name, Target(column)))
    wanted |= _segmentation(manifest, rows, columns, workers)
    if "denoising" not in wanted:
        config = TaskConfig(kind="denoising", noise="gaussian", level=LEVEL)
        wanted["denoising"] = Annotated("denoising", config, Target(), tuple(rows))
    for name in tasks or ():
        if name not in wanted:
            raise InputError(f"{manifest.table}: annotates no task '{name}'{nearest(name, wanted)}")
    same = _same_partition(wanted)
    for name in [name for name in same if name not in (*(tasks or ()), *(targets or {}))]:
        del wanted[name]
    problems = {name: problem for name, found in wanted.items() if (problem := _problem(found, manifest))}
    for name in [*(tasks or ()), *(targets or {})]:
        if name in problems and (tasks is None or name in tasks):
            raise InputError(f"{manifest.table}: {problems[name]}")
    kept = [found for name, found in wanted.items() if name not in problems and (tasks is None or name in tasks)]
    if not kept or (tasks is None and all(found.kind == "denoising" for found in kept)):
        why = "; ".join(problems.values()) or "no label and no mask column with a value in a training row"
        raise InputError(f"{manifest.table}: annotates no task ({why}); --tasks denoising compares encoders by denoising alone")
    left_out = tuple(f"left out: {problem}" for name, problem in problems.items() if tasks is None)
    repeats = tuple(
        f"left out: task '{name}' parts the training rows as '{first}' does; --tasks asks for it"
        for name, first in same.items()
        if tasks is None
    )
    return [dataclasses.replace(kept[0], notes=(*kept[0].notes, *left_out, *repeats)), *kept[1:]]


def _same_partition(tasks: Mapping[str, Annotated]) -> dict[str, str]:
    """Return tasks whose classes are, up to their names and order, those of an earlier task on the same rows, with that task."""
    first: dict[tuple[tuple[int, ...], tuple[int, ...]], str] = {}
    same = {}
    for name, task in tasks.items():
        if task.kind == "classification" and not task.config.multi_label:
            numbers: dict[int, int] = {}
            key = (task.rows, tuple(numbers.setdefault(int(label), len(numbers)) for label in task.labels))
            if first.setdefault(key, name) != name:
                same[name] = first[key]
    return same


def _problem(task: Annotated, manifest: Manifest) -> str | None:
    """Say why a task cannot be scored, or None."""
    if len(task.rows) < LEAST_ROWS:
        return f"task '{task.name}' has {len(task.rows)} annotated training row(s); {LEAST_ROWS} or more are needed"
    if task.kind == "classification":
        if not task.config.multi_label and len(set(map(int, task.labels))) < 2:
            only = (task.config.classes or ["?"])[0]
            return f"task '{task.name}' has one class only in the training rows ('{only}'); two or more are needed"
        if task.config.multi_label and not any(0 < np.mean(column) < 1 for column in np.stack(task.labels).T):
            return f"task '{task.name}' has columns of one value only; 0 and 1 are both needed"
    if task.kind == "segmentation" and len(task.config.classes or ()) < 2:
        return f"task '{task.name}' has masks of one value only; background and a class are needed"
    return None


def _columns(target: Target) -> tuple[str, ...]:
    return target.column if isinstance(target.column, tuple) else (target.column or "label",)


def _classification(manifest: Manifest, rows: Sequence[int], name: str, target: Target) -> Annotated:
    """Classes are the different values of the training rows, mapped where the target maps them."""
    if isinstance(target.column, tuple):
        return _findings(manifest, rows, target.column, name=name)
    cells = manifest.column(target.column or "label")
    mapped = {row: target.map.get(cells[row], cells[row]) for row in rows if cells[row]}
    labelled = {row: value for row, value in mapped.items() if value}
    classes = sorted(set(labelled.values()))
    unseen = sorted(set(cells) - {cells[row] for row in rows} - set(classes) - set(target.map) - {""})
    notes = [f"task '{name}': values that no training row has are left out: {', '.join(unseen)}"] if unseen else []
    if any("|" in value for value in classes):
        notes.append(f"task '{name}': some rows hold several names (divided by |), of which each combination counts as a class here")
    config = TaskConfig(kind="classification", classes=classes)
    target = Target(target.column or "label", {**target.map, **dict.fromkeys(unseen)})
    return Annotated(name, config, target, tuple(labelled), tuple(classes.index(v) for v in labelled.values()), tuple(notes))


def _findings(manifest: Manifest, rows: Sequence[int], columns: Sequence[str], name: str = "findings") -> Annotated:
    """Labels that occur together; rows in which one of them is not known are left out, as scores need all."""
    classes = [c.removeprefix("label.") for c in columns]
    config = TaskConfig(kind="classification", classes=[f"finding_{c}" if c.isdigit() else c for c in classes], multi_label=True)
    task = Classification(config.classes or [], multi_label=True)
    read = {row: read_label(name, task, manifest, row, tuple(columns)) for row in rows}
    known = {row: label for row, label in read.items() if isinstance(label, np.ndarray) and not np.isnan(label).any()}
    return Annotated(name, config, Target(tuple(columns)), tuple(known), tuple(known.values()))


def _segmentation(manifest: Manifest, rows: Sequence[int], columns: Columns, workers: int) -> dict[str, Annotated]:
    """One task for ``mask_file_name``, whose values are classes, and one for each ``mask_file_name.<class>``, 0 or 1."""
    found = {}
    for column in columns.masks:
        held = [row for row in rows if manifest.columns[column][row]]
        if not held:
            continue

        def values(row: int, column: str = column) -> set[int]:
            stored = manifest.mask(column, row)
            where = f"{manifest.where(row)}: {column}"
            mask = read_mask(stored, where, manifest.frame(row)) if isinstance(stored, Path) else stored
            return set(np.unique(mask).tolist())

        seen = set().union(*(s for batch in load_batches(values, held, 64, workers, f"reading masks of {column}") for s in batch))
        top = max(seen - {IGNORE}, default=0)
        if column == MASK_COLUMN:
            name, classes = "segmentation", ["background", *(f"class_{v}" for v in range(1, top + 1))]
            if top + 1 > 2 * len(seen):  # grey pictures and 0-255 masks: as `umsrep inspect` tells
                raise InputError(
                    f"{manifest.table}: {column} holds values up to {top}, but only {len(seen)} different ones: a mask is an index "
                    "image of 0, 1, 2 ... (see `umsrep inspect`)"
                )
        else:
            part = column.removeprefix(f"{MASK_COLUMN}.")
            name, classes = f"segmentation_{part}".replace(".", "_"), ["background", part]
        if top == 0:
            classes = classes[:1]
        found[name] = Annotated(name, TaskConfig(kind="segmentation", classes=classes), Target(column), tuple(held))
    return found


def choose_rows(task: Annotated, manifest: Manifest, limit: int, seed: int) -> list[int]:
    """Choose at most ``limit`` of a task's rows, stratified by class and spread over patients.

    Classes keep their shares (at least one row each); within a class a row of every patient comes before a second one of any. The
    choice depends on the seed and the rows alone. Several labels a row, masks and denoising are one stratum.

    Returns:
        Places in ``task.rows``, ascending.
    """
    if limit >= len(task.rows):
        return list(range(len(task.rows)))
    generator = np.random.default_rng(seed)
    single = task.kind == "classification" and not task.config.multi_label
    strata: dict[int, list[int]] = collections.defaultdict(list)
    for place in range(len(task.rows)):
        label = task.labels[place] if single else 0
        strata[int(label)].append(place)
    patients = manifest.columns.get("patient_id", [""] * len(manifest))
    sizes = {label: limit * len(places) / len(task.rows) for label, places in strata.items()}
    counts = {label: max(1, int(size)) for label, size in sizes.items()}
    for label in sorted(sizes, key=lambda one: int(sizes[one]) - sizes[one])[: max(0, limit - sum(counts.values()))]:
        counts[label] += 1
    chosen: list[int] = []
    for label in sorted(strata):
        turns: collections.Counter[str] = collections.Counter()
        order: list[tuple[int, int, int]] = []
        for place in generator.permutation(strata[label]).tolist():
            patient = patients[task.rows[place]] or f"\0{place}"
            order.append((turns[patient], len(order), place))
            turns[patient] += 1
        chosen += [place for _, _, place in sorted(order)[: counts[label]]]
    return sorted(chosen)
