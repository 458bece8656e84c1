"""umsrep pretrain and convert: what they print and write, and how they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml

from tests.tasks.cli.console import Capture, printed, refused
from tests.tasks.runs import ARCH, run_values
from umsrep.tasks import pictures
from umsrep.zoo import Encoder


def write(path: Path, values: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def masked(data: Path, output: Path) -> dict[str, Any]:
    base = {"method": "masked", "output": str(output), "encoder": {"arch": ARCH}, "data": [{"path": str(data)}]}
    return base | {"image_size": 32, "batch_size": 8, "epochs": 1, "workers": 0}


def test_pretrain(tiny_data: Path, tmp_path: Path, capsys: Capture) -> None:
    config = write(tmp_path / "c.yaml", masked(tiny_data, tmp_path / "run"))
    text = printed(capsys, "pretrain", "--config", config, "--masked.ratio", "0.5")
    assert "discs (k-NN)" in text
    assert "discs (before)" in text
    assert f"Encoder: {tmp_path / 'run' / 'model'}" in text
    assert Encoder.from_pretrained(tmp_path / "run" / "model").embedding_dim > 0
    assert "holds a run already" in refused(capsys, "pretrain", "--config", config)
    assert "masked.ratio = 0.5, not 0.6" in refused(capsys, "pretrain", "--config", config, "--resume")
    report = json.loads(printed(capsys, "pretrain", "--config", config, "--resume", "--masked.ratio", "0.5", "--json"))
    assert (report["method"], report["step"]) == ("masked", 2)


def test_pretrain_supervised(tiny_data: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "draw_samples", lambda *_: None)
    monkeypatch.setattr(pictures, "draw_curves", lambda *_: None)
    config = write(tmp_path / "c.yaml", {"method": "supervised", **run_values(tiny_data, tmp_path / "run", epochs=1)})
    text = printed(capsys, "pretrain", "--config", config)
    assert "size (validation)" in text
    assert Encoder.from_pretrained(tmp_path / "run" / "model").contract.size == (32, 32)


def test_pretrain_refuses(tiny_data: Path, tmp_path: Path, capsys: Capture) -> None:
    config = write(tmp_path / "c.yaml", masked(tiny_data, tmp_path / "run"))
    assert "no such configuration" in refused(capsys, "pretrain", "--config", tmp_path / "absent.yaml")
    assert "unknown key 'epoch'" in refused(capsys, "pretrain", "--config", config, "--epoch", "3")
    assert "method must be one of" in refused(capsys, "pretrain", "--config", config, "--method", "simclr")
    assert not (tmp_path / "run").exists()


def test_convert(tmp_path: Path, capsys: Capture) -> None:
    model = timm.create_model(ARCH, num_classes=5)
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, tmp_path / "checkpoint.pth.tar")
    words = ("convert", tmp_path / "checkpoint.pth.tar", "--layout", "timm", "--arch", ARCH, "--mean", "0.5", "--std", "0.25,0.25,0.5")
    text = printed(capsys, *words, "--out", tmp_path / "out", "--modality", "us")
    assert f"of {ARCH} (layout timm)" in text
    assert "dropped 2: classifier.weight, classifier.bias" in text
    encoder = Encoder.from_pretrained(tmp_path / "out")
    assert (encoder.modality, encoder.contract.mean, encoder.contract.std) == ("us", 0.5, (0.25, 0.25, 0.5))
    done = json.loads(printed(capsys, *words, "--out", tmp_path / "again", "--json"))
    assert done["dropped"] == ["classifier.weight", "classifier.bias"]
    assert "exists already" in refused(capsys, *words, "--out", tmp_path / "out")
    assert "no list of numbers" in refused(capsys, *words[:-1], "a,b", "--out", tmp_path / "new")
    assert "no such checkpoint" in refused(capsys, "convert", tmp_path / "absent.pth", "--out", tmp_path / "new")
