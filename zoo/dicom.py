"""DICOM files: one frame of pixels with its unit, display rule, photometric sense and spacing, and nothing of who is in it.

Only the elements of `_KEYWORDS` are read. Names, identifiers, dates and institutions are never loaded, and messages hold no value of the
header but sizes, counts and the names of the standard: pydicom's own messages and warnings quote values and are dropped.
References are to the DICOM standard, PS3.3.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydicom import Dataset, dcmread, uid
from pydicom.encaps import encapsulate, get_frame
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_file_meta_info
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, convert_color_space
from pydicom.pixels.utils import as_pixel_options
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from umsrep.errors import InputError
from umsrep.zoo.dicom_values import display_rule, is_hounsfield, look_up_table, pixel_spacing, rescale, rescaled_range
from umsrep.zoo.stored import DAMAGED, MAX_PIXELS, Stored, check_shape, choose_frame, no_warnings, silenced

_KEYWORDS = (
    *("SOPClassUID", "Modality", "ImageType", "NumberOfFrames"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "SequenceOfUltrasoundRegions"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *(f"{colour}PaletteColorLookupTable{part}" for colour in ("Red", "Green", "Blue") for part in ("Data", "Descriptor")),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
)
"""What is read of a header; nothing else is."""

_TAGS: list[BaseTag | int] = [Tag(keyword) for keyword in _KEYWORDS]

_GROUPS = ("PixelMeasuresSequence", "PixelValueTransformationSequence", "FrameVOILUTSequence")  # functional groups of enhanced images
_PIXELS = {(0x7FE0, 0x0010): "PixelData", (0x7FE0, 0x0008): "FloatPixelData", (0x7FE0, 0x0009): "DoubleFloatPixelData"}
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", *_COLOUR)
_NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian)
_DECODERS = {  # one decoder a transfer syntax, so that a file gives the same pixels everywhere; all under permissive licences
    uid.RLELossless: "pydicom",
    uid.JPEGBaseline8Bit: "pillow",
    **dict.fromkeys((uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1), "imagecodecs"),  # not one of pydicom's
    **dict.fromkeys((uid.JPEGLSLossless, uid.JPEGLSNearLossless), "pyjpegls"),
    **dict.fromkeys((uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K), "pylibjpeg"),
}
_MOST_INFLATED = 4 * MAX_PIXELS  # bytes of a deflated file: one image of the largest size in 32 bits, or a hundred frames of ultrasound
_PIECE = 2**20


def read_dicom(path: Path, name: str, frame: int | None = None) -> Stored:
    """Read one frame of a DICOM file; only that frame is decoded.

    Args:
        path: The file, with or without preamble.
        name: How messages name it.
        frame: Index from 0; needed where the file holds several.

    Returns:
        Grey or RGB pixels after the modality rescale (int32 where that is exact, else float) or modality LUT. The unit is ``HU`` where
        Rescale Type says so, or is absent on a CT image that is no localizer (C.8.2.1); otherwise ``<Bits Stored>-bit``; None for float
        pixel data. Padding values stay what they are. The display rule is the first VOI LUT, else the first window.

    Raises:
        InputError: for a file that is not DICOM, holds no image, is damaged or truncated, claims too many pixels, or is compressed or
            coloured in a way that is not supported.
    """
    with path.open("rb") as file:
        with _quiet(f"{name}: damaged DICOM header, or not a DICOM file"):
            data, source = _header(path, file, name)
            _check_header(data, name)
            frames = int(data.get("NumberOfFrames") or 1)
            index = choose_frame(frames, frame, name)
            options, syntax, length = _locate_pixels(data, source, name)
            module = _frame_module(data, index)
        what = f"damaged, truncated or contradictory pixel data ({_plain_name(syntax)})"
        with _quiet(f"{name}: {what}"):
            pixels = _decode(data, source, length, index, options, syntax, name)
    with _quiet(f"{name}: damaged grey-scale, colour or spacing element in its DICOM header"):
        return _describe(data, module, pixels, frames, name)


@contextlib.contextmanager
def _quiet(message: str) -> Iterator[None]:
    """Raise ``message`` for whatever pydicom or a decoder raises; silence its warnings and log, which quote values of the header."""
    try:
        # What they tell of is repaired by the codestream's own facts (colour space), harmless (padding) or found by our checks.
        with silenced("pydicom"), no_warnings():
            yield
    except InputError:
        raise
    except (*DAMAGED, BytesLengthException, InvalidDicomError):
        raise InputError(message) from None


# ---- header ----------------------------------------------------------------------------------------------------------
def _header(path: Path, file: BinaryIO, name: str) -> tuple[Dataset, BinaryIO]:
    """Read `_TAGS` up to the pixel data; return them and the stream, which stands there."""
    head = file.read(132)
    file.seek(0)
    if head[128:] == b"DICM":
        meta = read_file_meta_info(path)
        file.seek(0)
        if meta.get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian:
            file.seek(144 + meta.FileMetaInformationGroupLength)  # preamble, DICM and the group length element come before
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            inflated = io.BytesIO()
            while not inflater.eof and (packed := inflater.unconsumed_tail or file.read(_PIECE)):
                inflated.write(inflater.decompress(packed, _PIECE))
                if inflated.tell() > _MOST_INFLATED:
                    raise InputError(f"{name}: inflates to more than {_MOST_INFLATED:,} bytes, the most that are read")
            inflated.write(inflater.flush())
            inflated.seek(0)
            data = read_dataset(inflated, False, True, stop_when=lambda tag, *_: (tag.group, tag.element) in _PIXELS, specific_tags=_TAGS)
            data.file_meta = meta
            data.set_original_encoding(False, True)
            return data, inflated
    data = dcmread(file, stop_before_pixels=True, force=True, specific_tags=_TAGS)
    return data, file


def _check_header(data: Dataset, name: str) -> None:
    """Refuse objects without an image and images whose header lacks or breaks what decoding needs."""
    if "Rows" not in data:
        kind = data.get("SOPClassUID") or data.file_meta.get("MediaStorageSOPClassUID")
        if kind is None:
            raise InputError(f"{name}: not a DICOM image (no Rows element and no SOP class)")
        known = f"'{UID(kind).name}'" if UID(kind).type else "of an unknown SOP class"
        raise InputError(f"{name}: a DICOM object {known} without pixel data")
    for keyword in ("Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated"):
        if data.get(keyword) is None:
            raise InputError(f"{name}: its DICOM header has no {keyword}")
    check_shape((data.Rows, data.Columns, data.SamplesPerPixel), name)
    if data.PhotometricInterpretation not in _PHOTOMETRIC:
        raise InputError(f"{name}: its photometric interpretation is not one of {', '.join(_PHOTOMETRIC)}")
    if data.SamplesPerPixel != (3 if data.PhotometricInterpretation in _COLOUR else 1):
        raise InputError(f"{name}: {data.SamplesPerPixel} samples a pixel contradict {data.PhotometricInterpretation}")


def _locate_pixels(data: Dataset, source: BinaryIO, name: str) -> tuple[dict[str, Any], UID, int]:
    """Move the stream to the value of the pixel data; return pydicom's decoding options, the transfer syntax, the length."""
    little = data.original_encoding[1]
    head = source.read(8)
    implicit = head[4:6] not in (
        b"OB",
        b"OW",
        b"OF",
        b"OD",
        b"UN",
    )  # some files contradict their syntax; as lengths these are odd: impossible
    head += b"" if implicit else source.read(4)
    fields = ("<" if little else ">") + ("HHL" if implicit else "HH4xL")
    group, element, length = struct.unpack(fields, head) if len(head) == struct.calcsize(fields) else (0, 0, 0)
    if (group, element) not in _PIXELS:
        raise InputError(f"{name}: no pixel data in this DICOM file (left out, or cut off)")
    encapsulated = length == 0xFFFFFFFF
    syntax = data.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        if encapsulated:
            raise InputError(f"{name}: compressed, but without a transfer syntax that says how")
        syntax = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
    syntax = UID(syntax)
    if syntax not in _NATIVE and syntax not in _DECODERS:
        raise InputError(f"{name}: compressed as {_plain_name(syntax)}, which is not supported; store it uncompressed or as JPEG 2000")
    if encapsulated == (syntax in _NATIVE):
        raise InputError(f"{name}: {'' if encapsulated else 'un'}compressed pixels contradict the transfer syntax {_plain_name(syntax)}")
    options = as_pixel_options(data, pixel_keyword=_PIXELS[group, element], transfer_syntax_uid=syntax)
    options["pixel_vr"] = None if implicit else head[4:6].decode("ascii", "replace")
    return options, syntax, length


