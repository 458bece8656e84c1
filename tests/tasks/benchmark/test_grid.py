"""Grids: the product of their axes, read with care before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tasks.benchmark.grids import write_grid
from tests.tasks.runs import TASKS
from umsrep.errors import InputError
from umsrep.tasks.benchmark import load_benchmark, merged

GRIDS = Path(__file__).parents[3] / "benchmarks" / "grids"


def test_cells(tiny_data: Path, tmp_path: Path) -> None:
    cells = load_benchmark(write_grid(tiny_data, tmp_path, fractions=[0.5, 1.0])).cells
    assert len(cells) == 2 * 2 * 3
    assert [c.name for c in cells[:4]] == ["joint_0.5_0", "frozen_0.5_0", "disc-alone_0.5_0", "joint_1_0"]
    assert [Path(c.config.output).name for c in cells] == [c.name for c in cells]
    assert {c.config.seed for c in cells} == {0, 1}
    assert cells[0].config.data[0].fraction == 0.5
    assert list(cells[2].config.tasks) == ["disc"]
    assert cells[2].config.epochs == 2
    assert list(cells[0].config.tasks) == list(TASKS)
    assert cells[1].config.strategy == "frozen"
    assert len({c.config.output for c in cells}) == len(cells)


def test_axes_multiply_and_each_changes_its_part(tiny_data: Path, tmp_path: Path) -> None:
    other = {"data": [{"path": str(tiny_data), "fraction": 0.5}], "tasks": {"denoising": None, "disc": None}}
    grid = write_grid(
        tiny_data,
        tmp_path,
        variants=None,
        encoders={"plain": {}, "cbr": {"encoder": {"arch": "test_resnet"}}},
        sets={"whole": {}, "half": other | {"tests": {"again": {"path": str(tiny_data), "limit": 2}}}},
        strategies={"full": None, "frozen": {"strategy": "frozen"}},
        fractions=[0.5],
        baseline="plain/full",
        metrics={"classification": "balanced_accuracy"},
    )
    benchmark = load_benchmark(grid)
    assert len(benchmark.cells) == 2 * 2 * 2 * 2
    assert [c.name for c in benchmark.cells[:3]] == ["plain_whole_full_0.5_0", "plain_whole_frozen_0.5_0", "plain_half_full_0.5_0"]
    assert {c.variant for c in benchmark.cells} == {"plain/full", "plain/frozen", "cbr/full", "cbr/frozen"}, "a set is no variant"
    last = benchmark.cells[-1]
    assert (last.config.encoder.arch, last.config.strategy, list(last.config.tasks)) == ("test_resnet", "frozen", ["size"])
    assert last.config.data[0].fraction == 0.25, "the grid's fraction is one of the set's own"
    assert list(last.tests) == ["again"]
    assert last.tests["again"].limit == 2
    assert not benchmark.cells[0].tests
    assert benchmark.metrics == {"classification": "balanced_accuracy", "segmentation": "dice", "denoising": "psnr_gain"}


def test_only_and_skip_choose_cells(tiny_data: Path, tmp_path: Path) -> None:
    axes: dict[str, Any] = {
        "variants": None,
        "seeds": [0],
        "encoders": {"a": {}, "b1": {}, "b2": {}},
        "strategies": {"full": {}, "frozen": {"strategy": "frozen"}},
    }

    def names(**changes: Any) -> list[str]:
        return [c.variant for c in load_benchmark(write_grid(tiny_data, tmp_path, **axes, **changes)).cells]

    assert names(skip=[{"encoder": "b*", "strategy": "frozen"}]) == ["a/full", "a/frozen", "b1/full", "b2/full"]
    assert names(only=[{"encoder": "a"}, {"strategy": "frozen", "encoder": "b2"}]) == ["a/full", "a/frozen", "b2/frozen"]
    with pytest.raises(InputError, match="only and skip leave no cell"):
        names(skip=[{"encoder": "*"}])
    with pytest.raises(InputError, match="skip: no encoder is called 'c'; there is a, b1, b2"):
        names(skip=[{"encoder": "c"}])
    with pytest.raises(InputError, match="only: no axis 'strategi'; did you mean 'strategy'"):
        names(only=[{"strategi": "full"}])
    with pytest.raises(InputError, match="skip must be a list of mappings"):
        names(skip={"encoder": "a"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": [0]}, "unknown key 'seed'; did you mean 'seeds'"),
        ({"seeds": 3}, "seeds must be a list of numbers"),
        ({"fractions": [0]}, "fraction must be above 0"),
        ({"variants": {}}, "variants must be a mapping, with at least one variant"),
        ({"variants": {"a/b": {}}}, "variant 'a/b' must be named in letters"),
        ({"variants": {"a": {"strategi": "full"}}}, "variant a: unknown key 'strategi'; did you mean 'strategy'"),
        ({"schema_version": 9}, "schema_version 9 is not one that this umsrep reads"),
        ({"schema_version": "x"}, "schema_version 'x' is not one"),
        ({"output": 3}, "output must be a folder"),
        ({"base": None}, "missing key 'base'"),
        ({"base": ["x"]}, "base must be a mapping"),
        ({"variants": {"a": {"seed": 3}}}, "variant a: seed is the benchmark's to set"),
        ({"variants": {"a": ["full"]}}, "variant 'a' must be a mapping"),
        ({"fractions": [0.1, 0.1000001]}, "two cells are called disc-alone_0.1_0"),
        ({"baseline": "jont"}, "baseline 'jont' is no variant; did you mean 'joint'"),
        ({"metrics": {"classify": "f1"}}, "metrics: unknown kind 'classify'; did you mean 'classification'"),
        ({"metrics": "f1"}, "metrics must map kinds of task"),
        ({"metrics": {"classification": "aurok"}}, "metrics: 'size/aurok' is not measured; there is mean, size/auroc"),
        ({"metrics": {"segmentation": "hd95/disc"}}, "metrics: of 'hd95/disc' less is better; .* such as dice"),
        ({"tests": ["nih"]}, "tests must map names to data sets, not \\['nih'\\]"),
        ({"sets": {"a": {"tests": "nih"}}}, "set a.*: tests must map names to data sets, not 'nih'"),
        ({"tests": {"nih": {"path": "x", "limits": 3}}}, "tests.nih: unknown key 'limits'; did you mean 'limit'"),
        ({"tests": {"nih": {"path": "x", "limit": 0}}}, "limit must be a number of rows"),
        ({"tests": {"nih": "x"}}, "tests.nih must be a mapping with the path"),
        ({"tests": {"nih": {"path": "x", "tasks": ["dics"]}}}, "tests.nih names task 'dics'; did you mean 'disc'"),
        ({"tests": {"nih": {"path": "x", "targets": {"disc": {"colum": "y"}}}}}, "unknown key 'colum'; did you mean 'column'"),
    ],
)
def test_mistakes_are_found_before_anything_is_trained(changes: dict[str, Any], message: str, tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        load_benchmark(write_grid(tiny_data, tmp_path, **changes))
    assert not (tmp_path / "grid").exists()


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such benchmark file"):
        load_benchmark(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(InputError, match="a benchmark is a mapping of keys"):
        load_benchmark(tmp_path / "list.yaml")
    (tmp_path / "bad.yaml").write_text("a: [\n")
    with pytest.raises(InputError, match="not valid YAML"):
        load_benchmark(tmp_path / "bad.yaml")


def test_merged() -> None:
    base = {"a": {"b": 1, "c": {"d": 2}}, "e": [1]}
    assert merged(base, {"a": {"c": None, "b": 3}, "e": [2], "f": None}) == {"a": {"b": 3}, "e": [2], "f": None}
    assert base == {"a": {"b": 1, "c": {"d": 2}}, "e": [1]}, "the base stays"


@pytest.mark.parametrize("name", ["balancing", "hosseinzadeh2021", pytest.param("scores_against_truth", marks=pytest.mark.slow)])
def test_shipped_grids_are_read(name: str) -> None:
    assert load_benchmark(GRIDS / f"{name}.yaml").cells
