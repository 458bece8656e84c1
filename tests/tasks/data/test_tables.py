"""Tables: the three forms give the same rows, and every fault names its file and row."""

from __future__ import annotations

import contextlib
import csv
import datetime
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from umsrep.errors import InputError
from umsrep.tasks.data.manifest import load_manifest
from umsrep.tasks.data.tables import find_table, read_table, to_text

RECORDS: list[dict[str, Any]] = [
    {"file_name": "a.png", "label": "normal", "age": 61, "score": 0.1, "patient_id": "007", "flag": True, "note": None},
    {"file_name": "b é.png", "label": None, "age": None, "score": 7.0, "patient_id": "8", "flag": False, "note": " =1+1 "},
]
EXPECTED = {
    "file_name": ["a.png", "b é.png"],
    "label": ["normal", ""],
    "age": ["61", ""],
    "score": ["0.1", "7"],
    "patient_id": ["007", "8"],
    "flag": ["True", "False"],
    "note": ["", "=1+1"],
}


def write(folder: Path, form: str, records: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / f"metadata.{form}"
    if form == "csv":
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(records[0]))
            writer.writeheader()
            writer.writerows(records)
    elif form == "jsonl":
        table.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    else:
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(records), table)
    return table


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_all_forms_give_the_same_columns(form: str, tmp_path: Path) -> None:
    columns, lines = read_table(write(tmp_path, form, RECORDS))
    assert columns == EXPECTED
    assert lines == [1, 2]
    as_csv, csv_lines = read_table(write(tmp_path, "csv", RECORDS))
    assert as_csv == {**EXPECTED, "score": ["0.1", "7.0"]}, "a CSV cell is taken as it stands"
    assert csv_lines == [2, 3], "the header is line 1"


def test_stored_kinds_of_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    values = {
        "file_name": pa.array(["a", "b"]),
        "float32": pa.array([0.1, None], pa.float32()),
        "category": pa.array(["x", "y"]).dictionary_encode(),
        "day": pa.array([datetime.date(2020, 2, 3), None]),
        "big": pa.array([2**62, -1]),
    }
    pq.write_table(pa.table(values), tmp_path / "metadata.parquet")
    columns, _ = read_table(tmp_path / "metadata.parquet")
    assert columns["float32"] == ["0.1", ""]
    assert columns["category"] == ["x", "y"]
    assert columns["day"] == ["2020-02-03", ""]
    assert columns["big"] == [str(2**62), "-1"]


def test_two_tables_are_refused_and_none_names_the_remedy(tmp_path: Path) -> None:
    write(tmp_path, "csv", RECORDS)
    write(tmp_path, "jsonl", RECORDS)
    with pytest.raises(InputError, match=r"holds both metadata\.csv and metadata\.jsonl"):
        find_table(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no metadata\.csv, \.jsonl or \.parquet .*--write"):
        find_table(tmp_path / "empty")


FAULTS = [
    ("csv", b"\xff\xfef\x00i\x00l\x00e\x00", "row 1: not UTF-8"),
    ("csv", b"f\x00i\x00l\x00e\x00", "row 1: a NUL character"),
    ("csv", b"file_name,x\na,b\n" + "ä,b\n".encode("latin-1"), "row 3: not UTF-8"),
    ("csv", b"file_name,x\na,b\na\0b,c\n", "row 3: a NUL"),
    ("csv", b'file_name,x\na,"' + b"y" * 200_000 + b'"\n', "row 2: field larger than field limit"),
    ("csv", b'file_name,x\na,"' + b"y\n" * 200_000, "field larger than field limit"),
    ("csv", b"file_name,x\na," + b"y" * 3_000_000, "row 2: a line of more than"),
    ("csv", ",".join(["file_name", *(f"c{i}" for i in range(1000))]).encode(), "1001 columns"),
    ("jsonl", b'{"file_name": "a"}\n{"file_name": ', "row 2: not JSON"),
    ("jsonl", b'{"file_name": "a"}\n\n[1]\n', "row 3: not an object"),
    ("jsonl", b'{"file_name": "a", "file_name": "b"}\n', "row 1: not JSON (a key occurs twice"),
    ("jsonl", b'{"file_name": "a", "box": [1, 2]}\n', "row 1: box holds a nested value (list)"),
    ("jsonl", b'{"file_name": "a\\u0000b"}\n', "row 1: file_name: a NUL"),
    ("jsonl", b'{"file_name": "a\\ud800"}\n', "row 1: file_name: a NUL character or half of a surrogate"),
    ("jsonl", b'{"file_name": "a"}\n{"label": "x"}\n', "row 2: empty file_name"),
    ("jsonl", b'{"name": "a"}\n', "no column 'file_name'"),
    ("jsonl", b"", "no column 'file_name'"),
    ("jsonl", b'{"file_name": ' + b"[" * 100_000 + b"\n", "row 1: not JSON"),
    ("jsonl", b'{"file_name": ' + b"9" * 5000 + b"}\n", "row 1: not JSON"),
    ("jsonl", b'{"file_name": "' + b"y" * 200_000 + b'"}\n', "row 1: file_name: a text of 200,000 characters"),
    ("jsonl", b"".join(b'{"file_name": "a", "k%d": 1}\n' % i for i in range(1001)), "more than 1000 different keys"),
    ("parquet", b"PAR1 but not really PAR1", "damaged, or no Parquet file"),
    ("parquet", b"", "damaged, or no Parquet file"),
]


@pytest.mark.parametrize(("form", "content", "message"), FAULTS, ids=[f"{form}-{i}" for i, (form, _, _) in enumerate(FAULTS)])
def test_hostile_and_faulty_tables_are_refused_in_one_line(form: str, content: bytes, message: str, tmp_path: Path) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow")
    table = tmp_path / f"metadata.{form}"
    table.write_bytes(content)
    start = time.process_time()
    with pytest.raises(InputError) as caught:
        load_manifest(tmp_path)
    assert time.process_time() - start < 2
    assert message in str(caught.value)
    assert str(table) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, b"raw"])
