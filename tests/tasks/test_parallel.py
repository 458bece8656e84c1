"""Several processes and nodes: the curves of one process, and a clear end when one of them dies (two torchrun nodes on this machine)."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml

from tests.conformance import perturb
from tests.tasks.runs import TASKS, changed, run_config, run_values, stored, tiny_model
from umsrep.errors import InputError
from umsrep.tasks import checkpoint, parallel

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": "", "MPLBACKEND": "Agg"}
ENDS_WITHIN = 60.0
"""Seconds after a process died in which all others have ended (docs/training.md says so)."""


def write(path: Path, data: Path, output: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump(run_values(data, output, **changes)))
    return path


def nodes(count: int, *words: str) -> list[subprocess.Popen[str]]:
    """Start so many torchrun nodes of one process each, as on machines of their own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torchrun = str(Path(sys.executable).with_name("torchrun"))
    shape = ["--nnodes", str(count), "--nproc_per_node", "1", "--master_addr", "127.0.0.1", "--master_port", str(port)]
    return [
        subprocess.Popen(
            [torchrun, *shape, "--node_rank", str(rank), "-m", *words],
            cwd=ROOT,
            env=os.environ | ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for rank in range(count)
    ]


def finish(started: list[subprocess.Popen[str]], timeout: float) -> list[tuple[int, str]]:
    """Wait for nodes; returns the exit code and standard error of each."""
    try:
        ended = [(node.communicate(timeout=timeout), node.returncode) for node in started]
    finally:
        for node in started:
            if node.poll() is None:
                os.killpg(node.pid, signal.SIGKILL)
    return [(code, text[1]) for text, code in ended]


def entries(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


# ---- curves --------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_two_nodes_have_the_curves_of_one_process(tiny_data: Path, tmp_path: Path) -> None:
    """Twenty steps of the same global batches: losses and metrics, epoch by epoch."""
    changes = {"epochs": 5, "batch_size": 4, "batch_norm": "frozen", "ema": 0.9, "optimiser": {"learning_rate": 0.002}}
    one = write(tmp_path / "one.yaml", tiny_data, tmp_path / "one", **changes)
    two = write(tmp_path / "two.yaml", tiny_data, tmp_path / "two", **changes)
    alone = subprocess.run(
        [sys.executable, "-m", "tests.tasks.steady_run", str(one)], cwd=ROOT, env=os.environ | ENVIRONMENT, capture_output=True, timeout=300
    )
    assert alone.returncode == 0, alone.stderr[-3000:]
    for code, errors in finish(nodes(2, "tests.tasks.steady_run", str(two)), 300):
        assert code == 0, errors[-3000:]
    assert json.loads((tmp_path / "two" / "environment.json").read_text())["world_size"] == 2
    logs = [entries(tmp_path / name) for name in ("one", "two")]
    assert logs[0][-1]["step"] == logs[1][-1]["step"] == 20
    for first, second in zip(*logs, strict=True):
        for name in TASKS:
            assert second["train"][name] == pytest.approx(first["train"][name], abs=1e-4)
            for key, value in first["validation"][name].items():
                expected = math.nan if value is None else value
                found = second["validation"][name][key]
                assert (math.nan if found is None else found) == pytest.approx(expected, abs=1e-3, rel=1e-3, nan_ok=True), f"{name}/{key}"
    assert logs[0][-1]["train"]["disc"] < 0.9 * logs[0][0]["train"]["disc"], "it learns something"


# ---- batch norms ---------------------------------------------------------------------------------------------------
def synchronised(model: torch.nn.Module) -> set[str]:
    norms = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)}
    assert norms
    kinds = {isinstance(m, torch.nn.SyncBatchNorm) for m in norms.values()}
    return {"some" if len(kinds) > 1 else "all" if True in kinds else "none"}


def test_norms_over_all_processes_compute_the_same_model(tiny_data: Path) -> None:
    """In evaluation mode, where nothing is exchanged: timm's norms hold activations, which torch's own converter drops."""
    model = tiny_model(tiny_data)
    perturb(model)
    model.eval()
    image = torch.randn(2, 1, 32, 32)
    names = list(model.state_dict())
    with torch.no_grad():
        before = model(image)
        parallel.synchronise_norms(model, encoder=True)
        after = model(image)
    for name, out in before.items():
        assert torch.equal(after[name], out), name
    assert list(model.state_dict()) == names
    assert synchronised(model.encoder) == synchronised(model.decoders) == {"all"}


def test_what_not_all_processes_run_alike_keeps_its_own_norms(tiny_data: Path) -> None:
    model = tiny_model(tiny_data, tasks={**TASKS, "second": TASKS["disc"]})
    parallel.synchronise_norms(model, encoder=False)
    assert synchronised(model.encoder) == {"none"}, "norms with stored statistics exchange nothing"
    assert synchronised(model.decoders) == {"none"}, "two segmentations: decoded once or twice, as the rows come"


