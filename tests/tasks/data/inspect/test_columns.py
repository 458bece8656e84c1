"""Which columns are what, and the counts of a table."""

from __future__ import annotations

from pathlib import Path

from tests.tasks.runs import Records, put, rewrite
from tests.tiny import write_tiny_data
from umsrep.tasks.data.inspect.columns import label_tasks, licences, read_columns
from umsrep.tasks.data.manifest import load_manifest


def test_kinds_of_columns(tmp_path: Path) -> None:
    def add(records: Records) -> Records:
        return [
            {**r, "label_text": f"free text {i}" * 9, "license": "CC BY" if i else "", "label.0": str(i % 2)}
            for i, r in enumerate(records * 5)
        ]

    folder = rewrite(write_tiny_data(tmp_path / "data"), add)
    manifest = load_manifest(folder)
    columns = read_columns(manifest, "split")
    assert (columns.labels, columns.skipped, columns.licence) == (["label", "label.0"], ["label_text"], "license")
    assert columns.multi_label == ["label.0"]
    assert columns.masks == ["mask_file_name", "mask_file_name.disc"]
    assert licences(manifest, columns) == {"CC BY": 119, "(none)": 1}


def test_prevalence_and_imbalance(tiny_data: Path) -> None:
    manifest = load_manifest(tiny_data)
    task = label_tasks(manifest, read_columns(manifest, "split"))["label"]
    assert task["rows"] == 21
    assert sum(task["classes"].values()) == 21
    assert task["imbalance"] == max(task["splits"]["train"].values()) / min(task["splits"]["train"].values())
    for site in "AB":
        assert abs(sum(task["prevalence"][site].values()) - 1) < 1e-12


def test_numbered_findings_that_repeat_named_ones_are_left_out(tmp_path: Path) -> None:
    def add(records: Records) -> Records:
        return [
            {**r, "label.0": str(i % 2), "label.mass": str(i % 2), "label.1": str(i % 3 == 0), "label.2": "1"}
            for i, r in enumerate(records)
        ]

    columns = read_columns(load_manifest(rewrite(write_tiny_data(tmp_path / "data"), add)), "split")
    assert columns.multi_label == ["label.mass", "label.1", "label.2"]


def test_numbers_of_named_classes_are_left_out(tmp_path: Path) -> None:
    names = {"large": "0", "small": "1", "": ""}
    folder = rewrite(
        write_tiny_data(tmp_path / "data"), lambda records: [{**r, "label_name": r["label"], "label": names[r["label"]]} for r in records]
    )
    assert [c for c in read_columns(load_manifest(folder), "split").labels if "finding" not in c] == ["label_name"]
    rewrite(folder, put(0, "label_name", "other"))  # no longer the same
    assert {"label", "label_name"} <= set(read_columns(load_manifest(folder), "split").labels)
