"""Evaluation: run a model over a data set once and compute every task's metrics from per-row statistics."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch.utils.data import DataLoader

from umsrep.errors import InputError
from umsrep.heads import ClassificationHead, DenoisingHead, SegmentationHead
from umsrep.tasks.classification import Classification
from umsrep.tasks.data.dataset import MASK_COLUMN, JointDataset, Source, Target, collate
from umsrep.tasks.data.manifest import Manifest, load_manifest
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.interruption import ignore_signals
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.predict import evaluation_mode
from umsrep.tasks.progress import track
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.step import joint_outputs
from umsrep.tasks.task import Task
from umsrep.zoo.input_contract import ContractWarning

# The mean over tasks compares numbers of one scale: a PSNR gain of this many dB counts as 1.
FULL_GAIN_DB = 20.0

Rows = dict[str, dict[str, np.ndarray]]


@torch.inference_mode()
def collect(
    model: MultiTaskModel,
    dataset: JointDataset,
    *,
    batch_size: int = 16,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    title: str | None = None,
) -> Rows:
    """Run a model over all items and return each task's per-row statistics, in the items' order on every process.

    Args:
        model: Evaluated, and left in the mode it was in.
        dataset: Items and tasks.
        batch_size: Rows at once on this process.
        workers: Loader processes.
        rank: This process; it takes every ``world_size``-th item.
        world_size: Number of processes.
        title: Of the progress bar, or None for no bar.

    Raises:
        InputError: for an unreadable row, naming it.
    """
    device = next(model.parameters()).device
    mine = list(range(rank, len(dataset), world_size))
    loader = DataLoader(
        dataset, batch_size=batch_size, sampler=mine, num_workers=workers, collate_fn=collate, worker_init_fn=ignore_signals
    )
    parts: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in dataset.tasks}
    failure: InputError | None = None
    with evaluation_mode(model):
        for batch in track(loader, title, total=len(loader)):
            if isinstance(batch, InputError):
                failure = batch
                break
            for name, rows in batch_rows(model, move(batch, device), dataset.tasks).items():
                parts[name].append(rows)
    joined: list[Any] = [(parts, failure)]
    if world_size > 1:
        joined = gather_object(joined)
    for _, error in joined:
        if error is not None:
            raise error
    result: Rows = {}
    for name in dataset.tasks:
        pieces = [piece for some, _ in joined for piece in some[name]]
        if pieces:
            rows = {key: np.concatenate([p[key] for p in pieces]) for key in pieces[0]}
            order = np.argsort(rows["index"], kind="stable")
            result[name] = {key: values[order] for key, values in rows.items()}
    return result


def batch_rows(model: MultiTaskModel, batch: Mapping[str, Any], tasks: Mapping[str, Task]) -> Rows:
    """Return each task's per-row statistics on one batch of `move`, with ``index``, the number of each row's item."""
    result: Rows = {}
    for name, (out, _) in joint_outputs(model, batch, tasks).items():
        extra = {}
        if isinstance(tasks[name], Denoising):
            extra["noisy"] = model.encoder.contract.denormalise(batch[f"noisy.{name}"])
        elif isinstance(tasks[name], Segmentation):
            extra["spacing"] = batch["spacing"][batch[f"rows.{name}"]]
        result[name] = tasks[name].rows(out, batch[f"target.{name}"], **extra)
        result[name]["index"] = batch["index"][batch[f"rows.{name}"]].cpu().numpy()
    return result


def summarise(
    rows: Rows, tasks: Mapping[str, Task], thresholds: Mapping[str, Sequence[float] | None] | None = None
) -> dict[str, dict[str, float]]:
    """Return each task's metrics, and ``n``, its rows; classification at the given decision thresholds."""
    result = {}
    for name, values in rows.items():
        task = tasks[name]
        if isinstance(task, Classification):
            metrics = task.summarise(values, thresholds=(thresholds or {}).get(name))
        else:
            metrics = task.summarise(values)
        result[name] = {"n": float(len(values["index"])), **metrics}
    return result


