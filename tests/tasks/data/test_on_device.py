"""Augmentation and noise on the device: what the items one by one would be, whatever batch they are in."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tasks.runs import run_config, tiny_model
from umsrep.tasks.data.augment import Augment
from umsrep.tasks.data.dataset import JointDataset, collate
from umsrep.tasks.data.on_device import OnDevice
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.setup import build_sets

ROWS = (0, 1, 2, 5, 9, 14, 3, 7)
TASKS: dict[str, dict[str, Any]] = {
    "denoising": {"kind": "denoising", "level": [10, 40]},
    "disc": {"kind": "segmentation", "classes": ["background", "disc"]},
    "planes": {"kind": "segmentation", "classes": ["disc"], "multi_label": True, "target": ["mask_file_name.disc"]},
    "size": {"kind": "classification", "classes": ["small", "large"]},
}
STRONG = Augment(rotate=30, shift=0.1, scale=0.2, brightness=0.4, contrast=0.4, gamma=0.5, flip=0.5)


def train_set(data: Path, augment: Augment = STRONG, noise: str = "gaussian") -> JointDataset:
    tasks = TASKS | {"denoising": TASKS["denoising"] | {"noise": noise}}
    config = dataclasses.replace(run_config(data, Path("unused"), tasks=tasks, image_size=[32, 48]), augment=augment)
    train = build_sets(config, tiny_model(data, tasks=tasks, image_size=[32, 48]).encoder.contract)[0]
    train.epoch = 3
    return train


def batch_of(data: JointDataset, *rows: int, on_device: bool) -> dict[str, Any]:
    data.on_device = on_device
    batch = collate([data[row] for row in rows])
    assert isinstance(batch, dict)
    return OnDevice(data.augment or Augment(), data.contract, data.tasks)(batch) if on_device else batch


@pytest.mark.parametrize("noise", ["gaussian", "speckle"])
@pytest.mark.parametrize("augment", [STRONG, Augment(), Augment(rotate=0, shift=0, scale=0), Augment(brightness=0, contrast=0, gamma=0)])
def test_a_batch_is_what_the_items_one_by_one_would_be(noise: str, augment: Augment, tiny_data: Path) -> None:
    data = train_set(tiny_data, augment, noise)
    one, other = (batch_of(data, *ROWS, on_device=on) for on in (False, True))
    assert one.keys() == other.keys()
    for key, value in one.items():
        if not isinstance(value, torch.Tensor):
            assert value == other[key]
        elif value.is_floating_point():
            torch.testing.assert_close(other[key], value, atol=1e-5, rtol=0, equal_nan=True, msg=key)
            assert key == "spacing" or float(value.std()) > 0.05
        else:
            assert torch.equal(other[key], value), key
    assert {255, 1} <= set(one["target.disc"].unique().tolist())


@pytest.mark.parametrize("noise", ["gaussian", "poisson", "mixed"])
def test_an_item_does_not_depend_on_its_batch(noise: str, tiny_data: Path) -> None:
    data = train_set(tiny_data, noise=noise)
    whole = batch_of(data, *ROWS, on_device=True)
    for places in ((2, 5), (7,), (4, 0, 6)):
        part = batch_of(data, *(ROWS[p] for p in places), on_device=True)
        for key in ("image", "noisy.denoising", "target.denoising"):
            torch.testing.assert_close(part[key], whole[key][list(places)], atol=1e-6, rtol=0)


@pytest.mark.parametrize("noise", ["poisson", "mixed"])
def test_counted_noise_has_the_strength_of_its_level(noise: str, tiny_data: Path) -> None:
    """Other counts than without (they are drawn for the augmented pixels), of the same distribution."""
    data = train_set(tiny_data, Augment(rotate=0, shift=0, scale=0, brightness=0, contrast=0, gamma=0), noise)
    data.tasks["denoising"] = Denoising(noise, 30.0)
    parts = []
    for on in (False, True):
        batch = batch_of(data, *ROWS, on_device=on)
        clean = batch["target.denoising"]
        noise_of = (data.contract.denormalise(batch["noisy.denoising"]) - clean) / clean.clamp(min=0.05).sqrt()
        parts.append(noise_of.numpy())
    assert np.mean(parts[1]) == pytest.approx(0, abs=0.005)
    assert np.std(parts[1]) == pytest.approx(np.std(parts[0]), rel=0.03)
    assert not np.array_equal(*parts)


def test_image_and_mask_move_together(tiny_data: Path) -> None:
    """The disc is bright: its middle in the image lies on its middle in the mask."""
    data = train_set(tiny_data, Augment(rotate=90, shift=0.1, scale=0.2, brightness=0, contrast=0, gamma=0, flip=0.5))
    batch = batch_of(data, 0, 1, 3, 4, 6, 7, 10, 11, on_device=True)
    rows, columns = np.mgrid[:32, :48]
    for image, mask in zip(batch["target.denoising"][:, 0].numpy(), batch["target.disc"].numpy(), strict=True):
        bright, marked = image > 0.5, mask == 1
        if marked[[0, -1]].any() or marked[:, [0, -1]].any():
            continue  # cut off by the border
        middles = [np.array([rows[where].mean(), columns[where].mean()]) for where in (bright, marked)]
        assert np.abs(middles[0] - middles[1]).max() < 0.55


@pytest.mark.gpu
def test_a_gpu_gives_the_same(tiny_data: Path) -> None:
    from umsrep.tasks.prefetch import to_device

    data = train_set(tiny_data)
    here = batch_of(data, *ROWS, on_device=False)
    data.on_device = True
    batch = collate([data[row] for row in ROWS])
    assert isinstance(batch, dict)
    there = OnDevice(STRONG, data.contract, data.tasks)(to_device(batch, torch.device("cuda")))
    for key in ("image", "noisy.denoising", "target.denoising"):
        torch.testing.assert_close(there[key].cpu(), here[key], atol=1e-4, rtol=0)
    assert float((there["target.disc"].cpu() != here["target.disc"]).float().mean()) < 1e-3, "nearest pixels at ties"
