"""The command acquire: a table, JSON alone on standard output, faults in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tasks.cli.console import Capture, printed, refused
from tests.tasks.runs import tiny_model
from tests.tiny import write_tiny_data
from umsrep.tasks.cli import main


def test_a_round_in_words_and_in_json(tmp_path: Path, capsys: Capture) -> None:
    folder = write_tiny_data(tmp_path / "data")
    model = tiny_model(folder).save_pretrained(tmp_path / "model")
    words: list[str | Path] = ["acquire", folder, "--model", model, "--task", "size", "--cache", tmp_path / "cache"]
    text = printed(capsys, *words, "--budget", "2")
    assert "round 1: 2 of 3 unlabelled training rows to annotate for 'size' (label) by medal; 13 labelled" in text
    assert "mean distance" in text
    assert str(folder / "acquire" / "round_001.csv") in text
    found = json.loads(printed(capsys, *words, "--budget", "1", "--strategy", "entropy", "--json"))
    assert (found["number"], found["method"], found["pending"], len(found["proposals"])) == (2, "entropy", 2, 1)
    assert found["proposals"][0]["reason"].startswith("entropy ")
    assert "only 0 unlabelled" in refused(capsys, *words, "--budget", "1")


def test_faults_are_one_line(tmp_path: Path, capsys: Capture) -> None:
    folder = write_tiny_data(tmp_path / "data")
    words: list[str | Path] = ["acquire", folder, "--budget", "1"]
    assert "--task classification or segmentation" in refused(capsys, *words)
    assert "no column 'lable'" in refused(capsys, *words, "--targets.size.column", "lable")
    assert "needs a model" in refused(capsys, *words, "--targets.size.column", "label")
    assert "invalid choice: 'best'" in refused(capsys, *words, "--strategy", "best")
    assert "unknown argument '--budgett'" in refused(capsys, *words, "--budgett", "1")
    assert "--budget" in refused(capsys, "acquire", folder)
    assert "no such data folder" in refused(capsys, "acquire", tmp_path / "none", "--budget", "1")
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(capsys, *words, "--strategy", "random", "--task", "classification", "--state", tmp_path / "file")


def test_an_interrupted_run_says_that_nothing_was_proposed(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tiny_data(tmp_path / "data")

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("umsrep.tasks.active.acquiring.add_round", stop)
    assert main(["acquire", str(folder), "--budget", "1", "--strategy", "random", "--task", "classification"]) == 130
    assert "no rows were proposed" in capsys.readouterr().err
    assert not (folder / "acquire").exists()
