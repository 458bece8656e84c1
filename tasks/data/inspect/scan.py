"""Read every picture and mask of a manifest once and keep only small facts about each."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import itertools
import math
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from umsrep.errors import InputError
from umsrep.tasks.data.dataset import read_mask
from umsrep.tasks.data.inspect.duplicates import Fingerprint, fingerprint, grey
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.progress import track
from umsrep.zoo.stored import Stored, read_stored

IGNORE = 255
_FEW_VALUES, _MOST_VALUES = 16, 64
BINS = 64
"""Bins of an intensity histogram over the declared range; an 8-bit picture has one a grey level."""
THUMBNAIL = 112
"""Longest side of a thumbnail in pixels."""


@dataclasses.dataclass(frozen=True, slots=True)
class MaskFacts:
    """What is kept of one mask.

    Attributes:
        pixels: Value to number of pixels.
        contrast: Value to mean grey level inside minus that of the other pixels, in units of the picture's range; values from 1 to 254.
        grey: It looks like a grey picture: more than 64 values, or more than 16 and most neighbours in a row differ.
    """

    pixels: dict[int, int]
    contrast: dict[int, float]
    grey: bool = False


@dataclasses.dataclass(slots=True)
class Facts:
    """What is kept of one row.

    Attributes:
        size: (width, height) in pixels; None if the picture cannot be read.
        unit: As declared ("8-bit", "12-bit", "HU" ...), or "undeclared uint16".
        colour: grey, "grey stored as RGB", RGB, or "5 channels".
        low: Smallest stored value.
        high: Largest stored value.
        mean: Mean grey level as a fraction of the declared range; None where none is declared.
        inverted: The file says that its grey levels run from white to black.
        spacing: Distance of pixels in mm, (row, column), where the file or the table gives it.
        fill: Fraction of the declared range between the 0.5 and the 99.5 percentile of the pixels; None for 8 bits, where no range is
            declared, and where the file's own window or VOI LUT is applied.
        voi: A DICOM file has its own window or VOI LUT (True) or none (False); None for other files and colour.
        histogram: Pixels a grey level (8-bit) or a bin; None where no range is declared.
        fingerprint: For the search for copies.
        masks: Mask column to facts, of the masks that can be read.
        faults: (kind, one line) of what is wrong.
    """

    size: tuple[int, int] | None = None
    unit: str = ""
    colour: str = ""
    low: float = 0.0
    high: float = 0.0
    mean: float | None = None
    inverted: bool = False
    spacing: tuple[float, float] | None = None
    fill: float | None = None
    voi: bool | None = None
    histogram: np.ndarray | None = None
    fingerprint: Fingerprint | None = None
    masks: dict[str, MaskFacts] = dataclasses.field(default_factory=dict)
    faults: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    @property
    def anisotropic(self) -> bool:
        """Whether rows and columns are known to lie differently far apart, by more than 1 %."""
        return self.spacing is not None and not math.isclose(*self.spacing, rel_tol=0.01)


def scan(manifest: Manifest, mask_columns: Sequence[str], *, workers: int = 2) -> Generator[Facts, None, None]:
    """Yield the facts of each row in order, reading ``workers`` pictures at a time under a progress bar.

    Threads serve: decoding and hashing release the interpreter. At most four pictures a thread are in flight, so that memory does
    not grow with the set and Ctrl-C ends at once.
    """
    rows = iter(range(len(manifest)))
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        waiting = collections.deque(pool.submit(read_row, manifest, row, mask_columns) for row in itertools.islice(rows, 4 * workers))
        try:
            for _ in track(range(len(manifest)), "reading images", total=len(manifest)):
                facts = waiting.popleft().result()
                for row in itertools.islice(rows, 1):
                    waiting.append(pool.submit(read_row, manifest, row, mask_columns))
                yield facts
        finally:
            pool.shutdown(cancel_futures=True)


def read_row(manifest: Manifest, row: int, mask_columns: Sequence[str]) -> Facts:
    """Read one row's picture and masks; what cannot be read is among the faults, never an exception."""
    facts = Facts()
    try:
        source = manifest.image(row)
        stored = read_stored(source, frame=manifest.frame(row))
        facts.spacing = manifest.spacing(row) or stored.spacing
        if stored.pixels.ndim == 2 and isinstance(source, Path) and _is_dicom(source):
            facts.voi = stored.voi is not None
    except InputError as error:
        kind = "frame not chosen" if "choose one with frame=" in str(error) else "unreadable image"
        facts.faults.append((kind, named(manifest, row, error)))
        return facts
    level_HW = _describe(facts, stored)
    for column in mask_columns:
        name = manifest.columns[column][row]
        if not name:
            continue
        try:
            source = manifest.mask(column, row)
            mask = read_mask(source, f"{manifest.where(row)}: {column}") if isinstance(source, Path) else source
        except InputError as error:
            facts.faults.append(("unreadable mask", named(manifest, row, error)))
            continue
        if mask.shape != level_HW.shape:
            facts.faults.append(
                (
                    "mask of another size",
                    f"{manifest.where(row)}: {column} '{name}' is {mask.shape[1]}x{mask.shape[0]} pixels, the image "
                    f"{level_HW.shape[1]}x{level_HW.shape[0]}",
                )
            )
            continue
        facts.masks[column] = _mask_facts(mask, level_HW, stored)
    return facts


