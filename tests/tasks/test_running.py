"""Sums over an epoch: means over rows, whatever the batches."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator

from umsrep.tasks.running import Running


def test_means_are_over_rows_not_batches() -> None:
    running = Running()
    running.add({"disc": torch.tensor(1.0), "size": torch.tensor(0.0)}, {"disc": 3.0, "size": 0.0}, 8)
    running.add({"disc": torch.tensor(2.0), "size": torch.tensor(0.0)}, {"disc": 1.0, "size": 0.0}, 8)
    means = running.means(Accelerator())
    assert means["disc"] == pytest.approx((3 * 1 + 1 * 2) / 4)
    assert math.isnan(means["size"]), "no row, no mean"
    assert (running.batches, running.images) == (2, 16)


def test_it_goes_into_a_checkpoint_and_back() -> None:
    running = Running()
    running.add({"disc": torch.tensor(1.0)}, {"disc": 3.0}, 8)
    assert Running.restore(running.state(Accelerator()), Accelerator()) == running
    assert Running.restore(Running().state(Accelerator()), Accelerator()) == Running()


def test_nothing_is_gathered_where_nothing_was_summed_up() -> None:
    """Accelerate's gather from GPUs reshapes, which fails for an empty tensor; a run saves after each epoch."""
    accelerator = SimpleNamespace(
        num_processes=2, device=torch.device("cpu"), gather=lambda own: torch.cat([own, own]).view(-1, own.shape[1])
    )
    assert Running().state(accelerator)["sums"] == {}
    running = Running()
    running.add({"disc": torch.tensor(1.0)}, {"disc": 3.0}, 8)
    assert running.state(accelerator)["sums"] == {"disc": [3.0, 3.0]}


@pytest.mark.parametrize(("world", "expected"), [(2, [1.0, 4.0]), (1, [5.0]), (3, [5.0, 0.0, 0.0])])
def test_each_process_gets_its_own_sums_back(world: int, expected: list[float]) -> None:
    """Saved by two processes that had seen losses of 1 and 4; another number of processes must still have their sum."""
    state = dataclasses.asdict(Running(rows={"disc": 3.0})) | {"sums": {"disc": [1.0, 4.0]}}
    found = [Running.restore(state, SimpleNamespace(process_index=rank, num_processes=world)) for rank in range(world)]
    assert [r.sums["disc"] for r in found] == expected
