"""Checkpoints of a run: plain tensors and numbers, written whole or not at all; the newest two are kept."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import nn

from umsrep.errors import InputError
from umsrep.tasks.optimisation import Optimisation
from umsrep.tasks.progress import say

FOLDER = "checkpoints"
KEPT = 2


def state_of(module: nn.Module, ema: ModelEmaV3 | None, optimisation: Optimisation) -> dict[str, Any]:
    """Return what `restore` needs."""
    return {"module": module.state_dict(), "ema": None if ema is None else ema.module.state_dict(), **optimisation.state_dict()}


def restore(state: dict[str, Any], module: nn.Module, ema: ModelEmaV3 | None, optimisation: Optimisation) -> None:
    """Put a saved state back.

    Raises:
        InputError: if the run was configured otherwise when it was saved.
    """
    try:
        module.load_state_dict(state["module"])
        if ema is not None:
            ema.module.load_state_dict(state["ema"])
        optimisation.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"the checkpoint does not fit this configuration ({str(error).splitlines()[0]}); use the config.yaml of the run"
        ) from error


def save(output: Path, step: int, state: dict[str, Any]) -> None:
    """Write a checkpoint aside, bring it to the disk, give it its name, and drop all but the newest.

    Raises:
        InputError: if the disk is full or cannot be written; the former checkpoints stay.
    """
    folder = output / FOLDER
    temporary = folder / "writing.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / f"step-{step:09d}.pt")
        entry = os.open(folder, os.O_RDONLY)  # the new name must reach the disk too, before old ones go
        try:
            os.fsync(entry)
        finally:
            os.close(entry)
    except (OSError, RuntimeError) as error:  # torch's zip writer reports a full disk as the latter
        raise InputError(f"{folder}: cannot write a checkpoint ({str(error).splitlines()[0]}); free some space and use --resume") from error
    finally:
        temporary.unlink(missing_ok=True)
    for old in _found(output)[KEPT:]:
        old.unlink(missing_ok=True)


def load(output: Path) -> dict[str, Any] | None:
    """Return the newest state, or None if there is none; nothing in it is executed.

    A damaged file (by the disk: a half-written one never has a name) is passed over for the one before it, with a line that says so.

    Raises:
        InputError: if there are only damaged ones.
    """
    damaged: list[str] = []
    for path in _found(output):
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, pickle.UnpicklingError, EOFError, OSError) as error:
            damaged.append(f"{path}: damaged checkpoint ({str(error).splitlines()[0] if str(error) else type(error).__name__})")
            continue
        for line in damaged:
            say(f"{line}; going on from {path.name}")
        return state
    if damaged:
        raise InputError(f"{damaged[0]}; delete {output / FOLDER} to start over")
    return None


def _found(output: Path) -> list[Path]:
    """All checkpoints, newest first."""
    return sorted((output / FOLDER).glob("step-*.pt"), reverse=True)
