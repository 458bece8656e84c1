"""DICOM: every file that pydicom ships, every transfer syntax, every photometric sense; hostile files; nothing of the patient leaves."""

from __future__ import annotations

import io
import logging
import time
import traceback
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import Dataset, FileMetaDataset, dcmread, uid
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut

from scripts import dicom_table
from umsrep.errors import InputError
from umsrep.zoo.stored import Stored, read_stored

SHIPPED = dicom_table.files()
TEST_FILES = dicom_table.DATA / "test_files"
RAMP = np.arange(256).reshape(16, 16)
NAMES = ("DOE^JANE", "ID-4711", "19700102", "St. Elsewhere", "Dr Who")


def write(
    path: Path, pixels: np.ndarray, *, syntax: Any = uid.ExplicitVRLittleEndian, encoded: list[bytes] | None = None, **changes: Any
) -> Path:
    """Write an image [H, W], [H, W, 3] or, with NumberOfFrames, [N, H, W]; the header carries names that must not come out."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid.UID(syntax)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = uid.SecondaryCaptureImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = uid.UID("1.2.3.4")
    data.PatientName, data.PatientID, data.PatientBirthDate, data.InstitutionName, data.OperatorsName = NAMES
    multi = changes.get("NumberOfFrames", 1) > 1
    data.Rows, data.Columns = pixels.shape[1:3] if multi else pixels.shape[:2]
    data.SamplesPerPixel = 3 if pixels.ndim == 3 and not multi else 1
    data.PhotometricInterpretation = "RGB" if data.SamplesPerPixel == 3 else "MONOCHROME2"
    if data.SamplesPerPixel == 3:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8 * pixels.itemsize
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in changes.items():
        setattr(data, keyword, value)
    if "HighBit" not in data:
        data.HighBit = data.BitsStored - 1
    if pixels.dtype.kind == "f":
        setattr(data, "FloatPixelData" if pixels.itemsize == 4 else "DoubleFloatPixelData", pixels.tobytes())
        del data.BitsStored, data.HighBit, data.PixelRepresentation
    else:
        little = syntax != uid.ExplicitVRBigEndian
        data.PixelData = encapsulate(encoded) if encoded else pixels.astype(pixels.dtype.newbyteorder("<" if little else ">")).tobytes()
        data["PixelData"].VR = "OB" if encoded or pixels.itemsize == 1 else "OW"
    data.save_as(path, enforce_file_format=True)
    return path


def refused(path: Path, message: str, frame: int | None = None) -> None:
    """Check that reading is refused in one line that starts with the file, matches, and names nobody."""
    with pytest.raises(InputError, match=message) as caught:
        read_stored(path, frame=frame)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{path}: ")
    assert not any(name in text for name in NAMES)


# ---- all files that pydicom ships ------------------------------------------------------------------------------------
def test_the_table_of_the_document_is_what_happens() -> None:
    written = dicom_table.DOC.read_text(encoding="utf-8")
    if f"\npydicom {pydicom.__version__}: " not in written:
        pytest.skip(f"docs/dicom.md was written with another pydicom than {pydicom.__version__}")
    assert written.endswith(dicom_table.table())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.relative_to(dicom_table.DATA).as_posix())
def test_shipped_file(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    start = time.perf_counter()
    read = dicom_table.outcome(path)
    assert time.perf_counter() - start < 2
    assert capfd.readouterr() == ("", "")
    if isinstance(read, str):
        assert read
        assert "\n" not in read
        assert isinstance(theirs(path), str) or any(reason in read for reason in STRICTER)
        return
    low, high = read.range or (-np.inf, np.inf)
    assert low <= read.pixels.min()
    assert read.pixels.max() <= high + 1e-3
    if read.voi is not None:
        shown = read.voi(read.pixels)
        assert shown.shape == read.pixels.shape
        assert shown.dtype == np.float32
        assert shown.min() >= 0
        assert shown.max() <= 1
    compare(read, path)


STRICTER = ("at least 8 a side", "damaged DICOM header")
"""What is refused here although pydicom decodes it: images too small to be any, and files whose NumberOfFrames is no number."""


def theirs(path: Path) -> Dataset | str:
    """Decode with pydicom alone and whatever decoder it finds; return why it fails where it does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data = dcmread(path)
            data.pixel_array  # noqa: B018
        except Exception as error:  # noqa: BLE001
            return type(error).__name__
        return data


