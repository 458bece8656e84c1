"""Run a model over a data set and its shifted versions: every image is loaded once, and shifted in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from umsrep.errors import InputError
from umsrep.tasks.data.dataset import JointDataset, collate
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.evaluate import Rows, batch_rows, move
from umsrep.tasks.interruption import ignore_signals
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.predict import evaluation_mode
from umsrep.tasks.progress import track
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.shift.apply import is_grey, shift_batch
from umsrep.tasks.shift.draws import row_seed
from umsrep.tasks.shift.geometry import IGNORE
from umsrep.tasks.shift.shift import SEVERITIES, Shift

Condition = tuple[str, int]
"""A shift's name and severity."""
UNSHIFTED: Condition = ("unshifted", 0)


@torch.inference_mode()
def collect_shifted(
    model: MultiTaskModel,
    dataset: JointDataset,
    shifts: Sequence[Shift],
    *,
    seed: int = 0,
    batch_size: int = 16,
    workers: int = 0,
    title: str | None = None,
) -> dict[Condition, Rows]:
    """Return each task's per-row statistics on the images as they are and under every shift at every severity.

    The image is shifted at the contract's size, in 0-1, before it is normalised. Masks move along with geometric shifts, after which
    the spacing of pixels is unknown (no distances in mm). Denoising is asked to restore the shifted image, to which the same noise was
    added as to the unshifted one.

    Args:
        model: Evaluated, and left in the mode it was in.
        dataset: Items and tasks, without augmentation.
        shifts: Which.
        seed: Of the shifts (see `row_seed`).
        batch_size: Rows at once.
        workers: Loader processes.
        title: Of the progress bar, which counts batches times conditions, or None.

    Returns:
        Condition to rows, in the items' order; `UNSHIFTED` first.

    Raises:
        InputError: for an unreadable row, naming it.
    """
    device = next(model.parameters()).device
    loader = DataLoader(
        dataset, batch_size=batch_size, num_workers=workers, collate_fn=collate, worker_init_fn=ignore_signals, shuffle=False
    )
    conditions = [(shift, severity) for shift in shifts for severity in SEVERITIES]
    parts: dict[Condition, dict[str, list[dict[str, np.ndarray]]]] = {}

    def keep(condition: Condition, rows: Rows) -> None:
        for name, values in rows.items():
            parts.setdefault(condition, {}).setdefault(name, []).append(values)

    def steps() -> Any:
        for loaded in loader:
            if isinstance(loaded, InputError):
                raise loaded
            batch = move(loaded, device)
            unit = model.encoder.contract.denormalise(batch["image"]).clamp(0, 1)
            seeds = [_seed(dataset, int(i), seed) for i in batch["index"]]
            keep(UNSHIFTED, batch_rows(model, batch, dataset.tasks))
            yield
            for shift, severity in conditions:
                moved = shifted(batch, unit, dataset, shift, severity, seeds)
                keep((shift.name, severity), batch_rows(model, moved, dataset.tasks))
                yield

    with evaluation_mode(model):
        for _ in track(steps(), title, total=len(loader) * (1 + len(conditions))):
            pass
    return {
        condition: {name: {key: np.concatenate([p[key] for p in pieces]) for key in pieces[0]} for name, pieces in found.items()}
        for condition, found in parts.items()
    }


def has_colour(dataset: JointDataset, most: int = 16) -> bool:
    """Tell whether any of up to 16 images, evenly spread over a set, has colours."""
    step = max(1, len(dataset) // most)
    for index in range(0, len(dataset), step):
        item = dataset[index]
        if isinstance(item, InputError):
            raise item
        if not bool(is_grey(dataset.contract.denormalise(item["image"]).mul(255).round()[None])):
            return True
    return False


def _seed(dataset: JointDataset, index: int, seed: int) -> int:
    source, row = dataset.items[index]
    manifest = dataset.sources[source].manifest
    return row_seed(seed, manifest.columns["file_name"][row], manifest.frame(row))


def shifted(
    batch: Mapping[str, Any], unit: Tensor, dataset: JointDataset, shift: Shift, severity: int, seeds: Sequence[int]
) -> dict[str, Any]:
    """Return a batch of `collate` as it would be had its images been shifted.

    Args:
        batch: On the model's device.
        unit: Its images in 0-1.
        dataset: It is from.
        shift: Which.
        severity: 1 to 5.
        seeds: One a row.
    """
    contract = dataset.contract
    images, _ = shift_batch(unit, None, shift.name, severity, seeds, mixed=True)
    moved = dict(batch)
    moved["image"] = contract.normalise(images).contiguous(memory_format=torch.channels_last)
    if shift.geometric:
        moved["spacing"] = torch.full_like(batch["spacing"], torch.nan)
    for name, task in dataset.tasks.items():
        rows = batch.get(f"rows.{name}")
        if rows is None:
            continue
        if isinstance(task, Denoising):
            clean = images[rows]
            generators = [dataset.generator(int(batch["index"][row])) for row in rows]
            noisy = [task.corrupt(image, g)[0] for image, g in zip(clean.cpu(), generators, strict=True)]
            together = contract.normalise(torch.stack(noisy).to(unit.device))
            moved[f"noisy.{name}"] = together.contiguous(memory_format=torch.channels_last)
            moved[f"target.{name}"] = clean
        elif isinstance(task, Segmentation) and shift.geometric:
            target = batch[f"target.{name}"].masked_fill(batch[f"target.{name}"] == task.ignore_index, IGNORE)
            _, masks = shift_batch(unit[rows], target, shift.name, severity, [seeds[int(row)] for row in rows])
            assert masks is not None
            moved[f"target.{name}"] = masks.masked_fill(masks == IGNORE, task.ignore_index)
    return moved
