"""From a configuration to the unlabelled rows of a run and what they are for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from umsrep.errors import InputError
from umsrep.tasks.adapt import adabn, batch_norms
from umsrep.tasks.classification import Classification
from umsrep.tasks.config import AdaptConfig, FineTuneConfig, UnlabelledConfig
from umsrep.tasks.config_unlabelled import LOSS_METHODS
from umsrep.tasks.data.augment import Augment
from umsrep.tasks.data.dataset import JointDataset, Source
from umsrep.tasks.data.manifest import Manifest, load_manifest
from umsrep.tasks.data.sampler import TaskAwareBatchSampler
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.task import Task
from umsrep.tasks.unlabelled.consistency import Consistency
from umsrep.tasks.unlabelled.domains import DomainLoss
from umsrep.tasks.unlabelled.rows import Joined, JoinedSampler, Style, UnlabelledDataset, Views, collate_target


@dataclasses.dataclass(frozen=True)
class Unlabelled:
    """The unlabelled rows of a run.

    Attributes:
        dataset: The rows.
        batch_size: How many of them are in a global batch, 0 where none joins the labelled rows (fda, adabn).
        loss: What they are for; None with fda and adabn.
        note: What a person should know, one line.
    """

    dataset: UnlabelledDataset
    batch_size: int
    loss: Consistency | DomainLoss | None
    note: str

    def join(self, labelled: JointDataset, sampler: TaskAwareBatchSampler) -> tuple[Joined, JoinedSampler]:
        """Return the data set of both kinds of rows, and the sampler of its batches."""
        return Joined(labelled, self.dataset), JoinedSampler(sampler, len(self.dataset), self.batch_size, offset=len(labelled))


def build_unlabelled(config: FineTuneConfig, model: MultiTaskModel, train: JointDataset, tasks: Mapping[str, Task]) -> Unlabelled | None:
    """Make what ``unlabelled`` or ``adapt`` ask for; None where neither does. With fda the training set gets its style here.

    Args:
        config: Of the run.
        model: To train.
        train: Its training rows.
        tasks: Those that train.

    Raises:
        InputError: for a target that cannot be read or has no such rows, a method that these tasks or this encoder cannot have, or a run
            without unlabelled rows.
    """
    adapt, settings = config.adapt, config.unlabelled
    if adapt is not None and adapt.method != "mean-teacher":
        return _adapted(config, adapt, model, train, tasks)
    sources: list[Source] = []
    notes: list[str] = []
    if settings is not None:
        sources, count = _unannotated(config, settings, train, tasks)
        notes.append(f"consistency on {count} unlabelled training rows")
    if adapt is not None:
        target, note = _target(adapt)
        sources.append(target)
        notes.append(f"mean-teacher on {note}")
        settings = settings or UnlabelledConfig(weight=adapt.factor, batch_size=adapt.batch_size)
    return None if settings is None else _consistent(config, settings, sources, "; ".join(notes), train, tasks)


def notes_of(unlabelled: Unlabelled | None, left_out: int) -> list[str]:
    """Return what to tell of rows without annotation, one line each; ``left_out`` training rows are annotated for no task."""
    if unlabelled is not None:
        return [unlabelled.note]
    if left_out:
        return [f"{left_out} training rows are annotated for no task and left out; with the block unlabelled they train too"]
    return []


def _consistent(
    config: FineTuneConfig, settings: UnlabelledConfig, sources: Sequence[Source], note: str, train: JointDataset, tasks: Mapping[str, Task]
) -> Unlabelled:
    if not config.ema:
        raise InputError("config: mean-teacher consistency needs ema above 0: the moving average is the teacher")
    denoising = {name: task for name, task in tasks.items() if isinstance(task, Denoising)}
    if settings.pair_column is not None and not denoising:
        raise InputError("config: unlabelled.pair_column is for denoising, which does not train here; leave it out")
    assert isinstance(config.augment, Augment)
    views = Views(config.augment, settings.intensity, settings.noise, denoising, settings.pair_column)
    dataset = UnlabelledDataset(sources, train.contract, seed=config.seed, lenient=config.lenient, views=views)
    if settings.pair_column is not None:
        if not dataset.frames:
            raise InputError(f"config: unlabelled.pair_column '{settings.pair_column}': no two unlabelled rows have the same value there")
        note += f", {len(dataset.frames)} of them with another frame of the same {settings.pair_column}"
    rows = settings.batch_size or config.batch_size
    weights = {name: config.tasks[name].factor for name in tasks}
    priors = _priors(train, tasks) if settings.align else {}
    if settings.align and not priors:
        raise InputError("config: unlabelled.align is for classification, which does not train here; leave it out")
    return Unlabelled(dataset, rows, Consistency(settings, tasks, weights, rows, priors), note)


def _unannotated(
    config: FineTuneConfig, settings: UnlabelledConfig, train: JointDataset, tasks: Mapping[str, Task]
) -> tuple[list[Source], int]:
    """Return the unlabelled rows of the run's own data sets, and how many there are."""
    wanted = [train.annotated[name] for name, task in tasks.items() if not isinstance(task, Denoising)]
    free: np.ndarray = np.zeros(len(train), dtype=bool)
    if wanted:
        free = np.logical_not((np.all if settings.partly else np.any)(np.stack(wanted), axis=0))
    rows: dict[int, list[int]] = {}
    for number, (s, row) in enumerate(train.items):
        columns = train.sources[s].manifest.columns
        paired = settings.pair_column is not None and settings.pair_column in columns and columns[settings.pair_column][row]
        if free[number] or paired:
            rows.setdefault(s, []).append(row)
    sources = [dataclasses.replace(train.sources[s], rows=chosen) for s, chosen in rows.items()]
    sources += [
        Source(manifest := load_manifest(data.path), _rows(manifest, "train", data.split_column, f"data '{data.path}'"), (), {})
        for data in config.data
        if data.unlabelled
    ]
    count = sum(len(source.rows) for source in sources)
    if not count and config.adapt is None:
        names = ", ".join(tasks)
        raise InputError(
            f"config: unlabelled: every training row is annotated for {names}; add a data set with unlabelled: true, leave annotations "
            "empty, or drop the block"
        )
    return sources, count


