"""`umsrep evaluate --shifts` and `umsrep shift`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.tasks.cli.console import printed, refused
from tests.tasks.runs import tiny_model
from tests.tiny import write_tiny_data
from umsrep.tasks.shift import SHIFTS

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def model(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an untrained model of one head."""
    made = tiny_model(tiny_data, tasks={"size": {"kind": "classification", "classes": ["small", "large"]}})
    folder = tmp_path_factory.mktemp("model") / "model"
    made.eval().save_pretrained(folder)
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_evaluate_prints_draws_and_writes(model: Path, tiny_data: Path, tmp_path: Path, capsys: Capture) -> None:
    words: list[str | Path] = ["evaluate", model, tiny_data, "--split", "train", "--workers", "0", "--resamples", "20"]
    out = tmp_path / "out"
    found = json.loads(printed(capsys, *words, "--shifts", "collimation", "--out", out, "--json"))
    assert found["chosen"] == "1 shifts of collimation"
    assert sorted(p.name for p in out.iterdir()) == ["drops.png", "shift-collimation.png", "shifts.json"]
    written = json.loads((out / "shifts.json").read_text(encoding="utf-8"))
    assert written["heads"] == found["heads"]
    text = printed(capsys, *words, "--shifts", "scatter", "--tasks", "size")
    assert "size: balanced_accuracy, unshifted" in text
    assert "mean over shifts" in text


def test_mistakes_of_evaluate_are_one_line(model: Path, tiny_data: Path, tmp_path: Path, capsys: Capture) -> None:
    used = tmp_path / "used"
    used.mkdir()
    (used / "file").write_text("x", encoding="utf-8")
    for words, message in (
        (["--shifts", "scatter", "--out", used], "exists already and is not empty; name another folder"),
        (["--shifts", "colimation"], "did you mean 'collimation'"),
        (["--shifts", "strong-hue-up"], "changes colours"),
        (["--out", tmp_path / "other"], "--out needs --shifts"),
        (["--shifts", "scatter", "--resamples", "0"], "resamples"),
        (["--shifts", "scatter", "--batch-size", "0"], "batch_size must be 1 or more"),
        (["--shifts", "scatter", "--split", "tset"], "tset"),
        (["--shifts", "scatter", "--review", tmp_path / "review"], "--shifts or --review"),
        (["--shifts", "scatter", "--adapt", "adabn"], "--shifts or --adapt"),
    ):
        assert message in refused(capsys, "evaluate", model, tiny_data, "--workers", "0", *words)
    assert [p.name for p in tmp_path.iterdir()] == ["used"]


def test_shift_writes_a_folder_and_counts(tiny_data: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "out").mkdir()  # an empty folder is used
    words: list[str | Path] = ["shift", tiny_data, "--name", "burned-in-text", "--split", "test", "--out"]
    assert printed(capsys, *words, tmp_path / "out").startswith("4 images under burned-in-text, severity 3:")
    assert len(rows(tmp_path / "out")) == 4
    assert json.loads(printed(capsys, *words, tmp_path / "again", "--json")) == {"rows": 4, "notes": []}


def test_mistakes_of_shift_are_one_line_and_leave_nothing(tiny_data: Path, tmp_path: Path, capsys: Capture) -> None:
    broken = write_tiny_data(tmp_path / "broken")
    (broken / "images/03.png").write_bytes(b"no picture")
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").write_text("x", encoding="utf-8")
    once, out = tmp_path / "once", tmp_path / "out"
    printed(capsys, "shift", tiny_data, "--name", "scatter", "--severity", "1", "--split", "test", "--out", once)
    for words, message in (
        ([broken, "--name", "scatter", "--out", out], "row 5 (images/03.png)"),
        ([tiny_data, "--name", "scatter", "--out", full], "not empty"),
        ([tiny_data, "--name", "scater", "--out", out], "did you mean 'scatter'"),
        ([tiny_data, "--name", "scatter", "--severity", "6", "--out", out], "severity must be"),
        ([tiny_data, "--name", "pathmnist-saturate", "--out", out], "row 2 (images/00.png): shift 'pathmnist-satur"),
        ([once, "--name", "scatter", "--out", out], "a column 'source_file_name' already"),
        ([tiny_data, "--name", "scatter", "--split", "tset", "--out", out], "unknown split"),
        ([tiny_data, "--name", "scatter"], "--out is missing"),
        ([tiny_data, "--out", out], "--name is missing"),
        ([tiny_data, "--name", "scatter", "--unit", "13-bit", "--out", out], "unit '13-bit' is none of"),
        ([tmp_path / "nowhere", "--name", "scatter", "--out", out], "nowhere"),
        (["--list", "x"], "no shift, family or modality"),
    ):
        assert message in refused(capsys, "shift", *words)
        assert not out.exists()
    assert len(rows(once)) == 4


def test_shifts_are_listed(capsys: Capture) -> None:
    text = printed(capsys, "shift", "--list", "doppler")
    assert "velocity-scale-down" in text
    assert "dermamnist" not in text
    assert set(json.loads(printed(capsys, "shift", "--list", "--json"))) == set(SHIFTS)
