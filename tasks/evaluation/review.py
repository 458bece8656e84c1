"""A review of a model on a data set: every number that a reviewer asks for, as one JSON value (docs/evaluation.md has its schema)."""

from __future__ import annotations

import datetime
import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from umsrep.tasks.classification import Classification
from umsrep.tasks.data.dataset import Target
from umsrep.tasks.evaluation.blocks import task_block
from umsrep.tasks.evaluation.comparison import adjust
from umsrep.tasks.evaluation.evaluating import patients_of
from umsrep.tasks.evaluation.filters import USUAL
from umsrep.tasks.evaluation.resample import SMALL
from umsrep.tasks.evaluation.sides import Calibrated, Settings, Side, calibrate, items_of, measure, open_model, second_side
from umsrep.tasks.evaluation.tables import read_grouping
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.progress import say
from umsrep.tasks.runfolder import fingerprint, plain

SCHEMA_VERSION = 1
PREVALENCES: tuple[float, ...] = (0.01, 0.05, 0.1, 0.2, 0.5)
_PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn", "torchmetrics")


def review(
    model: MultiTaskModel | str | Path,
    data: str | Path,
    *,
    split: str = "test",
    split_column: str = "split",
    targets: Mapping[str, Target] | None = None,
    tasks: Sequence[str] | None = None,
    groups: Sequence[str] = (),
    edges: Mapping[str, Sequence[float]] | None = None,
    compare: MultiTaskModel | str | Path | None = None,
    calibrate_on: str | None = "validation",
    calibration_data: str | Path | None = None,
    calibration_targets: Mapping[str, Target] | None = None,
    alpha: float = 0.1,
    resamples: int = 2000,
    seed: int = 0,
    interval_level: float = 0.95,
    noise: str = "gaussian",
    level: float = 25.0,
    tolerance: float = 2.0,
    tolerance_mm: float | None = None,
    prevalences: Sequence[float] = PREVALENCES,
    classical: bool | Sequence[str] = False,
    batch_size: int = 16,
    workers: int = 0,
    lenient: bool = False,
    title: str | None = "reviewing",
) -> dict[str, Any]:
    """Review a model: intervals over patients, calibration, conformal sets, subgroups, prevalence, decisions, comparisons, every row.

    Args:
        model: With the heads to review; or its preset, org/repo or folder.
        data: What `load_manifest` opens.
        split: train, validation or test.
        split_column: Column that says so.
        targets: Head's name to where its target stands.
        tasks: Heads; default those that the data is annotated for.
        groups: Columns whose groups to tabulate, and the intersections of each two.
        edges: Column of numbers to ascending cut points.
        compare: Another model, measured on the same rows.
        calibrate_on: Split that temperature and conformal sets are fitted on, or None for neither.
        calibration_data: Another data set that has it; the conformal coverage is then one under shift.
        calibration_targets: As ``targets``, of that one (default: the same).
        alpha: Share of conformal sets that may miss the truth.
        resamples: Bootstrap draws of whole patients, 1,000 or more for a report.
        seed: Of noise and draws.
        interval_level: Coverage of the intervals.
        noise: For denoising.
        level: For denoising, in 8-bit grey levels.
        tolerance: Of the surface Dice, in pixels of the model's input.
        tolerance_mm: The same in mm, for images of known spacing.
        prevalences: At which predictive values are given besides the data's own.
        classical: Also run classical filters beside a denoising head (True, or names of `umsrep.tasks.classical.CLASSICAL`).
        batch_size: Rows at once.
        workers: Loader processes.
        lenient: Bend the contract's rules that can be bent.
        title: Of the progress bar, or None.

    Returns:
        The schema of docs/evaluation.md, as JSON values (NaN is None).

    Raises:
        InputError: as in `evaluate`; for a calibration split that is the reviewed one; unknown columns; models without a head in common.
    """
    filters = tuple(USUAL if classical is True else classical or ())
    settings = Settings(
        split,
        split_column,
        dict(targets or {}),
        tasks,
        tuple(groups),
        dict(edges or {}),
        alpha,
        resamples,
        seed,
        interval_level,
        noise,
        level,
        tolerance,
        tolerance_mm,
        tuple(prevalences),
        filters,
        batch_size,
        workers,
        lenient,
        title,
    )
    settings.check()
    name, opened = open_model(model)
    other = None if compare is None else open_model(compare)
    notes: list[str] = []
    dataset = items_of(opened, data, settings, split=split, targets=settings.targets, tasks=tasks)
    manifest = dataset.sources[0].manifest
    for column in settings.groups:  # refused before the model runs
        read_grouping(manifest, [row for _, row in dataset.items], column, settings.edges.get(column))
    left_out = [head for head in opened.heads if head not in dataset.tasks]
    if tasks is None and left_out:
        notes.append(f"not reviewed, as this data is not annotated for them: {', '.join(left_out)}")
    calibrated = calibrate(
        name,
        opened,
        data,
        dataset,
        settings,
        split=calibrate_on,
        other_data=calibration_data,
        other_targets=calibration_targets,
        notes=notes,
    )
    surfaces = {"tolerance": tolerance, "tolerance_mm": tolerance_mm}
    extras = {t: {**surfaces, "temperature": calibrated.temperature(t) if calibrated else None} for t in dataset.tasks}
    side = measure(name, opened, dataset, settings, title, **extras)
    second = None
    if other is not None:
        second = second_side(other[0], other[1], data, side, settings, notes, **dict.fromkeys(dataset.tasks, surfaces))
    _notes_on_patients(side, calibrated, notes)
    blocks = {}
    for task in side.rows:
        if title:
            say(f"{task}: {resamples} draws of patients")
        blocks[task] = task_block(task, side, settings, calibrated=calibrated, second=second)
    adjust([one for block in blocks.values() for one in block["comparisons"]])
    result: dict[str, Any] = plain(
        {
            "schema_version": SCHEMA_VERSION,
            "kind": "umsrep review",
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "umsrep": _version("umsrep"),
            "versions": {package: _version(package) for package in _PACKAGES},
            "model": _model_block(model, name, opened),
            "data": _data_block(data, side, settings),
            "calibration_data": None if calibrated is None else _calibration_block(calibrated, side),
            "settings": _settings_block(settings, side, None if other is None else other[0]),
            "notes": notes,
            "tasks": blocks,
        }
    )
    return result


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _notes_on_patients(side: Side, calibrated: Calibrated | None, notes: list[str]) -> None:
    unknown = sum(patient is None for patient in patients_of(side.dataset, range(len(side.dataset))))
    if unknown:
        notes.append(f"{unknown} of {len(side.dataset)} rows have no patient_id: each counts as a patient, and intervals may be too narrow")
    shared = 0 if calibrated is None else _shared(calibrated, side)
    if shared:
        notes.append(f"{shared} patient(s) are among both the reviewed and the calibration rows: calibration and coverage are flattered")


