"""`inspect` counts what is there and names what is wrong."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tasks.runs import Records, put, rewrite
from tests.tiny import write_tiny_data
from umsrep.errors import InputError
from umsrep.tasks.data.inspect import inspect
from umsrep.tasks.data.inspect.report import limited
from umsrep.tasks.data.manifest import load_manifest


def test_counts_of_the_tiny_folder(tiny_data: Path) -> None:
    report = inspect(tiny_data, encoder=None)
    json.dumps(report, allow_nan=False)
    assert (report["rows"], report["patients"], report["problems"]) == (24, 12, [])
    assert report["splits"] == {"train": 16, "validation": 4, "test": 4}
    assert report["annotated"] == {"label": 21, "mask_file_name": 21, "mask_file_name.disc": 21}
    groups = {(g["split"], g["site"]): g for g in report["groups"]}
    assert list(groups) == [(s, c) for s in ("train", "validation", "test") for c in ("A", "B")]
    assert groups["validation", "B"] == {
        "split": "validation",
        "site": "B",
        "rows": 2,
        "patients": 1,
        "masks": {"mask_file_name": 2, "mask_file_name.disc": 2},
        "labels": {"label": {"large": 1, "small": 1}},
    }
    assert report["tasks"]["denoising"]["rows"] == 24
    assert any("1 of 24 rows have neither mask nor label" in n for n in report["notes"])


def test_every_problem_is_found_at_once(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    (folder / "images" / "04.png").unlink()
    (folder / "images" / "05.png").write_bytes(b"no image")
    Image.new("L", (10, 12)).save(folder / "masks" / "06.png")
    rewrite(folder, put(3, "split", "test"))
    report = inspect(folder, encoder=None)
    problems = report["problems"]
    assert len(problems) == len(report["problem_kinds"]) == 5, problems
    assert any("row 6 (images/04.png)" in p and "no such file" in p for p in problems)
    assert any("row 7 (images/05.png)" in p for p in problems)
    assert sum("row 8 (images/06.png)" in p and "10x12 pixels, the image 48x40" in p for p in problems) == 2  # two mask columns
    assert any("patient_id '001' is in split 'train' (row 4), 'test' (row 5)" in p for p in problems)
    assert all("\n" not in p for p in problems)
    assert report["images"]["unreadable"] == 2


def test_another_split_column(tmp_path: Path) -> None:
    def add(records: Records) -> Records:
        return [{**r, "official": "test" if i > 20 else "validation" if i > 16 else "train"} for i, r in enumerate(records)]

    folder = rewrite(write_tiny_data(tmp_path / "data"), add)
    report = inspect(folder, split_column="official", encoder=None)
    assert report["splits"] == {"train": 17, "validation": 4, "test": 3}
    assert "split_column: official" in report["suggested"]["config"]
    with pytest.raises(InputError, match="no column 'oficial'; did you mean 'official'"):
        inspect(folder, split_column="oficial", encoder=None)


def test_all_problems_are_kept_and_cut_only_for_reading(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    shutil.rmtree(folder / "images")
    report = inspect(folder, encoder=None)
    assert len(report["problems"]) == 24
    lines = limited(report["problems"], report["problem_kinds"])
    assert len(lines) == 21
    assert lines[-1] == "... and 4 more: unreadable image (all in --json)"
    assert limited(["a", "b"], ["x", "y"], most=1) == ["a", "b"]


def test_arrays_with_png_masks_are_no_problem(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    np.save(folder / "images" / "00.npy", np.asarray(Image.open(folder / "images" / "00.png")))
    rewrite(folder, put(0, "file_name", "images/00.npy"))
    assert inspect(folder, encoder=None)["problems"] == []


def test_real_ultrasound_reports_what_its_provenance_says(unpacked: Callable[[str], Path]) -> None:
    report = inspect(unpacked("us_nerve"), encoder=None)
    assert report["problems"] == []
    assert [[report_row + 2 for report_row in group] for group in report["duplicates"]["exact"]] == [[38, 67]]  # train_0043, train_0077
    assert [pair[:2] for pair in report["duplicates"]["near"]] == [[46, 48]]  # train_0055, train_0058
    assert "same pixels, different annotation" in report["note_kinds"]
    assert report["tasks"]["mask_file_name"]["values"] == {"0": 244, "1": 244, "2": 219}
    assert report["images"]["sizes"] == {"256x245": 183, "256x256": 40, "256x213": 21}


def test_real_external_set_is_for_testing_only(unpacked: Callable[[str], Path]) -> None:
    report = inspect(unpacked("cxr_external"), encoder=None)
    assert report["problems"] == []
    assert report["licences"] == {"CC BY-NC-SA": 28, "CC BY": 1, "CC BY-SA": 1}
    assert report["suggested"]["config"] is None
    assert report["duplicates"]["exact"] == report["duplicates"]["near"] == []


@pytest.mark.slow
def test_real_nuclei_are_inverted_in_the_test_part(unpacked: Callable[[str], Path]) -> None:
    report = inspect(unpacked("nuclei"), encoder=None)
    assert report["problems"] == []
    assert {"contrast inverted", "brightness differs", "mixed colour"} <= set(report["note_kinds"])
    assert report["images"]["colours"] == {"grey": 557, "RGB": 107}


@pytest.mark.slow
def test_real_lung_ultrasound_has_classes_in_test_only(unpacked: Callable[[str], Path]) -> None:
    report = inspect(unpacked("us_lung"), encoder=None)
    assert sorted(set(report["problem_kinds"])) == ["class not in train"]
    assert {"covid19", "viral_pneumonia"} == {p.split("'")[1] for p in report["problems"]}


@pytest.mark.slow
def test_real_pneumoniamnist_has_pictures_in_two_splits(unpacked: Callable[[str], Path]) -> None:
    report = inspect(unpacked("pneumoniamnist28") / "pneumoniamnist.npz", encoder=None)
    assert report["duplicates"]["exact_across_splits"] == 8
    assert report["problem_kinds"].count("same picture in two splits") == 8


def test_what_repeats_row_by_row_is_cut_short_and_counted(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    first, second = (Image.open(folder / "images" / f"0{k}.png") for k in (0, 1))
    first.save(folder / "pages.tif", save_all=True, append_images=[second])
    rewrite(folder, lambda records: [{**r, "file_name": "pages.tif", "patient_id": ""} for r in records])
    report = inspect(folder, encoder=None)
    assert report["problem_kinds"].count("frame not chosen") == 24
    lines = limited(report["problems"], report["problem_kinds"])
    assert sum("choose one with frame=" in line for line in lines) == 3
    assert "... and 21 more: frame not chosen (all in --json)" in lines


def test_what_the_reader_of_the_table_says_is_among_the_notes(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = dataclasses.replace(load_manifest(tiny_data), notes=("3 rows are in no split",))
    monkeypatch.setattr("umsrep.tasks.data.inspect.report.load_manifest", lambda data: manifest)
    assert "3 rows are in no split" in inspect(tiny_data, encoder=None)["notes"]
