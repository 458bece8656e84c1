"""read_stored: what every kind of source is read as, and what is refused before it is decoded."""

from __future__ import annotations

import logging
import struct
import sys
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from umsrep.errors import InputError
from umsrep.zoo import stored
from umsrep.zoo.stored import MAX_PIXELS, no_warnings, read_stored, silenced

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
DEEP = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
COLOUR = np.random.default_rng(3).integers(0, 256, (16, 20, 3), dtype=np.uint8)


def refused(source: Any, message: str, **options: Any) -> None:
    """Check that reading is refused in one line that matches and that names the file."""
    with pytest.raises(InputError, match=message) as caught:
        read_stored(source, **options)
    assert "\n" not in str(caught.value)
    if isinstance(source, Path):
        assert str(caught.value).startswith(str(source))


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "npy", "pgm"])
def test_eight_bit_files_declare_their_range(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    np.save(path, RAMP) if suffix == "npy" else Image.fromarray(RAMP).save(path)
    for source in (path, str(path), RAMP, RAMP[:, :, None]):
        read = read_stored(source)
        assert np.array_equal(read.pixels, RAMP)
        assert (read.unit, read.range, read.frames, read.spacing, read.voi) == ("8-bit", (0, 255), 1, None, None)


@pytest.mark.parametrize("suffix", ["png", "tif", "npy"])
def test_sixteen_bit_files_declare_nothing(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    np.save(path, DEEP) if suffix == "npy" else Image.fromarray(DEEP).save(path)
    read = read_stored(path)
    assert np.array_equal(read.pixels, DEEP)
    assert (read.unit, read.range, read.inverted) == (None, None, False)


def test_arrays_and_bilevel_images() -> None:
    assert read_stored(RAMP / 255).unit == "unit-interval"
    assert read_stored(RAMP.astype(np.int32)).unit is None
    bits = read_stored(RAMP > 100)
    assert bits.pixels.dtype == np.uint8
    assert (bits.unit, np.unique(bits.pixels).tolist()) == ("8-bit", [0, 255])
    assert np.array_equal(read_stored(Image.fromarray(RAMP > 100)).pixels, bits.pixels)
    refused(RAMP.astype(complex), "cannot read pixels of type complex128")
    refused(RAMP[0], r"shape \(16,\)")
    refused(RAMP[:7], "16x7 pixels; an image has at least 8 a side")
    refused([1, 2], "expected a path, a numpy array or a PIL image")


def tiff(path: Path, packed: bytes, *, side: int, bits: int, photometric: int) -> Path:
    """Write a square grey TIFF of one strip, independently of Pillow."""
    tags = {256: side, 257: side, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: side, 279: len(packed)}
    entries = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in tags.items())
    path.write_bytes(struct.pack("<2sHL", b"II", 42, 8 + len(packed)) + packed + struct.pack("<H", len(tags)) + entries + bytes(4))
    return path


@pytest.mark.parametrize(("array", "inverted"), [(RAMP, False), (DEEP, True)])
def test_white_is_zero_is_undone_or_told(tmp_path: Path, array: np.ndarray, inverted: bool) -> None:
    path = tiff(tmp_path / "a.tif", array.tobytes(), side=16, bits=8 * array.itemsize, photometric=0)
    read = read_stored(path)
    assert read.inverted == inverted
    assert np.array_equal(read.pixels, array if inverted else 255 - array)


def test_twelve_bit_tiff_declares_its_depth(tmp_path: Path) -> None:
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 65
    packed = b"".join(struct.pack(">L", (int(a) << 12 | int(b)) << 8)[:3] for a, b in values.reshape(-1, 2))
    read = read_stored(tiff(tmp_path / "a.tif", packed, side=8, bits=12, photometric=1))
    assert np.array_equal(read.pixels, values)
    assert (read.unit, read.range) == ("12-bit", (0, 4095))


def test_palette_is_rgb_and_transparency_is_refused(tmp_path: Path) -> None:
    image = Image.fromarray(RAMP % 3).convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255] + [0] * 759)
    image.save(tmp_path / "a.png")
    assert np.array_equal(read_stored(tmp_path / "a.png").pixels, np.eye(3, dtype=np.uint8)[RAMP % 3] * 255)
    opaque = np.dstack([COLOUR, np.full((16, 20), 255, np.uint8)])
    assert np.array_equal(read_stored(Image.fromarray(opaque)).pixels, COLOUR)
    refused(Image.fromarray(opaque * np.array([1, 1, 1, 0], np.uint8)), "transparent pixels; flatten")
    refused(Image.fromarray(COLOUR).convert("CMYK"), "colour mode CMYK is not supported")


