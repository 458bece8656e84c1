"""Run as a program: short runs with unlabelled rows, on two processes (see test_build.py)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import debug_launcher

from tests.tasks.runs import TASKS, run_config
from tests.tasks.steady_run import steady
from umsrep.tasks.trainer import fit


def _tasks(*names: str) -> dict[str, Any]:
    return {"tasks": {name: TASKS[name] for name in names}}


RUNS: dict[str, dict[str, Any]] = {
    "coral": {**_tasks("disc"), "adapt": {"method": "coral", "weight": 50.0}},
    "mmd": {**_tasks("size"), "adapt": {"method": "mmd", "weight": 5.0}, "balancing": "pcgrad"},
    "dann": {**_tasks("size", "denoising"), "adapt": {"method": "dann", "batch_size": 6}},
    "mean-teacher": {"adapt": {"method": "mean-teacher"}, "unlabelled": {"partly": True, "align": True, "threshold": 0.5}},
}
"""The target of ``adapt`` is the set itself, with other draws. The weights are large: a wrong gradient would show in the second epoch."""


def curves(data: Path, folder: Path) -> None:
    """Runs of two epochs, in which nothing else depends on how rows are shared out; `steady` must hold."""
    for name, changes in RUNS.items():
        own = changes | {"adapt": {"path": str(data), **changes["adapt"]}}
        fit(run_config(data, folder / name, **own, batch_norm="frozen", optimiser={"warmup": 0.0}, guard=False))


def _one_of_two(data: str, out: str) -> None:
    steady()
    curves(Path(data), Path(out))


if __name__ == "__main__":
    torch.set_num_threads(1)
    debug_launcher(_one_of_two, args=(sys.argv[1], sys.argv[2]), num_processes=2)
