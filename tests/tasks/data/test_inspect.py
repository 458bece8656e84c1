"""`inspect` counts what is there and names what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tasks.runs import Records, put, rewrite
from tests.tiny import write_tiny_data
from umsrep.errors import InputError
from umsrep.tasks.data.inspect import inspect


def test_counts_of_the_tiny_folder(tiny_data: Path) -> None:
    report = inspect(tiny_data)
    json.dumps(report, allow_nan=False)
    assert (report["rows"], report["problems"]) == (24, [])
    assert report["annotated"] == {"label": 21, "mask_file_name": 21, "mask_file_name.disc": 21}
    groups = {(g["split"], g["site"]): g for g in report["groups"]}
    assert list(groups) == [(s, c) for s in ("train", "validation", "test") for c in ("A", "B")]
    assert sum(g["rows"] for g in groups.values()) == 24
    assert groups["validation", "B"] == {
        "split": "validation",
        "site": "B",
        "rows": 2,
        "patients": 1,
        "masks": 2,
        "labels": {"large": 1, "small": 1},
    }
    assert sum(groups["train", s]["labels"].get("(none)", 0) for s in "AB") == 3


def test_every_problem_is_found_at_once(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    (folder / "images" / "04.png").unlink()
    Image.new("L", (10, 12)).save(folder / "masks" / "06.png")
    rewrite(folder, put(3, "split", "test"))
    problems = inspect(folder)["problems"]
    assert any("row 6 (images/04.png)" in p and "no such file" in p for p in problems)
    assert any("row 8 (images/06.png)" in p and "10x12 pixels" in p for p in problems)
    assert any("patient_id '001'" in p for p in problems)
    assert all("\n" not in p for p in problems)


def test_unknown_and_empty_splits(tmp_path: Path) -> None:
    folder = rewrite(write_tiny_data(tmp_path / "data"), put(0, "split", "trian"))
    assert any("row 2" in p and "did you mean 'train'" in p for p in inspect(folder)["problems"])

    def no_validation(records: Records) -> None:
        for record in records:
            record["split"] = record["split"].replace("validation", "train").replace("trian", "train")

    rewrite(folder, no_validation)
    assert any("no row with split = validation" in p for p in inspect(folder)["problems"])


def test_another_split_column(tmp_path: Path) -> None:
    def add(records: Records) -> Records:
        return [{**r, "official": "test" if i > 20 else "validation" if i > 16 else "train"} for i, r in enumerate(records)]

    folder = rewrite(write_tiny_data(tmp_path / "data"), add)
    report = inspect(folder, split_column="official")
    assert sum(g["rows"] for g in report["groups"] if g["split"] == "test") == 3
    with pytest.raises(InputError, match="no column 'oficial'; did you mean 'official'"):
        inspect(folder, split_column="oficial")


def test_a_long_list_of_problems_is_cut(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    for image in (folder / "images").iterdir():
        image.unlink()
    problems = inspect(folder)["problems"]
    assert len(problems) == 21
    assert problems[-1] == "... and perhaps more"


def test_arrays_with_png_masks_are_no_problem(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    np.save(folder / "images" / "00.npy", np.asarray(Image.open(folder / "images" / "00.png")))
    rewrite(folder, put(0, "file_name", "images/00.npy"))
    assert inspect(folder)["problems"] == [], "the header of an .npy is not read for its size: nothing to compare, nothing wrong"