def test_sixteen_bit_colour_is_refused_rather_than_cut_to_eight(tmp_path: Path) -> None:
    rows = b"".join(b"\0" + (np.ones((16, 3), ">u2") * 1000).astype(">u2").tobytes() for _ in range(16))
    chunks = [(b"IHDR", struct.pack(">LLBBBBB", 16, 16, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    data = b"".join(struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body)) for kind, body in chunks)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    refused(tmp_path / "a.png", "16-bit colour")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
def test_exif_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    seen = np.kron(np.array([[0, 90, 160], [200, 230, 255]], np.uint8), np.ones((16, 16), np.uint8))  # blocks: JPEG keeps them
    undo = {
        1: seen,
        2: seen[:, ::-1],
        3: seen[::-1, ::-1],
        4: seen[::-1],
        5: seen.T,
        6: np.rot90(seen),
        7: seen[::-1, ::-1].T,
        8: np.rot90(seen, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.ascontiguousarray(undo[orientation])).save(path, exif=exif)
    assert np.abs(read_stored(path).pixels.astype(int) - seen).max() <= 2
    with path.open("rb") as file, Image.open(file) as image:
        assert np.abs(read_stored(image).pixels.astype(int) - seen).max() <= 2


def test_one_page_of_several(tmp_path: Path) -> None:
    pages = [Image.fromarray(RAMP // k) for k in (1, 2, 3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    refused(tmp_path / "a.tif", "3 frames; choose one with frame=0 ... 2")
    refused(tmp_path / "a.tif", "no frame 3; it has 3 frames, 0 to 2", frame=3)
    refused(tmp_path / "a.tif", "no frame -1", frame=-1)
    for frame in (2, 0, 1):
        read = read_stored(tmp_path / "a.tif", frame=frame)
        assert np.array_equal(read.pixels, RAMP // (frame + 1))
        assert read.frames == 3
    pages[0].save(tmp_path / "b.tif")
    assert np.array_equal(read_stored(tmp_path / "b.tif", frame=0).pixels, RAMP)
    refused(tmp_path / "b.tif", "no frame 1; it has one image, frame 0", frame=1)
    refused(RAMP, "no frame 1", frame=1)


def test_the_source_of_the_caller_stays_as_it_was() -> None:
    array = RAMP.copy()
    image = Image.fromarray(RAMP)
    for source in (array, image):
        read_stored(source)
    assert np.array_equal(array, RAMP)
    assert np.array_equal(np.asarray(image), RAMP)


def png_header(width: int, height: int) -> bytes:
    """A PNG of that size in its header, with no pixels to speak of."""
    chunks = [(b"IHDR", struct.pack(">LLBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    parts = [struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body)) for kind, body in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("size", [(8192, 8193), (10000, 10000), (100000, 100000), (2**31 - 1, 2**31 - 1), (100000, 1)])
def test_large_images_are_refused_on_their_header(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "a.png").write_bytes(png_header(*size))
    refused(tmp_path / "a.png", "are the most|the most that are read|at least 8 a side")
    assert MAX_PIXELS == 8192**2


def test_an_npy_header_cannot_claim_more_than_the_file_holds(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", RAMP)
    lie = (tmp_path / "a.npy").read_bytes().replace(b"(16, 16), }", b"(9999999999, 16), }")[:136]
    (tmp_path / "a.npy").write_bytes(lie)
    refused(tmp_path / "a.npy", "damaged or unreadable")
    np.save(tmp_path / "b.npy", np.array([RAMP], dtype=object), allow_pickle=True)
    refused(tmp_path / "b.npy", "damaged or unreadable")


def test_missing_foreign_and_oddly_named_files(tmp_path: Path) -> None:
    refused(tmp_path / "a.png", "no such file")
    refused(tmp_path, "a folder; name the files in it")
    (tmp_path / "a.txt").write_text("hello\n" * 100)
    refused(tmp_path / "a.txt", "not an image that can be read")
    (tmp_path / "a.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    refused(tmp_path / "a.eps", "not an image that can be read")
    refused(str(tmp_path / "a\n;b.png"), r"a\?;b\.png: no such file")
    refused("\0", "no such file")
    refused("x" * 300, "damaged or unreadable image")


def test_content_counts_and_not_the_suffix(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    for name in ("a", "a.jpg", "a.npy"):
        (tmp_path / name).write_bytes((tmp_path / "a.png").read_bytes())
        assert np.array_equal(read_stored(tmp_path / name).pixels, RAMP)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_files_load_or_are_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp()
    suffix = data.draw(st.sampled_from(["png", "jpg", "tif", "bmp", "npy", "gif"]))
    path = folder / f"damaged.{suffix}"
    np.save(path, RAMP) if suffix == "npy" else Image.fromarray(RAMP).save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        message = str(read_stored(path).pixels.ndim)
    except InputError as error:
        message = str(error)
    assert "\n" not in message


@pytest.mark.slow
def test_dicom_and_nifti_are_imported_only_for_their_files(tmp_path: Path) -> None:
    import subprocess

    Image.fromarray(RAMP).save(tmp_path / "a.png")
    code = (
        f"import sys; from umsrep.zoo.stored import read_stored; read_stored({str(tmp_path / 'a.png')!r});"
        "print({'pydicom', 'nibabel', 'imagecodecs'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_logger_is_silenced_only_for_the_while(caplog: pytest.LogCaptureFixture) -> None:
    import logging

    with stored.silenced("somebody"):
        logging.getLogger("somebody").error("secret")
    logging.getLogger("somebody").error("heard")
    assert [record.message for record in caplog.records] == ["heard"]


def test_values_pages_and_scans_are_counted_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="100,663,296 values are the most"):
        stored.check_shape((8192, 8192, 3), "x")
    grey = Image.new("L", (16, 16))
    grey.save(tmp_path / "a.tif", save_all=True, append_images=[grey] * 4)
    assert read_stored(tmp_path / "a.tif", frame=4).frames == 5
    monkeypatch.setattr(stored, "MAX_FRAMES", 4)
    with pytest.raises(InputError, match="more than 4 pages"):
        read_stored(tmp_path / "a.tif", frame=0)
    grey.save(tmp_path / "a.jpg", progressive=True)
    assert read_stored(tmp_path / "a.jpg").pixels.shape == (16, 16)
    monkeypatch.setattr(stored, "_MOST_SCANS", 2)
    with pytest.raises(InputError, match="more than 2 scans"):
        read_stored(tmp_path / "a.jpg")


def test_threads_leave_warnings_and_loggers_as_they_were() -> None:
    before, logger = list(warnings.filters), logging.getLogger("pydicom")
    inside = threading.Barrier(2, timeout=10)
    seen: list[bool] = []

    def first() -> None:
        with no_warnings(), silenced("pydicom"):
            inside.wait()  # both are in
            inside.wait()  # the other has left

    def second() -> None:
        with no_warnings(), silenced("pydicom"):
            inside.wait()
        seen.append(logger.disabled)
        inside.wait()

    threads = [threading.Thread(target=f) for f in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True], "the one that leaves first does not switch on what the other wants off"
    assert not logger.disabled
    assert list(warnings.filters) == before
