"""What a review measures: a model on a data set, the rows that calibrate it, and a second model on the same rows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from umsrep.errors import InputError
from umsrep.heads import Head
from umsrep.tasks.classification import Classification
from umsrep.tasks.data.dataset import JointDataset, Target
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.evaluate import Rows, collect, evaluation_set
from umsrep.tasks.evaluation.evaluating import patients_of
from umsrep.tasks.evaluation.resample import Draws
from umsrep.tasks.evaluation.reviewed import reviewed
from umsrep.tasks.evaluation.temperature import Temperature, fit_temperature
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.task import Task


@dataclasses.dataclass(frozen=True)
class Settings:
    """The arguments of `umsrep.tasks.evaluation.review.review` but for models and data."""

    split: str
    split_column: str
    targets: Mapping[str, Target]
    tasks: Sequence[str] | None
    groups: tuple[str, ...]
    edges: Mapping[str, Sequence[float]]
    alpha: float
    resamples: int
    seed: int
    interval_level: float
    noise: str
    level: float
    tolerance: float
    tolerance_mm: float | None
    prevalences: tuple[float, ...]
    filters: tuple[str, ...]
    batch_size: int
    workers: int
    lenient: bool
    title: str | None

    def draws(self, patients: Sequence[str | None]) -> Draws:
        """Return the bootstrap draws over some rows."""
        return Draws(patients, self.resamples, self.seed, self.interval_level)

    def check(self) -> None:
        """Refuse numbers that mean nothing, before a model runs.

        Raises:
            InputError: naming the first of them.
        """
        self.draws([])
        if not 0 < self.alpha < 1:
            raise InputError(
                f"alpha must be above 0 and below 1, not {self.alpha:g}; 0.1 asks for sets that hold the truth 90 % of the time"
            )
        for prevalence in self.prevalences:
            if not 0 < prevalence < 1:
                raise InputError(f"prevalence {prevalence:g} must be above 0 and below 1; write 5 % as 0.05")
        for name, value in (("tolerance", self.tolerance), ("tolerance_mm", self.tolerance_mm)):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InputError(f"{name} must be 0 or more, not {value}")
        if self.batch_size < 1 or self.workers < 0:
            raise InputError(f"batch_size must be 1 or more and workers 0 or more, not {self.batch_size} and {self.workers}")
        for column in self.edges:
            if column not in self.groups:
                raise InputError(f"cut points for '{column}', which is not among the groups ({', '.join(self.groups) or 'none'})")
        if len(set(self.groups)) < len(self.groups):
            raise InputError(f"a column twice among the groups: {', '.join(self.groups)}")


@dataclasses.dataclass(frozen=True)
class Side:
    """A model on a data set, measured once.

    Attributes:
        name: Of the model.
        model: In evaluation mode.
        dataset: The items.
        rows: Task's name to its per-row statistics.
    """

    name: str
    model: MultiTaskModel
    dataset: JointDataset
    rows: Rows

    @property
    def manifest(self) -> Manifest:
        """The table."""
        return self.dataset.sources[0].manifest

    def patients(self, task: str) -> list[str | None]:
        """Return the patient of each of a task's rows."""
        return patients_of(self.dataset, self.rows[task]["index"].tolist())

    def manifest_rows(self, task: str) -> list[int]:
        """Return the place in the table of each of a task's rows."""
        return [self.dataset.items[i][1] for i in self.rows[task]["index"].tolist()]


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """What the calibration rows gave.

    Attributes:
        side: The model on them.
        path: Of the data.
        split: Of it.
        same_data: Whether it is the reviewed data set.
        temperatures: Task's name to the fitted temperature.
    """

    side: Side
    path: str
    split: str
    same_data: bool
    temperatures: dict[str, Temperature]

    def temperature(self, task: str) -> float | None:
        """Return a task's temperature, or None where none was fitted."""
        found = self.temperatures.get(task)
        return None if found is None or math.isnan(found.value) else found.value


def open_model(model: MultiTaskModel | str | Path) -> tuple[str, MultiTaskModel]:
    """Return a model and what to call it."""
    if isinstance(model, MultiTaskModel):
        return model.encoder.arch, model
    return str(model), MultiTaskModel.from_pretrained(str(model))


def items_of(
    model: MultiTaskModel,
    data: str | Path,
    settings: Settings,
    *,
    split: str,
    targets: Mapping[str, Target],
    tasks: Sequence[str] | None,
    among: Sequence[str] | None = None,
) -> JointDataset:
    """Return the items of one split; errors as in `evaluation_set`."""
    return evaluation_set(
        model,
        data,
        split=split,
        split_column=settings.split_column,
        targets=targets,
        tasks=tasks,
        among=among,
        noise=settings.noise,
        level=settings.level,
        seed=settings.seed,
        lenient=settings.lenient,
    )


