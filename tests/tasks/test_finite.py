"""Losses and weights that are no numbers; whole runs in test_trainer.py."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from tests.tasks.runs import run_config
from umsrep.errors import InputError
from umsrep.tasks.finite import check_losses, check_weights
from umsrep.tasks.setup import build_model, build_sets


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_losses(value: float, tiny_data: Path, tmp_path: Path) -> None:
    config = run_config(tiny_data, tmp_path)
    train, _, _ = build_sets(config, build_model(config).encoder.contract)
    losses = {"disc": torch.tensor(1.0), "size": torch.tensor(0.5)}
    check_losses(Accelerator(), losses, {"index": torch.tensor([1, 2])}, train, "here")
    losses["size"] = torch.tensor(value)
    with pytest.raises(InputError, match=r"loss of 'size' is not finite \(batch with images/01\.png, images/02\.png \.\.\.\) in here"):
        check_losses(Accelerator(), losses, {"index": torch.tensor([1, 2])}, train, "here")


def test_weights() -> None:
    tensors = {"a": torch.ones(3), "count": torch.tensor(3), "b": torch.ones(3)}
    check_weights(tensors, "here")
    tensors["b"][1] = math.nan
    with pytest.raises(InputError, match=r"weights are not finite \(first: b\) in here; lower optimiser\.learning_rate"):
        check_weights(tensors, "here")
