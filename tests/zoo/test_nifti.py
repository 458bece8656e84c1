"""NIfTI slices: whatever the storage order, the radiological picture; values, spacing, laziness, refusals."""

from __future__ import annotations

import itertools
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from umsrep.errors import InputError
from umsrep.zoo.stored import read_stored

nibabel: Any = pytest.importorskip("nibabel", reason="extra nifti")

SHAPE = (10, 12, 9)  # right, anterior, head
PIXELS = (3.0, 2.0, 5.0)


def body() -> np.ndarray:
    """A volume in RAS+ with marks: 1 at the patient's right, 2 in front, 3 at the head."""
    volume = np.zeros(SHAPE, np.int16)
    volume[8, 5, :] = 1
    volume[4, 10, :] = 2
    volume[4, 5, 7:] = 3
    return volume


def write(path: Path, ras: np.ndarray, codes: str, **options: Any) -> Path:
    """Store a RAS+ volume in another order of axes, with the affine that says so."""
    image = nibabel.Nifti1Image(ras, np.diag([*PIXELS, 1.0]))
    turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(tuple(codes)))
    image = image.as_reoriented(turn)
    if "slope" in options:
        image.header.set_slope_inter(options["slope"], options["inter"])
        raw = nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header)
        raw.header.set_slope_inter(options["slope"], options["inter"])
        image = raw
    nibabel.save(image, path)
    return path


ORDERS = ["".join(pick) for axes in itertools.permutations(["LR", "PA", "IS"]) for pick in itertools.product(*axes)]


@pytest.mark.parametrize("codes", ORDERS)
def test_every_storage_order_gives_the_radiological_picture(tmp_path: Path, codes: str) -> None:
    path = write(tmp_path / "a.nii", body(), codes)
    assert "".join(nibabel.aff2axcodes(nibabel.load(path).affine)) == codes
    low, high = read_stored(path, frame=0), read_stored(path, frame=8)
    assert low.pixels.shape == (12, 10)  # rows: front to back; columns: right to left
    assert low.pixels.dtype == np.int16
    assert np.argwhere(low.pixels == 1).tolist() == [[6, 1]]  # the patient's right is at the left of the picture
    assert np.argwhere(low.pixels == 2).tolist() == [[1, 5]]  # the front is up
    assert 3 not in low.pixels  # frame 0 is at the feet
    assert np.argwhere(high.pixels == 3).tolist() == [[6, 5]]
    assert low.spacing == (2.0, 3.0)
    assert (low.frames, low.unit, low.range) == (9, None, None)


def test_compressed_files_and_the_choice_of_a_slice(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii.gz", body(), "LPS")
    assert np.array_equal(read_stored(path, frame=8).pixels, body()[::-1, ::-1, 8].T)
    for frame, message in ((None, "9 axial slices; choose one with frame=0 ... 8"), (9, "no frame 9; it has 9 axial slices, 0 to 8")):
        with pytest.raises(InputError, match=message):
            read_stored(path, frame=frame)


@pytest.mark.parametrize(("keep", "rows_columns"), [(0, (2, 1)), (1, (2, 0)), (2, (1, 0))])
def test_a_single_slice_is_shown_in_its_own_plane(tmp_path: Path, keep: int, rows_columns: tuple[int, int]) -> None:
    ras = np.random.default_rng(keep).integers(0, 99, SHAPE).astype(np.int16).take([4], axis=keep)
    read = read_stored(write(tmp_path / "a.nii", ras, "RAS"))
    assert np.array_equal(read.pixels, ras.squeeze(keep).T[::-1, ::-1])
    assert read.spacing == tuple(PIXELS[axis] for axis in rows_columns)
    assert read.frames == 1


def test_two_and_four_dimensions(tmp_path: Path) -> None:
    flat = np.arange(80, dtype=np.uint8).reshape(8, 10)
    for number, array in enumerate((flat, flat[:, :, None], flat[:, :, None, None])):
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / f"{number}.nii")
        read = read_stored(tmp_path / f"{number}.nii")
        assert np.array_equal(read.pixels, flat.T[::-1, ::-1])
        assert (read.unit, read.spacing) == ("8-bit", (1.0, 1.0))
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 8, 2), np.uint8), np.eye(4)), tmp_path / "4.nii")
    with pytest.raises(InputError, match="two or three dimensions: split a time series"):
        read_stored(tmp_path / "4.nii", frame=0)


@pytest.mark.parametrize(("slope", "inter", "dtype", "unit"), [(2, -1024, np.int32, None), (0.5, 0.25, np.float32, "unit-interval")])
def test_the_scale_is_applied(tmp_path: Path, slope: float, inter: float, dtype: Any, unit: str | None) -> None:
    path = write(tmp_path / "a.nii", body(), "RAS", slope=slope, inter=inter)
    read = read_stored(path, frame=8)
    assert read.pixels.dtype == dtype
    assert read.unit == unit
    assert np.array_equal(read.pixels, body()[::-1, ::-1, 8].T * slope + inter)


def test_floats_are_unit_interval_and_units_of_length_are_converted(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.random.default_rng(0).random((8, 9, 10), dtype=np.float32), np.diag([200, 300, 400, 1.0]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "a.nii")
    read = read_stored(tmp_path / "a.nii", frame=0)
    assert read.unit == "unit-interval"
    assert read.spacing == pytest.approx((0.3, 0.2))


def test_only_the_slice_is_read(tmp_path: Path) -> None:
    import tracemalloc

    nibabel.save(nibabel.Nifti1Image(np.zeros((64, 64, 2000), np.int16), np.eye(4)), tmp_path / "a.nii")
    read_stored(tmp_path / "a.nii", frame=0)
    tracemalloc.start()
    read_stored(tmp_path / "a.nii", frame=1999)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6 < (tmp_path / "a.nii").stat().st_size


def test_damaged_and_hostile_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = write(tmp_path / "a.nii", body(), "RAS").read_bytes()
    contents = {"cut": whole[:400], "short": whole[:100], "text": b"hello" * 100, "empty": b""}
    contents["huge"] = whole[:42] + b"\xff\x7f" * 3 + whole[48:]
    contents["negative"] = whole[:42] + b"\xff\xff" * 3 + whole[48:]
    for name, content in contents.items():
        (tmp_path / f"{name}.nii").write_bytes(content)
        with pytest.raises(InputError) as caught:
            read_stored(tmp_path / f"{name}.nii", frame=8)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(str(tmp_path / name))
    (tmp_path / "a.nii.gz").write_bytes(b"\x1f\x8b" + whole)
    with pytest.raises(InputError, match="damaged"):
        read_stored(tmp_path / "a.nii.gz", frame=0)
    assert capfd.readouterr() == ("", "")


def test_the_header_does_not_leave(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(body(), np.eye(4))
    image.header["descrip"] = b"DOE^JANE"
    nibabel.save(image, tmp_path / "a.nii")
    assert "DOE" not in repr(read_stored(tmp_path / "a.nii", frame=0))


def test_without_nibabel_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.nii", body(), "RAS")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(InputError, match=r"pip install 'umsrep\[nifti\]'"):
        read_stored(path, frame=0)


def test_voxels_that_begin_a_gigabyte_away_are_not_sought(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", body(), "RAS")
    content = bytearray(path.read_bytes())
    content[108:112] = struct.pack("<f", 2.0**30)
    path.write_bytes(content)
    with pytest.raises(InputError, match="voxels begin at byte"):
        read_stored(path, frame=0)
