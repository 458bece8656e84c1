"""Cells side by side: every one trained once, the environment of each process, and what happens when one ends badly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tasks.benchmark.grids import ONLY_SIZE, write_grid
from umsrep.errors import InputError
from umsrep.tasks.benchmark import load_benchmark
from umsrep.tasks.benchmark.parallel import is_launched, run_parallel, share


def test_each_process_gets_its_gpu_and_nothing_of_a_process_group(monkeypatch: pytest.MonkeyPatch) -> None:
    launched = {
        "PATH": "/bin",
        "CUDA_VISIBLE_DEVICES": "2,5",
        "RANK": "3",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "4",
        "MASTER_ADDR": "host",
        "TORCHELASTIC_RUN_ID": "none",
        "ACCELERATE_MIXED_PRECISION": "no",
        "ACCELERATE_USE_CPU": "true",
    }
    found = [share(k, 4, launched) for k in range(4)]
    assert [f.pop("CUDA_VISIBLE_DEVICES") for f in found] == ["2", "5", "2", "5"]
    assert found[0] == {"PATH": "/bin", "ACCELERATE_USE_CPU": "true", "TTY_COMPATIBLE": "0"}
    for name in ("LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    cores = len(os.sched_getaffinity(0))
    assert share(0, 1, {"CUDA_VISIBLE_DEVICES": ""})["OMP_NUM_THREADS"] == str(cores)
    assert share(0, 10 * cores, {"CUDA_VISIBLE_DEVICES": ""})["OMP_NUM_THREADS"] == "1"
    assert not is_launched()
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert is_launched()


def test_no_processes(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--parallel must be 1 or more"):
        run_parallel(load_benchmark(write_grid(tiny_data, tmp_path)), 0)


@pytest.mark.slow
def test_two_processes_share_the_cells(tiny_data: Path, tmp_path: Path) -> None:
    variants = {"size": {"tasks": ONLY_SIZE}, "broken": {"data": [{"path": str(tmp_path / "none")}]}}
    benchmark = load_benchmark(write_grid(tiny_data, tmp_path, variants=variants, seeds=[0, 1, 2]))
    result = run_parallel(benchmark, 2)
    assert [(c["variant"], c["seed"]) for c in result["cells"]] == [("size", 0), ("size", 1), ("size", 2)]
    assert sorted(result["failed"]) == ["broken_1_0", "broken_1_1", "broken_1_2"]
    assert not result["missing"]
    logs = [(tmp_path / "grid" / "logs" / f"process-{k}.log").read_text() for k in (0, 1)]
    started = [line.split(": ")[-1] for log in logs for line in log.splitlines() if line.startswith("cell ") and " of " in line]
    assert sorted(started) == sorted(c.name for c in benchmark.cells), "each by one process, once"
    assert all("cell " in log for log in logs), "both took part"


@pytest.mark.slow
def test_accelerate_launch_gives_each_process_its_own_cells(tiny_data: Path, tmp_path: Path) -> None:
    grid = write_grid(tiny_data, tmp_path, variants={"size": {"tasks": ONLY_SIZE}}, seeds=[0, 1])
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no", "-m", "umsrep", "benchmark", "--config", str(grid)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("| size |") == 1, "the table once, from the first process"
    logs = [(tmp_path / "grid" / "logs" / f"rank-{k}.log").read_text() for k in (0, 1)]
    assert sum(log.count("cell 1 of 2") + log.count("cell 2 of 2") for log in logs) == 2


@pytest.mark.slow
def test_a_signal_stops_all_and_the_same_command_goes_on(tiny_data: Path, tmp_path: Path) -> None:
    long = {"long": {"tasks": ONLY_SIZE, "epochs": 4000}}
    grid = write_grid(tiny_data, tmp_path, variants=long, seeds=[0, 1])
    command = [sys.executable, "-m", "umsrep", "benchmark", "--config", str(grid), "--parallel", "2"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    folders = [tmp_path / "grid" / f"long_1_{k}" / "metrics.jsonl" for k in (0, 1)]
    until = time.monotonic() + 120
    while not all(f.is_file() and f.stat().st_size for f in folders):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < until
        time.sleep(0.2)
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 128 + signal.SIGTERM, err
    assert "the same command goes on from there" in err
    assert not out
    for k in (0, 1):
        assert "stopped by SIGTERM after step" in (tmp_path / "grid" / "logs" / f"process-{k}.log").read_text()
