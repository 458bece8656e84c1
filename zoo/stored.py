"""Any image source as it is stored: pixels, and what the source itself declares about them.

`read_stored` reads; what the pixels mean to an encoder is decided by `umsrep.zoo.input_contract`.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import math
import struct
import threading
import tokenize
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from umsrep.errors import InputError

Source = str | Path | np.ndarray | Image.Image

MAX_PIXELS = 2**26
"""Most pixels of one image (8192 x 8192, twice the largest mammograms), checked on the header before anything is decoded."""

MAX_VALUES = 3 * 2**25
"""Most values of one image, pixels times channels (33 megapixels of RGB): 0.4 GB as float32."""

MAX_FRAMES = 4096
"""Most pages of a TIFF, or frames of a GIF, PNG or WebP: each is reached only through all before it."""

MIN_SIDE = 8
"""Fewest pixels a side."""

DAMAGED = (
    # what Pillow, numpy, pydicom, nibabel and the decoders behind them raise on damaged bytes; none of them has one family
    *(OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, MemoryError),
    *(struct.error, zlib.error, tokenize.TokenError, Image.DecompressionBombError, Image.DecompressionBombWarning),
)

_MAX_CHANNELS = 64
PICTURES = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000", "PPM")  # not EPS, which starts another program
_BANDS = {"RGB": 3, "RGBA": 3, "CMYK": 4, "YCbCr": 3, "P": 3, "PA": 3, "LAB": 3, "HSV": 3}
_MOST_SCANS = 100  # the usual progressions have 6 to 10 for colour
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_FULL_SCALE = {"8-bit": 255.0, "12-bit": 4095.0, "unit-interval": 1.0}
_ORIENTATION, _PHOTOMETRIC = 0x0112, 262  # EXIF and TIFF tags


@dataclasses.dataclass(frozen=True)
class Stored:
    """One image as its source stores it. It holds no identity: nothing of a header but the fields below.

    Attributes:
        pixels: [H, W] or [H, W, C] of uint8, uint16, int or float. Bilevel images are 0 and 255. DICOM: after the modality rescale;
            palettes and YBR are RGB.
        unit: What the source declares a value to be: ``8-bit``, ``12-bit``, ... ``HU``, ``unit-interval`` (floats, by convention);
            None where it does not say (16-bit PNG and TIFF, integer arrays and NIfTI).
        range: The values that unit means, ``(low, high)``; None where undeclared.
        voi: The file's own display rule (DICOM VOI LUT or window): pixels -> float32 0-1 of the same shape. None without one.
        inverted: High values are meant to be dark (DICOM MONOCHROME1, 16-bit TIFF WhiteIsZero).
        spacing: Distance of pixel centres in mm, ``(row, column)``; None where unknown. The print resolution of PNG, JPEG and TIFF is none.
        frames: Images in the source.
    """

    pixels: np.ndarray
    unit: str | None = None
    range: tuple[float, float] | None = None
    voi: Callable[[np.ndarray], np.ndarray] | None = None
    inverted: bool = False
    spacing: tuple[float, float] | None = None
    frames: int = 1


def read_stored(source: Source, *, frame: int | None = None) -> Stored:
    """Read one image.

    Args:
        source: Path of a PNG, JPEG, TIFF, BMP (also GIF, WebP, JPEG 2000, PGM), ``.npy``, DICOM or NIfTI file, told apart by their first
            bytes; an array [H, W] or [H, W, C]; or a PIL image. The EXIF orientation is applied: pixels as people see them.
        frame: Which image of a file that holds several (DICOM and TIFF frames, NIfTI slices along the third axis), from 0.

    Returns:
        The pixels, at least 8 a side, with what the source declares about them.

    Raises:
        InputError: naming the file: missing, damaged, not an image, larger than `MAX_PIXELS`, smaller than 8 pixels a side, transparent,
            of a colour mode or depth that cannot be kept, or of several frames without ``frame``.
    """
    name = label(source)
    if isinstance(source, str | Path):
        stored = _read_file(Path(source), name, frame)
    elif isinstance(source, Image.Image):
        stored = _from_pil(source, name, frame)
    elif isinstance(source, np.ndarray):
        choose_frame(1, frame, name)
        stored = from_array(source, name)
    else:
        raise InputError(f"{name}: expected a path, a numpy array or a PIL image")
    if stored.pixels.ndim == 3 and stored.pixels.shape[2] == 1:
        stored = dataclasses.replace(stored, pixels=stored.pixels[:, :, 0])
    check_shape(stored.pixels.shape, name)
    return stored


def label(source: object) -> str:
    """Name a source in a message, on one line whatever the path holds."""
    text = str(source) if isinstance(source, str | Path) else f"<{type(source).__name__}>"
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def check_shape(shape: tuple[int, ...], name: str) -> None:
    """Refuse what is not [H, W] or [H, W, C], too small or too large."""
    if len(shape) not in (2, 3) or (len(shape) == 3 and not 0 < shape[2] <= _MAX_CHANNELS):
        raise InputError(f"{name}: shape {shape}; an image is [H, W] or [H, W, C]")
    if min(shape[:2]) < MIN_SIDE:
        raise InputError(f"{name}: {shape[1]}x{shape[0]} pixels; an image has at least {MIN_SIDE} a side")
    if shape[0] * shape[1] > MAX_PIXELS:
        raise InputError(f"{name}: {shape[1]}x{shape[0]} pixels; {MAX_PIXELS:,} are the most: crop it or make it smaller")
    if math.prod(shape) > MAX_VALUES:
        raise InputError(
            f"{name}: {shape[1]}x{shape[0]} pixels of {shape[2]} channels; {MAX_VALUES:,} values are the most: make it smaller"
        )


def choose_frame(frames: int, frame: int | None, name: str, what: str = "frames") -> int:
    """Return the index to read of a source of so many frames, or refuse."""
    if frame is None:
        if frames > 1:
            raise InputError(f"{name}: {frames} {what}; choose one with frame=0 ... {frames - 1}")
        return 0
    if not 0 <= frame < frames:
        have = f"{frames} {what}, 0 to {frames - 1}" if frames > 1 else "one image, frame 0"
        raise InputError(f"{name}: no frame {frame}; it has {have}")
    return frame


class _Shared:
    """A setting of the whole process that several threads may want at once: the first in makes it, the last out takes it back."""

    def __init__(self) -> None:
        self.lock, self.users, self.stack = threading.Lock(), 0, contextlib.ExitStack()

    def enter(self, make: Callable[[contextlib.ExitStack], None]) -> None:
        with self.lock:
            self.users += 1
            if self.users == 1:
                make(self.stack)

    def leave(self) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0:
                self.stack.close()


_WARNINGS = _Shared()
_LOGGERS: dict[str, _Shared] = collections.defaultdict(_Shared)


@contextlib.contextmanager
def no_warnings() -> Iterator[None]:
    """Drop warnings, in any number of threads; but of a decompression bomb Pillow's becomes an error."""

    def make(stack: contextlib.ExitStack) -> None:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)

    _WARNINGS.enter(make)
    try:
        yield
    finally:
        _WARNINGS.leave()


