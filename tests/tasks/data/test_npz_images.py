"""Archives of images are opened without their pixels in memory."""

from __future__ import annotations

import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from umsrep.errors import InputError
from umsrep.tasks.data import npz_images
from umsrep.tasks.data.npz_images import NpzImages, write_whole


def values(count: int = 6, *, side: int = 16) -> dict[str, Any]:
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return {"a_images": images, "a_labels": np.arange(count)[:, None], "b_images": images[:2] + 1, "b_labels": np.arange(2)[:, None]}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMSREP_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("form", ["stored", "small", "unpacked"])
def test_every_form_gives_the_same_images(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = values()
    path = tmp_path / "x.npz"
    (np.savez if form == "stored" else np.savez_compressed)(path, **expected)
    if form == "unpacked":
        monkeypatch.setattr(npz_images, "IN_MEMORY", 1000)
    images = NpzImages(path, ("a", "b"))
    assert [isinstance(array, np.memmap) for array in images._arrays] == [form != "small"] * 2
    again = pickle.loads(pickle.dumps(images))
    assert len(pickle.dumps(images)) < 1000, "no pixels cross to worker processes"
    for some in (images, again):
        assert len(some) == 8
        np.testing.assert_array_equal(np.stack(some[:]), np.concatenate([expected["a_images"], expected["b_images"]]))
        np.testing.assert_array_equal(some[-1], expected["b_images"][1])
    with pytest.raises(IndexError):
        images[8]
    cached = sorted(path.name for path in (tmp_path / "cache").rglob("*.npy"))
    assert len(cached) == (2 if form == "unpacked" else 0)


def test_unpacked_once_and_again_where_the_archive_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz_images, "IN_MEMORY", 1000)
    path = tmp_path / "x.npz"
    np.savez_compressed(path, **values())
    images = NpzImages(path, ("a", "b"))
    first = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*.npy")}
    NpzImages(path, ("a", "b"))
    assert first == {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*.npy")}
    np.savez_compressed(path, **values(7))
    assert len(NpzImages(path, ("a", "b"))) == 9
    with pytest.raises(InputError, match="changed while it was in use"):
        pickle.loads(pickle.dumps(images))


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    zeros = np.zeros((150_000, 28, 28), dtype=np.uint8)
    np.savez_compressed(path, a_images=zeros, a_labels=np.zeros((150_000, 1), dtype=np.uint8))
    assert path.stat().st_size < 1_000_000
    with pytest.raises(InputError, match=r"a_images would unpack from .* to 117,600,128 bytes; refused"):
        NpzImages(path, ("a",))


def test_a_header_that_lies_of_its_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lie.npz"
    np.savez(path, **values())
    content = path.read_bytes().replace(b"(6, 16, 16, 3)", b"(6, 99, 99, 3)")
    path.write_bytes(content)
    with pytest.raises(InputError, match="does not have the"):
        NpzImages(path, ("a",))
    with zipfile.ZipFile(tmp_path / "npy.npz", "w") as archive:
        archive.writestr("a_images.npy", b"\x93NUMPY\x01\x00\xff\xff")
    with pytest.raises(InputError, match="damaged npz"):
        NpzImages(tmp_path / "npy.npz", ("a",))


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with (
        pytest.raises(InputError, match=r"cannot be written \(No space left on device\); UMSREP_CACHE"),
        write_whole(tmp_path / "c" / "x"),
        open("/dev/full", "wb", buffering=0) as full,
    ):
        full.write(b"x")
    assert not list((tmp_path / "c").iterdir())
    shutil.rmtree(tmp_path / "c")
    (tmp_path / "c").write_text("a file where the folder should be")
    with pytest.raises(InputError, match="cannot be written"), write_whole(tmp_path / "c" / "x"):
        pass


@pytest.mark.parametrize(
    ("images", "labels", "message"), [((3, 1, 1), (3, 1), "8 pixels a side"), ((1, 28, 28), (1, 1001), "1,000 labels a row")]
)
def test_arrays_that_are_no_set_of_pictures(tmp_path: Path, images: tuple[int, ...], labels: tuple[int, ...], message: str) -> None:
    np.savez(tmp_path / "a.npz", train_images=np.zeros(images, np.uint8), train_labels=np.zeros(labels, np.uint8))
    with pytest.raises(InputError, match=message):
        NpzImages(tmp_path / "a.npz", ("train",))