def _plain_name(syntax: UID) -> str:
    return syntax.name if syntax.type else "an unknown transfer syntax"


def _frame_module(data: Dataset, index: int) -> Dataset:
    """Return the elements that describe one frame: the top level with the functional groups of enhanced images laid over it."""
    module = Dataset()
    module.update({e.tag: e for e in data if e.VR != "SQ" or "FunctionalGroups" not in e.keyword})
    per_frame = data.get("PerFrameFunctionalGroupsSequence") or []
    for groups in (*(data.get("SharedFunctionalGroupsSequence") or [])[:1], *per_frame[index : index + 1]):
        for keyword in _GROUPS:
            for item in (groups.get(keyword) or [])[:1]:
                module.update(item)
    return module


# ---- pixels ----------------------------------------------------------------------------------------------------------
def _decode(data: Dataset, source: BinaryIO, length: int, index: int, options: dict[str, Any], syntax: UID, name: str) -> np.ndarray:
    """Decode one frame to [H, W] or RGB [H, W, 3] in the byte order of this machine."""
    if syntax in _NATIVE:
        pixels = _native(data, source, length, index, options, syntax, name)
    else:
        offsets = options.pop("extended_offsets", None)
        encoded = get_frame(source, index, number_of_frames=options.pop("number_of_frames"), extended_offsets=offsets)
        if syntax != uid.RLELossless and (size := _codestream_size(encoded)) != (data.Rows, data.Columns):
            raise InputError(f"{name}: the compressed image is {size[1]}x{size[0]}, but its header says {data.Columns}x{data.Rows}")
        if _DECODERS[syntax] == "pyjpegls" and not encoded.rstrip(b"\0").endswith(b"\xff\xd9"):
            raise ValueError  # CharLS searches the missing end of a truncated image for seconds
        if _DECODERS[syntax] == "imagecodecs":
            pixels = _jpeg(data, encoded)
        else:
            options |= {"number_of_frames": 1, "decoding_plugin": _DECODERS[syntax]}
            pixels, _ = get_decoder(syntax).as_array(encapsulate([encoded]), index=0, **options)
    if data.PhotometricInterpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, data)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _native(data: Dataset, source: BinaryIO, length: int, index: int, options: dict[str, Any], syntax: UID, name: str) -> np.ndarray:
    """Read one uncompressed frame."""
    start = source.tell()
    have = min(length, source.seek(0, io.SEEK_END) - start)
    source.seek(start)
    halved = data.PhotometricInterpretation == "YBR_FULL_422"  # two samples a pixel, not three
    bits = data.Rows * data.Columns * (2 if halved else data.SamplesPerPixel) * data.BitsAllocated
    if 8 * have < bits * (index + 1):
        raise InputError(f"{name}: truncated, {have:,} bytes of pixels where {-(-bits * (index + 1) // 8):,} are needed")
    stored = data.get("BitsStored") or 0
    shift = int(data.get("HighBit", stored - 1)) + 1 - stored
    options["correct_unused_bits"] = not shift
    pixels, _ = get_decoder(syntax).as_array(source, index=index, **options)
    if shift and pixels.dtype.kind in "iu":  # left-aligned samples of old scanners: High Bit is not Bits Stored - 1
        spare = 8 * pixels.itemsize - stored
        pixels = (pixels << (spare - shift)) >> spare
    return pixels


