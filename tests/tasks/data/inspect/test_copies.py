"""Copies within and across splits."""

from __future__ import annotations

import shutil
from pathlib import Path

from PIL import Image

from tests.tasks.runs import put, rewrite
from tests.tiny import write_tiny_data
from umsrep.tasks.data.inspect.columns import read_columns
from umsrep.tasks.data.inspect.copies import copies
from umsrep.tasks.data.inspect.scan import scan
from umsrep.tasks.data.manifest import load_manifest


def test_copies_across_and_within_splits(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    images = folder / "images"
    Image.open(images / "00.png").save(images / "20.bmp")  # train -> test, re-encoded without loss
    rewrite(folder, put(20, "file_name", "images/20.bmp"))
    Image.open(images / "17.png").save(images / "22.jpg", quality=95)  # validation -> test, with loss
    rewrite(folder, put(22, "file_name", "images/22.jpg"))
    shutil.copy(images / "04.png", images / "05.png")  # one patient, other mask
    manifest = load_manifest(folder)
    columns = read_columns(manifest, "split")
    numbers, found = copies(manifest, columns, list(scan(manifest, columns.masks)))
    assert numbers["exact"] == [[0, 20], [4, 5]]
    assert [pair[:2] for pair in numbers["near"]] == [[17, 22]]
    assert (numbers["exact_across_splits"], numbers["near_across_splits"], numbers["exact_across_patients"]) == (1, 1, 1)
    problems = {f.kind: f.text for f in found if f.problem}
    assert list(problems) == ["same picture in two splits", "near copies in two splits"]
    assert "row 2 (images/00.png) in train, and row 22 (images/20.bmp) in test, 2 patients" in problems["same picture in two splits"]
    notes = {f.kind: f.text for f in found if not f.problem}
    assert "row 6 (images/04.png) in train, and row 7 (images/05.png) in train, one patient" in notes["same pixels"]
    assert "same pixels, different annotation" in notes


def test_no_copies(tiny_data: Path) -> None:
    manifest = load_manifest(tiny_data)
    columns = read_columns(manifest, "split")
    assert copies(manifest, columns, list(scan(manifest, columns.masks)))[1] == []
