"""Further test sets: measured once on the trained model, with the run's own tasks and thresholds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tasks.benchmark.grids import ONLY_SIZE, write_grid
from umsrep.errors import InputError
from umsrep.tasks.benchmark import load_benchmark, run_benchmark
from umsrep.tasks.benchmark import shifted as module
from umsrep.tasks.benchmark.shifted import TestSet, measure, stored_tests
from umsrep.tasks.config import TargetConfig


def test_test_sets(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same = {"path": str(tiny_data)}
    mapped = same | {"split": "train", "tasks": ["size"], "targets": {"size": {"map": {"small": "large", "large": "small"}}}}
    tests = {"same": same, "mirrored": mapped, "few": same | {"split": "train", "limit": 4}}
    grid = write_grid(tiny_data, tmp_path, variants={"size": {"tasks": ONLY_SIZE}}, seeds=[0], tests=tests)
    benchmark = load_benchmark(grid)
    (cell,) = run_benchmark(benchmark)["cells"]
    assert cell["shifted"]["same"] == cell["test"], "the run's own test rows give the run's own numbers"
    assert cell["shifted"]["few"]["size"]["n"] < 8, "two patients of two images, or a little more"
    mirrored = cell["shifted"]["mirrored"]["size"]
    config = benchmark.cells[0].config
    straight = measure(config, {"straight": TestSet(str(tiny_data), split="train")})["straight"]["size"]
    assert mirrored["auroc"] == pytest.approx(1 - straight["auroc"])
    assert mirrored["n"] == straight["n"] == 13, "rows without a label do not count"
    monkeypatch.setattr(module, "_evaluate", lambda *_: pytest.fail("measured again"))
    assert measure(config, benchmark.cells[0].tests) == cell["shifted"]
    changed = {"same": TestSet(str(tiny_data), split="validation")}
    assert stored_tests(config, changed) == {}, "another split under the same name is another set"
    stored = json.loads((Path(config.output) / "tests.json").read_text())
    assert set(stored) == {"same", "mirrored", "few", "straight"}


def test_test_sets_that_measure_nothing(tiny_data: Path, tmp_path: Path) -> None:
    (benchmark,) = [load_benchmark(write_grid(tiny_data, tmp_path, variants={"size": {"tasks": ONLY_SIZE}}, seeds=[0]))]
    run_benchmark(benchmark)
    config = benchmark.cells[0].config
    with pytest.raises(InputError, match="no column 'grade'"):
        measure(config, {"other": TestSet(str(tiny_data), tasks=["size"], targets={"size": TargetConfig("grade")})})
    with pytest.raises(InputError, match="annotated for none of size; give tests"):
        measure(config, {"other": TestSet(str(tiny_data), targets={"size": TargetConfig("grade")})})