def _adapted(
    config: FineTuneConfig, adapt: AdaptConfig, model: MultiTaskModel, train: JointDataset, tasks: Mapping[str, Task]
) -> Unlabelled:
    target, described = _target(adapt)
    joins = adapt.method in LOSS_METHODS
    if joins:
        _check_features(config, adapt, tasks)
    if adapt.method == "adabn" and not any(norm.running_mean is not None for norm in batch_norms(model).values()):
        raise InputError(f"config: adapt.method adabn: {model.encoder.arch} and its heads have no batch norm; take another method")
    dataset = UnlabelledDataset(
        [target], train.contract, seed=config.seed, lenient=config.lenient, augment=config.augment if joins else None
    )
    if adapt.method == "fda":
        train.style = Style(dataset, adapt.beta)
    width = model.encoder.embedding_dim if any(isinstance(t, Classification) for t in tasks.values()) else model.encoder.channels[-1]
    loss = DomainLoss(adapt, width) if joins else None
    return Unlabelled(dataset, (adapt.batch_size or config.batch_size) if joins else 0, loss, f"{adapt.method} on {described}")


def _check_features(config: FineTuneConfig, adapt: AdaptConfig, tasks: Mapping[str, Task]) -> None:
    """Refuse what a loss on the encoder's features cannot change or be computed on."""
    if all(isinstance(task, Denoising) for task in tasks.values()):
        raise InputError(
            f"config: adapt.method {adapt.method} aligns what segmentation or classification sees, and only denoising trains; it needs no "
            "annotation: add the target to data"
        )
    if config.strategy == "frozen" or config.train_heads is not None:
        raise InputError(f"config: adapt.method {adapt.method} trains the encoder, which stays frozen here; take strategy full, or adabn")
    smallest = min(config.batch_size, adapt.batch_size or config.batch_size)
    if adapt.method == "coral" and smallest < 2:
        raise InputError("config: adapt.method coral needs batches of 2 rows or more, of source and of target")


def _target(adapt: AdaptConfig) -> tuple[Source, str]:
    """Return the rows of the target, and their description; of its table only the split is read."""
    manifest = load_manifest(adapt.path)
    split = None if adapt.split == "all" else adapt.split
    rows = list(range(len(manifest))) if split is None else _rows(manifest, split, adapt.split_column, "adapt.split")
    if not rows:
        raise InputError(f"{manifest.table}: no rows to adapt to")
    return Source(manifest, rows, (), {}), f"{len(rows)} rows of {adapt.path} ({adapt.split}; labels are not read)"


def _rows(manifest: Manifest, split: str, column: str, key: str) -> list[int]:
    """Return the rows of a split; all of a table that has no such column."""
    if column not in manifest.columns:
        if column != "split":
            manifest.column(column)  # misspelt: refused with the nearest
        return list(range(len(manifest)))
    try:
        return manifest.rows(split, column)
    except InputError as error:
        raise InputError(f"{error}; {key} chooses the rows") from error


def _priors(train: JointDataset, tasks: Mapping[str, Task]) -> dict[str, Tensor]:
    """Return each class's share among the labelled rows, for each classification; of several labels, among those that are given."""
    priors = {}
    for name, task in tasks.items():
        if not isinstance(task, Classification):
            continue
        labels = [label for label in train.labels[name] if label is not None]
        if task.multi_label:
            given = torch.tensor(np.array(labels, dtype=np.float32))
            shares = given.nanmean(0).nan_to_num(0.5)
        else:
            shares = torch.bincount(torch.tensor(labels), minlength=len(task.classes)).float() / len(labels)
        priors[name] = shares
    return priors


def adapt_norms(model: MultiTaskModel, target: UnlabelledDataset, config: FineTuneConfig) -> MultiTaskModel:
    """Give a trained model's batch norms the target's statistics, in place (`umsrep.tasks.adapt.adabn`)."""
    order = [list(range(start, min(start + config.batch_size, len(target)))) for start in range(0, len(target), config.batch_size)]
    return adabn(model, DataLoader(target, batch_sampler=order, num_workers=config.workers, collate_fn=collate_target), title="adabn")
