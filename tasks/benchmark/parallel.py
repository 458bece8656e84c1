"""Cells side by side: one process a GPU, or a share of the CPU's cores, started here or by accelerate launch, torchrun or srun."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import torch

from umsrep.errors import InputError
from umsrep.tasks.benchmark.grid import Benchmark
from umsrep.tasks.benchmark.run import INVOCATION, is_done, write_results
from umsrep.tasks.interruption import Interrupted, Watch
from umsrep.tasks.progress import say

_DISTRIBUTED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
_POLL_SECONDS = 0.5


def is_launched() -> bool:
    """Tell whether accelerate launch or torchrun started this process as one of several."""
    return "LOCAL_RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def share(number: int, processes: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of one of the processes of a host: its GPU, or its share of the cores, and no trace of a launcher.

    Each trains whole cells by itself, so nothing of a process group may be left. Process k gets GPU k of those that are visible (they
    repeat where there are more processes than GPUs); without a GPU, as many threads as the cores give each.
    """
    kept = {
        key: value
        for key, value in environment.items()
        if key not in _DISTRIBUTED
        and not key.startswith(("TORCHELASTIC_", "ROLE_"))
        and (not key.startswith("ACCELERATE_") or key == "ACCELERATE_USE_CPU")
    }
    visible = [g for g in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if g.strip()]
    if "CUDA_VISIBLE_DEVICES" not in environment:
        visible = [str(g) for g in range(torch.cuda.device_count())]
    if visible:
        kept["CUDA_VISIBLE_DEVICES"] = visible[number % len(visible)]
    elif not is_launched():  # launchers set the threads of their processes themselves
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # the first on Linux alone
        kept["OMP_NUM_THREADS"] = str(max(1, cores // processes))
    return kept | {"TTY_COMPATIBLE": "0"}  # no bars that overwrite each other


def run_parallel(benchmark: Benchmark, processes: int) -> dict[str, Any]:
    """Run a benchmark by several processes on this host; each takes the next cell that is neither done nor taken.

    What they print goes to logs/ in the output. Interrupted, they finish their step, save, and end; the same command goes on.

    Returns:
        As `run_benchmark`.

    Raises:
        InputError: if a process ended in any other way than by having nothing left to do; the others are waited for first.
        Interrupted: after Ctrl-C, SIGTERM or SIGUSR1.
    """
    if processes < 1:
        raise InputError(f"--parallel must be 1 or more, not {processes}")
    environment = {**os.environ, INVOCATION: f"{os.getpid()}-{time.time_ns()}"}
    logs = benchmark.output / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as files, Watch() as watch:
        children = []
        for k in range(processes):
            log = files.enter_context((logs / f"process-{k}.log").open("a", encoding="utf-8"))
            children.append(_start(benchmark.path, share(k, processes, environment), log))
        _wait(benchmark, children, watch)
    summary = write_results(benchmark)
    if watch.received:
        raise Interrupted(watch.received, "stopped; what is done is saved, and the same command goes on from there")
    for k, child in enumerate(children):
        if child.returncode:
            raise InputError(f"process {k} ended with exit code {child.returncode}: {_last_line(logs / f'process-{k}.log')}")
    return summary


def run_launched(benchmark: Benchmark) -> dict[str, Any] | None:
    """Run as one of the processes of accelerate launch or torchrun, each taking cells for itself.

    The first process stays until no cell is left, so that the launcher's end is the benchmark's.

    Returns:
        On the first process, as `run_benchmark`; on the others None.
    """
    launcher = psutil.Process(os.getppid())
    environment = {**os.environ, INVOCATION: f"{launcher.pid}-{launcher.create_time()}"}
    local, here = int(os.environ["LOCAL_RANK"]), int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
    logs = benchmark.output / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    log_path = logs / f"rank-{os.environ['RANK']}.log"
    summary = None
    with log_path.open("a", encoding="utf-8") as log, Watch() as watch:
        while summary is None or summary["missing"]:
            child = _start(benchmark.path, share(local, here, environment), log)
            _wait(benchmark, [child], watch)
            if watch.received:
                raise Interrupted(watch.received, "stopped; what is done is saved, and the same command goes on from there")
            if child.returncode:
                raise InputError(f"rank {os.environ['RANK']} ended with exit code {child.returncode}: {_last_line(log_path)}")
            if os.environ["RANK"] != "0":
                return None
            summary = write_results(benchmark)
            if summary["missing"]:
                time.sleep(10 * _POLL_SECONDS)  # others are at them; should one die, they are taken over in the next round
    return summary


def _start(grid: Path, environment: Mapping[str, str], log: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "umsrep", "benchmark", "--config", str(grid)]  # quiet, as INVOCATION is set
    # a session of its own: it gets signals from here alone, and once
    return subprocess.Popen(command, env=dict(environment), stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)


def _wait(benchmark: Benchmark, children: list[subprocess.Popen[bytes]], watch: Watch) -> None:
    """Wait for all children, say what has been done, and pass a signal on."""
    done = {cell.name for cell in benchmark.cells if is_done(cell)}
    passed = 0
    try:
        while running := [child for child in children if child.poll() is None]:
            if watch.received and watch.received != passed:
                passed = watch.received
                for child in running:
                    child.send_signal(passed)
            time.sleep(_POLL_SECONDS)
            for cell in benchmark.cells:
                if cell.name not in done and is_done(cell):
                    done.add(cell.name)
                    say(f"{len(done)} of {len(benchmark.cells)} cells are done: {cell.name}")
    except KeyboardInterrupt:  # the second Ctrl-C: at once
        for child in children:
            child.kill()
        raise


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it said nothing") + f" ({log})"
