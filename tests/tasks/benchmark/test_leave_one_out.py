"""Leave-one-site-out grids: who trains, who is tested, and what is refused before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tasks.benchmark.grids import ONLY_SIZE, write_grid
from tests.tasks.runs import Records, put, rewrite
from tests.tiny import write_tiny_data
from umsrep.errors import InputError
from umsrep.tasks.benchmark import load_benchmark, run_benchmark
from umsrep.tasks.benchmark.leave_one_out import write_expanded
from umsrep.tasks.benchmark.shifted import TestSet
from umsrep.tasks.data.manifest import load_manifest
from umsrep.tasks.data.subset import rows_where
from umsrep.tasks.setup import build_model, build_sets

ONE: dict[str, Any] = {"seeds": [0], "variants": {"size": {"tasks": ONLY_SIZE}}}


def test_a_set_for_each_site(tiny_data: Path, tmp_path: Path) -> None:
    benchmark = load_benchmark(write_grid(tiny_data, tmp_path, leave_one_out="site", **ONE))
    assert [cell.axes["set"] for cell in benchmark.cells] == ["without_A", "without_B"]
    cell = benchmark.cells[0]
    assert cell.config.data[0].leave_out == {"site": ["A"]}
    assert cell.tests == {"left_out": TestSet(str(tiny_data), split="all", only={"site": ["A"]})}
    manifest = load_manifest(tiny_data)
    sites = manifest.column("site")
    sets = build_sets(cell.config, build_model(cell.config).encoder.contract)
    for dataset in sets:
        assert dataset is not None
        assert {sites[row] for _, row in dataset.items} == {"B"}, "no split holds a row of the site that was left out"
    assert any("12 of 24 rows left out for their site: A" in note for note in sets[0].sources[0].manifest.notes)


def test_it_trains_tests_and_resumes(tiny_data: Path, tmp_path: Path) -> None:
    grid = write_grid(tiny_data, tmp_path, **ONE)
    written = write_expanded(grid, "site")
    assert yaml.safe_load(written.read_text())["sets"].keys() == {"without_A", "without_B"}
    results = run_benchmark(load_benchmark(written))
    assert not results["failed"]
    tested = {cell["set"]: cell["shifted"]["left_out"]["size"]["n"] for cell in results["cells"]}
    labelled = {site: 12 - missing for site, missing in (("A", 1), ("B", 2))}
    assert tested == {"without_A": labelled["A"], "without_B": labelled["B"]}
    again = run_benchmark(load_benchmark(write_expanded(grid, "site")))
    assert json.dumps(again["cells"], sort_keys=True) == json.dumps(results["cells"], sort_keys=True), "nothing was trained twice"


def test_what_cannot_be_left_out(tiny_data: Path, tmp_path: Path) -> None:
    def fails(match: str, data: Path = tiny_data, **changes: Any) -> None:
        with pytest.raises(InputError, match=match):
            load_benchmark(write_grid(data, tmp_path, **(ONE | changes)))

    fails("column 'sitee' has 0 value", leave_one_out="sitee")
    fails("no row with site 'C'; there are A, B", leave_one_out={"column": "site", "values": ["C"]})
    fails("must be a column", leave_one_out=["site"])
    fails("leave the axis 'sets' out", leave_one_out="site", sets={"a": {}})
    fails("needs base.data", leave_one_out="site", base={})
    folder = rewrite(write_tiny_data(tmp_path / "two"), put(0, "site", "A"))
    fails("patient '000' has rows of site A and B", folder, leave_one_out="site")

    def only_b_validates(records: Records) -> None:
        for record in records:
            if record["split"] == "validation":
                record["site"] = "B"

    fails("without site 'B' no row is left in validation", rewrite(write_tiny_data(tmp_path / "b"), only_b_validates), leave_one_out="site")


def test_rows_by_condition(tiny_data: Path) -> None:
    manifest = load_manifest(tiny_data)
    both = rows_where(manifest, {"site": ["A"], "split": ["test", "validation"]})
    assert both == {18, 19, 22, 23}
    with pytest.raises(InputError, match="no row with site 'C'"):
        rows_where(manifest, {"site": ["C"]})
    with pytest.raises(InputError, match="no column 'sit'"):
        rows_where(manifest, {"sit": ["A"]})
