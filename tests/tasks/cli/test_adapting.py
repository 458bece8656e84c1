"""`umsrep evaluate --adapt` and `umsrep adapt`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from umsrep.tasks.cli import main
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.trainer import Report
from umsrep.zoo import hub


def files(folder: Path) -> dict[str, str]:
    return {path.name: hub.sha256(path) for path in folder.iterdir()}


def test_evaluate_prints_both_and_leaves_the_folder(trained: Report, tiny_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(trained.model)
    common = ["evaluate", str(trained.model), str(tiny_data), "--workers", "0", "--targets.size.column", "label", "--resamples", "20"]
    assert main([*common, "--adapt", "adabn", "--adapt-split", "train", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["unadapted"].keys() == found["adapted"].keys() == {"denoising", "disc", "size"}
    assert main([*common, "--adapt", "adabn"]) == 0
    out = capsys.readouterr().out
    assert "unadapted" in out
    assert "no label was used to adapt" in out
    assert "--adapt-split" in out  # the measured rows were seen
    assert main([*common, "--adapt", "tent", "--batch-size", "4", "--adapt-rate", "0.01"]) == 0
    captured = capsys.readouterr()
    assert "in random order" in captured.out
    assert "umsrep: tent makes no predictions for heads that denoise: denoising" in captured.err
    assert files(trained.model) == before


def test_adapt_saves_a_model_that_evaluates(trained: Report, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "adapted"
    assert main(["adapt", str(trained.model), str(tiny_data), "--out", str(out), "--workers", "0"]) == 0
    text = capsys.readouterr().out
    assert "16 image(s) of discs (split = train)" in text
    assert set(MultiTaskModel.from_pretrained(out).heads) == {"denoising", "disc", "size"}
    command = ["adapt", str(trained.model), str(tiny_data), "--out", str(out)]
    assert main(command) == 2
    assert "exists already and is not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--adapt-split", "train"], "--adapt-split needs --adapt adabn"),
        (["--adapt", "adabn", "--adapt-rate", "0.1"], "--adapt-rate needs --adapt tent"),
        (["--adapt", "adabn", "--adapt-split", "trian"], "unknown split 'trian'"),
        (["--adapt", "tent", "--batch-size", "1"], "tent needs 2 images or more at once"),
        (["--adapt", "tent", "--tasks", "denoising"], "only denoises"),
        (["--adapt", "coral"], "invalid choice: 'coral'"),
        (["--adapt", "adabn", "--shifts"], "--adapt"),
    ],
)
def test_mistakes_are_one_line(
    trained: Report, tiny_data: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["evaluate", str(trained.model), str(tiny_data), "--workers", "0", *words]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert message in error[-1]
    assert not any("Traceback" in line for line in error)


def test_adapt_needs_norms_and_a_target(trained: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapt", str(trained.model), str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
