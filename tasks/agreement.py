"""What all processes of a run must know before each step, brought together in one exchange."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import torch
from accelerate import Accelerator

from umsrep.errors import InputError
from umsrep.tasks.interruption import SIGNALS
from umsrep.tasks.step import annotated_rows


@dataclasses.dataclass(frozen=True)
class Agreed:
    """A batch that every process can train on.

    Attributes:
        batch: This process's rows.
        totals: Task's name to its annotated rows over all processes.
        due: A checkpoint is due after this step.
        received: Number of a signal that some process has received, or 0.
    """

    batch: dict[str, Any]
    totals: dict[str, float]
    due: bool
    received: int


def agree(accelerator: Accelerator, item: dict[str, Any] | InputError, names: list[str], *, due: bool, received: int) -> Agreed:
    """Bring the processes to one mind.

    Args:
        accelerator: Of the run.
        item: What this process's loader gave.
        names: Of the tasks.
        due: Whether this process's clock says that a checkpoint is due; only the main process's counts, so that all save together.
        received: Number of the signal that this process received, or 0.

    Raises:
        InputError: on all processes when one of them met an unreadable row.
    """
    failed = isinstance(item, InputError)
    rows = torch.zeros(len(names)) if isinstance(item, InputError) else annotated_rows(item, names)
    flags = [float(failed), float(due and accelerator.is_main_process), *(float(received == number) for number in SIGNALS)]
    shared = torch.cat([rows.float(), torch.tensor(flags)])
    if accelerator.num_processes > 1:
        shared = cast(torch.Tensor, accelerator.reduce(shared.to(accelerator.device)))
    values = shared.tolist()
    failures, agreed_due, *signals = values[len(names) :]
    if isinstance(item, InputError):
        raise item
    if failures:
        raise InputError("another process met an unreadable row; see its message")
    first = next((int(number) for number, count in zip(SIGNALS, signals, strict=True) if count), 0)
    return Agreed(item, dict(zip(names, values, strict=False)), agreed_due > 0, first)
