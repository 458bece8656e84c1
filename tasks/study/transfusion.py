"""Run a Transfusion study: what of pretrained weights makes an encoder learn faster, and does its size matter?

The questions of Raghu et al. (NeurIPS 2019) on one's own data: steps to a fixed AUROC and final AUROC of random, mean-var, Gabor and
pretrained weights, of weights reused up to some depth, of small networks and large, and how much each representation changed.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save_file

from umsrep.errors import InputError
from umsrep.tasks import checkpoint
from umsrep.tasks.data.manifest import Manifest, load_manifest
from umsrep.tasks.progress import say
from umsrep.tasks.runfolder import plain
from umsrep.tasks.setup import build_model
from umsrep.tasks.study.config import NEEDS_WEIGHTS, Cell, StudyConfig
from umsrep.tasks.study.figures import draw_figures
from umsrep.tasks.study.summary import markdown, summarise
from umsrep.tasks.trainer import fit
from umsrep.zoo import Encoder
from umsrep.zoo.comparison import compare_encoders
from umsrep.zoo.cost import count_parameters
from umsrep.zoo.stages import stages_of
from umsrep.zoo.transfusion import gabor_init, mean_var_init, transfuse


def run_study(study: StudyConfig) -> dict[str, Any]:
    """Run what is left of a study, and write results.json, results.md and the figures.

    Each cell is a run of `umsrep.fit` whose result stays in ``cells/NAME.json``: a study that was interrupted goes on where it
    stopped, in the middle of a run too. Weights and checkpoints of finished cells are deleted; their curves and configurations stay.

    Returns:
        What results.json holds.

    Raises:
        InputError: for anything wrong in data or configuration, or an output whose cells were made with another one.
    """
    output = Path(study.output)
    cells = list(study.cells())
    _check_stages(study)
    for number, cell in enumerate(cells, 1):
        done = _finished(study, cell) is not None
        say(f"cell {number} of {len(cells)}: {cell.name}{' (done before)' if done else ''}")
        if not done:
            _run_cell(study, cell)
    records = [_finished(study, cell) for cell in cells]
    results = summarise([r for r in records if r is not None], study)
    (output / "results.json").write_text(json.dumps(plain(results), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    (output / "results.md").write_text(markdown(results), encoding="utf-8")
    draw_figures(results, output)
    return results


def initial_encoder(study: StudyConfig, cell: Cell) -> Encoder:
    """Return the encoder that a cell starts from; cells of one seed share their random weights."""
    config = functools.partial(study.run_config, cell, output=Path(study.output))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cell.seed)
        fresh = build_model(config(weights=None)).encoder
        if cell.init.kind == "gabor":
            return gabor_init(fresh).model
        if cell.init.kind == "random":
            return fresh
        pretrained = build_model(config(weights=cell.weights)).encoder
    if cell.init.kind == "mean-var":
        return mean_var_init(fresh, pretrained, generator=torch.Generator().manual_seed(cell.seed)).model
    if cell.init.stages is not None:
        return transfuse(fresh, pretrained, cell.init.stages).model
    return pretrained


def _run_cell(study: StudyConfig, cell: Cell) -> None:
    folder = Path(study.output) / "cells" / cell.name
    start = initial_encoder(study, cell)
    count = len(stages_of(start.model, coarse=True))
    weights = folder.with_suffix(".initial.safetensors")
    weights.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in start.model.state_dict().items()}, str(weights))
    changes: dict[str, Any] = {}
    if cell.init.kind == "frozen":
        assert cell.init.stages is not None
        changes = {"strategy": "partial", "trainable_stages": count - cell.init.stages}
    config = study.run_config(cell, output=folder, weights=str(weights), **changes)
    report = fit(config, resume=folder.is_dir())
    curve = [
        {"step": entry["step"], "auroc": entry["validation"][study.task]["auroc"]}
        for entry in map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
        if "validation" in entry
    ]
    after = Encoder.from_pretrained(report.model)
    rows = [(m, row) for data in config.data for m in [load_manifest(data.path)] for row in m.rows("validation", data.split_column)]
    record = {
        "fingerprint": _fingerprint(study, cell),
        "arch": cell.arch,
        "init": str(cell.init),
        "seed": cell.seed,
        "stages": count,
        "parameters": count_parameters(start),
        "curve": curve,
        "best_epoch": report.epoch,
        "validation": report.validation.get(study.task),
        "test": report.test.get(study.task),
        "similarity": {name: matrix.tolist() for name, matrix in compare_on(start, after, rows, study.similarity_images).items()},
        "seconds": report.seconds,
    }
    path = folder.with_suffix(".json")
    path.with_suffix(".tmp").write_text(json.dumps(plain(record), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    path.with_suffix(".tmp").replace(path)  # whole or not at all: it says that the cell is done
    weights.unlink()
    for part in (checkpoint.FOLDER, "model"):
        shutil.rmtree(folder / part, ignore_errors=True)


def compare_on(first: Encoder, second: Encoder, rows: Sequence[tuple[Manifest, int]], most: int) -> dict[str, np.ndarray]:
    """Return ``cka`` and ``svcca`` between the levels of two encoders on rows of data sets, at most so many, evenly spaced."""
    chosen = [rows[i * len(rows) // min(most, len(rows))] for i in range(min(most, len(rows)))]
    images, frames = [m.image(row) for m, row in chosen], [m.frame(row) for m, row in chosen]
    measures: tuple[Literal["cka", "svcca"], ...] = ("cka", "svcca")
    return {name: compare_encoders(first, second, images, frames=frames, measure=name) for name in measures}


def _finished(study: StudyConfig, cell: Cell) -> dict[str, Any] | None:
    """Return the stored result of a cell, or None.

    Raises:
        InputError: if it came from another configuration or other weights.
    """
    path = Path(study.output) / "cells" / f"{cell.name}.json"
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if record["fingerprint"] != _fingerprint(study, cell):
        raise InputError(
            f"{path}: made with another base configuration or other weights; choose another output, or delete it to run it again"
        )
    return record


def _fingerprint(study: StudyConfig, cell: Cell) -> str:
    """Return the hash of what decides a cell's result beside its name."""
    config = dataclasses.asdict(study.run_config(cell, output=Path(), weights=None))
    for key in ("workers", "checkpoint_minutes", "trackers", "processes"):
        config.pop(key)
    digest = hashlib.sha256(json.dumps([config, study.task, study.similarity_images], sort_keys=True).encode())
    if cell.init.kind in NEEDS_WEIGHTS and cell.weights is not None:
        digest.update(_file_hash(cell.weights).encode())
    return digest.hexdigest()


@functools.cache
def _file_hash(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_stages(study: StudyConfig) -> None:
    """Refuse depths that an architecture does not have, before the first run."""
    seen = set()
    for cell in study.cells():
        if cell.init.stages is None or cell.arch in seen:
            continue
        seen.add(cell.arch)
        most = len(stages_of(build_model(study.run_config(cell, output=Path(), weights=None)).encoder.model, coarse=True)) - 1
        for init in study.encoders[cell.arch][1]:
            if init.stages is not None and init.stages > most:
                raise InputError(f"study: encoders.{cell.arch}: init '{init}': stages must be 1 to {most}; all of them is pretrained")