def measure(name: str, model: MultiTaskModel, dataset: JointDataset, settings: Settings, title: str | None, **segmentation: Any) -> Side:
    """Run a model over items, keeping what a review needs of each; further arguments as in `ReviewedSegmentation.of`, by task."""
    for task_name, task in dataset.tasks.items():
        dataset.tasks[task_name] = reviewed(task, **segmentation.get(task_name, {}))
    rows = collect(model, dataset, batch_size=settings.batch_size, workers=settings.workers, title=title)
    return Side(name, model, dataset, rows)


def calibrate(
    name: str,
    model: MultiTaskModel,
    data: str | Path,
    reviewed_set: JointDataset,
    settings: Settings,
    *,
    split: str | None,
    other_data: str | Path | None,
    other_targets: Mapping[str, Target] | None,
    notes: list[str],
) -> Calibrated | None:
    """Measure the calibration rows and fit temperatures; None, with a note that says why, where there are none.

    Raises:
        InputError: if the calibration split is the reviewed one, or other data was named that has no such rows.
    """
    if split is None:
        notes.append("no temperature and no conformal sets: calibration was switched off")
        return None
    wanted = [n for n, task in reviewed_set.tasks.items() if not isinstance(task, Denoising)]
    if not wanted:
        return None
    manifest = reviewed_set.sources[0].manifest
    if other_data is None:
        if split == settings.split:
            raise InputError(f"calibrating on '{split}', the split under review, would flatter the model; name another, or none")
        if split not in manifest.split_values(settings.split_column):
            notes.append(f"no temperature and no conformal sets: {manifest.table.name} has no row with {settings.split_column} = {split}")
            return None
    targets = dict(settings.targets if other_targets is None else other_targets)
    dataset = items_of(model, data if other_data is None else other_data, settings, split=split, targets=targets, tasks=None, among=wanted)
    for task_name in wanted:
        if task_name not in dataset.tasks:
            notes.append(f"{task_name}: no temperature and no conformal sets, as no calibration row is annotated for it")
    if not dataset.tasks:
        return None
    side = measure(
        name, model, dataset, settings, settings.title and f"{settings.title}: calibration rows", **{n: {"sampled": True} for n in wanted}
    )
    temperatures = {n: _fit(task, side.rows[n]) for n, task in dataset.tasks.items()}
    return Calibrated(side, str(data if other_data is None else other_data), split, other_data is None, temperatures)


def _fit(task: Task, rows: Mapping[str, Any]) -> Temperature:
    if isinstance(task, Classification):
        return fit_temperature(rows["logits"], rows["target"], multi_label=task.multi_label)
    assert isinstance(task, Segmentation)
    label = rows["sample_target"].reshape(-1)
    logits = rows["sample"].reshape(len(label), -1)[label >= 0].astype("float64")
    label = label[label >= 0]
    if not len(label):
        return Temperature(math.nan, math.nan, math.nan, 0, "none: no annotated pixel")
    if task.softmax:
        return fit_temperature(logits, label)
    return fit_temperature(logits, label[:, None].astype("float64"), multi_label=True)


def second_side(
    name: str, model: MultiTaskModel, data: str | Path, first: Side, settings: Settings, notes: list[str], **segmentation: Any
) -> Side:
    """Measure another model on the rows of the first, with the heads that both have.

    Raises:
        InputError: if they have no head in common, of one kind and with the same classes.
    """
    common = []
    for task_name, task in first.dataset.tasks.items():
        theirs: Any = dict(model.heads.items()).get(task_name)
        same = isinstance(theirs, Head) and theirs.kind == task.kind
        if same and isinstance(task, Classification | Segmentation):
            same = tuple(theirs.classes) == task.classes and bool(theirs.multi_label) == task.multi_label
        if same:
            common.append(task_name)
        else:
            notes.append(f"{task_name}: not compared, as '{name}' has no such head of this kind and classes")
    if not common:
        raise InputError(f"'{name}' has none of the heads under review ({', '.join(first.dataset.tasks)}), with the same classes")
    targets = {n: t for n, t in settings.targets.items() if n in common}
    dataset = items_of(model, data, settings, split=settings.split, targets=targets, tasks=common)
    if model.encoder.contract.size != first.model.encoder.contract.size:
        sizes = f"{model.encoder.contract.size}, this model at {first.model.encoder.contract.size}"
        notes.append(f"'{name}' works at {sizes}: distances in pixels, PSNR and SSIM are not of the same pixels")
    return measure(name, model, dataset, settings, settings.title and f"{settings.title}: {name}", **segmentation)
