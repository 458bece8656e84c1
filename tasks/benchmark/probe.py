"""A cell of a benchmark with strategy ``probe``: linear heads on the features of a frozen encoder, computed once and cached on disk."""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from umsrep.errors import InputError
from umsrep.tasks.benchmark.cost import FILE as COST
from umsrep.tasks.benchmark.locks import write_whole
from umsrep.tasks.benchmark.shifted import FILE as TESTS
from umsrep.tasks.benchmark.shifted import TestSet, rows_of, served_tasks
from umsrep.tasks.classification import Classification, choose_thresholds
from umsrep.tasks.config import FineTuneConfig
from umsrep.tasks.config_file import dump_config
from umsrep.tasks.data.dataset import JointDataset, Source
from umsrep.tasks.data.subset import take_fraction
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.feature_cache import default_cache
from umsrep.tasks.features import DenseFeatures, extract, extract_maps
from umsrep.tasks.probes import fit_classifier, fit_filter, fit_pixels
from umsrep.tasks.runfolder import plain
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.setup import build_model, build_sets
from umsrep.tasks.task import Task
from umsrep.tasks.validation import at_middle_level
from umsrep.zoo import Encoder
from umsrep.zoo.cost import count_macs, count_parameters

_AT_ONCE = 32
"""Images whose logits of every pixel are held at a time."""
ROWS = "rows.npz"
"""What `Task.rows` says of every measured row, as ``PLACE/TASK/KEY``, and ``row``, its number in the table: for intervals over patients."""
Rows = dict[str, dict[str, np.ndarray]]


def check_probe(config: FineTuneConfig, where: str) -> None:
    """Refuse what a probe cannot do.

    Raises:
        InputError: for several data sets, or masks of classes that overlap.
    """
    if len(config.data) != 1:
        raise InputError(f"{where}: strategy probe takes one data set, not {len(config.data)}")
    for name, task in config.tasks.items():
        if task.kind == "segmentation" and task.multi_label:
            raise InputError(f"{where}: strategy probe: '{name}' has classes that overlap, which its discriminant analysis does not know")