@contextlib.contextmanager
def readable(name: str, what: str = "image") -> Iterator[None]:
    """Turn what Pillow and numpy raise on a damaged file into one error that names it; their warnings about metadata are dropped."""
    try:
        with no_warnings():
            yield
    except InputError:
        raise
    except UnidentifiedImageError as error:
        if what != "image":
            raise InputError(f"{name}: damaged or unreadable {what} (of no known image format)") from error
        raise InputError(f"{name}: not an image that can be read (PNG, JPEG, TIFF, BMP, DICOM, NIfTI or .npy)") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{name}: more pixels than {MAX_PIXELS:,}, the most that are read: crop it or make it smaller") from error
    except DAMAGED as error:
        raise InputError(f"{name}: damaged or unreadable {what} ({_one_line(error)})") from error


@contextlib.contextmanager
def silenced(logger_name: str) -> Iterator[None]:
    """Keep a library from logging: what it says of a damaged or odd header quotes the header."""
    logger = logging.getLogger(logger_name)

    def make(stack: contextlib.ExitStack) -> None:
        stack.callback(setattr, logger, "disabled", logger.disabled)
        logger.disabled = True

    _LOGGERS[logger_name].enter(make)
    try:
        yield
    finally:
        _LOGGERS[logger_name].leave()


def _one_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return label(lines[0]) if lines else type(error).__name__


def _read_file(path: Path, name: str, frame: int | None) -> Stored:
    with readable(name):
        if not path.is_file():
            raise InputError(f"{name}: a folder; name the files in it" if path.is_dir() else f"{name}: no such file")
        with path.open("rb") as file:
            head = file.read(132)
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if head[128:] == b"DICM" or path.suffix.lower() in _DICOM_SUFFIXES:
        from umsrep.zoo.dicom import read_dicom

        return read_dicom(path, name, frame)
    if suffixes[-1:] == [".nii"] or suffixes == [".nii", ".gz"]:
        from umsrep.zoo.nifti import read_nifti

        return read_nifti(path, name, frame)
    with readable(name):
        if head.startswith(b"\x93NUMPY"):
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)  # refuses a header that claims more than the file holds
            check_shape(mapped.shape, name)
            choose_frame(1, frame, name)
            return from_array(np.array(mapped), name)
        # a stream, not the path: Pillow 13 maps an uncompressed grey TIFF from its path, with height and width exchanged where it is turned
        with open_picture(path, name) as image:
            return _from_pil(image, name, frame)


