"""What stored DICOM values mean: rescale, modality and VOI tables, windows, Hounsfield units, pixel spacing.

References are to the DICOM standard, PS3.3. Every function takes the elements of one frame as a pydicom `Dataset`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
from pydicom import Dataset

from umsrep.errors import InputError

_CENTIMETRES = 3  # Physical Units X/Y Direction of an ultrasound region (C.8.5.5.1.15)


def _first(value: Any) -> Any:
    """Return the first of several values, or the one."""
    return value if isinstance(value, str | bytes) or not isinstance(value, Iterable) else next(iter(value), None)


# ---- modality: rescale (C.11.1) --------------------------------------------------------------------------------------
def _line(module: Dataset) -> tuple[float, float]:
    slope, intercept = (
        float(default if (v := module.get(key)) is None else v) for key, default in (("RescaleSlope", 1), ("RescaleIntercept", 0))
    )
    if not (math.isfinite(slope) and math.isfinite(intercept) and slope):
        raise ValueError("rescale")
    return slope, intercept


def rescale(pixels: np.ndarray, module: Dataset) -> np.ndarray:
    """Return ``slope * pixels + intercept``: unchanged for 1 and 0, int32 where that is exact, else float32 (float64 above 16 bits)."""
    slope, intercept = _line(module)
    if (slope, intercept) == (1, 0):
        return pixels
    if slope.is_integer() and intercept.is_integer() and pixels.dtype.kind in "iu":
        ends = rescaled_range(float(pixels.min()), float(pixels.max()), module)
        if ends[0] >= -(2**31) and ends[1] < 2**31:
            return (pixels.astype(np.int64) * int(slope) + int(intercept)).astype(np.int32)
    return (pixels * np.float64(slope) + intercept).astype(np.float32 if pixels.itemsize <= 2 or pixels.dtype == np.float32 else np.float64)


def rescaled_range(low: float, high: float, module: Dataset) -> tuple[float, float]:
    """Return what the ends of a range become by `rescale`, the smaller first."""
    slope, intercept = _line(module)
    ends = (low * slope + intercept, high * slope + intercept)
    return min(ends), max(ends)


def is_hounsfield(module: Dataset) -> bool:
    """Tell whether rescaled values are Hounsfield units.

    They are where Rescale Type (or Modality LUT Type) says ``HU``. A CT image without Rescale Type is in HU too (C.8.2.1: the type is
    required when it is not HU), unless it is a localizer, whose values C.8.2.1 leaves open.
    """
    table = (module.get("ModalityLUTSequence") or [None])[0]
    kind = module.get("RescaleType") if table is None else table.get("ModalityLUTType")
    if kind:
        return bool(str(kind).strip().upper() == "HU")
    rescaled = table is None and module.get("RescaleSlope") is not None and module.get("RescaleIntercept") is not None
    return bool(rescaled and module.get("Modality") == "CT" and "LOCALIZER" not in (module.get("ImageType") or ()))


# ---- tables (C.11.1.1, C.11.2.1.1) -----------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True)
class Table:
    """A modality or VOI look-up table: entry 0 for values up to ``first``, the last entry for values beyond the table."""

    entries: np.ndarray
    first: int
    bits: int

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Look up integer values (floats are rounded); the shape stays."""
        index = np.rint(pixels) if pixels.dtype.kind == "f" else pixels.astype(np.int64)
        found: np.ndarray = self.entries[np.clip(index - self.first, 0, len(self.entries) - 1).astype(np.int64)]
        return found