def run_probe(config: FineTuneConfig, tests: Mapping[str, TestSet]) -> None:
    """Fit and measure the probes of all tasks, and write what a run of `umsrep.fit` leaves for a benchmark: no model is kept.

    Images are taken as they are, without augmentation; denoising at the middle of its range of levels, with noise that does not depend on
    the seed. The features of a split are computed once for all fractions and seeds and kept in the cache
    (`umsrep.tasks.feature_cache.default_cache`). The seed chooses the rows of a fraction and the pixels that are drawn.

    Args:
        config: The cell, which `check_probe` accepts; of it only encoder, data, tasks, image size, seed and leniency count.
        tests: Further test sets.

    Raises:
        InputError: as in training; where the training rows of a fraction are of one class.
    """
    started = time.monotonic()
    output = Path(config.output)
    encoder = build_model(config).encoder
    everything = dataclasses.replace(config, seed=0, data=[dataclasses.replace(config.data[0], fraction=1.0)])
    train, validation, test = build_sets(everything, encoder.contract)
    train.augment = None
    manifest = train.sources[0].manifest
    kept = set(take_fraction(manifest, train.sources[0].rows, config.data[0].fraction, seed=config.seed))
    further = {name: _test_set(config, encoder, given, name) for name, given in tests.items()}
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in ("validation", "test", *further)}
    stored: dict[str, np.ndarray] = {}
    for name in config.tasks:
        sets = {"validation": validation, "test": test, **further}
        measured = {place: some for place, some in sets.items() if some is not None and name in some.tasks and some.annotated[name].any()}
        for some in (train, *measured.values()):
            some.tasks[name] = task = at_middle_level(some.tasks[name])
        if isinstance(task, Classification):
            rows = _whole(encoder, name, train, kept, measured, config)
            own = rows["validation"]
            more = {"thresholds": choose_thresholds(own["probabilities"], own["target"]) or None}
        else:
            rows, more = _dense(encoder, name, train, kept, measured, config), {}
        for place, values in rows.items():
            found[place][name] = {"n": float(len(values["row"])), **task.summarise(values, **more)}
            stored |= {f"{place}/{name}/{key}": value for key, value in values.items()}
    output.mkdir(parents=True, exist_ok=True)
    (output / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    side = encoder.contract.size or 0
    size = side if isinstance(side, tuple) else (side, side)
    cost = {
        "steps": 0,
        "images": len(kept),
        "macs": count_macs(encoder, (encoder.contract.channels, *size)),
        "parameters": count_parameters(encoder),
    }
    write_whole(output / COST, json.dumps(cost) + "\n")
    asked = {name: {"asked": dataclasses.asdict(given), "metrics": plain(found[name])} for name, given in tests.items()}
    write_whole(output / TESTS, json.dumps(asked, indent=2, allow_nan=False) + "\n")
    report = {"validation": found["validation"], "test": found["test"], "seconds": time.monotonic() - started, "probe": True}
    np.savez_compressed(output / ROWS, **stored)  # type: ignore[arg-type]
    write_whole(output / "report.json", json.dumps(plain(report), indent=2, allow_nan=False) + "\n")


def _test_set(config: FineTuneConfig, encoder: Encoder, given: TestSet, name: str) -> JointDataset:
    manifest, rows = rows_of(given)
    tasks, targets = served_tasks(config, given, name, manifest)
    return JointDataset([Source(manifest, rows, list(tasks), targets)], tasks, encoder.contract, seed=0, lenient=config.lenient)


def _whole(
    encoder: Encoder, name: str, train: JointDataset, kept: set[int], sets: Mapping[str, JointDataset], config: FineTuneConfig
) -> Rows:
    """Probe a classification task on embeddings; returns each set's statistics of rows."""
    task = train.tasks[name]
    assert isinstance(task, Classification)

    def embedded(some: JointDataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        places = np.flatnonzero(some.annotated[name])
        rows = [some.items[i][1] for i in places]
        made = extract(encoder, some.sources[0].manifest, rows, cache=default_cache(), title=f"{name}: features")
        return made.embedding, np.array([some.labels[name][i] for i in places]), np.array(rows)

    x, y, rows = embedded(train)
    mine = np.isin(rows, list(kept))
    others = {place: embedded(some) for place, some in sets.items()}
    loss_x, loss_y, _ = others["validation"]

    def judge(probe: Any) -> float:
        return -float(task.loss(torch.from_numpy(probe.logits(loss_x)), _targets(task, loss_y)).mean())

    probe = fit_classifier(x[mine], y[mine], len(task.classes), judge)
    return {
        place: {**task.rows(torch.from_numpy(probe.logits(features)), _targets(task, labels)), "row": numbers}
        for place, (features, labels, numbers) in others.items()
    }


def _targets(task: Classification, labels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(labels.astype(np.float64 if task.multi_label else np.int64))


def _dense(
    encoder: Encoder, name: str, train: JointDataset, kept: set[int], sets: Mapping[str, JointDataset], config: FineTuneConfig
) -> Rows:
    """Probe a segmentation or denoising task on feature maps; returns each set's statistics of rows."""
    task = train.tasks[name]
    extracted = functools.partial(extract_maps, encoder, name=name, cache=default_cache(), title=f"{name}: maps")
    given = _some(extracted(dataset=train), kept)
    if isinstance(task, Denoising):
        assert given.noisy is not None
        assert given.clean is not None
        filter_ = fit_filter(given.levels, given.noisy, given.clean, seed=config.seed)
        return {place: _measured(task, extracted(dataset=some), filter_.denoise) for place, some in sets.items()}
    assert isinstance(task, Segmentation)
    assert given.masks is not None
    validation = extracted(dataset=sets["validation"])

    def judge(probe: Any) -> float:
        return task.score(task.summarise(_measured(task, validation, probe.logits)))

    pixels = fit_pixels(given.levels, given.masks, len(task.classes), judge, ignore=task.ignore_index, seed=config.seed)
    return {place: _measured(task, extracted(dataset=some), pixels.logits) for place, some in sets.items()}


def _some(features: DenseFeatures, kept: set[int]) -> DenseFeatures:
    places = np.array([i for i, row in enumerate(features.rows) if row in kept], dtype=np.int64)
    if not len(places):
        raise InputError("a probe needs a training row that is annotated for its task; take a larger fraction")
    masks, clean, noisy = (None if part is None else part[places] for part in (features.masks, features.clean, features.noisy))
    return DenseFeatures(tuple(features.rows[i] for i in places), tuple(level[places] for level in features.levels), masks, clean, noisy)


def _measured(task: Task, features: DenseFeatures, apply: Callable[..., torch.Tensor]) -> dict[str, np.ndarray]:
    """Apply a probe to every image, some at a time; returns the task's statistics of rows, and their numbers."""
    parts = []
    for start in range(0, len(features.rows), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        levels = [level[some] for level in features.levels]
        if features.masks is not None:
            masks = torch.from_numpy(features.masks[some]).long()
            parts.append(task.rows(apply(levels, masks.shape[1:]), masks))
        else:
            assert features.noisy is not None
            assert features.clean is not None
            noisy = torch.from_numpy(features.noisy[some])
            parts.append(task.rows(apply(levels, features.noisy[some]), torch.from_numpy(features.clean[some]), noisy=noisy))
    return {**{key: np.concatenate([part[key] for part in parts]) for key in parts[0]}, "row": np.array(features.rows)}
