"""The command benchmark: one line for every mistake, JSON alone on standard output, exit codes that tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tasks.benchmark.grids import ONLY_SIZE, write_grid
from tests.tasks.cli.console import Capture, printed, refused
from umsrep.tasks.cli import main

RESULTS = Path(__file__).parents[3] / "docs" / "results"
SMALL: dict[str, Any] = {"variants": {"size": {"tasks": ONLY_SIZE}}, "seeds": [0]}


def test_run_plan_and_report(tiny_data: Path, tmp_path: Path, capsys: Capture) -> None:
    grid = write_grid(tiny_data, tmp_path, **SMALL)
    assert "1 cells: 0 done, 1 left" in printed(capsys, "benchmark", "--config", grid, "--plan")
    found = json.loads(printed(capsys, "benchmark", "--config", grid, "--json"))
    assert [c["variant"] for c in found["cells"]] == ["size"]
    assert found["report"]["comparisons"] == []
    assert (tmp_path / "grid" / "table.md").is_file()
    text = printed(capsys, "benchmark", "--config", grid, "--out", tmp_path / "out")
    assert "| size |" in text
    assert (tmp_path / "out" / "compute.png").is_file()
    assert json.loads(printed(capsys, "benchmark", "--config", grid, "--plan", "--json"))["left"] == []


def test_a_failed_cell_shows_in_the_exit_code(tiny_data: Path, tmp_path: Path, capsys: Capture) -> None:
    grid = write_grid(tiny_data, tmp_path, variants={"broken": {"data": [{"path": str(tmp_path / "none")}]}}, seeds=[0])
    assert main(["benchmark", "--config", str(grid), "--json"]) == 2
    captured = capsys.readouterr()
    assert list(json.loads(captured.out)["failed"]) == ["broken_1_0"]
    assert "umsrep: failed: broken_1_0: " in captured.err
    assert "broken_1_0: " in printed(capsys, "benchmark", "--config", grid, "--plan")


def test_truth(tmp_path: Path, capsys: Capture) -> None:
    words: list[str | Path] = ["benchmark", "truth", "--scores", RESULTS / "chaves2023.json", "--resamples", "50"]
    judgement = json.loads(printed(capsys, *words, "--json"))
    assert set(judgement["kinds"]["classification"]) >= {"h_score", "leep", "log_me"}
    assert "### classification, in distribution" in printed(capsys, *words, "--out", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "truth.json").read_text()) == judgement


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["benchmark"], "needs --config FILE"),
        (["benchmark", "--config", "none.yaml"], "none.yaml: no such benchmark file"),
        (["benchmark", "--confg", "x"], "unknown argument '--confg'; did you mean '--config'"),
        (["benchmark", "truth"], "truth --scores FILE"),
        (["benchmark", "truth", "--scores", "x", "--config", "y"], "--config is not for truth"),
        (["benchmark", "--config", "y", "--seed", "1"], "--seed is for truth"),
        (["benchmark", "truth", "--scores", "none.json"], "none.json: cannot be read"),
        (["benchmark", "truth", "--scores", str(RESULTS / "chaves2023.json"), "--metric", "f1"], "write KIND=METRIC"),
        (["benchmark", "truth", "--scores", "x", "--metric", "classification=auroc"], "--metric chooses among what --results hold"),
        (["benchmark", "truth", "--scores", "x", "--resamples", "0"], "--resamples must be 1 or more, not 0"),
        (["benchmark", "truth", "--scores", "x", "--seed", "-1"], "--seed must be 0 or more, not -1"),
        (["benchmark", "trth"], "unknown word 'trth'; did you mean 'truth'"),
    ],
)
def test_mistakes(words: list[str], message: str, capsys: Capture) -> None:
    assert message in refused(capsys, *words)