def compare(read: Stored, path: Path) -> None:
    """Compare a file with pydicom's own decoding, modality LUT and VOI LUT."""
    data = theirs(path)
    if isinstance(data, str):
        assert path.name in ("JPEG-lossy.dcm", "JPGExtended.dcm", "SC_rgb_jpeg_gdcm.dcm"), (
            "only JPEG syntaxes that pydicom has no decoder for"
        )
        return
    pixels = data.pixel_array[0] if int(data.get("NumberOfFrames", 1)) > 1 else data.pixel_array
    if data.PhotometricInterpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, data)
    elif data.SamplesPerPixel == 1:
        pixels = apply_modality_lut(pixels, data)
    assert np.allclose(read.pixels, pixels, rtol=1e-6, atol=0)
    assert read.inverted == (data.PhotometricInterpretation == "MONOCHROME1")
    if read.voi is not None:
        low, high = read.range or (0, 1)
        shown = (apply_voi_lut(pixels, data) - low) / (high - low)
        assert np.abs(read.voi(read.pixels) - shown).max() < 1e-5


def test_the_same_picture_in_several_transfer_syntaxes() -> None:
    def pixels(name: str) -> np.ndarray:
        return read_stored(TEST_FILES / name).pixels.astype(int)

    slice_ = pixels("MR_small.dcm")
    for name in ("RLE", "bigendian", "expb", "implicit", "jp2klossless", "jpeg_ls_lossless", "padded"):
        assert np.array_equal(pixels(f"MR_small_{name}.dcm"), slice_), name
    bars = pixels("SC_rgb_rle.dcm")
    for name in ("gdcm_KY", "jpeg_gdcm"):  # planar; JPEG lossless
        assert np.array_equal(pixels(f"SC_rgb_{name}.dcm"), bars), name
    for name in ("dcmtk_+eb+cr", "dcmtk_+eb+cy+n1", "dcmtk_+eb+cy+np", "jpeg_dcmtk", "jpeg_lossy_gdcm"):
        assert np.abs(pixels(f"SC_rgb_{name}.dcm") - bars).mean() < 6, name
    assert np.array_equal(pixels("JPEG-lossy.dcm"), pixels("JPGExtended.dcm"))  # 12 bits, twice the same codestream
    assert np.corrcoef(pixels("JPEG-lossy.dcm").ravel(), pixels("JPEG2000.dcm").ravel())[0, 1] > 0.9  # one bone scan, two lossy codecs


