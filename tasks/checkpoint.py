"""The last state of a run: plain tensors and numbers, written whole or not at all."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path
from typing import Any

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import nn

from umsrep.errors import InputError

FILE = Path("checkpoints") / "last.pt"


def state_of(module: nn.Module, ema: ModelEmaV3 | None, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Return what `restore` needs."""
    return {"module": module.state_dict(), "ema": None if ema is None else ema.module.state_dict(), "optimiser": optimiser.state_dict()}


def restore(state: dict[str, Any], module: nn.Module, ema: ModelEmaV3 | None, optimiser: torch.optim.Optimizer) -> None:
    """Put a saved state back.

    Raises:
        InputError: if the run was configured otherwise when it was saved.
    """
    try:
        module.load_state_dict(state["module"])
        if ema is not None:
            ema.module.load_state_dict(state["ema"])
        optimiser.load_state_dict(state["optimiser"])
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"the checkpoint does not fit this configuration ({str(error).splitlines()[0]}); use the config.yaml of the run"
        ) from error


def save(output: Path, state: dict[str, Any]) -> None:
    """Write the checkpoint beside the old one, then take its place."""
    path = output / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.{random.getrandbits(32):08x}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(output: Path) -> dict[str, Any] | None:
    """Return the last state, or None if there is none; nothing in it is executed.

    Raises:
        InputError: if it is damaged.
    """
    path = output / FILE
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError) as error:
        raise InputError(
            f"{path}: damaged checkpoint ({str(error).splitlines()[0] if str(error) else type(error).__name__}); delete it to start over"
        ) from error
    return state