def _jpeg(data: Dataset, encoded: bytes) -> np.ndarray:
    """Decode JPEG of up to 16 bits, lossy or lossless, which Pillow cannot; the colour space is the header's."""
    import imagecodecs  # many libraries: only where it is needed

    colour = data.SamplesPerPixel == 3
    pixels: np.ndarray = imagecodecs.jpeg8_decode(encoded, colorspace="RGB" if colour else None, outcolorspace="RGB" if colour else None)
    if pixels.shape != ((data.Rows, data.Columns, 3) if colour else (data.Rows, data.Columns)):
        raise ValueError("components")
    if data.PixelRepresentation == 1:  # JPEG knows no sign: the samples are two's complement of Bits Stored bits
        spare = 8 * pixels.itemsize - data.BitsStored
        pixels = (pixels.view(f"i{pixels.itemsize}") << spare) >> spare
    return convert_color_space(pixels, "YBR_FULL", "RGB") if "YBR" in data.PhotometricInterpretation else pixels


def _codestream_size(encoded: bytes) -> tuple[int, int]:
    """Read (height, width) from a JPEG, JPEG-LS or JPEG 2000 codestream, without decoding it.

    Raises:
        ValueError: where there is no such codestream.
    """
    start = encoded.find(b"\xff\x4f\xff\x51", 0, 4096)  # SOC and SIZ, perhaps inside a JP2 file (ISO 15444-1, A.5.1)
    if start >= 0:
        width, height, left, top = struct.unpack_from(">4L", encoded, start + 8)
        return height - top, width - left
    if not encoded.startswith(b"\xff\xd8"):
        raise ValueError
    at = 2
    while True:  # ITU-T T.81, B.1.1: markers, each with the length of its segment
        marker, length = struct.unpack_from(">HH", encoded, at)
        if marker == 0xFFFF:  # fill byte
            at += 1
        elif marker == 0xFFF7 or (0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC)):  # a frame header
            height, width = struct.unpack_from(">HH", encoded, at + 5)
            return height, width
        else:
            at += 2 + length