# ---- written here: every way in which numbers are stored -------------------------------------------------------------
@pytest.mark.parametrize(
    "syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian]
)
@pytest.mark.parametrize(("dtype", "bits"), [("u1", 8), ("u1", 7), ("u2", 12), ("i2", 12), ("i2", 16), ("u4", 32)])
def test_uncompressed_integers(tmp_path: Path, syntax: str, dtype: str, bits: int) -> None:
    signed = dtype[0] == "i"
    pixels = (RAMP % 2 ** min(bits, 8) - (100 if signed else 0)).astype(dtype)
    path = write(tmp_path / "a.dcm", pixels, syntax=syntax, BitsStored=bits)
    read = read_stored(path)
    assert np.array_equal(read.pixels, pixels)
    assert read.pixels.dtype == np.dtype(dtype)
    assert read.unit == f"{bits}-bit"
    assert read.range == ((-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("syntax", [uid.JPEGLossless, uid.JPEGLosslessSV1])
def test_jpeg_lossless(tmp_path: Path, syntax: str, dtype: Any) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    pixels = (RAMP * (257 if dtype == np.uint16 else 1)).astype(dtype)
    encoded = imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=1 if syntax == uid.JPEGLosslessSV1 else 4)
    assert np.array_equal(read_stored(write(tmp_path / "a.dcm", pixels, syntax=syntax, encoded=[encoded])).pixels, pixels)
    signed = (pixels.astype(int) - 2 ** (8 * pixels.itemsize - 1)).astype(f"i{pixels.itemsize}")
    encoded = imagecodecs.jpeg8_encode(signed.view(dtype), lossless=True)
    assert np.array_equal(read_stored(write(tmp_path / "b.dcm", signed, syntax=syntax, encoded=[encoded])).pixels, signed)


def test_high_throughput_jpeg_2000(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    if not imagecodecs.HTJ2K.available:
        pytest.skip("this imagecodecs cannot write HTJ2K")
    pixels = (RAMP * 16).astype(np.uint16)
    encoded = bytes(imagecodecs.htj2k_encode(pixels))
    assert np.array_equal(read_stored(write(tmp_path / "a.dcm", pixels, syntax=uid.HTJ2KLossless, encoded=[encoded])).pixels, pixels)


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_float_pixels_have_no_unit(tmp_path: Path, kind: str) -> None:
    pixels = (RAMP / 7).astype(kind)
    read = read_stored(write(tmp_path / "a.dcm", pixels, RescaleSlope=2, RescaleIntercept=-1))
    assert np.allclose(read.pixels, pixels * 2 - 1)
    assert (read.unit, read.range) == (None, None)


def test_left_aligned_samples_are_shifted(tmp_path: Path) -> None:
    pixels = (RAMP * 16).astype(np.uint16)
    path = write(tmp_path / "a.dcm", pixels << 4, BitsStored=12, HighBit=15)
    assert np.array_equal(read_stored(path).pixels, pixels)


def test_monochrome1_is_told_and_not_applied(tmp_path: Path) -> None:
    read = read_stored(write(tmp_path / "a.dcm", RAMP.astype(np.uint8), PhotometricInterpretation="MONOCHROME1"))
    assert read.inverted
    assert np.array_equal(read.pixels, RAMP)


def test_planar_colour_and_ybr(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    planar = np.ascontiguousarray(colour.transpose(2, 0, 1)).reshape(16, 16, 3)
    assert np.array_equal(read_stored(write(tmp_path / "a.dcm", planar, PlanarConfiguration=1)).pixels, colour)
    ybr = np.asarray(Image.fromarray(colour).convert("YCbCr"))
    read = read_stored(write(tmp_path / "b.dcm", ybr, PhotometricInterpretation="YBR_FULL"))
    assert np.abs(read.pixels.astype(int) - colour).max() <= 3  # rounded twice
    assert (read.unit, read.range, read.voi) == ("8-bit", (0, 255), None)


def test_palette(tmp_path: Path) -> None:
    tables: dict[str, Any] = {}
    for colour, factor in (("Red", 1), ("Green", 2), ("Blue", 3)):
        tables[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tables[f"{colour}PaletteColorLookupTableData"] = (np.arange(256) * factor * 85).astype("<u2").tobytes()
    read = read_stored(write(tmp_path / "a.dcm", RAMP.astype(np.uint8), PhotometricInterpretation="PALETTE COLOR", **tables))
    assert np.array_equal(read.pixels, RAMP[:, :, None] * np.array([85, 170, 255]))
    assert (read.unit, read.range) == ("16-bit", (0, 65535))


def test_hounsfield_units_and_the_window_of_the_file(tmp_path: Path) -> None:
    stored = (RAMP * 16).astype(np.uint16)
    changes: dict[str, Any] = {
        "Modality": "CT",
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "WindowCenter": [40, -600],
        "WindowWidth": [400, 1500],
    }
    read = read_stored(write(tmp_path / "a.dcm", stored, BitsStored=12, PixelSpacing=[0.7, 0.8], PixelPaddingValue=0, **changes))
    assert (read.unit, read.range, read.spacing) == ("HU", (-1024, 3071), (0.7, 0.8))
    assert np.array_equal(read.pixels, stored.astype(int) - 1024)  # padding too
    assert read.voi is not None
    assert read.voi(np.array([-160, 239, 39.5])).tolist() == pytest.approx([0, 1, 0.5])


def test_modality_table(tmp_path: Path) -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [256, 0, 12])
    item.add_new("LUTData", "US", [4095 - 16 * k for k in range(256)])
    item.ModalityLUTType = "US"
    read = read_stored(write(tmp_path / "a.dcm", RAMP.astype(np.uint8), ModalityLUTSequence=[item], WindowCenter=2048, WindowWidth=4096))
    assert np.array_equal(read.pixels, 4095 - 16 * RAMP)
    assert (read.unit, read.range) == ("12-bit", (0, 4095))


def test_functional_groups_of_an_enhanced_image(tmp_path: Path) -> None:
    def groups(**macros: dict[str, Any]) -> Dataset:
        out = Dataset()
        for keyword, values in macros.items():
            item = Dataset()
            for key, value in values.items():
                setattr(item, key, value)
            setattr(out, keyword, [item])
        return out

    shared = groups(PixelMeasuresSequence={"PixelSpacing": [0.4, 0.6]})
    each = [groups(PixelValueTransformationSequence={"RescaleSlope": k + 1, "RescaleIntercept": -k, "RescaleType": "HU"}) for k in range(3)]
    pixels = np.stack([RAMP + k for k in range(3)]).astype(np.uint16)
    path = write(
        tmp_path / "a.dcm", pixels, NumberOfFrames=3, SharedFunctionalGroupsSequence=[shared], PerFrameFunctionalGroupsSequence=each
    )
    for k in range(3):
        read = read_stored(path, frame=k)
        assert np.array_equal(read.pixels, (RAMP + k) * (k + 1) - k)
        assert (read.unit, read.spacing, read.frames) == ("HU", (0.4, 0.6), 3)
    refused(path, "3 frames; choose one with frame=0 ... 2")
    refused(path, "no frame 3; it has 3 frames, 0 to 2", frame=3)


def test_without_preamble_and_without_meta_information(tmp_path: Path) -> None:
    pixels = RAMP.astype(np.uint16)
    data = dcmread(write(tmp_path / "a.dcm", pixels))
    for implicit in (True, False):
        buffer = io.BytesIO()
        bare = Dataset()
        bare.update({element.tag: element for element in data})
        bare.save_as(buffer, implicit_vr=implicit, little_endian=True)
        (tmp_path / "b.dcm").write_bytes(buffer.getvalue())
        assert np.array_equal(read_stored(tmp_path / "b.dcm").pixels, pixels)


# ---- memory, time, hostile files -------------------------------------------------------------------------------------
@pytest.mark.parametrize("compressed", [False, True])
def test_only_the_wanted_frame_is_read(tmp_path: Path, compressed: bool) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "jpeg", quality=95)
    encoded = [buffer.getvalue()] * 3000 if compressed else None
    pixels = np.broadcast_to(frame, (3000, 64, 64))
    path = write(
        tmp_path / "a.dcm",
        pixels,
        syntax=uid.JPEGBaseline8Bit if compressed else uid.ExplicitVRLittleEndian,
        encoded=encoded,
        NumberOfFrames=3000,
    )
    read_stored(path, frame=0)
    tracemalloc.start()
    start = time.perf_counter()
    read = read_stored(path, frame=2999)
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.abs(read.pixels.astype(int) - frame).mean() < 12
    assert peak < 3e6 < path.stat().st_size
    assert seconds < 2


def test_large_headers_are_refused_before_decoding(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", RAMP.astype(np.uint16), Rows=65535, Columns=65535)
    refused(path, "65535x65535 pixels; 67,108,864 are the most")
    refused(
        write(tmp_path / "b.dcm", RAMP.astype(np.uint16), Rows=8000, Columns=8000),
        "truncated, 512 bytes of pixels where 128,000,000 are needed",
    )
    refused(write(tmp_path / "c.dcm", RAMP[None].astype(np.uint16), NumberOfFrames=2**31 - 1), "truncated", frame=2**31 - 2)


def test_a_codestream_of_another_size_than_the_header_is_not_decoded(tmp_path: Path) -> None:
    small, large = io.BytesIO(), io.BytesIO()
    Image.fromarray(RAMP.astype(np.uint8)).save(small, "jpeg")
    Image.new("L", (5000, 5000)).save(large, "jpeg2000")
    path = write(tmp_path / "a.dcm", np.zeros((16, 17), np.uint8), syntax=uid.JPEGBaseline8Bit, encoded=[small.getvalue()])
    refused(path, "the compressed image is 16x16, but its header says 17x16")
    path = write(tmp_path / "b.dcm", RAMP.astype(np.uint8), syntax=uid.JPEG2000, encoded=[large.getvalue()])
    refused(path, "the compressed image is 5000x5000, but its header says 16x16")


def test_a_deflated_file_cannot_inflate_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.dcm", np.zeros((500, 500), np.uint16), syntax=uid.DeflatedExplicitVRLittleEndian)
    assert read_stored(path).pixels.shape == (500, 500)
    monkeypatch.setattr("umsrep.zoo.dicom._MOST_INFLATED", 100_000)
    refused(path, "inflates to more than 100,000 bytes")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"PhotometricInterpretation": "CMYK"}, "photometric interpretation is not one of MONOCHROME1"),
        ({"SamplesPerPixel": 3, "PlanarConfiguration": 0}, "3 samples a pixel contradict MONOCHROME2"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "damaged grey-scale"),
        ({"BitsStored": 9, "BitsAllocated": 8}, "damaged, truncated or contradictory pixel data"),
        ({"BitsAllocated": 12}, "truncated, 256 bytes of pixels where 384 are needed"),
        ({"BitsAllocated": 4}, "damaged, truncated or contradictory pixel data"),
        ({"syntax": uid.MPEG2MPML, "encoded": [b"1234"]}, "compressed as MPEG2 .* not supported; store it uncompressed or as JPEG 2000"),
        ({"syntax": uid.JPEG2000, "encoded": [b"\xff\x4f\xff\x51" + bytes(60)]}, "the compressed image is 0x0"),
        ({"syntax": uid.RLELossless, "encoded": [b"\1" + bytes(80)]}, "damaged, truncated or contradictory pixel data"),
    ],
)
def test_contradictions_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    refused(write(tmp_path / "a.dcm", RAMP.astype(np.uint8), **changes), message)


