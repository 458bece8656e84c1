"""Run as a program: gradients and metrics of one global batch, and short runs, on two processes (see test_step.py)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, debug_launcher
from torch import Tensor, nn

from tests.conformance import perturb
from tests.tasks.runs import TASKS, run_config, tiny_model
from tests.tasks.steady_run import steady
from umsrep.tasks.data.dataset import JointDataset, collate
from umsrep.tasks.evaluate import collect, summarise
from umsrep.tasks.setup import build_sets, build_tasks
from umsrep.tasks.step import JointStep, annotated_rows
from umsrep.tasks.trainer import fit

BATCHES = {
    "all tasks on both": (0, 1, 3, 4, 6, 7, 10, 11),
    # rows 2, 9 and 14 have no mask, 5, 8 and 14 no label; process 0 takes the even places
    "masks on one only": (0, 2, 1, 9, 3, 14, 4, 2),
    "labels on one only": (0, 5, 1, 8, 3, 14, 6, 5),
    "one mask in all": (2, 9, 14, 2, 9, 14, 2, 0),
    "no mask at all": (2, 9, 14, 2, 9, 14, 2, 9),
}


def results(data: Path, rank: int = 0, world_size: int = 1, accelerator: Accelerator | None = None) -> dict[str, Any]:
    """Gradients of each of `BATCHES` and the metrics of the test rows."""
    config = run_config(data, Path("unused"))
    model = tiny_model(data)
    perturb(model)
    train, _, test = build_sets(config, model.encoder.contract)
    assert test is not None
    tasks = build_tasks(config, train)
    step: nn.Module = JointStep(model, tasks, {"denoising": 1.0, "disc": 0.5, "size": 2.0}, uncertainty=False, frozen_norm=True)
    step.eval()  # batch norms by their stored statistics, no dropout
    wrapped = step if accelerator is None else accelerator.prepare_model(step)
    gradients: dict[str, dict[str, Tensor]] = {}
    losses: dict[str, dict[str, float]] = {}
    for name, rows in BATCHES.items():
        gradients[name], losses[name] = _backward(train, rows[rank::world_size], wrapped, step, world_size, accelerator)
    statistics = collect(model, test, batch_size=3, rank=rank, world_size=world_size)
    return {"gradients": gradients, "losses": losses, "metrics": summarise(statistics, tasks)}


def _backward(
    data: JointDataset, rows: Sequence[int], wrapped: nn.Module, step: nn.Module, world_size: int, accelerator: Accelerator | None
) -> tuple[dict[str, Tensor], dict[str, float]]:
    batch = collate([data[row] for row in rows])
    assert isinstance(batch, dict)
    names = list(data.tasks)
    counts = annotated_rows(batch, names).float()
    if accelerator is not None:
        counts = accelerator.reduce(counts)
    step.zero_grad(set_to_none=True)
    terms, losses = wrapped(batch, dict(zip(names, counts.tolist(), strict=True)), world_size)
    torch.stack(list(terms.values())).sum().backward()
    values = torch.stack([losses[n] for n in names])
    if accelerator is not None:
        values = accelerator.reduce(values)
    gradients = {n: p.grad.clone() for n, p in step.named_parameters() if p.grad is not None}
    return gradients, dict(zip(names, values.tolist(), strict=True))


RUNS = {"three tasks": list(TASKS), "no classification": ["denoising"]}
"""Without a classification the encoder has weights that nothing uses."""


def curves(data: Path, folder: Path) -> None:
    """Runs of two epochs of two steps, in which nothing depends on how rows are shared out; `steady` must hold."""
    for name, tasks in RUNS.items():
        fit(run_config(data, folder / name, tasks={task: TASKS[task] for task in tasks}, batch_norm="frozen", optimiser={"warmup": 0.0}))


def _one_of_two(data: str, out: str) -> None:
    accelerator = Accelerator()
    result = results(Path(data), accelerator.process_index, accelerator.num_processes, accelerator)
    torch.save(result, f"{out}.{accelerator.process_index}")
    steady()
    curves(Path(data), Path(f"{out}.runs"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    debug_launcher(_one_of_two, args=(sys.argv[1], sys.argv[2]), num_processes=2)
