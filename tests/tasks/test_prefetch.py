"""Batches on their way to the device: the same ones, in order, whatever prepares them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from tests.tasks.runs import run_config, tiny_model
from umsrep.errors import InputError
from umsrep.tasks.data.augment import Augment
from umsrep.tasks.data.dataset import JointDataset, collate
from umsrep.tasks.data.on_device import OnDevice
from umsrep.tasks.prefetch import ahead, loader_options, to_device
from umsrep.tasks.setup import build_sets

CPU = torch.device("cpu")


def train_set(data: Path) -> JointDataset:
    return build_sets(run_config(data, Path("unused")), tiny_model(data).encoder.contract)[0]


def check_same(one: Any, other: Any) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(other[key], value, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("on_device", [False, True])
def test_loader_processes_that_live_on_make_the_batches_of_each_epoch(on_device: bool, tiny_data: Path) -> None:
    data = train_set(tiny_data)
    data.on_device = on_device
    finish = OnDevice(data.augment or Augment(), data.contract, data.tasks) if on_device else dict
    options = loader_options(2, 3, CPU) | {"persistent_workers": True}
    loader = DataLoader(data, batch_size=4, collate_fn=collate, **options)
    seen = []
    for epoch in (0, 1, 0):
        data.epoch = epoch
        batches = list(ahead(loader, CPU, finish))
        for number, batch in enumerate(batches):
            alone = collate([data[row] for row in range(4 * number, 4 * number + 4)])
            assert isinstance(alone, dict)
            check_same(finish(alone), batch)
        seen.append(batches[0]["image"])  # type: ignore[index]
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[1]), "other draws in the next epoch"


def test_options_of_the_loader() -> None:
    assert loader_options(0, 2, CPU) == {"num_workers": 0, "pin_memory": False}
    assert loader_options(2, 3, CPU)["prefetch_factor"] == 3
    assert loader_options(1, 2, torch.device("cuda"))["pin_memory"] is True


def test_errors_come_in_their_turn(tiny_data: Path) -> None:
    batch = {"index": torch.tensor([0]), "image": torch.zeros(1, 1, 4, 4)}
    items: list[Any] = [batch, InputError("row 5 is damaged"), batch]
    found = list(ahead(items, CPU, dict))
    assert [isinstance(item, InputError) for item in found] == [False, True, False]


def test_the_same_rows_stay_one_tensor(tiny_data: Path) -> None:
    data = train_set(tiny_data)
    batch = collate([data[row] for row in (0, 14, 1, 3)])
    assert isinstance(batch, dict)
    assert batch["rows.disc"] is batch["rows.size"]
    pinned = {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
    moved = to_device(pinned, CPU)
    check_same(batch, moved)
    assert moved["rows.disc"] is moved["rows.size"]
    assert moved["rows.disc"] is not moved["rows.denoising"]


@pytest.mark.gpu
def test_a_gpu_gets_the_same_batches(tiny_data: Path) -> None:
    data, device = train_set(tiny_data), torch.device("cuda")
    loader = DataLoader(data, batch_size=4, collate_fn=collate, **loader_options(0, 2, device))
    here = list(ahead(loader, CPU, dict))
    there = list(ahead(loader, device, dict))
    assert len(here) == len(there) == 4
    for one, other in zip(here, there, strict=True):
        assert isinstance(other, dict)
        check_same(one, {key: value.cpu() if isinstance(value, torch.Tensor) else value for key, value in other.items()})
