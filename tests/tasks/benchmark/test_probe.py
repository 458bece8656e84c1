"""Cells with strategy probe: measured like any other, the features computed once for all fractions and seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tasks.benchmark.grids import write_grid
from umsrep.errors import InputError
from umsrep.tasks import features
from umsrep.tasks.benchmark import load_benchmark, run_benchmark

PROBES: dict[str, Any] = {"variants": {"probe": {"strategy": "probe"}}, "fractions": [0.5, 1.0]}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMSREP_CACHE", str(tmp_path / "cache"))


def test_probes_of_all_three_tasks(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    real = features._forward

    def counted(encoder: Any, images: Any) -> Any:
        passes.append(len(images))
        return real(encoder, images)

    monkeypatch.setattr(features, "_forward", counted)
    tests = {"again": {"path": str(tiny_data), "tasks": ["size"]}}
    benchmark = load_benchmark(write_grid(tiny_data, tmp_path, **PROBES, tests=tests))
    result = run_benchmark(benchmark)
    assert not result["failed"]
    assert len(result["cells"]) == 4
    once = (13 + 4 + 4) + (13 + 4 + 4) + (16 + 4 + 4)  # masks, labels, all rows; the further test set has the same rows as the test
    assert sum(passes) % once == 0, "each annotated row a time for each initialisation"
    half, whole = (cell for cell in result["cells"] if cell["seed"] == 0)
    assert half["cost"]["images"] < whole["cost"]["images"] == 16
    assert whole["test"]["size"]["auroc"] == 1.0, "small and large discs"
    assert whole["test"]["disc"]["dice"] > 0.8
    assert whole["test"]["denoising"]["psnr_gain"] > 3
    assert whole["shifted"]["again"]["size"] == whole["test"]["size"]
    assert whole["test"]["size"]["n"] == 4
    seen = len(passes)
    assert run_benchmark(benchmark)["cells"] == result["cells"]
    assert len(passes) == seen, "done cells are left alone"


def test_a_probe_is_no_training(tiny_data: Path, tmp_path: Path) -> None:
    grid = write_grid(tiny_data, tmp_path, **PROBES | {"seeds": [0], "fractions": [1.0]})
    run_benchmark(load_benchmark(grid))
    report = json.loads((tmp_path / "grid" / "probe_1_0" / "report.json").read_text())
    assert report["probe"] is True
    frozen = write_grid(tiny_data, tmp_path, variants={"probe": {"strategy": "frozen"}}, seeds=[0])
    with pytest.raises(InputError, match="ran with another configuration"):
        run_benchmark(load_benchmark(frozen))


def test_what_a_probe_cannot_do_is_refused_first(tiny_data: Path, tmp_path: Path) -> None:
    two = {"data": [{"path": str(tiny_data)}, {"path": str(tiny_data)}], "strategy": "probe"}
    with pytest.raises(InputError, match="strategy probe takes one data set, not 2"):
        load_benchmark(write_grid(tiny_data, tmp_path, variants={"two": two}))
    overlapping = {"strategy": "probe", "tasks": {"disc": {"kind": "segmentation", "classes": ["disc"], "multi_label": True}}}
    with pytest.raises(InputError, match="'disc' has classes that overlap"):
        load_benchmark(write_grid(tiny_data, tmp_path, variants={"overlapping": overlapping}))
