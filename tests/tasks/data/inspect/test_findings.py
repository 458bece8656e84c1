"""What the table alone says."""

from __future__ import annotations

import collections
from pathlib import Path

import pytest

from tests.tasks.runs import Records, put, rewrite, without
from tests.tiny import write_tiny_data
from umsrep.tasks.data.inspect.columns import read_columns
from umsrep.tasks.data.inspect.findings import Finding, near_labels, table_findings
from umsrep.tasks.data.manifest import load_manifest


def found(folder: Path) -> list[Finding]:
    manifest = load_manifest(folder)
    return table_findings(manifest, read_columns(manifest, "split"))


def test_unknown_and_empty_splits(tmp_path: Path) -> None:
    folder = rewrite(write_tiny_data(tmp_path / "data"), put(0, "split", "trian"))
    assert any(f.problem and "row 2" in f.text and "did you mean 'train'" in f.text for f in found(folder))

    def no_validation(records: Records) -> None:
        for record in records:
            record["split"] = record["split"].replace("validation", "train").replace("trian", "train")

    rewrite(folder, no_validation)
    assert any(f.problem and "no row with split = validation" in f.text for f in found(folder))


def test_only_test_rows_are_a_note(tmp_path: Path) -> None:
    def all_test(records: Records) -> None:
        for record in records:
            record["split"] = "test"

    folder = rewrite(write_tiny_data(tmp_path / "data"), all_test)
    assert [f.kind for f in found(folder) if f.problem] == []
    assert "empty split" in {f.kind for f in found(folder)}


def test_class_in_test_that_train_does_not_hold(tmp_path: Path) -> None:
    folder = rewrite(write_tiny_data(tmp_path / "data"), put(22, "label", "huge"))
    problems = [f for f in found(folder) if f.problem]
    assert [f.kind for f in problems] == ["class not in train"]
    assert "'huge' is in test (1 rows)" in problems[0].text


def test_unknown_patients_are_a_note(tmp_path: Path) -> None:
    folder = rewrite(write_tiny_data(tmp_path / "data"), without("patient_id"))
    assert [f.kind for f in found(folder) if f.kind == "unknown patients"] == ["unknown patients"]


@pytest.mark.parametrize(
    ("counts", "problem"),
    [
        ({"Pneumonia": 50, "pneumonia ": 3}, True),
        ({"COVID-19": 50, "covid19": 40}, True),
        ({"pneumonia": 100, "pnuemonia": 2}, False),
        ({"normal": 100, "norma": 1}, False),
    ],
)
def test_near_labels(counts: dict[str, int], problem: bool) -> None:
    assert [p for p, _ in near_labels(collections.Counter(counts))] == [problem]


def test_labels_that_are_different_classes() -> None:
    for counts in (
        {"grade_1": 100, "grade_2": 5},
        {"bacterial_pneumonia": 100, "viral_pneumonia": 9},
        {"AbdomenCT": 5, "HeadCT": 5, "ChestCT": 5},
        {"0": 90, "1": 1},
        {"no_finding": 50, "finding": 49},
    ):
        assert near_labels(collections.Counter(counts)) == []


def test_frames_of_a_file_in_two_splits_are_a_problem(tmp_path: Path) -> None:
    def frames(records: Records) -> Records:
        return [{**r, "patient_id": "", "frame": ""} for r in records] + [
            {**records[0], "patient_id": "", "frame": str(k), "file_name": "cine.tif", "split": s}
            for k, s in enumerate(("train", "", "test", "test"))
        ]

    problems = [f for f in found(rewrite(write_tiny_data(tmp_path / "data"), frames)) if f.problem]
    assert [f.kind for f in problems] == ["file in two splits"]
    assert "row 28 (cine.tif): file_name 'cine.tif' is in split 'test' and, at row 26, in 'train'" in problems[0].text
