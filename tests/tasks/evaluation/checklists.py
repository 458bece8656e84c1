"""Filled checklists by number, and a run folder for them to read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from umsrep.tasks.evaluation.checklist import fill

PRESET = "ums-cxr-efficientnet-lite0"

Items = dict[str, dict[str, str]]


def by_number(found: dict[str, Any], model: str | Path | None = None) -> dict[str, Items]:
    """Guideline's name to the number of an item to the item."""
    return {g["name"]: {item["number"]: item for item in g["items"]} for g in fill(found, model)}


def both(found: dict[str, Any], model: str | Path | None = None) -> tuple[Items, Items]:
    """The items of TRIPOD+AI and those of CLAIM."""
    items = by_number(found, model)
    return items["TRIPOD+AI"], items["CLAIM 2024"]


RUN = """
data: [{path: sets/cxr, split_column: split}]
encoder: {name: null, weights: null}
optimiser: {learning_rate: 0.001}
augment: {rotate: 10.0, flip: 0.0}
early_stopping: {metric: mean, patience: 0}
tasks: {pneumonia: {class_weights: [1.0, 2.0]}, lungs: {class_weights: null}}
strategy: full
epochs: 3
batch_size: 16
ema: 0.99
precision: 'no'
seed: 7
sampling: 0.5
"""


def run_folder(folder: Path, fingerprint: str) -> Path:
    """Write what a run leaves beside its model, trained on a table of this fingerprint; returns the model's folder."""
    (folder / "model").mkdir(parents=True)
    (folder / "config.yaml").write_text(RUN, encoding="utf-8")
    (folder / "report.json").write_text("{}", encoding="utf-8")
    environment = {"git_commit": "f" * 40, "python": "3.11.7", "device": "cpu", "world_size": 1, "versions": {"torch": "2.9.0"}}
    environment |= {"data": {"sets/cxr": fingerprint}}
    (folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    return folder / "model"