# ---- a process that dies ---------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_killed_node_ends_the_run_clearly_and_it_resumes_bitwise(tiny_data: Path, tmp_path: Path) -> None:
    changes = {"epochs": 6, "batch_size": 4, "checkpoint_minutes": 1e-9}
    whole = write(tmp_path / "whole.yaml", tiny_data, tmp_path / "whole", **changes)
    broken = write(tmp_path / "broken.yaml", tiny_data, tmp_path / "broken", **changes)
    for code, errors in finish(nodes(2, "umsrep.tasks.finetune", "--config", str(whole)), 400):
        assert code == 0, errors[-3000:]
    started = nodes(2, "umsrep.tasks.finetune", "--config", str(broken))
    while not list((tmp_path / "broken" / "checkpoints").glob("step-*5.pt")):
        assert all(node.poll() is None for node in started), "the run is over before it could be broken"
        time.sleep(0.005)
    (worker,) = psutil.Process(started[1].pid).children()
    os.kill(worker.pid, signal.SIGKILL)
    began = time.monotonic()
    (code_0, errors_0), (code_1, errors_1) = finish(started, ENDS_WITHIN)
    assert time.monotonic() - began < ENDS_WITHIN
    assert code_0 != 0
    assert code_1 != 0
    lines = [line for line in errors_0.splitlines() if line.startswith("umsrep: another process of this run ended")]
    assert len(lines) == 1, errors_0[-3000:]
    assert "--resume goes on from there" in lines[0]
    assert "SIGKILL" in errors_1 or "Signal 9" in errors_1, "torchrun names the signal"
    for code, errors in finish(nodes(2, "umsrep.tasks.finetune", "--config", str(broken), "--resume"), 400):
        assert code == 0, errors[-3000:]
    assert not changed(stored(tmp_path / "whole" / "model"), stored(tmp_path / "broken" / "model"))
    states = [checkpoint.load(tmp_path / name) for name in ("whole", "broken")]
    assert states[0] is not None
    assert states[1] is not None
    assert not changed(states[0]["module"], states[1]["module"])


SRUN = """#!/usr/bin/env bash
# Stands for SLURM's: so many tasks on this machine, and the highest exit code of theirs.
while [[ "$1" == --* ]]; do shift; done
pids=()
for task in $(seq 0 $((SLURM_NTASKS - 1))); do SLURM_PROCID=$task SLURM_LOCALID=$task "$@" & pids+=($!); done
code=0
for pid in "${pids[@]}"; do wait "$pid"; ended=$?; ((ended > code)) && code=$ended; done
exit $code
"""
SCONTROL = """#!/usr/bin/env bash
echo "$@" >> "$SCONTROL_LOG"
"""


@pytest.mark.slow
def test_a_pre_empted_slurm_job_is_queued_again_and_goes_on(tiny_data: Path, tmp_path: Path) -> None:
    """examples/slurm.sbatch itself, with stand-ins for srun and scontrol: the signal reaches all tasks of the step."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    path = write(tmp_path / "run.yaml", tiny_data, tmp_path / "run", epochs=4, batch_size=4, checkpoint_minutes=1e-9)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        slurm = {"SLURM_NTASKS": "2", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "here", "MASTER_ADDR": "127.0.0.1"}
        slurm |= {"MASTER_PORT": str(probe.getsockname()[1]), "SCONTROL_LOG": str(tmp_path / "log")}
    slurm["PATH"] = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", "examples/slurm.sbatch", "--config", str(path)]
    options: dict[str, Any] = {"cwd": ROOT, "env": os.environ | ENVIRONMENT | slurm, "stderr": subprocess.PIPE, "text": True}
    job = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True, **options)
    while not list((tmp_path / "run" / "checkpoints").glob("step-*.pt")):
        assert job.poll() is None, job.communicate()[1][-3000:]
        time.sleep(0.005)
    tasks = [p for p in psutil.Process(job.pid).children(recursive=True) if "umsrep.tasks.finetune" in p.cmdline()]
    assert len(tasks) == 2
    for task in tasks:
        task.send_signal(signal.SIGUSR1)
    ((code, errors),) = finish([job], 200)
    assert code == 128 + signal.SIGUSR1, errors[-3000:]
    assert (tmp_path / "log").read_text() == "requeue 7\n"
    assert "stopped by SIGUSR1 after step" in errors
    again = subprocess.run(command, stdout=subprocess.DEVNULL, check=False, timeout=400, **options)
    assert again.returncode == 0, again.stderr[-3000:]
    assert entries(tmp_path / "run")[-1]["step"] == 16
    assert (tmp_path / "log").read_text() == "requeue 7\n", "a run that ended is not queued again"


# ---- errors --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:4224"),
        torch.distributed.DistBackendError("NCCL error in: ProcessGroupNCCL.cpp:1, remote process exited\nmore"),
    ],
)
def test_what_the_others_say_of_a_process_that_died(error: Exception, tiny_data: Path, tmp_path: Path) -> None:
    config = run_config(tiny_data, tmp_path / "run", timeout_minutes=7)
    with (
        pytest.raises(InputError, match="another process of this run ended, or was not heard of for 7 minutes") as caught,
        parallel.explained(config),
    ):
        raise error
    assert "\n" not in str(caught.value)


def test_other_errors_stay_as_they_are(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"^shapes differ$"), parallel.explained(run_config(tiny_data, tmp_path)):
        raise RuntimeError("shapes differ")