_LOWER_IS_BETTER = ("hd95", "hd95_mm", "hd95_undefined")


def selection_score(metrics: Mapping[str, Mapping[str, float]], tasks: Mapping[str, Task], metric: str = "mean") -> float:
    """Return the number that picks the best model, higher is better.

    It is ``task/metric`` (distances negated), or the mean of the tasks' own scores.

    Raises:
        InputError: for a task or metric that does not exist.
    """
    if metric != "mean":
        task, _, key = metric.partition("/")
        known = [f"{t}/{k}" for t, values in metrics.items() for k in values if k != "n"]
        if metric not in known:
            raise InputError(f"early_stopping.metric '{metric}' is not measured; there is mean, {', '.join(known)}")
        value = metrics[task][key]
        return -value if key.partition("/")[0] in _LOWER_IS_BETTER else value
    scores = []
    for name, values in metrics.items():
        score = tasks[name].score(values)
        scores.append(score / FULL_GAIN_DB if isinstance(tasks[name], Denoising) else score)
    finite = [s for s in scores if math.isfinite(s)]
    return sum(finite) / len(finite) if finite else math.nan


def check_metric(metric: str, tasks: Mapping[str, Task]) -> None:
    """Refuse, before anything is trained, a metric for selection that `selection_score` will not find. Errors as there."""
    measured = {name: task.summarise(_no_rows(task)) for name, task in tasks.items()}
    selection_score(measured, tasks, metric)


def _no_rows(task: Task) -> dict[str, np.ndarray]:
    if isinstance(task, Denoising):
        empty = torch.zeros(0, 1, 16, 16)
        return task.rows(empty, empty, noisy=empty)
    if isinstance(task, Segmentation):
        logits = torch.zeros(0, max(1, len(task.classes)), 16, 16)
        return task.rows(logits, (logits if task.multi_label else logits[:, 0]).long())
    assert isinstance(task, Classification)
    logits = torch.zeros(0, len(task.classes))
    return task.rows(logits, logits if task.multi_label else torch.zeros(0, dtype=torch.long))


def tasks_of(model: MultiTaskModel, *, noise: str = "gaussian", level: float = 25.0) -> dict[str, Task]:
    """Return the tasks of a model's heads; denoising at one noise and level (8-bit grey levels)."""
    tasks: dict[str, Task] = {}
    for name, head in model.heads.items():
        if isinstance(head, DenoisingHead):
            tasks[name] = Denoising(noise=noise, level=level)
        elif isinstance(head, SegmentationHead):
            tasks[name] = Segmentation(head.classes, multi_label=head.multi_label)
        elif isinstance(head, ClassificationHead):
            tasks[name] = Classification(head.classes, multi_label=head.multi_label)
    return tasks


def evaluate(
    model: MultiTaskModel,
    data: str | Path,
    *,
    split: str = "test",
    split_column: str = "split",
    targets: Mapping[str, Target] | None = None,
    tasks: Sequence[str] | None = None,
    noise: str = "gaussian",
    level: float = 25.0,
    seed: int = 0,
    batch_size: int = 16,
    workers: int = 0,
    title: str | None = "evaluating",
    lenient: bool = False,
) -> dict[str, dict[str, float]]:
    """Evaluate a model on one split of a data set, at the size of its contract.

    Args:
        model: With the heads to evaluate.
        data: What `load_manifest` opens: a folder with metadata.csv, a MedMNIST npz, ...
        split: train, validation or test.
        split_column: Column that says so.
        targets: Head's name to where its target stands.
        tasks: Heads to evaluate; default those that the data is annotated for.
        noise: For denoising, see `Denoising`.
        level: For denoising, in 8-bit grey levels.
        seed: Of the noise.
        batch_size: Rows at once.
        workers: Loader processes.
        title: Of the progress bar, or None.
        lenient: Bend the contract's rules that can be bent, with a warning, instead of refusing; see `InputContract.load`.

    Returns:
        Head's name to its metrics.

    Raises:
        InputError: as in training: missing or damaged files, labels that are no class, an empty split, no annotated row for a head;
            `ContractError` for an image that breaks a rule of the input contract.
    """
    if batch_size < 1 or workers < 0:
        raise InputError(f"batch_size must be 1 or more and workers 0 or more, not {batch_size} and {workers}")
    dataset = evaluation_set(
        model,
        data,
        split=split,
        split_column=split_column,
        targets=targets,
        tasks=tasks,
        noise=noise,
        level=level,
        seed=seed,
        lenient=lenient,
    )
    rows = collect(model, dataset, batch_size=batch_size, workers=workers, title=title)
    thresholds = {name: head.thresholds for name, head in model.heads.items() if isinstance(head, ClassificationHead)}
    return summarise(rows, dataset.tasks, thresholds)


