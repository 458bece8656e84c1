"""`umsrep evaluate --adapt`: a model on a split before and after it adapts to the target's unlabelled images."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch.utils.data import DataLoader

from umsrep.errors import InputError, nearest
from umsrep.tasks.adapt.target import adapted_copy, target_images
from umsrep.tasks.adapt.tent import Tent
from umsrep.tasks.data.dataset import JointDataset, Target, collate
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.evaluate import Rows, collect, evaluation_set, move, summarise
from umsrep.tasks.evaluation.evaluating import RESAMPLES, patients_of, thresholds_of
from umsrep.tasks.evaluation.metrics import intervals_of
from umsrep.tasks.interruption import ignore_signals
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.progress import track
from umsrep.tasks.segmentation import Segmentation

Method = Literal["adabn", "tent"]


def evaluate_adapted(
    model: MultiTaskModel,
    data: str | Path,
    method: Method,
    *,
    adapt_split: str | None = None,
    adapt_images: int | None = None,
    learning_rate: float = 1e-3,
    split: str = "test",
    split_column: str = "split",
    targets: Mapping[str, Target] | None = None,
    tasks: Sequence[str] | None = None,
    noise: str = "gaussian",
    level: float = 25.0,
    seed: int = 0,
    batch_size: int = 16,
    workers: int = 0,
    lenient: bool = False,
    resamples: int = RESAMPLES,
    title: str | None = "evaluating",
) -> dict[str, Any]:
    """Evaluate a model, and a copy of it that adapts to unlabelled images of the same set. The model stays as it is.

    adabn takes the statistics of the images of ``adapt_split`` and then predicts the rows of ``split``. tent predicts and adapts batch by
    batch on the rows of ``split`` itself, in an order drawn from ``seed``, so that a batch is a mixture; each row is
    predicted once, before the step that its batch causes. Decision thresholds stay those that the model has.

    Args:
        model: With batch norms.
        data: What `load_manifest` opens.
        method: adabn or tent.
        adapt_split: For adabn: the split whose images it sees, or all; default is ``split`` itself. Then no label is used, but the rows
            that are predicted are seen before (transductive), which flatters against a target that is not known yet.
        adapt_images: For adabn: at most so many of them, evenly spaced; None takes all.
        learning_rate: For tent, see `Tent`.
        split: See `umsrep.tasks.evaluate.evaluate`, as the following.
        split_column: See there.
        targets: See there.
        tasks: See there.
        noise: See there.
        level: See there.
        seed: Of the noise, of the order for tent, and of the draws for intervals.
        batch_size: Rows at once; tent's statistics are of so many.
        workers: See there.
        lenient: See there.
        resamples: Bootstrap draws of whole patients.
        title: Of the progress bars, or None.

    Returns:
        ``method``; ``images``, which ones were adapted to, in words; ``transductive``; ``note``, what else one must know, or None; and
        ``unadapted`` and ``adapted``, each as `evaluate_with_intervals` returns it. tent leaves heads that denoise out of ``adapted``.

    Raises:
        InputError: as there and as `adabn` or `Tent`.
    """
    if method not in get_args(Method):
        raise InputError(f"unknown method '{method}' of adaptation{nearest(method, get_args(Method))}")
    if method == "tent" and (adapt_split not in (None, split) or adapt_images is not None):
        raise InputError("tent adapts on the rows that it predicts: leave out which images to adapt on, or take adabn")
    where = {"split_column": split_column, "noise": noise, "level": level, "seed": seed, "lenient": lenient}
    dataset = evaluation_set(model, data, split=split, targets=targets, tasks=tasks, **where)  # type: ignore[arg-type]
    note = None
    if method == "tent":
        denoising = [name for name, task in dataset.tasks.items() if isinstance(task, Denoising)]
        note = f"tent makes no predictions for heads that denoise: {', '.join(denoising)}" if denoising else None
        adapted_rows = with_tent(model, dataset, learning_rate, batch_size, workers, seed, title)
        images = f"{len(dataset)} image(s) (the rows themselves, {batch_size} at a time in random order, seed {seed})"
        transductive = True
    else:
        found = target_images(model, data, split=adapt_split or split, limit=adapt_images, batch_size=batch_size, workers=workers, **where)  # type: ignore[arg-type]
        adapted = adapted_copy(model, found, title=title and "adapting")
        adapted_rows = collect(adapted, dataset, batch_size=batch_size, workers=workers, title=title)
        images = found.what
        transductive = (adapt_split or split) in (split, "all")
    rows = collect(model, dataset, batch_size=batch_size, workers=workers, title=title)
    return {
        "method": method,
        "images": images,
        "transductive": transductive,
        "note": note,
        "unadapted": _metrics(model, dataset, rows, resamples, seed),
        "adapted": _metrics(model, dataset, adapted_rows, resamples, seed),
    }


def _metrics(model: MultiTaskModel, dataset: JointDataset, rows: Rows, resamples: int, seed: int) -> dict[str, dict[str, Any]]:
    thresholds = thresholds_of(model)
    patients = {name: patients_of(dataset, values["index"].tolist()) for name, values in rows.items()}
    found = intervals_of(rows, dataset.tasks, patients, thresholds, resamples=resamples, seed=seed)
    return {
        name: {**metrics, "intervals": {m: [found[name][m]["low"], found[name][m]["high"]] for m in metrics if m in found[name]}}
        for name, metrics in summarise(rows, dataset.tasks, thresholds).items()
    }


def with_tent(
    model: MultiTaskModel, dataset: JointDataset, learning_rate: float, batch_size: int, workers: int, seed: int, title: str | None
) -> Rows:
    """Return the per-row statistics of TENT's predictions, in the items' order."""
    tasks = {name: task for name, task in dataset.tasks.items() if not isinstance(task, Denoising)}
    tent = Tent(copy.deepcopy(model), learning_rate=learning_rate, tasks=list(tasks) or list(dataset.tasks))
    device = next(model.parameters()).device
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=list(batches(len(dataset), batch_size, seed)),
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=ignore_signals,
    )
    parts: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in tasks}
    for batch in track(loader, title and "adapting", total=len(loader)):
        if isinstance(batch, InputError):
            raise batch
        moved = move(batch, device)
        outputs = tent(moved["image"])
        for name, task in tasks.items():
            if (chosen := moved.get(f"rows.{name}")) is None:
                continue
            extra = {"spacing": batch["spacing"][batch[f"rows.{name}"]]} if isinstance(task, Segmentation) else {}
            with torch.no_grad():
                values = task.rows(outputs[name][chosen], moved[f"target.{name}"], **extra)
            values["index"] = batch["index"][batch[f"rows.{name}"]].numpy()
            parts[name].append(values)
    result: Rows = {}
    for name, pieces in parts.items():
        joined = {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0]}
        order = np.argsort(joined["index"], kind="stable")
        result[name] = {key: values[order] for key, values in joined.items()}
    return result


def batches(count: int, batch_size: int, seed: int) -> Iterator[list[int]]:
    """Yield batches of a random order of row numbers; a last row that would be alone joins the batch before it.

    Raises:
        InputError: for a batch size or a count below 2, of which norms can take no statistics.
    """
    if batch_size < 2 or count < 2:
        raise InputError(f"tent needs 2 images or more at once, not {min(batch_size, count)}; better 64")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    starts = list(range(0, count, batch_size))
    if count - starts[-1] == 1:
        starts.pop()
    for start, end in zip(starts, [*starts[1:], count], strict=True):
        yield order[start:end]
