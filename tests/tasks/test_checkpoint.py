"""Checkpoints: whole or not at all, plain tensors, refused in one line when damaged or foreign."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.utils.model_ema import ModelEmaV3
from torch import nn

from umsrep.errors import InputError
from umsrep.tasks import checkpoint
from umsrep.tasks.config import OptimiserConfig
from umsrep.tasks.optimisation import Optimisation


def small(width: int = 3) -> tuple[nn.Module, ModelEmaV3, Optimisation]:
    module = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width))
    ema = ModelEmaV3(module, decay=0.5)
    optimiser = Optimisation(OptimiserConfig(learning_rate=0.1), module, total_steps=10)
    for step in range(3):
        module(torch.randn(8, 4)).square().sum().backward()
        optimiser.step(step)
        ema.update(module)
    return module, ema, optimiser


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    module, ema, optimiser = small()
    state = {"epoch": 3, "best_metrics": {"a": {"b": float("nan")}}, **checkpoint.state_of(module, ema, optimiser)}
    checkpoint.save(tmp_path, 7, state)
    loaded = checkpoint.load(tmp_path)
    assert loaded is not None
    assert loaded["epoch"] == 3
    other, other_ema, other_optimiser = small()
    checkpoint.restore(loaded, other, other_ema, other_optimiser)
    for one, two in ((module, other), (ema.module, other_ema.module)):
        assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    first, second = (o.state_dict()["optimiser"]["state"][0]["exp_avg"] for o in (optimiser, other_optimiser))
    assert torch.equal(first, second)
    assert os.listdir(tmp_path / "checkpoints") == ["step-000000007.pt"]


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path) is None


def test_a_save_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, {"epoch": 1})
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        checkpoint.save(tmp_path, 2, {"epoch": 2, "bad": lambda: None})
    assert checkpoint.load(tmp_path) == {"epoch": 1}
    assert os.listdir(tmp_path / "checkpoints") == ["step-000000001.pt"], "no half file is left"


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_damaged_files_are_refused(content: bytes | None, tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, {"w": torch.ones(1000)})
    path = tmp_path / "checkpoints" / "step-000000001.pt"
    path.write_bytes(path.read_bytes()[:-300] if content is None else content)
    with pytest.raises(InputError, match=r"step-000000001\.pt: damaged checkpoint .*delete .*checkpoints to start over") as caught:
        checkpoint.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "executed"),)

    (tmp_path / "checkpoints").mkdir()
    torch.save({"x": Evil()}, tmp_path / "checkpoints" / "step-000000001.pt")
    with pytest.raises(InputError, match="damaged checkpoint"):
        checkpoint.load(tmp_path)
    assert not (tmp_path / "executed").exists()


def test_a_checkpoint_of_another_run_is_refused() -> None:
    state = checkpoint.state_of(*small())
    with pytest.raises(InputError, match="does not fit this configuration") as caught:
        checkpoint.restore(state, *small(width=5))
    assert "\n" not in str(caught.value)
    module, ema, optimiser = small()
    without = checkpoint.state_of(module, None, optimiser)
    with pytest.raises(InputError, match="does not fit this configuration"):
        checkpoint.restore(without, module, ema, optimiser)


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 5, 20, 100):
        checkpoint.save(tmp_path, step, {"step": step})
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["step-000000020.pt", "step-000000100.pt"]
    assert checkpoint.load(tmp_path) == {"step": 100}


def test_a_damaged_newest_one_is_passed_over_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint.save(tmp_path, 1, {"step": 1})
    checkpoint.save(tmp_path, 2, {"step": 2})
    newest = tmp_path / "checkpoints" / "step-000000002.pt"
    newest.write_bytes(newest.read_bytes()[:-100])
    assert checkpoint.load(tmp_path) == {"step": 1}
    assert "step-000000002.pt: damaged checkpoint" in capsys.readouterr().err


def test_a_half_written_one_is_never_loaded(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, {"step": 1})
    whole = (tmp_path / "checkpoints" / "step-000000001.pt").read_bytes()
    (tmp_path / "checkpoints" / "writing.tmp").write_bytes(whole[: len(whole) // 2])  # as a kill in the middle of writing leaves it
    assert checkpoint.load(tmp_path) == {"step": 1}
    checkpoint.save(tmp_path, 2, {"step": 2})
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["step-000000001.pt", "step-000000002.pt"]


def test_a_full_disk_is_one_line_and_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path, 1, {"step": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot write a checkpoint .*No space left on device.*--resume"):
        checkpoint.save(tmp_path, 2, {"step": 2})
    assert checkpoint.load(tmp_path) == {"step": 1}
