"""Run as a program: one run unbroken, and one that is killed with SIGKILL at random moments and resumed (see test_trainer.py)."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from accelerate import debug_launcher

from tests.tasks.runs import run_config
from umsrep.tasks import pictures
from umsrep.tasks.trainer import fit


def run(data: str, output: str, *, resume: bool) -> None:
    """Train; a checkpoint after every step, so that kills fall into the writing of some."""
    pictures.draw_samples = lambda *_: None
    pictures.draw_curves = lambda *_: None
    config = run_config(Path(data), Path(output), epochs=4, batch_size=4, checkpoint_minutes=1e-9, optimiser={"accumulate": 2}, workers=1)
    fit(config, resume=resume)


def start(data: Path, output: Path, processes: int, *, resume: bool) -> int:
    """Start the run in processes of a group of their own; returns the group."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    try:
        if processes == 1:
            run(str(data), str(output), resume=resume)
        else:
            debug_launcher(_ranked, args=(str(data), str(output), resume), num_processes=processes)
    except BaseException as error:  # noqa: BLE001  # a forked child must never run its parent's code
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        os._exit(1)
    os._exit(0)


def _ranked(data: str, output: str, resume: bool) -> None:
    run(data, output, resume=resume)


def main(data: Path, folder: Path, processes: int, kills: int) -> None:
    """Do both runs and print how it went."""
    begun = time.monotonic()
    _, status = os.waitpid(start(data, folder / "whole", processes, resume=False), 0)
    assert status == 0, "the unbroken run failed"
    seconds = time.monotonic() - begun
    draw = random.Random(kills * 10 + processes)
    killed, resume, writing = 0, False, 0
    while True:
        group = start(data, folder / "broken", processes, resume=resume)
        resume = True
        # a resumed run is shorter than the whole one: early moments more often
        deadline = time.monotonic() + seconds * draw.random() * (0.3 if draw.random() < 0.7 else 1.0)
        while killed < kills and time.monotonic() < deadline:
            done, status = os.waitpid(group, os.WNOHANG)
            if done:
                break
            time.sleep(0.001)
        else:
            if killed < kills:
                os.killpg(group, signal.SIGKILL)
                killed += 1
                writing += (folder / "broken" / "checkpoints" / "writing.tmp").exists()
            _, status = os.waitpid(group, 0)
        if killed >= kills and os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, "a resumed run failed"
            break
        if os.WIFEXITED(status):  # it ended before its moment came: once more from the start
            assert os.WEXITSTATUS(status) == 0, "a resumed run failed"
            resume = False
            for path in sorted((folder / "broken").rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
    sys.stdout.write(json.dumps({"kills": killed, "while writing": writing, "seconds": seconds}) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
