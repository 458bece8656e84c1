"""umsrep choose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tasks.runs import ARCH
from umsrep.tasks.cli import main


def words(data: Path, cache: Path, *more: str) -> list[str]:
    fixed = ["choose", str(data), "--encoders", ARCH, "--image-size", "32", "--resamples", "2", "--cache", str(cache)]
    return [*fixed, "--tasks", "size", "--targets.size.column", "label", *more]


def test_a_table_json_and_a_page(tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(words(tiny_data, tmp_path / "cache", "--out", str(out), "--source-accuracy", f"{ARCH}=0.25")) == 0
    printed = capsys.readouterr()
    for text in (
        "size (classification: large, small); 13 of 13 training rows, 8 patients",
        "LogME",
        "All tasks together",
        "not measured yet",
    ):
        assert text in printed.out
    assert "Chaves et al." in printed.out
    assert "leep: test_efficientnet (random): not applicable" in printed.out
    assert "choice.html" in printed.err
    stored = json.loads((out / "choice.json").read_text())
    assert stored["tasks"][0]["scores"]["source_accuracy"][f"{ARCH} (random)"]["value"] == 0.25
    assert (out / "choice.html").read_text().startswith("<!doctype html>")
    assert main(words(tiny_data, tmp_path / "cache", "--json")) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["tasks"][0]["scores"]["log_me"] == stored["tasks"][0]["scores"]["log_me"]


def test_faults_are_one_line_and_exit_2(tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    for more, message in (
        (["--encoders", "ums-cxr-eficientnet-lite0"], "ums-cxr-efficientnet-lite0"),
        (["--source-accuracy", f"{ARCH}=high"], "write ENCODER=VALUE"),
        (["--budget", "2x"], "KxSTEPS"),
        (["--budget", "2"], "--out"),
        (["--out", str(tmp_path / "file")], "is a file"),
        (["--tasks", "siz"], "no task 'siz'"),
        (["--limitt", "3"], "unknown argument '--limitt'"),
    ):
        assert main(words(tiny_data, tmp_path / "cache", *more)) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert message in printed.err
        assert len(printed.err.splitlines()) == 1