def _shared(calibrated: Calibrated, side: Side) -> int:
    if not calibrated.same_data and str(calibrated.side.manifest.table.resolve()) != str(side.manifest.table.resolve()):
        return 0  # the same number means another person elsewhere
    one, other = (set(patients_of(s.dataset, range(len(s.dataset)))) - {None} for s in (side, calibrated.side))
    return len(one & other)


def _model_block(model: MultiTaskModel | str | Path, name: str, opened: MultiTaskModel) -> dict[str, Any]:
    config = opened.config()
    own = config["umsrep"]
    sha256 = None
    if not isinstance(model, MultiTaskModel):
        from umsrep.zoo import hub

        sha256 = hub.open_source(str(model)).config["umsrep"]["sha256"]
    return {
        "name": name,
        "modality": opened.encoder.modality,
        "parameters": sum(p.numel() for p in opened.parameters()),
        "arch": opened.encoder.arch,
        "contract": own["contract"],
        "heads": own["heads"],
        "sha256": sha256,
    }


def _data_block(data: str | Path, side: Side, settings: Settings) -> dict[str, Any]:
    manifest = side.manifest
    patients = patients_of(side.dataset, range(len(side.dataset)))
    sites: dict[str, int] = {}
    for _, row in side.dataset.items:
        site = manifest.columns["site"][row] if "site" in manifest.columns else ""
        sites[site] = sites.get(site, 0) + 1
    return {
        "path": str(data),
        "table": manifest.table.name,
        "fingerprint": fingerprint(manifest),
        "split": settings.split,
        "split_column": settings.split_column,
        "n": len(side.dataset),
        "patients": len({p or i for i, p in enumerate(patients)}),
        "rows_without_patient": sum(p is None for p in patients),
        "targets": {n: {"column": t.column, "map": dict(t.map)} for n, t in settings.targets.items()},
        "sites": dict(sorted(sites.items())),
        "notes": list(manifest.notes),
    }


def _calibration_block(calibrated: Calibrated, side: Side) -> dict[str, Any]:
    dataset = calibrated.side.dataset
    patients = patients_of(dataset, range(len(dataset)))
    return {
        "path": calibrated.path,
        "fingerprint": fingerprint(calibrated.side.manifest),
        "split": calibrated.split,
        "n": len(dataset),
        "patients": len({p or i for i, p in enumerate(patients)}),
        "same_data": calibrated.same_data,
        "shared_patients": _shared(calibrated, side),
    }


def _settings_block(settings: Settings, side: Side, compared: str | None) -> dict[str, Any]:
    return {
        "groups": list(settings.groups),
        "edges": {column: list(cuts) for column, cuts in settings.edges.items()},
        "compare": compared,
        "alpha": settings.alpha,
        "resamples": settings.resamples,
        "seed": settings.seed,
        "interval_level": settings.interval_level,
        "noise": settings.noise,
        "level": settings.level,
        "specificity": next((t.specificity for t in side.dataset.tasks.values() if isinstance(t, Classification)), None),
        "tolerance": settings.tolerance,
        "tolerance_mm": settings.tolerance_mm,
        "prevalences": list(settings.prevalences),
        "small_group": SMALL,
        "batch_size": settings.batch_size,
    }
