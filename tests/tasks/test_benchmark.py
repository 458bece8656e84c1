"""Grids of runs: read with care, resumed cell by cell, summed up with the right spread."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tasks.runs import TASKS, run_values
from umsrep.errors import InputError
from umsrep.tasks import benchmark as module
from umsrep.tasks.benchmark import load_benchmark, run_benchmark, spread, summarise_cells
from umsrep.tasks.trainer import fit


def grid(data: Path, folder: Path, **changes: Any) -> Path:
    base = run_values(data, folder, epochs=1)
    del base["output"]
    values = {
        "output": str(folder / "grid"),
        "seeds": [0, 1],
        "fractions": [1.0],
        "base": base,
        "variants": {
            "joint": {},
            "frozen": {"strategy": "frozen"},
            "disc-alone": {"tasks": {"denoising": None, "size": None}, "epochs": 2},
        },
    }
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(values | changes, sort_keys=False))
    return path


def test_cells(tiny_data: Path, tmp_path: Path) -> None:
    cells = load_benchmark(grid(tiny_data, tmp_path, fractions=[0.5, 1.0])).cells
    assert len(cells) == 2 * 2 * 3
    assert [c.name for c in cells[:4]] == ["joint_0.5_0", "frozen_0.5_0", "disc-alone_0.5_0", "joint_1_0"]
    assert {c.config.seed for c in cells} == {0, 1}
    assert cells[0].config.data[0].fraction == 0.5
    assert list(cells[2].config.tasks) == ["disc"]
    assert cells[2].config.epochs == 2
    assert list(cells[0].config.tasks) == list(TASKS)
    assert cells[1].config.strategy == "frozen"
    assert len({c.config.output for c in cells}) == len(cells)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": [0]}, "unknown key 'seed'; did you mean 'seeds'"),
        ({"seeds": 3}, "seeds must be a list of numbers"),
        ({"fractions": [0]}, "fraction must be above 0"),
        ({"variants": {}}, "at least one variant"),
        ({"variants": {"a/b": {}}}, "variant 'a/b' must be named in letters"),
        ({"variants": {"a": {"strategi": "full"}}}, "variant a: unknown key 'strategi'; did you mean 'strategy'"),
        ({"schema_version": 9}, "schema_version 9 is not one that this umsrep reads"),
        ({"schema_version": "x"}, "schema_version 'x' is not one"),
        ({"output": 3}, "output must be a folder"),
        ({"variants": {"a": ["full"]}}, "variant 'a' must be a mapping"),
        ({"fractions": [0.1, 0.1000001]}, "two cells are called disc-alone_0.1_0"),
    ],
)
def test_mistakes_are_found_before_anything_is_trained(changes: dict[str, Any], message: str, tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        load_benchmark(grid(tiny_data, tmp_path, **changes))
    assert not (tmp_path / "grid").exists()


def test_a_grid_goes_on_where_it_stopped(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = load_benchmark(grid(tiny_data, tmp_path, variants={"joint": {}, "frozen": {"strategy": "frozen"}}, seeds=[0]))
    real, calls = fit, list[str]()

    def once(config: Any, *, resume: bool) -> Any:
        calls.append(Path(config.output).name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(config, resume=resume)

    monkeypatch.setattr(module, "fit", once)
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(benchmark)
    saved = json.loads((tmp_path / "grid" / "results.json").read_text())
    assert [c["variant"] for c in saved["cells"]] == ["joint"], "what is done is kept"
    result = run_benchmark(benchmark)
    assert calls == ["joint_1_0", "frozen_1_0", "frozen_1_0"]
    assert [c["variant"] for c in result["cells"]] == ["joint", "frozen"]
    (first, _) = result["table"]
    report = json.loads((tmp_path / "grid" / "joint_1_0" / "report.json").read_text())
    assert first["metrics"]["disc/dice"] == {"mean": report["test"]["disc"]["dice"], "sd": None, "n": 1}
    assert json.loads((tmp_path / "grid" / "results.json").read_text())["table"] == result["table"]


def test_cells_of_another_configuration_are_not_taken_for_these(tiny_data: Path, tmp_path: Path) -> None:
    one = {"variants": {"joint": {}}, "seeds": [0]}
    run_benchmark(load_benchmark(grid(tiny_data, tmp_path, **one)))
    with pytest.raises(InputError, match="this cell ran with another configuration"):
        run_benchmark(load_benchmark(grid(tiny_data, tmp_path, **one | {"variants": {"joint": {"epochs": 2}}})))


def test_spread_is_that_of_a_sample() -> None:
    assert spread([1.0, 2.0, 4.0]) == {"mean": pytest.approx(7 / 3), "sd": pytest.approx(statistics.stdev([1, 2, 4])), "n": 3}
    assert spread([5.0]) == {"mean": 5.0, "sd": None, "n": 1}


def test_undefined_numbers_do_not_count() -> None:
    cells = [
        {"variant": "a", "fraction": 1.0, "seed": s, "seconds": 1.0 + s, "test": {"disc": {"n": 4.0, "dice": v}}}
        for s, v in enumerate([0.5, None, 0.7])
    ]
    (row,) = summarise_cells(cells)
    assert row["metrics"] == {"disc/dice": {"mean": pytest.approx(0.6), "sd": pytest.approx(statistics.stdev([0.5, 0.7])), "n": 2}}
    assert row["seconds"]["mean"] == 2.0
