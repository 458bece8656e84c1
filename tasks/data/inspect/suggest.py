"""A fine-tuning configuration that fits a data set, as a start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from umsrep.tasks.config_file import config_from_dict
from umsrep.tasks.data.inspect.columns import MASK, Columns
from umsrep.tasks.data.inspect.image_findings import likely_unit
from umsrep.tasks.data.inspect.scan import IGNORE, Facts
from umsrep.tasks.data.manifest import Manifest

ARCH = "tf_efficientnet_lite0"
IMBALANCED = 3.0
"""Largest class of train over the smallest, above which class weights are suggested."""
_NEGATIVE = (
    "normal",
    "nofinding",
    "nofindings",
    "healthy",
    "control",
    "controls",
    "negative",
    "neg",
    "no",
    "none",
    "absent",
    "false",
    "0",
    "benign",
)
"""Names of the class in which nothing was found, letters and digits only, the surest first."""
_SIDES = (64, 96, 128, 160, 192, 224, 256)


def suggest(
    data: str | Path,
    manifest: Manifest,
    columns: Columns,
    facts: Sequence[Facts],
    labels: dict[str, Any],
    encoder: str | None,
    size: int | None,
) -> tuple[str | None, list[str]]:
    """Write a configuration for `umsrep finetune`.

    Args:
        data: As the user named it.
        manifest: The set.
        columns: Its columns.
        facts: One a row.
        labels: From `umsrep.tasks.data.inspect.columns.label_tasks`.
        encoder: Preset whose modality fits, or None for an untrained encoder.
        size: Side that the preset expects.

    Returns:
        YAML that `umsrep.tasks.config.load_config` reads (None where the set cannot train), and what to know about it.
    """
    counts = {s: columns.splits.count(s) for s in ("train", "validation")}
    missing = [s for s, n in counts.items() if not n]
    if missing:
        return None, [f"no configuration: training needs rows in train and validation, and there is none in {' and '.join(missing)}"]
    notes: list[str] = []
    tasks: dict[str, Any] = {"denoising": {"kind": "denoising", "noise": "gaussian", "level": [0, 50]}}
    targets: dict[str, Any] = {}
    tasks |= _segmentation(columns, facts, notes)
    tasks |= _classification(columns, labels, targets, notes)
    entry: dict[str, Any] = {"path": str(data)}
    if columns.split_column != "split":
        entry["split_column"] = columns.split_column
    if targets:
        entry["targets"] = targets
    side = size or _side(facts)
    values = {
        "schema_version": 1,
        "output": f"runs/{Path(data).stem or 'run'}",
        "encoder": {"name": encoder} if encoder else _arch(facts, notes),
        "data": [entry],
        "tasks": tasks,
        "image_size": side,
        "batch_size": int(min(16, max(2, counts["train"] // 4))),
        "epochs": int(np.clip(20_000 // counts["train"], 3, 100)),
        "strategy": "full",
    }
    notes.append(
        f"image_size {side}: "
        + ("what the encoder was trained at" if size else "the middle picture's shorter side, rounded down, at most 256")
    )
    config_from_dict(values, where="suggested configuration")  # what is printed can be read back
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=140), notes


def _side(facts: Sequence[Facts]) -> int:
    middle = float(np.median([min(one.size) for one in facts if one.size is not None] or [128]))
    return max((s for s in _SIDES if s <= middle), default=_SIDES[0])


def _arch(facts: Sequence[Facts], notes: list[str]) -> dict[str, Any]:
    colour = sum(one.colour == "RGB" for one in facts)
    read = [one for one in facts if one.size is not None]
    values: dict[str, Any] = {"arch": ARCH, "weights": None, "in_channels": 3 if colour > len(read) / 2 else 1}
    units = {one.unit for one in read}
    if len(units) == 1 and units.pop().startswith("undeclared"):
        low, high = min(one.low for one in read), max(one.high for one in read)
        values["unit"] = likely_unit(low, high)
        notes.append(f"encoder.unit {values['unit']}: a guess from the values {low:g} to {high:g}; such files do not say")
        if values["unit"] == "HU":
            values["window"] = [low, high]
            notes.append("encoder.window: the smallest and largest stored values; choose the tissue's own")
    notes.append("no shipped encoder fits these pictures: the weights are random; set encoder.weights to pretrained ones where you can")
    return values


def _segmentation(columns: Columns, facts: Sequence[Facts], notes: list[str]) -> dict[str, Any]:
    tasks: dict[str, Any] = {}
    parts = [c.removeprefix(f"{MASK}.") for c in columns.masks if c != MASK]
    values = sorted({v for one in facts if MASK in one.masks for v in one.masks[MASK].pixels} - {IGNORE})
    trained = {
        c: all(any(c in one.masks for one, s in zip(facts, columns.splits, strict=True) if s == split) for split in ("train", "validation"))
        for c in columns.masks
    }
    if any(mask.grey for one in facts for mask in one.masks.values()):
        notes.append("no segmentation: some masks look like grey pictures (see the problems)")
    elif values and 0 < values[-1] < IGNORE and values[0] >= 0 and trained[MASK]:
        if values[-1] < 2 * len(values):
            tasks["segmentation"] = {"kind": "segmentation", "classes": ["background", *(f"class_{v}" for v in range(1, values[-1] + 1))]}
            notes.append("tasks.segmentation.classes: name them; masks hold numbers only")
    elif parts and all(trained[c] for c in columns.masks if c != MASK):
        tasks["segmentation"] = {"kind": "segmentation", "classes": parts, "multi_label": True}
    return tasks


def _classification(columns: Columns, labels: dict[str, Any], targets: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    tasks: dict[str, Any] = {}
    several = [c for c in columns.multi_label if set(labels[c]["classes"]) <= {"0", "1"}]
    if several:
        classes = [c.removeprefix("label.") for c in several]
        classes = [f"finding_{c}" if c.isdigit() else c for c in classes]
        tasks["findings"] = {"kind": "classification", "classes": classes, "target": several, "multi_label": True}
    for column in columns.labels:
        splits = labels[column]["splits"]
        classes = list(splits.get("train", {}))
        if column in several or len(classes) < 2 or "validation" not in splits:
            if column not in several:
                notes.append(f"column {column} is left out: training needs two classes in train, and rows in validation")
            continue
        task: dict[str, Any] = {"kind": "classification", "classes": classes}
        if column != "label":
            task["target"] = column
        name = "classification" if column == "label" else column.replace(".", "_")
        if len(classes) == 2:
            classes = task["classes"] = _negative_first(classes)
            notes.append(f"tasks.{name}: the positive class is {classes[1]}: swap the classes if that is wrong")
        if labels[column]["imbalance"] > IMBALANCED:
            task["class_weights"] = "balanced"
            times = f"{labels[column]['imbalance']:.1f} times the smallest's rows"
            notes.append(f"tasks.{name}.class_weights balanced: train's largest class has {times}")
        unseen = sorted({v for counts in splits.values() for v in counts} - set(classes))
        if unseen:
            targets[name] = {"column": column, "map": dict.fromkeys(unseen)}
            notes.append(f"data.targets.{name}.map leaves out what train does not hold: {', '.join(unseen)}")
        tasks[name] = task
    return tasks


def _negative_first(classes: Sequence[str]) -> list[str]:
    """Put the one of two classes first in which nothing was found, by its name (normal) or as it negates the other (no_pneumonia)."""
    plain = {c: "".join(filter(str.isalnum, c.casefold())) for c in classes}

    def rank(name: str) -> int:
        negated = {f"{no}{plain[other]}" for no in ("no", "non", "not", "without", "un") for other in classes if other != name}
        return -1 if plain[name] in negated else _NEGATIVE.index(plain[name]) if plain[name] in _NEGATIVE else len(_NEGATIVE)

    return sorted(classes, key=rank)
