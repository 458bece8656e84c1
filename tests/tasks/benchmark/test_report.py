"""The report of a benchmark: files that agree with each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tasks.benchmark.test_figures import CELLS
from umsrep.errors import InputError
from umsrep.tasks.benchmark.grid import MAIN_METRICS
from umsrep.tasks.benchmark.report import write_report


def test_report(tmp_path: Path) -> None:
    results = {"cells": CELLS, "metrics": MAIN_METRICS}
    report = write_report(results, tmp_path / "new", baseline="a/full")
    assert report["family"] == len(report["comparisons"]) == 6
    assert list(report["ranks"]["ranks"]) == ["c/full", "b/full", "a/full"]
    assert [Path(f).name for f in report["files"]] == [
        *("table.md", "table.tex", "comparisons.json", "compute.png", "critical_difference.png")
    ]
    assert all(Path(f).stat().st_size for f in report["files"])
    stored = json.loads((tmp_path / "new" / "comparisons.json").read_text())
    assert stored == {k: v for k, v in report.items() if k != "files"}
    alone = write_report({"cells": CELLS[:1], "metrics": MAIN_METRICS}, tmp_path / "alone")
    assert (alone["comparisons"], alone["ranks"]) == ([], None)
    assert not (tmp_path / "alone" / "critical_difference.png").exists()


def test_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no cell is done yet"):
        write_report({"cells": [], "metrics": MAIN_METRICS}, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_report({"cells": CELLS, "metrics": MAIN_METRICS}, tmp_path / "file" / "x")