def test_an_unknown_transfer_syntax_is_refused_without_quoting_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", RAMP.astype(np.uint8), syntax=uid.JPEG2000, encoded=[b"1234"])
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.4.91", b"1.2.840.10008.1.2.4.77"))
    refused(path, "compressed as an unknown transfer syntax, which is not supported")


def test_objects_without_an_image_say_what_they_are(tmp_path: Path) -> None:
    refused(TEST_FILES / "test-SR.dcm", "a DICOM object 'Comprehensive SR Storage' without pixel data")
    refused(TEST_FILES / "rtplan.dcm", "'RT Plan Storage'")
    (tmp_path / "a.dcm").write_bytes(b"hello")
    refused(tmp_path / "a.dcm", "not a DICOM image|damaged DICOM header")


CODECS = [
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "JPGExtended.dcm",
]


@pytest.mark.parametrize("name", [*CODECS, "image_dfl.dcm", "examples_palette.dcm"])
def test_damaged_files_load_or_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    whole = (TEST_FILES / name).read_bytes()
    random = np.random.default_rng(0)
    refusals = 0
    for number in range(40):
        content = bytearray(whole)
        for at in random.integers(128, len(whole), 1 + number % 8):
            content[at] = random.integers(0, 256)
        cut = random.integers(0, len(whole)) if number % 4 == 0 else len(whole)
        (tmp_path / "a.dcm").write_bytes(content[:cut])
        try:
            read_stored(tmp_path / "a.dcm", frame=0)
        except InputError as error:
            refusals += "\n" not in str(error)
        else:
            refusals += 0
    assert refusals >= 5


# ---- identity --------------------------------------------------------------------------------------------------------
def test_nothing_of_the_patient_leaves(tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.DEBUG)
    path = write(tmp_path / "a.dcm", RAMP.astype(np.uint8))
    said = [repr(read_stored(path))]
    broken = path.read_bytes().replace(b"MONOCHROME2 ", b"ID-4711     ")
    cut = path.read_bytes()[:-300]
    for content in (broken, cut, path.read_bytes()[:400]):
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            read_stored(path)
        said.append("".join(traceback.format_exception(caught.value)))
    said += [record.getMessage() for record in caplog.records] + list(capfd.readouterr())
    assert not [name for name in NAMES if any(name in text for text in said)]
    assert not caplog.records