def evaluation_set(
    model: MultiTaskModel,
    data: str | Path,
    *,
    split: str = "test",
    split_column: str = "split",
    targets: Mapping[str, Target] | None = None,
    tasks: Sequence[str] | None = None,
    noise: str = "gaussian",
    level: float = 25.0,
    seed: int = 0,
    lenient: bool = False,
    among: Sequence[str] | None = None,
) -> JointDataset:
    """Return the items that `evaluate` runs over; arguments as there, but for ``among``: of which heads to choose, if none is named."""
    manifest = load_manifest(data)
    every = tasks_of(model, noise=noise, level=level)
    targets = dict(targets or {})
    for name in (*targets, *(tasks or ())):
        model.check_tasks([name])
    chosen = (
        list(tasks)
        if tasks is not None
        else [name for name in (every if among is None else among) if annotates(name, every[name], manifest, targets)]
    )
    rows = manifest.rows(split, split_column)
    source = Source(manifest, rows, chosen, targets)
    dataset = JointDataset([source], {name: every[name] for name in chosen}, model.encoder.contract, seed=seed, lenient=lenient)
    for name in chosen:
        if not dataset.annotated[name].any():
            if tasks is not None:
                raise InputError(f"{manifest.table}: no row with {split_column} = {split} is annotated for '{name}'")
            del dataset.tasks[name]
    if not dataset.tasks:
        raise InputError(f"{manifest.table}: no row with {split_column} = {split} is annotated for any head ({', '.join(every)})")
    return dataset


def annotates(name: str, task: Task, manifest: Manifest, targets: Mapping[str, Target]) -> bool:
    """Tell whether a manifest is annotated for a task, for callers that named no tasks.

    A target that was configured counts as there (its absence is an error later). Without one, a ``label`` column that holds none of
    the task's classes annotates something else; if it holds some, the others are an error later.
    """
    target = targets.get(name, Target())
    if target.column is not None or isinstance(task, Denoising):
        return True
    if isinstance(task, Segmentation):
        wanted = [f"{MASK_COLUMN}.{c}" for c in task.classes] if task.multi_label else [MASK_COLUMN]
        return all(c in manifest.columns for c in wanted)
    assert isinstance(task, Classification)
    values = {
        part.strip() for value in set(manifest.columns.get("label", ())) for part in (value.split("|") if task.multi_label else [value])
    }
    return any(target.map.get(value, value) in task.classes for value in values)


def move(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Return the batch with its tensors on a device, images in channels-last order; warn of the contract rules that were bent for it."""
    moved = {}
    for key, value in batch.items():
        if key == "bent":  # said here, on the main process: loader processes would each say it anew
            for line in value:
                warnings.warn(line, ContractWarning, stacklevel=2)
            continue
        if isinstance(value, torch.Tensor):
            value = value.to(device, non_blocking=True)
            if key == "image" or key.startswith("noisy.") or (key.startswith("extra") and value.ndim == 4):
                value = value.contiguous(memory_format=torch.channels_last)
        moved[key] = value
    return moved
