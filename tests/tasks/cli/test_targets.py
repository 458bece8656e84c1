"""--targets words."""

from __future__ import annotations

import pytest

from umsrep import InputError
from umsrep.tasks.cli.targets import read_targets
from umsrep.tasks.data.dataset import Target


def test_columns_and_maps_are_read() -> None:
    words = ["--targets.a.column", "[x, y]", "--targets.b.map.0", "normal", "--targets.b.map.1=null"]
    assert read_targets(words) == {"a": Target(("x", "y"), {}), "b": Target(None, {"0": "normal", "1": None})}
    assert read_targets([]) == {}


def test_faults_are_one_line() -> None:
    for words, message in (
        (["--targets.a.colum", "x"], r"unknown key 'colum'.*column"),
        (["--targets.a", "x"], "unknown key 'x'"),
        (["--targets.a.map", "x"], "give one stored value each"),
        (["--targets.a.column"], "needs a value"),
    ):
        with pytest.raises(InputError, match=message):
            read_targets(words)
