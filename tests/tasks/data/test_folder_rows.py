"""A file of several frames gives several rows, all in one split."""

from __future__ import annotations

import collections
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from umsrep.errors import InputError
from umsrep.tasks.data import folder_rows
from umsrep.tasks.data.folders import propose, write_manifest
from umsrep.tasks.data.manifest import load_manifest
from umsrep.zoo.stored import read_stored


def pages(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = (Image.fromarray(np.full((8, 9), 10 * k, dtype=np.uint8)) for k in range(number))
    first.save(path, save_all=True, append_images=others)


def test_each_frame_is_a_row_and_a_file_is_in_one_split(tmp_path: Path) -> None:
    for number in range(10):
        pages(tmp_path / "images" / f"{number}.tif", 3)
    pages(tmp_path / "images" / "single.tif", 1)
    for name in ("0.png", "single.png"):
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.new("L", (9, 8)).save(tmp_path / "masks" / name)
    proposal = propose(tmp_path)
    assert len(proposal.columns["frame"]) == 31
    assert any("10 files of several frames: a row for each of 30 frames" in note for note in proposal.notes)
    assert any("1 masks of files of several frames left out" in note and "masks/0.png" in note for note in proposal.notes)
    assert "splits: train 22, validation 3, test 6" in proposal.notes  # rows, as the table has them
    write_manifest(tmp_path, proposal.columns)
    manifest = load_manifest(tmp_path)
    manifest.check_patients()  # refuses frames of one file in two splits
    assert len(set(manifest.columns["split"])) == 3
    assert collections.Counter(manifest.columns["frame"]) == {"0": 10, "1": 10, "2": 10, "": 1}
    assert [int(read_stored(manifest.image(row), frame=manifest.frame(row)).pixels[0, 0]) for row in range(3)] == [0, 10, 20]
    assert [mask for mask in manifest.columns["mask_file_name"] if mask] == ["masks/single.png"]


def test_slices_of_a_volume(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    for name in "abc":
        nibabel.save(nibabel.Nifti1Image(np.zeros((9, 8, 4), np.int16), np.eye(4)), tmp_path / f"{name}.nii.gz")
    columns = propose(tmp_path).columns
    assert columns["file_name"] == [f"{name}.nii.gz" for name in "abc" for _ in range(4)]
    assert columns["frame"] == ["0", "1", "2", "3"] * 3
    assert all(len({columns["split"][4 * k + i] for i in range(4)}) == 1 for k in range(3))


def test_single_images_and_damaged_ones_have_no_frame_column(tmp_path: Path) -> None:
    pages(tmp_path / "a.tif", 1)
    (tmp_path / "b.dcm").write_bytes(b"damaged")
    assert "frame" not in propose(tmp_path).columns


def test_files_of_very_many_frames_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages(tmp_path / "a.tif", 4)
    pages(tmp_path / "b.tif", 2)
    monkeypatch.setattr(folder_rows, "MAX_FRAMES", 3)
    proposal = propose(tmp_path)
    assert proposal.columns["file_name"] == ["b.tif", "b.tif"]
    assert any("1 files of more than 3 frames left out: a.tif (4)" in note for note in proposal.notes)
    (tmp_path / "b.tif").unlink()
    with pytest.raises(InputError, match="no file of at most 3 frames"):
        propose(tmp_path)
