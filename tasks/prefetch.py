"""Batches on their way to the device: one ahead, on a stream of its own where there is CUDA."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from umsrep.errors import InputError
from umsrep.tasks.evaluate import move

Batch = dict[str, Any]
Item = Batch | InputError
_STAYS = ("level.", "seed.")  # with the draws of augmentation: numbers that decide what the device is asked to do


def loader_options(workers: int, prefetch: int, device: torch.device) -> dict[str, Any]:
    """Return the options of a `DataLoader` that feeds a device: pinned memory on CUDA, so that copies need not wait.

    Loader processes live on from epoch to epoch where each must import everything anew; forked ones are there at once.
    """
    options: dict[str, Any] = {"num_workers": workers, "pin_memory": device.type == "cuda"}
    if workers:
        options |= {"prefetch_factor": prefetch, "persistent_workers": torch.multiprocessing.get_start_method() != "fork"}
    return options


def ahead(items: Iterable[Item], device: torch.device, finish: Callable[[Batch], Batch]) -> Iterator[Item]:
    """Give a loader's items on a device, in their order; errors as they come.

    On CUDA the next item is copied and finished on a side stream while the device works on this one; elsewhere nothing is ahead.

    Args:
        items: Batches in (pinned) host memory.
        device: Where they shall be.
        finish: What remains to be done to a batch there.
    """
    if device.type != "cuda":
        for item in items:
            yield item if isinstance(item, InputError) else finish(to_device(item, device))
        return
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    waiting: tuple[Item, torch.cuda.Event] | None = None
    for item in items:
        with torch.cuda.stream(side):
            there = item if isinstance(item, InputError) else finish(to_device(item, device))
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record(side)
        if waiting is not None:
            yield _arrived(*waiting, device)
        waiting = there, done
    if waiting is not None:
        yield _arrived(*waiting, device)


def _arrived(item: Item, done: torch.cuda.Event, device: torch.device) -> Item:
    """Let the stream that computes wait for the copies, and the memory live as long as that stream uses it."""
    current = torch.cuda.current_stream(device)
    current.wait_event(done)
    for value in () if isinstance(item, InputError) else item.values():
        if isinstance(value, Tensor) and value.is_cuda:
            value.record_stream(current)
    return item


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return the batch on a device (`umsrep.tasks.evaluate.move`); the same row numbers are one tensor, also where pinning copied them."""
    first: dict[tuple[int, ...], str] = {}
    same = {key: first.setdefault(tuple(value.tolist()), key) for key, value in batch.items() if key.startswith("rows.")}
    stays = {key: value for key, value in batch.items() if key == "draws" or key.startswith(_STAYS)}
    moved = move({key: value for key, value in batch.items() if same.get(key, key) == key and key not in stays}, device)
    return moved | {key: moved[other] for key, other in same.items()} | stays
