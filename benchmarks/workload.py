"""The training that the step and the data benchmark measure: examples/cxr_joint.yaml, on any folder, with random weights."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader

from umsrep.tasks import trainer as trainer_module
from umsrep.tasks.config_file import config_from_dict
from umsrep.tasks.data.dataset import collate
from umsrep.tasks.running import Running
from umsrep.tasks.trainer import Trainer

TASKS: dict[str, dict[str, Any]] = {
    "denoising": {"kind": "denoising", "noise": "gaussian", "level": [0, 50], "weight": 10},
    "lungs": {"kind": "segmentation", "classes": ["background", "lung"]},
    "pneumonia": {
        "kind": "classification",
        "classes": ["normal", "pneumonia"],
        "target": "label_binary",
        "label_smoothing": 0.1,
        "dropout": 0.0,
    },
}
AUGMENT_OFF = dict.fromkeys(("rotate", "shift", "scale", "brightness", "contrast", "gamma"), 0.0)


def write_images(folder: Path, count: int) -> Path:
    """Write ``count`` grey 224 x 224 PNGs with masks, every row annotated for all tasks; an eighth is for validation."""
    random, (y, x) = np.random.default_rng(0), np.mgrid[:224, :224]
    folder.mkdir()
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("file_name", "mask_file_name", "label_binary", "split"))
        for index in range(count):
            disc = (x - random.uniform(80, 144)) ** 2 + (y - random.uniform(80, 144)) ** 2 < random.uniform(40, 70) ** 2
            Image.fromarray((60 + 100 * disc + random.integers(0, 16, disc.shape)).astype(np.uint8)).save(folder / f"{index}.png")
            Image.fromarray(disc.astype(np.uint8)).save(folder / f"{index}.mask.png")
            split = "train" if index % 8 else "validation"
            table.writerow((f"{index}.png", f"{index}.mask.png", ("normal", "pneumonia")[index // 8 % 2], split))
    return folder


def make_trainer(data: Path, output: Path, **changes: Any) -> Trainer:
    """Set up the trainer of examples/cxr_joint.yaml (random weights) on a data folder, with a schedule that never ends."""
    values: dict[str, Any] = {"tasks": TASKS, "data": [{"path": str(data)}], "output": str(output), "image_size": 128, "batch_size": 8}
    values |= {"encoder": {"arch": "tf_efficientnet_lite0"}, "epochs": 10**6, "optimiser": {"warmup": 0.0}}
    return Trainer(config_from_dict(values | changes))


def batches_of(trainer: Trainer, count: int) -> list[Any]:
    """Return the trainer's first batches, in memory."""
    loader = DataLoader(trainer.train_set, batch_sampler=trainer.sampler, collate_fn=collate)
    return [batch for batch, _ in zip(loader, range(count), strict=False)]


def our_steps(trainer: Trainer, batches: Sequence[Any]) -> dict[str, float]:
    """Run the trainer's own epoch over these batches in memory, which must be no more than it has; returns each task's mean loss."""
    assert len(batches) <= trainer.steps_per_epoch, "the epoch would end before the batches do"
    with mock.patch.object(trainer_module, "DataLoader", return_value=batches):
        return our_epoch(trainer)


def our_epoch(trainer: Trainer) -> dict[str, float]:
    """Run an epoch of the trainer, with its own loader; returns each task's mean loss."""
    trainer.running = Running()  # an epoch of its own, not the rest of the last one
    losses: dict[str, float] = trainer._train_epoch()["train"]
    return losses