@contextlib.contextmanager
def open_picture(path: Path, name: str) -> Iterator[Image.Image]:
    """Open a file that Pillow reads, of the formats that may be, with its header checked; inside `readable`.

    Raises:
        InputError: for a shape that `check_shape` refuses, too many frames, or a JPEG of more scans than any encoder writes.
    """
    with path.open("rb") as file, Image.open(file, formats=PICTURES) as image:
        check_shape((image.height, image.width, _BANDS.get(image.mode, 1)), name)
        if image.format == "TIFF":  # Pillow counts pages in time that grows with the square of their number
            with contextlib.suppress(EOFError):
                for page in range(1, MAX_FRAMES + 1):
                    image.seek(page)
                raise InputError(f"{name}: more than {MAX_FRAMES:,} pages, the most that are read: divide it")
            image.seek(0)
        elif (frames := getattr(image, "n_frames", 1)) > MAX_FRAMES:
            raise InputError(f"{name}: {frames:,} frames; {MAX_FRAMES:,} are the most: divide it")
        if image.format == "JPEG" and image.info.get("progressive") and _scans(path) > _MOST_SCANS:
            raise InputError(f"{name}: a progressive JPEG of more than {_MOST_SCANS} scans; save it again")
        yield image


def _scans(path: Path) -> int:
    """Count the scans of a JPEG file, each of which costs the decoder a pass over the whole image however small it is."""
    return path.read_bytes().count(b"\xff\xda")


def from_array(
    array: np.ndarray, name: str, *, inverted: bool = False, spacing: tuple[float, float] | None = None, frames: int = 1
) -> Stored:
    """Give an array the unit that its type says by convention: uint8 (and bool) is 8-bit, floats are 0-1, deeper integers say nothing."""
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    if array.dtype.kind not in "iuf":
        raise InputError(f"{name}: cannot read pixels of type {array.dtype}")
    unit = "8-bit" if array.dtype == np.uint8 else "unit-interval" if array.dtype.kind == "f" else None
    return Stored(array, unit, (0.0, _FULL_SCALE[unit]) if unit else None, None, inverted, spacing, frames)


def _from_pil(image: Image.Image, name: str, frame: int | None) -> Stored:
    with readable(name):  # Pillow reads the pixels only now
        frames = getattr(image, "n_frames", 1)
        index = choose_frame(frames, frame, name)
        if index != (image.tell() if frames > 1 else 0):
            image.seek(index)
        check_shape((image.height, image.width), name)
        raw = _raw_modes(image)
        white_is_zero = image.mode.startswith("I;16") and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0
        if image.getexif().get(_ORIENTATION, 1) != 1:
            image = ImageOps.exif_transpose(image)
        pixels = np.asarray(_plain(image, raw, name))
    stored = from_array(pixels, name, inverted=white_is_zero, frames=frames)
    if any(mode.startswith("I;12") for mode in raw):  # TIFF of 12 bits a sample: the one deep format that says its depth
        return dataclasses.replace(stored, unit="12-bit", range=(0.0, _FULL_SCALE["12-bit"]))
    return stored


def _raw_modes(image: Image.Image) -> list[str]:
    """Pillow's names of how the pixels lie in the file; empty once they are loaded."""
    tiles = [tile[3] for tile in getattr(image, "tile", [])]
    return [mode for args in tiles if isinstance(mode := args[0] if isinstance(args, tuple) and args else args, str)]


def _plain(image: Image.Image, raw: list[str], name: str) -> Image.Image:
    """Palettes to RGB, opaque alpha off; refuse what would lose something."""
    if image.mode in ("RGB", "RGBA", "LA") and any(";16" in mode for mode in raw):
        raise InputError(f"{name}: 16-bit colour, of which Pillow would keep 8 bits; save it as .npy or as 8-bit RGB")
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in ("LA", "RGBA"):
        if image.getchannel("A").getextrema() != (255, 255):
            raise InputError(f"{name}: transparent pixels; flatten the image on a background first")
        image = image.convert("L" if image.mode == "LA" else "RGB")
    if image.mode not in ("1", "L", "RGB", "I;16", "I;16B", "I;16L", "I", "F"):
        raise InputError(f"{name}: colour mode {image.mode} is not supported; save it as grey or RGB")
    return image
