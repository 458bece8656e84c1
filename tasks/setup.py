"""From a configuration to model, data sets and tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from umsrep.errors import InputError
from umsrep.heads import ClassificationHead, DenoisingHead, Head, SegmentationHead
from umsrep.tasks.classification import Classification, balanced_class_weights
from umsrep.tasks.config import DataConfig, FineTuneConfig, TargetConfig, TaskConfig
from umsrep.tasks.data.dataset import JointDataset, Source, Target
from umsrep.tasks.data.manifest import Manifest, load_manifest
from umsrep.tasks.data.subset import rows_where, take_fraction
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.evaluate import annotates
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.progress import say
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.task import Task
from umsrep.zoo import Encoder, InputContract, hub
from umsrep.zoo.blending import blend


def build_model(config: FineTuneConfig) -> MultiTaskModel:
    """Make the model to train: the encoder, the heads it already has, and those that the tasks add.

    Raises:
        InputError: for an unknown encoder, or a task whose head is already there with other classes or another kind.
    """
    encoder = config.encoder
    if encoder.name is not None:
        source = hub.open_source(encoder.name, revision=encoder.revision)
        if source.config["umsrep"]["heads"]:
            model = MultiTaskModel.from_pretrained(encoder.name, revision=encoder.revision)
        else:
            model = MultiTaskModel(Encoder.from_source(source), {})
        if encoder.unit != "auto":
            model.name_unit(encoder.unit)
        if encoder.blend is not None:
            blend(model.encoder, encoder.blend.weights, encoder.blend.share)
            if unfit := [name for name in model.heads if name not in config.tasks]:
                say(f"blend: heads {', '.join(unfit)} of {encoder.name} do not fit the averaged encoder and are left out")
                for name in unfit:
                    model.remove_head(name)
    else:
        assert encoder.arch is not None
        rules = {f.name: getattr(encoder, f.name) for f in dataclasses.fields(InputContract) if f.name not in ("channels", "size")}
        contract = InputContract.from_dict({"channels": encoder.in_channels, "size": config.image_size, **rules})
        made = Encoder.create(encoder.arch, contract=contract, weights=encoder.weights, modality=encoder.modality)
        model = MultiTaskModel(made, {})
    if config.image_size is not None:
        size = config.image_size
        model.encoder.contract = model.encoder.contract.replace(size=tuple(size) if isinstance(size, list) else size)
    if model.encoder.contract.size is None:
        raise InputError("config: set image_size; the encoder's contract has none")
    for name, task in config.tasks.items():
        head = make_head(task)
        if name not in model.heads:
            model.add_head(name, head)
            continue
        old = model.heads[name]
        assert isinstance(old, Head)
        had, wanted = ({"kind": h.kind, **{k: v for k, v in h.args().items() if k not in ("thresholds", "dropout")}} for h in (old, head))
        if had != wanted:
            raise InputError(f"config: the model already has a head '{name}' that differs: {had}, not {wanted}; give the task another name")
    return model


def training_sizes(config: FineTuneConfig, contract: InputContract) -> list[tuple[int, int]]:
    """Return the sizes (height, width) of training batches: the contract's times each of ``size_factors``.

    A factor of 1 is the contract's size itself; others give the nearest whole multiple of 32 that is not larger than it.

    Raises:
        InputError: for a factor that leaves less than 32 pixels, and for two that give the same size.
    """
    size = contract.size or 0  # never 0: `build_model` refuses a contract without a size
    full = size if isinstance(size, tuple) else (size, size)
    sizes: dict[tuple[int, int], float] = {}
    for factor in config.size_factors:
        height, width = (side if factor == 1 else min(round(side * factor / 32), side // 32) * 32 for side in full)
        if min(height, width) < 1:
            raise InputError(f"config: size_factors: {factor:g} of {full[0]} x {full[1]} pixels leaves less than 32; leave it out")
        if (other := sizes.setdefault((height, width), factor)) != factor or config.size_factors.count(factor) > 1:
            raise InputError(
                f"config: size_factors: {other:g} and {factor:g} both give {height} x {width} pixels (whole multiples of 32); leave one out"
            )
    return list(sizes)


def build_sets(config: FineTuneConfig, contract: InputContract) -> tuple[JointDataset, JointDataset, JointDataset | None]:
    """Make the training, validation and (where there are such rows) test sets.

    Raises:
        InputError: for missing or wrong data; a patient in two splits; a split or a head without rows.
    """
    tasks = {name: make_task(name, task, class_weights=None) for name, task in config.tasks.items()}
    opened = [(data, *_open(data)) for data in config.data if not data.unlabelled]  # those are for umsrep.tasks.unlabelled
    sources: dict[str, list[Source]] = {"train": [], "validation": [], "test": []}
    for data, manifest, kept in opened:
        manifest.check_patients(data.split_column)
        targets = make_targets(data, config.tasks)
        chosen = _served(data, manifest, tasks, targets, config)
        for split in sources:
            if split in manifest.column(data.split_column) or split == "train":
                rows = [row for row in manifest.rows(split, data.split_column) if kept is None or row in kept]
                if split == "train":
                    rows = take_fraction(manifest, rows, data.fraction, seed=config.seed)
                if rows:
                    sources[split].append(Source(manifest, rows, chosen, targets))
    for split in ("train", "validation"):
        if not sources[split]:
            licensed = " (data.licenses left none)" if any(data.licenses for data in config.data) else ""
            names = ", ".join(str(manifest.table) for _, manifest, _ in opened)
            raise InputError(f"{names}: no row with split = {split}; training needs rows in train and in validation{licensed}")
    sets = {split: JointDataset(some, tasks, contract, seed=config.seed, lenient=config.lenient) for split, some in sources.items() if some}
    sets["train"].augment = config.augment
    for split in ("train", "validation"):
        for name in tasks:
            if not sets[split].annotated[name].any():
                raise InputError(f"no {split} row is annotated for '{name}' in {', '.join(data.path for data in config.data)}")
    if "test" in sets:  # a task without test rows is simply not tested
        test = sets["test"]
        test.tasks = {name: task for name, task in tasks.items() if test.annotated[name].any()}
    return sets["train"], sets["validation"], sets.get("test")


def _open(data: DataConfig) -> tuple[Manifest, set[int] | None]:
    """Open one data set; with the rows that are wanted, what was left out standing in the manifest's notes."""
    manifest = load_manifest(data.path)
    kept, notes = set(range(len(manifest))), []
    if data.licenses is not None:
        licensed, note = manifest.licensed(data.licenses, data.license_column)
        kept, notes = set(licensed), [note]
    for column, values in data.leave_out.items():
        out = rows_where(manifest, {column: values})
        kept -= out
        notes.append(f"{manifest.table}: {len(out)} of {len(manifest)} rows left out for their {column}: {', '.join(values)}")
    return dataclasses.replace(manifest, notes=(*manifest.notes, *notes)), kept if notes else None


