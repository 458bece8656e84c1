"""Images made to exhaust memory, time or patience, and what is no file at all."""

from __future__ import annotations

import gzip
import io
import os
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread, uid

from tests.dicoms import write_dicom
from tests.hostile.harness import Worker

HUGE = 100_000


def deflated(count: int, *, raw: bool = False) -> bytes:
    """Compress so many zeros, about a thousandfold, without holding them."""
    packer = zlib.compressobj(9, wbits=-15 if raw else 15)
    blocks = [packer.compress(bytes(min(2**20, count - at))) for at in range(0, count, 2**20)]
    return b"".join([*blocks, packer.flush()])


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes, colour: int = 0, *extra: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def page(width: int, height: int, following: int = 0) -> bytes:
    """One directory of a TIFF, whose pixels lie at byte 8."""
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, width * height % 2**32)]
    return struct.pack("<H", 9) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags) + struct.pack("<I", following)


def tiff(*pages: bytes) -> bytes:
    return b"II*\0" + struct.pack("<I", 264) + bytes(256) + b"".join(pages)


def npy(shape: tuple[int, ...], kind: str = "|u1") -> bytes:
    header = str({"descr": kind, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header


def jpeg(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (64, 64)).save(buffer, "JPEG")
    data = buffer.getvalue()
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHI", 1054, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6) + bytes(1000)


HEADERS: dict[str, Callable[[int, int], bytes]] = {
    "a.png": lambda width, height: png(width, height, deflated(1000)),
    "a.tif": lambda width, height: tiff(page(width, height)),
    "a.bmp": bmp,
    "a.npy": lambda width, height: npy((height, width)) + bytes(1000),
    "a.jpg": lambda width, height: jpeg(min(width, 65535), min(height, 65535)),
}


@pytest.mark.parametrize("size", [(HUGE, 1), (1, HUGE), (HUGE, HUGE), (HUGE, 8), (2**31 - 1, 2**31 - 1)], ids=str)
@pytest.mark.parametrize("name", sorted(HEADERS))
def test_headers_of_huge_sides(worker: Worker, tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    (tmp_path / name).write_bytes(HEADERS[name](*size))
    outcome = worker("image", path=str(tmp_path / name)).refused()
    assert outcome.bytes < 2**27


def test_dicom_and_nifti_of_huge_sides(worker: Worker, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", np.zeros((16, 16), np.uint8), 8)
    data = dcmread(path)
    data.Rows = data.Columns = 65535
    data.save_as(path)
    worker("image", path=str(path)).refused("65535x65535", "67,108,864")
    pytest.importorskip("nibabel", reason="extra nifti")
    for name, pack in (("a.nii", bytes), ("a.nii.gz", gzip.compress)):
        (tmp_path / name).write_bytes(pack(nifti((32767, 32767, 32767))))
        worker("image", path=str(tmp_path / name), frame=3).refused("67,108,864")


def nifti(shape: tuple[int, int, int], start: float = 352.0, extension: int = 0) -> bytes:
    """The header of a NIfTI-1 file of 16-bit numbers."""
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into("<2h", head, 70, 4, 16)
    struct.pack_into("<8f", head, 76, *[1.0] * 8)
    struct.pack_into("<3f", head, 108, start, 1.0, 0.0)
    struct.pack_into("<2h", head, 252, 0, 1)
    struct.pack_into("<12f", head, 280, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
    head[344:348] = b"n+1\0"
    head[348] = bool(extension)
    return bytes(head) + (struct.pack("<2i", extension, 6) if extension else b"")


@pytest.mark.parametrize("case", ["start", "extension", "slices"])
def test_bombs_in_gzipped_nifti(worker: Worker, tmp_path: Path, case: str) -> None:
    pytest.importorskip("nibabel", reason="extra nifti")
    far = 2.0**31
    head = {"start": nifti((64, 64, 2), far), "extension": nifti((64, 64, 2), far, 2**31 - 352), "slices": nifti((512, 512, 8000))}[case]
    path = tmp_path / "a.nii.gz"
    with gzip.open(path, "wb", compresslevel=6) as file:
        file.write(head)
    member = gzip.compress(bytes(2**24))
    with path.open("ab") as file:
        for _ in range(128):  # 2 GiB in 2 MB: gzip reads members one after another as one stream
            file.write(member)
    worker("image", path=str(path), frame=0 if case != "slices" else 7999, contract={"percentiles": [0, 100]}).refused()


# ---- bombs -------------------------------------------------------------------------------------------------------------
def test_pixels_that_compress_a_thousandfold(worker: Worker, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(8192, 8192, deflated(3 * 8192 * 8192 + 8192), 2))
    worker("image", path=str(path)).refused("8192x8192", "values")
    path.write_bytes(png(1024, 1024, deflated(1025 * 1024)))
    worker("image", path=str(path), contract={"channels": 500}).refused("500 channels")
    path.write_bytes(png(16, 16, deflated(17 * 16), 0, *[chunk(b"zTXt", b"k\0\0" + deflated(2**24))] * 2))
    worker("image", path=str(path)).refused()


@pytest.mark.slow
def test_the_largest_image_allowed_is_read_within_a_gibibyte(worker: Worker, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(8192, 8192, deflated(8193 * 8192)))
    assert worker("image", path=str(path)).bytes < 2**30
    path.write_bytes(png(5792, 5792, deflated((3 * 5792 + 1) * 5792), 2))  # 33 megapixels of RGB
    outcome = worker("image", path=str(path), contract={"channels": 3})
    assert outcome.ending == "done"
    assert outcome.bytes < 2**30


def test_sparse_npy_of_many_channels(worker: Worker, tmp_path: Path) -> None:
    head = npy((8192, 8192, 64), "<f8")
    with (tmp_path / "a.npy").open("wb") as file:
        file.write(head)
        file.truncate(len(head) + 8192 * 8192 * 64 * 8)  # 34 GB that take no place on the disk
    worker("image", path=str(tmp_path / "a.npy")).refused("values are the most")


def test_deflated_dicom_bomb(worker: Worker, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", np.zeros((64, 64), np.uint8), 8)
    data = dcmread(path)
    data.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    data.save_as(path, enforce_file_format=True)
    content = path.read_bytes()
    start = 144 + dcmread(path).file_meta.FileMetaInformationGroupLength
    path.write_bytes(content[:start] + deflated(2**28 + 2**22, raw=True))
    worker("image", path=str(path)).refused("inflates to more than")


def test_tens_of_thousands_of_frames(worker: Worker, tmp_path: Path) -> None:
    size = len(page(16, 16))
    count = 50_000
    chain = [page(16, 16, 264 + (n + 1) * size if n < count - 1 else 0) for n in range(count)]
    (tmp_path / "a.tif").write_bytes(tiff(*chain))
    for frame in (None, 1, count - 1):
        worker("image", path=str(tmp_path / "a.tif"), frame=frame).refused("4,096 pages")
    buffer = io.BytesIO()
    Image.new("L", (16, 16)).save(buffer, "GIF", save_all=True, append_images=[Image.new("L", (16, 16), 9)])
    frames = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    (tmp_path / "a.gif").write_bytes(buffer.getvalue()[:-1] + frames * count + b";")
    worker("image", path=str(tmp_path / "a.gif"), frame=count - 1).refused("4,096")


def test_directories_in_a_circle(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(page(16, 16, 264)))
    assert worker("image", path=str(tmp_path / "a.tif")).check().ending == "done"  # one page that names itself as the next
    (tmp_path / "a.tif").write_bytes(tiff(page(16, 16, 264 + len(page(1, 1))), page(16, 16, 264)))
    worker("image", path=str(tmp_path / "a.tif")).refused("2 frames")


def test_jpeg_of_a_thousand_scans(worker: Worker, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("L", (4096, 4096)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    (tmp_path / "a.jpg").write_bytes(data[:-2] + last * 1000 + b"\xff\xd9")
    worker("image", path=str(tmp_path / "a.jpg")).refused("scans")
    (tmp_path / "a.jpg").write_bytes(data)
    assert worker("image", path=str(tmp_path / "a.jpg"), contract={"size": 64}).check().ending == "done"


# ---- what is no file ---------------------------------------------------------------------------------------------------
def _bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path.name))


STRANGE: dict[str, Callable[[Path], Any]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "zeros": lambda path: path.symlink_to("/dev/zero"),
    "noise": lambda path: path.symlink_to("/dev/random"),
    "circle": lambda path: path.symlink_to(path),
    "socket": _bind,
}


@pytest.mark.parametrize("kind", sorted(STRANGE))
def test_what_is_no_file_is_not_opened(worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's name has at most 108 characters
    for suffix in (".png", ".dcm", ".nii.gz", ".npz", ".safetensors", ".yaml"):
        path = tmp_path / f"a{suffix}"
        STRANGE[kind](path)
        call = {".npz": "manifest", ".safetensors": "tensors", ".yaml": "config"}.get(suffix, "image")
        worker(call, path=str(path)).refused("a folder" if (kind, call) == ("folder", "image") else "no such")


@pytest.mark.parametrize("name", ["a\0b.png", "a" * 10_000, "a\x1b[31m\u202e\nb.png", "\ud800.png"], ids=["nul", "long", "escapes", "half"])
def test_names_that_no_file_has(worker: Worker, name: str) -> None:
    worker("image", path=name).refused()
