"""Running cells: resumed one by one, failures told and left behind, nothing taken for what it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tasks.benchmark.grids import ONLY_SIZE, write_grid
from umsrep.errors import InputError
from umsrep.tasks.benchmark import load_benchmark, run_benchmark
from umsrep.tasks.benchmark import run as module
from umsrep.tasks.benchmark.locks import claim
from umsrep.tasks.benchmark.run import INVOCATION, plan
from umsrep.tasks.trainer import fit

PAIR: dict[str, Any] = {"variants": {"joint": {}, "frozen": {"strategy": "frozen"}}, "seeds": [0]}


def test_a_grid_goes_on_where_it_stopped(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = load_benchmark(write_grid(tiny_data, tmp_path, **PAIR))
    real, calls = fit, list[str]()

    def once(config: Any, *, resume: bool) -> Any:
        calls.append(Path(config.output).name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(config, resume=resume)

    monkeypatch.setattr(module, "fit", once)
    assert plan(benchmark) == {"cells": 2, "done": 0, "failed": {}, "left": ["joint_1_0", "frozen_1_0"], "hours": None}
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(benchmark)
    saved = json.loads((tmp_path / "grid" / "results.json").read_text())
    assert [c["variant"] for c in saved["cells"]] == ["joint"], "what is done is kept"
    assert saved["missing"] == ["frozen_1_0"]
    planned = plan(benchmark, 2)
    assert planned["left"] == ["frozen_1_0"]
    assert planned["hours"] == pytest.approx(saved["cells"][0]["seconds"] / 3600 / 2)
    result = run_benchmark(benchmark)
    assert calls == ["joint_1_0", "frozen_1_0", "frozen_1_0"]
    assert [c["variant"] for c in result["cells"]] == ["joint", "frozen"]
    (first, _) = result["table"]
    report = json.loads((tmp_path / "grid" / "joint_1_0" / "report.json").read_text())
    assert first["metrics"]["disc/dice"] == {"mean": report["test"]["disc"]["dice"], "sd": None, "n": 1}
    assert json.loads((tmp_path / "grid" / "results.json").read_text()) == result
    assert result["cells"][0]["kinds"] == {"denoising": "denoising", "disc": "segmentation", "size": "classification"}
    assert result["cells"][0]["cost"]["images"] == 2 * 8, "two steps of eight rows"
    assert not result["missing"]


def test_a_failed_cell_does_not_stop_the_others(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = write_grid(tiny_data, tmp_path, **PAIR | {"variants": {"broken": {"data": [{"path": str(tmp_path / "none")}]}, "fine": {}}})
    values = json.dumps(load_benchmark(grid).values["base"]["tasks"])
    assert "size" in values
    benchmark = load_benchmark(grid)
    for _ in range(2):  # the second call tries it again
        result = run_benchmark(benchmark)
        assert [c["variant"] for c in result["cells"]] == ["fine"]
        assert list(result["failed"]) == ["broken_1_0"]
        assert "none" in result["failed"]["broken_1_0"]
    calls: list[str] = []
    monkeypatch.setattr(module, "fit", lambda config, *, resume: calls.append(config.output))
    monkeypatch.setenv(INVOCATION, json.loads((tmp_path / "grid" / "failures" / "broken_1_0.json").read_text())["invocation"])
    run_benchmark(benchmark)
    assert not calls, "but not the processes that run beside the one it failed in"


def test_defects_of_ours_are_not_taken_for_failures_of_cells(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(config: Any, *, resume: bool) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr(module, "fit", broken)
    with pytest.raises(KeyError):
        run_benchmark(load_benchmark(write_grid(tiny_data, tmp_path, **PAIR)))


def test_cells_of_another_configuration_are_not_taken_for_these(tiny_data: Path, tmp_path: Path) -> None:
    one: dict[str, Any] = {"variants": {"size": {"tasks": ONLY_SIZE}}, "seeds": [0]}
    run_benchmark(load_benchmark(write_grid(tiny_data, tmp_path, **one)))
    other = {"size": {"tasks": ONLY_SIZE, "epochs": 2}}
    with pytest.raises(InputError, match="this cell ran with another configuration"):
        run_benchmark(load_benchmark(write_grid(tiny_data, tmp_path, **one | {"variants": other})))


def test_a_cell_that_another_process_is_at_is_left_to_it(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(module, "fit", lambda config, *, resume: calls.append(config.output))
    monkeypatch.setattr(module, "_run_cell", lambda benchmark, cell, token: calls.append(cell.name))
    monkeypatch.setattr(module, "claim", lambda path: claim_unless(path, "joint_1_0"))
    result = run_benchmark(load_benchmark(write_grid(tiny_data, tmp_path, **PAIR)))
    assert calls == ["frozen_1_0"]
    assert "joint_1_0" in result["missing"]


def claim_unless(path: Path, taken: str) -> Any:
    import contextlib

    return contextlib.nullcontext(False) if path.name == taken else claim(path)
