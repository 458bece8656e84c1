"""Stopping a run whose losses or weights are no longer numbers, before they replace good ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor

from umsrep.errors import InputError
from umsrep.tasks.data.dataset import JointDataset


def check_losses(accelerator: Accelerator, losses: Mapping[str, Tensor], batch: Mapping[str, Any], data: JointDataset, where: str) -> None:
    """Refuse losses that are NaN or infinite on any process.

    Args:
        accelerator: Of the run.
        losses: Task's name to its loss.
        batch: This process's batch, of which some files are named.
        data: What it was made from.
        where: Epoch and step, and what is kept.

    Raises:
        InputError: on all processes.
    """
    values = torch.stack([v.reshape(()).float() for v in losses.values()])
    if accelerator.num_processes > 1:
        values = cast(Tensor, accelerator.reduce(values))
    if torch.isfinite(values).all():
        return
    name = list(losses)[int((~torch.isfinite(values)).nonzero()[0])]
    items = [data.items[i] for i in batch["index"].tolist()[:4]]
    files = ", ".join(data.sources[s].manifest.columns["file_name"][row] for s, row in items)
    raise InputError(
        f"the loss of '{name}' is not finite (batch with {files} ...) in {where}; lower optimiser.learning_rate or check these images"
    )


def check_weights(tensors: Mapping[str, Tensor], where: str) -> None:
    """Refuse weights that are NaN or infinite.

    Raises:
        InputError: naming the first of them.
    """
    wrong = [name for name, value in tensors.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if wrong:
        raise InputError(f"weights are not finite (first: {wrong[0]}) in {where}; lower optimiser.learning_rate")
