"""Running the cells of a benchmark: resumed cell by cell, a failure reported without stopping the others."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

from umsrep.errors import InputError
from umsrep.tasks.benchmark.cost import FILE as COST
from umsrep.tasks.benchmark.cost import cost_of_run
from umsrep.tasks.benchmark.grid import Benchmark, Cell
from umsrep.tasks.benchmark.locks import claim, write_whole
from umsrep.tasks.benchmark.probe import run_probe
from umsrep.tasks.benchmark.shifted import measure, stored_tests
from umsrep.tasks.benchmark.summary import summarise_cells
from umsrep.tasks.config_data import EncoderConfig
from umsrep.tasks.config_file import load_config
from umsrep.tasks.progress import say
from umsrep.tasks.runfolder import plain
from umsrep.tasks.trainer import fit

RESULTS = "results.json"
_LOCKS, _FAILURES = ".locks", "failures"
INVOCATION = "UMSREP_BENCHMARK_RUN"
"""Environment variable: processes that share its value share their failures: a cell that failed in one is not tried by the others."""


def run_benchmark(benchmark: Benchmark) -> dict[str, Any]:
    """Train the cells that are not done yet and that no other process is at, and sum up all that are done.

    A cell that was interrupted goes on where it stopped; results.json grows with every cell. A cell that fails (its configuration or
    data at fault, out of memory, a full disk) is written to failures/, the others go on, and the next call tries it again.

    Returns:
        JSON values: ``cells`` (as `collect_cells`), ``table`` (`summarise_cells`), ``failed`` (cell to message), ``missing`` (cells that
        are neither done nor failed: another process is at them) and ``benchmark`` (the grid).

    Raises:
        InputError: if a cell's folder holds a run of another configuration, before anything is trained.
    """
    for cell in benchmark.cells:
        _check_same(cell)
    token = os.environ.get(INVOCATION, f"{os.getpid()}-{time.time_ns()}")
    for number, cell in enumerate(benchmark.cells, start=1):
        with claim(benchmark.output / _LOCKS / cell.name) as mine:
            if not mine or is_done(cell) or _failure(benchmark, cell).get("invocation") == token:
                continue
            say(f"cell {number} of {len(benchmark.cells)}: {cell.name}")
            _run_cell(benchmark, cell, token)
        write_results(benchmark)
    return write_results(benchmark)


def _run_cell(benchmark: Benchmark, cell: Cell, token: str) -> None:
    path = benchmark.output / _FAILURES / f"{cell.name}.json"
    try:
        if cell.probe:
            run_probe(cell.config, cell.tests)
        else:
            if not _report(cell).is_file():
                fit(cell.config, resume=True)
            cost_of_run(cell.config)
            measure(cell.config, cell.tests)
    except (ValueError, RuntimeError, OSError, MemoryError) as error:  # InputError is a ValueError, torch's out of memory a RuntimeError
        message = " ".join(str(error).split()) or type(error).__name__
        say(f"cell {cell.name} failed: {message}")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"error": message, "type": type(error).__name__, "invocation": token}) + "\n")
    else:
        path.unlink(missing_ok=True)


def _report(cell: Cell) -> Path:
    return Path(cell.config.output) / "report.json"


def is_done(cell: Cell) -> bool:
    """Tell whether a cell is trained, costed, and measured on all its test sets."""
    if not _report(cell).is_file() or not (Path(cell.config.output) / COST).is_file():
        return False
    return stored_tests(cell.config, cell.tests).keys() == cell.tests.keys()


def _check_same(cell: Cell) -> None:
    done = _report(cell).with_name("config.yaml")
    if not _report(cell).is_file():
        return
    probed = bool(json.loads(_report(cell).read_text(encoding="utf-8")).get("probe"))
    if probed != cell.probe or load_config(done) != cell.config:
        raise InputError(f"{done}: this cell ran with another configuration; delete its folder, or choose another output")


def _failure(benchmark: Benchmark, cell: Cell) -> dict[str, str]:
    try:
        values: dict[str, str] = json.loads((benchmark.output / _FAILURES / f"{cell.name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:  # also where another process has just made up for it
        return {}
    return values


def collect_cells(benchmark: Benchmark) -> list[dict[str, Any]]:
    """Return what the finished cells measured, in the order of the grid.

    Returns:
        One entry a cell: ``variant``, ``axes``, ``set`` (where the grid has sets), ``fraction``, ``seed``, ``kinds`` (task to its kind),
        ``encoder``, ``data`` and ``targets`` (by which scores are found that belong to it), ``seconds``, ``cost`` (`cost_of_run`),
        ``validation`` and ``test`` (task to metrics) and ``shifted`` (further test set to the same).
    """
    entries = []
    for cell in benchmark.cells:
        if not is_done(cell):
            continue
        report = json.loads(_report(cell).read_text(encoding="utf-8"))
        entries.append(
            {
                "variant": cell.variant,
                "axes": cell.axes,
                **({"set": cell.axes["set"]} if "set" in cell.axes else {}),
                "fraction": cell.fraction,
                "seed": cell.seed,
                "kinds": {name: task.kind for name, task in cell.config.tasks.items()},
                "encoder": _identity(cell.config.encoder),
                "data": [data.path for data in cell.config.data],
                "targets": {name: _target_columns(cell, name) for name in cell.config.tasks},
                "seconds": report["seconds"],
                "cost": cost_of_run(cell.config),
                "validation": report["validation"],
                "test": report["test"],
                "shifted": stored_tests(cell.config, cell.tests),
            }
        )
    return entries


def _identity(encoder: EncoderConfig) -> dict[str, Any]:
    """Return what an encoder is called; a blended one is no longer the one whose name it bears."""
    called = {key: getattr(encoder, key) for key in ("name", "arch", "weights")}
    return (
        called if encoder.blend is None else {**dict.fromkeys(called), "blend": {"name": encoder.name, **dataclasses.asdict(encoder.blend)}}
    )


def _target_columns(cell: Cell, task: str) -> list[str]:
    """Return the columns of a task's target in the first set that names one, else the task's own."""
    columns = [data.targets[task].column for data in cell.config.data if task in data.targets]
    column = next((c for c in columns if c is not None), cell.config.tasks[task].target)
    return [column] if isinstance(column, str) else list(column or ())


def write_results(benchmark: Benchmark) -> dict[str, Any]:
    """Sum up the cells that are done, and write results.json; see `run_benchmark`."""
    cells = collect_cells(benchmark)
    done = {_cell_name(entry) for entry in cells}
    failed = {c.name: f["error"] for c in benchmark.cells if c.name not in done and (f := _failure(benchmark, c))}
    summary: dict[str, Any] = plain(
        {
            "cells": cells,
            "table": summarise_cells(cells),
            "failed": failed,
            "missing": [c.name for c in benchmark.cells if c.name not in done and c.name not in failed],
            "metrics": benchmark.metrics,
            "benchmark": benchmark.values,
        }
    )
    benchmark.output.mkdir(parents=True, exist_ok=True)
    write_whole(benchmark.output / RESULTS, json.dumps(summary, indent=2, allow_nan=False) + "\n")
    return summary


def _cell_name(entry: dict[str, Any]) -> str:
    return "_".join([*entry["axes"].values(), f"{entry['fraction']:g}", str(entry["seed"])])


def plan(benchmark: Benchmark, processes: int = 1) -> dict[str, Any]:
    """Count what is to be done, and estimate how long that takes from the cells that are done.

    Args:
        benchmark: The grid.
        processes: How many cells run at a time.

    Returns:
        ``cells``, ``done``, ``failed``, ``left`` (names), and ``hours`` for those left: each taken to last as the mean of the done cells of
        the same variant, set and fraction, else of all done cells; None before the first is done.
    """
    done = collect_cells(benchmark)
    finished = {_cell_name(entry) for entry in done}
    left = [cell for cell in benchmark.cells if cell.name not in finished]
    groups: dict[Any, list[float]] = {}
    for entry in done:
        groups.setdefault((entry["variant"], entry.get("set"), entry["fraction"]), []).append(entry["seconds"])
    every = [entry["seconds"] for entry in done]
    seconds = [groups.get((c.variant, c.axes.get("set"), c.fraction), every) for c in left]
    total = sum(sum(some) / len(some) for some in seconds) if every else None
    return {
        "cells": len(benchmark.cells),
        "done": len(finished),
        "failed": {c.name: _failure(benchmark, c)["error"] for c in left if _failure(benchmark, c)},
        "left": [cell.name for cell in left],
        "hours": None if total is None else total / 3600 / processes,
    }
