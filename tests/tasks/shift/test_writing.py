"""Shifted sets as data folders: depth, masks, columns, seeds."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.dicoms import write_dicom
from tests.tasks.runs import put, rewrite
from tests.tiny import write_tiny_data
from umsrep.errors import InputError
from umsrep.tasks.data.inspect import inspect
from umsrep.tasks.shift import apply_shift_with_mask, row_seed
from umsrep.tasks.shift.writing import write_shifted


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_row_is_what_its_cells_say(tiny_data: Path, tmp_path: Path) -> None:
    report = write_shifted(tiny_data, tmp_path / "out", "magnification-down", 3, seed=5, title=None)
    before, after = table(tiny_data), table(tmp_path / "out")
    assert report["rows"] == len(after) == len(before) == 24
    assert not [p for p in tmp_path.iterdir() if p.name != "out"]  # nothing half-made is left
    for old, new in zip(before, after, strict=True):
        for column in ("label", "split", "patient_id", "site", "finding_left"):
            assert new[column] == old[column]
        assert (new["source_file_name"], new["shift"], new["severity"]) == (old["file_name"], "magnification-down", "3")
        assert int(new["seed"]) == row_seed(5, old["file_name"])
        assert bool(new["mask_file_name"]) == bool(old["mask_file_name"])
        image = np.asarray(Image.open(tiny_data / old["file_name"]), dtype=np.float32) / 255
        mask = np.asarray(Image.open(tiny_data / old["mask_file_name"])) if old["mask_file_name"] else np.zeros(image.shape, np.uint8)
        want, moved = apply_shift_with_mask(
            torch.from_numpy(image)[None], torch.from_numpy(mask.copy()), "magnification-down", 3, int(new["seed"])
        )
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / new["file_name"])), np.rint(want[0].numpy() * 255))
        if new["mask_file_name"]:
            np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / new["mask_file_name"])), moved.numpy())
    assert not inspect(tmp_path / "out", encoder=None)["problems"]


def test_depth_is_kept(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    deep = np.linspace(0, 4095, 40 * 48).reshape(40, 48).astype(np.uint16)
    Image.fromarray(deep).save(folder / "images/deep.png")
    np.save(folder / "images/floats.npy", deep.astype(np.float32) / 4095)
    write_dicom(folder / "images/scan.dcm", deep, 12)
    for row, name in enumerate(("deep.png", "floats.npy", "scan.dcm")):
        rewrite(folder, put(row, "file_name", f"images/{name}"))
    with pytest.raises(InputError, match=r"row 2 \(images/deep.png\): does not say what its values mean; give --unit"):
        write_shifted(folder, tmp_path / "out", "exposure-under", 2, title=None)
    assert not (tmp_path / "out").exists()
    write_shifted(folder, tmp_path / "out", "exposure-under", 2, unit="12-bit", title=None)
    rows = table(tmp_path / "out")
    written = np.asarray(Image.open(tmp_path / "out" / rows[0]["file_name"]))
    assert written.dtype == np.uint16
    assert 0 < int(written.min()) < int(written.max()) == 4095
    floats = np.load(tmp_path / "out" / rows[1]["file_name"])
    np.testing.assert_allclose(written / 4095, floats, atol=1e-3)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / rows[2]["file_name"])), written)