def data_notes(sets: Iterable[JointDataset | None]) -> list[str]:
    """Return what the user should know of the rows of some data sets, one line each: rows left out, and why."""
    return list(dict.fromkeys(note for some in sets if some is not None for source in some.sources for note in source.manifest.notes))


def _served(
    data: DataConfig, manifest: Manifest, tasks: Mapping[str, Task], targets: Mapping[str, Target], config: FineTuneConfig
) -> list[str]:
    """Return the tasks that one data set serves: those listed, or all whose columns it has."""
    if data.tasks is not None:
        return data.tasks
    own = {name: target for name, target in targets.items() if name in data.targets}
    served = []
    for name, task in tasks.items():
        column = targets[name].column
        defaults = (column,) if isinstance(column, str) else column or ()
        if name not in own and defaults:  # the task's own default column: this set serves it if it has such a column
            present = all(c in manifest.columns for c in defaults)
        else:
            present = annotates(name, task, manifest, own)
        if present:
            served.append(name)
    return served


def build_tasks(config: FineTuneConfig, train: JointDataset) -> dict[str, Task]:
    """Make the tasks; "balanced" class weights come from the training rows."""
    tasks: dict[str, Task] = {}
    for name, task in config.tasks.items():
        weights = None
        if task.class_weights == "balanced":
            labels = [label for label in train.labels[name] if label is not None]
            made = train.tasks[name]
            assert isinstance(made, Classification)
            if made.multi_label:
                raise InputError(f"config: tasks.{name}.class_weights: balanced is for classes that exclude each other")
            weights = balanced_class_weights(np.bincount(labels, minlength=len(made.classes)).tolist())
        tasks[name] = make_task(name, task, class_weights=weights)
    return tasks


def make_task(name: str, config: TaskConfig, class_weights: Sequence[float] | None = None) -> Task:
    """Make the task of a head; ``class_weights`` replaces "balanced"."""
    if config.kind == "denoising":
        return Denoising(**_given(config, "noise", "level", "loss"))
    weights = class_weights if config.class_weights == "balanced" else config.class_weights
    if config.kind == "segmentation":
        if config.class_weights == "balanced":
            raise InputError(f"config: tasks.{name}.class_weights: balanced is for classification; give one number a class")
        return Segmentation(config.classes or [], class_weights=weights, **_given(config, "multi_label", "loss", "spectral_decoupling"))
    given = _given(config, "multi_label", "label_smoothing", "specificity", "spectral_decoupling")
    return Classification(config.classes or [], class_weights=weights, **given)


def make_head(config: TaskConfig) -> DenoisingHead | SegmentationHead | ClassificationHead:
    """Make the unbuilt head of a task."""
    if config.kind == "denoising":
        return DenoisingHead(**_given(config, "decoder", "share", "width", "depth"))
    if config.kind == "segmentation":
        return SegmentationHead(config.classes or [], **_given(config, "decoder", "share", "multi_label"))
    return ClassificationHead(config.classes or [], **_given(config, "multi_label", "dropout"))


def make_targets(data: DataConfig, tasks: Mapping[str, TaskConfig]) -> dict[str, Target]:
    """Join a data set's targets with the tasks' defaults."""
    targets = {}
    for name, task in tasks.items():
        own = data.targets.get(name, TargetConfig())
        column = own.column if own.column is not None else task.target
        targets[name] = Target(tuple(column) if isinstance(column, list) else column, own.map)
    return targets


def _given(config: TaskConfig, *names: str) -> dict[str, Any]:
    values = {name: getattr(config, name) for name in names}
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items() if v is not None}
