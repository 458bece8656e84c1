"""Small runs for the tests of training: a tiny encoder, a few rows, seconds."""

from __future__ import annotations

import copy
import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from umsrep.tasks.config import FineTuneConfig
from umsrep.tasks.config_file import config_from_dict
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.setup import build_model

ARCH = "test_efficientnet"
"""timm's smallest registered CNN with five strides and batch norms (82 thousand weights)."""
TASKS: dict[str, dict[str, Any]] = {
    "denoising": {"kind": "denoising", "level": [10, 40], "width": 8},
    "disc": {"kind": "segmentation", "classes": ["background", "disc"]},
    "size": {"kind": "classification", "classes": ["small", "large"]},
}


def run_values(data: Path | Sequence[dict[str, Any]], output: Path, **changes: Any) -> dict[str, Any]:
    """Plain values of a run of three tasks at 32 px: two epochs of two steps. ``changes`` replace whole keys."""
    values: dict[str, Any] = {
        "output": str(output),
        "encoder": {"arch": ARCH},
        "data": [{"path": str(data)}] if isinstance(data, Path) else list(data),
        "tasks": copy.deepcopy(TASKS),
        "image_size": 32,
        "batch_size": 8,
        "epochs": 2,
        "workers": 0,
    }
    return copy.deepcopy(values | changes)


def run_config(data: Path | Sequence[dict[str, Any]], output: Path, **changes: Any) -> FineTuneConfig:
    """`run_values` as a configuration."""
    return config_from_dict(run_values(data, output, **changes))


def tiny_model(data: Path, *, seed: int = 0, **changes: Any) -> MultiTaskModel:
    """An untrained model with the heads of such a run, in training mode."""
    torch.manual_seed(seed)
    return build_model(run_config(data, Path("unused"), **changes))


def stored(folder: Path) -> dict[str, Tensor]:
    """All tensors of a model folder, the encoder's under ``encoder.``."""
    encoder = {f"encoder.{k}": v for k, v in load_file(folder / "model.safetensors").items()}
    return encoder | load_file(folder / "heads.safetensors")


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Names of the tensors that differ by a bit."""
    assert before.keys() == after.keys()
    return {k for k in before if not torch.equal(before[k], after[k])}


Records = list[dict[str, str]]


def rewrite(folder: Path, change: Callable[[Records], Records | None]) -> Path:
    """Change metadata.csv: ``change`` gets the rows as dicts, and returns new ones or changes them in place."""
    table = folder / "metadata.csv"
    with table.open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    new = change(records)
    records = records if new is None else new
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)
    return folder


def put(row: int, column: str, value: str) -> Callable[[Records], None]:
    """A `rewrite` of one cell."""

    def change(records: Records) -> None:
        records[row][column] = value

    return change


def without(*columns: str) -> Callable[[Records], Records]:
    """A `rewrite` that drops columns."""
    return lambda records: [{k: v for k, v in record.items() if k not in columns} for record in records]