def look_up_table(item: Dataset, signed: bool) -> Table:
    """Read a table.

    Args:
        item: Item of a Modality LUT or VOI LUT Sequence.
        signed: Its input may be negative, which decides how the first mapped value is read.

    Raises:
        ValueError: for a descriptor that contradicts the data.
    """
    count, first, bits = (int(v) for v in item.LUTDescriptor)
    count = count % 65536 or 65536
    first %= 65536
    if signed and first >= 32768:
        first -= 65536
    data = item.LUTData
    if isinstance(data, bytes):
        order = "<" if item.original_encoding[1] is not False else ">"
        data = np.frombuffer(data, dtype=f"{order}u2" if len(data) >= 2 * count else np.uint8)
    entries = np.atleast_1d(np.asarray(data))[:count].astype(np.uint16)
    if len(entries) != count or not 1 <= bits <= 16 or entries.max() >= 2**bits:
        raise ValueError("look-up table")
    return Table(entries, first, bits)


# ---- display: VOI LUT and windows (C.11.2) ---------------------------------------------------------------------------
def display_rule(module: Dataset, signed: bool, name: str) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return the file's first VOI LUT, else its first window, as a function from rescaled values to float32 0-1; None without either.

    An impossible window is no error until the function is called, since the pixels can be used without it.
    """
    if module.get("VOILUTSequence"):
        return partial(apply_table, table=look_up_table(module.VOILUTSequence[0], signed))
    centre, width = _first(module.get("WindowCenter")), _first(module.get("WindowWidth"))
    if centre is None or width is None:
        return None
    function = str(module.get("VOILUTFunction") or "LINEAR").strip().upper()
    return partial(apply_window, centre=float(centre), width=float(width), function=function, name=name)


def apply_table(pixels: np.ndarray, *, table: Table) -> np.ndarray:
    """Map by a VOI LUT; its full scale is 1."""
    return table(pixels).astype(np.float32) / np.float32(2**table.bits - 1)


def apply_window(pixels: np.ndarray, *, centre: float, width: float, function: str, name: str) -> np.ndarray:
    """Map by a window to float32 0-1: LINEAR (C.11.2.1.2.1), SIGMOID (C.11.2.1.3.1) or LINEAR_EXACT (C.11.2.1.3.2).

    Raises:
        InputError: for another function or an impossible width.
    """
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise InputError(f"{name}: its VOI LUT Function is none of LINEAR, LINEAR_EXACT, SIGMOID; give the contract a window")
    if not (math.isfinite(centre) and math.isfinite(width) and width > 0 and (width >= 1 or function != "LINEAR")):
        raise InputError(f"{name}: its window (centre {centre:g}, width {width:g}) is impossible; give the contract a window")
    x = pixels.astype(np.float64)
    if function == "SIGMOID":
        return (1 / (1 + np.exp(np.clip(-4 * (x - centre) / width, -700, 700)))).astype(np.float32)
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
        if width == 0:
            return (x > centre).astype(np.float32)
    return np.clip((x - centre) / width + 0.5, 0, 1).astype(np.float32)


# ---- spacing ---------------------------------------------------------------------------------------------------------
def pixel_spacing(module: Dataset) -> tuple[float, float] | None:
    """Return the distance of pixel centres in mm, (row, column).

    Pixel Spacing (in the patient, or calibrated) comes before Imager Pixel Spacing (in the detector's plane: anatomy above it is
    magnified) and Nominal Scanned Pixel Spacing (on film). Ultrasound: the scale of the regions where all agree. Else None.
    """
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        if module.get(keyword) is not None:
            return _millimetres(module[keyword].value)
    regions = module.get("SequenceOfUltrasoundRegions") or []
    scales = set()
    for region in regions:
        if (region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")) != (_CENTIMETRES, _CENTIMETRES):
            return None  # a Doppler or M-mode region: its axes are not both lengths
        scales.add((abs(10 * float(region.PhysicalDeltaY)), abs(10 * float(region.PhysicalDeltaX))))
    return _millimetres(scales.pop()) if len(scales) == 1 else None


def _millimetres(value: Any) -> tuple[float, float] | None:
    """Two positive numbers, else None."""
    pair = [float(v) for v in value] if isinstance(value, Iterable) and not isinstance(value, str) else []
    return (pair[0], pair[1]) if len(pair) == 2 and all(math.isfinite(v) and v > 0 for v in pair) else None