# ---- meaning ---------------------------------------------------------------------------------------------------------
def _describe(data: Dataset, module: Dataset, pixels: np.ndarray, frames: int, name: str) -> Stored:
    rest = {"frames": frames, "spacing": pixel_spacing(module), "inverted": data.PhotometricInterpretation == "MONOCHROME1"}
    if pixels.dtype.kind == "f":
        return Stored(rescale(pixels, module), voi=display_rule(module, True, name), **rest)
    if data.PhotometricInterpretation == "PALETTE COLOR":
        bits, signed = 8 * pixels.itemsize, False
    else:
        bits, signed = int(data.BitsStored), data.PixelRepresentation == 1
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if pixels.min() < low or pixels.max() > high:
        raise InputError(f"{name}: values from {pixels.min()} to {pixels.max()}, but {bits} bits stored mean {low} to {high}")
    if pixels.ndim == 3:
        return Stored(pixels, f"{bits}-bit", (low, high), **rest)
    unit = "HU" if is_hounsfield(module) else None
    if module.get("ModalityLUTSequence"):
        table = look_up_table(module.ModalityLUTSequence[0], signed)
        pixels, low, high = table(pixels), 0, 2**table.bits - 1
        bits, signed = table.bits, False
    else:
        pixels, (low, high) = rescale(pixels, module), rescaled_range(low, high, module)
        signed = low < 0
    return Stored(pixels, unit or f"{bits}-bit", (low, high), voi=display_rule(module, signed, name), **rest)