def test_nested_and_binary_parquet_cells_name_their_row(value: Any, tmp_path: Path) -> None:
    table = write(tmp_path, "parquet", [{"file_name": "a", "x": None}, {"file_name": "b", "x": value}])
    with pytest.raises(InputError, match=r"metadata\.parquet row 2: x holds a (nested|binary) value"):
        read_table(table)


def test_a_repeated_long_text_does_not_fill_the_memory(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    long = pa.array(["y" * 100_000]).dictionary_encode()
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000, pa.int32()), long.dictionary)  # 200 MB if written out
    pq.write_table(pa.table({"file_name": pa.array(["a"] * 2_000), "x": column}), tmp_path / "metadata.parquet")
    before = pa.total_allocated_bytes()
    columns, lines = read_table(tmp_path / "metadata.parquet")
    assert len(lines) == 2_000
    assert len({id(text) for text in columns["x"]}) < 100
    assert pa.total_allocated_bytes() - before < 2**24


@pytest.mark.parametrize(("mark", "name"), [(";", "';'"), ("\t", "tabs")])
def test_another_divider_is_named(mark: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text(f"label{mark}file_name{mark}split\nx{mark}a.png{mark}train\n", encoding="utf-8")
    with pytest.raises(InputError, match=f"cells are separated by {name} and should be by ','"):
        load_manifest(tmp_path)


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "metadata.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install 'umsrep\[datasets\]'"):
        load_manifest(tmp_path)


VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=20)


@given(st.lists(st.dictionaries(st.text(min_size=1, max_size=5), VALUES, max_size=4), min_size=1, max_size=5))
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_lines_are_read_or_refused(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    table = tmp_path / "metadata.jsonl"
    table.write_text("".join(json.dumps({"file_name": "a.png", **r}) + "\n" for r in records), encoding="utf-8")
    with contextlib.suppress(InputError):
        columns, lines = read_table(table)
        assert {len(column) for column in columns.values()} == {len(lines)}
        assert all(text == text.strip() for column in columns.values() for text in column)


@given(st.binary(max_size=300))
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_a_table_or_one_line(tmp_path: Path, content: bytes) -> None:
    for form in ("csv", "jsonl"):
        table = tmp_path / f"metadata.{form}"
        table.write_bytes(b"file_name,x\n" + content if form == "csv" else content)
        with contextlib.suppress(InputError):
            columns, lines = read_table(table)
            assert {len(column) for column in columns.values()} == {len(lines)}


def test_numbers_as_text() -> None:
    texts = [to_text(value, "") for value in (1.0, -0.5, 1e300, math.inf, math.nan, 10**30, True, None, " a ")]
    assert texts == ["1", "-0.5", "1e+300", "inf", "", str(10**30), "True", "", "a"]