def _is_dicom(path: Path) -> bool:
    if path.suffix.lower() in (".dcm", ".dicom", ".ima"):
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def named(manifest: Manifest, row: int, error: InputError) -> str:
    """Return an error as one line that names its row."""
    text = " ".join(str(error).split())
    where = manifest.where(row)
    return text if where in text else f"{where}: {text}"


def _describe(facts: Facts, stored: Stored) -> np.ndarray:
    """Fill in what the picture says of itself; returns its grey levels [H, W] in stored units."""
    pixels = stored.pixels
    level = grey(pixels)
    facts.size = (level.shape[1], level.shape[0])
    facts.unit = stored.unit or f"undeclared {pixels.dtype}"
    if pixels.ndim == 2:
        facts.colour = "grey"
    elif pixels.shape[2] == 3:
        facts.colour = "grey stored as RGB" if level.dtype == pixels.dtype else "RGB"
    else:
        facts.colour = f"{pixels.shape[2]} channels"
    facts.low, facts.high = float(pixels.min()), float(pixels.max())
    facts.inverted = stored.inverted
    facts.fingerprint = fingerprint(pixels, level)
    if stored.range is not None:
        low, high = stored.range
        facts.mean = (float(level.mean(dtype=np.float64)) - low) / (high - low)
        if stored.unit == "8-bit":
            facts.histogram = np.bincount(np.round(level).astype(np.uint8).ravel(), minlength=256)
        else:
            facts.histogram = np.histogram(level, bins=BINS, range=(low, high))[0]
            if stored.voi is None:
                first, last = np.percentile(level, [0.5, 99.5])
                facts.fill = float(last - first) / (high - low)
    return level


def _mask_facts(mask_HW: np.ndarray, level_HW: np.ndarray, stored: Stored) -> MaskFacts:
    """Count the values, and say how each class stands out of its picture."""
    if mask_HW.dtype == np.uint8:
        counts = np.bincount(mask_HW.ravel(), minlength=256)
        sums = np.bincount(mask_HW.ravel(), weights=level_HW.ravel(), minlength=256)
        values = np.flatnonzero(counts)
        pixels = {int(v): int(counts[v]) for v in values}
        totals = {int(v): float(sums[v]) for v in values}
    else:
        found, inverse, numbers = np.unique(mask_HW, return_inverse=True, return_counts=True)
        pixels = {int(v): int(n) for v, n in zip(found, numbers, strict=True)}
        summed = np.bincount(inverse.ravel(), weights=level_HW.ravel())
        totals = {int(v): float(s) for v, s in zip(found, summed, strict=True)}
    contrast = {}
    if stored.range is not None:
        scale = stored.range[1] - stored.range[0]
        size, total = mask_HW.size, sum(totals.values())
        for value, number in pixels.items():
            if 0 < value < IGNORE and number < size:
                contrast[value] = (totals[value] / number - (total - totals[value]) / (size - number)) / scale
    dense = len(pixels) > _FEW_VALUES and float(np.mean(mask_HW[:, 1:] != mask_HW[:, :-1])) > 0.5
    return MaskFacts(pixels, contrast, len(pixels) > _MOST_VALUES or dense)


def thumbnail(manifest: Manifest, row: int, side: int = THUMBNAIL) -> Image.Image:
    """Return a small 8-bit grey or RGB copy of a row's picture: its declared range, or else its own lowest and highest value, is 0-255.

    A file's own window is applied, and MONOCHROME1 is shown as it is meant.

    Raises:
        InputError: if it cannot be read.
    """
    stored = read_stored(manifest.image(row), frame=manifest.frame(row))
    pixels = stored.pixels
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        pixels = grey(pixels)
    if pixels.dtype != np.uint8:
        if stored.voi is not None:
            shown = np.asarray(stored.voi(pixels), dtype=np.float32)
        else:
            low, high = stored.range if stored.range is not None else (float(pixels.min()), float(pixels.max()))
            shown = (pixels.astype(np.float32) - low) / max(high - low, 1e-12)
        pixels = np.round(np.clip(np.nan_to_num(shown), 0, 1) * 255).astype(np.uint8)
    if stored.inverted:
        pixels = 255 - pixels
    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return picture
