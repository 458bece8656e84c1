"""What must hold before a run starts: the trackers are there, and as many processes run as were asked for."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

from umsrep.errors import InputError, nearest


def check_trackers(names: list[str]) -> None:
    """Refuse a tracker that Accelerate does not know or that is not installed (Accelerate would only warn)."""
    known = [str(k) for k in LOGGER_TYPE_TO_CLASS]
    available = [str(getattr(t, "value", t)) for t in get_available_trackers()]
    for name in names:
        if name not in known:
            raise InputError(f"unknown tracker '{name}'{nearest(name, known)}")
        if name not in available:
            raise InputError(f"tracker '{name}' is not installed: pip install {name}")


def check_world_size(world: int, asked: int | None) -> None:
    """Refuse to run with another number of processes than was asked for.

    ``accelerate launch --cpu --num_processes 2`` silently runs one process, so the launcher's own command line counts as asking.

    Raises:
        InputError: with a command that works.
    """
    launched = asked or _launched_processes()
    if launched is not None and launched != world:
        raise InputError(
            f"{launched} processes were asked for, but {world} run; for CPU processes: ACCELERATE_USE_CPU=true OMP_NUM_THREADS=1 "
            f"accelerate launch --multi_gpu --num_processes {launched} --num_machines 1 --mixed_precision no --dynamo_backend no "
            "-m umsrep.tasks.finetune ..."
        )


def _launched_processes() -> int | None:
    """Return --num_processes of the ``accelerate launch`` that started this process, if one did."""
    try:
        command = psutil.Process(os.getppid()).cmdline()
    except psutil.Error:
        return None
    if not any("accelerate" in Path(word).name for word in command[:3]) or "launch" not in command[:4]:
        return None
    for word, after in zip(command, [*command[1:], ""], strict=True):
        name, _, value = word.partition("=")
        if name in ("--num_processes", "--num-processes", "-n"):
            text = value or after
            return int(text) if text.isdigit() else None
    return None
