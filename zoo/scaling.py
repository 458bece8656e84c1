"""Stored values to 0-1 and to the wanted channels by the rules of a contract, and the error for a broken rule."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from umsrep.errors import InputError
from umsrep.zoo.stored import MAX_VALUES, Stored

if TYPE_CHECKING:
    from umsrep.zoo.input_contract import InputContract

_MOST = 1e30  # of a stored value: sums and differences stay finite in float32
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, the weights of Pillow's "L" and of JPEG
_DEEP = ("10-bit", "12-bit", "14-bit", "16-bit", "HU")  # what integers of undeclared depth are taken for where the contract names it


class ContractError(InputError):
    """An image breaks a rule of the input contract.

    Attributes:
        rule: The contract's field, or ``finite``.
    """

    def __init__(self, message: str, rule: str = "") -> None:
        """Take the whole message and the rule; `broken` composes them."""
        super().__init__(message)
        self.rule = rule


def broken(where: str, rule: str, problem: str) -> ContractError:
    """Return the error: what broke the rule (file, row or batch), the rule, and the problem with its remedy."""
    return ContractError(f"{where}: contract rule '{rule}': {problem}", rule)


class ContractWarning(UserWarning):
    """A rule of the input contract was bent, as ``lenient`` asked; the text says which and how.

    The text names no file, so that Python's default filter shows each rule once and not once a file.
    """


def scale(stored: Stored, contract: InputContract, name: str, *, lenient: bool = False) -> tuple[np.ndarray, tuple[str, ...]]:
    """Map stored values to 0-1.

    Args:
        stored: As `read_stored` gives it.
        contract: Its rules.
        name: Of the file, for errors.
        lenient: Bend the rules that can be bent.

    Returns:
        float32 of the pixels' shape, 0-1, and one line for each rule that was bent.

    Raises:
        ContractError: rules ``finite`` (never bent), ``unit`` and ``expected_range``.
    """
    pixels, bent = stored.pixels, []
    if pixels.dtype.kind == "f" and not (float(pixels.min()) >= -_MOST and float(pixels.max()) <= _MOST):  # NaN compares as false
        raise broken(name, "finite", f"NaN or infinite pixels, or values beyond {_MOST:g}; repair or leave out this image")
    meaning, declared = _meaning(stored, contract)
    window = contract.window
    expected = contract.expected_range or declared
    if contract.percentiles and contract.unit == "auto":
        expected = contract.expected_range  # no unit is needed: the image itself sets the scale
    elif meaning is None:
        if not lenient:
            remedy = "set unit to '12-bit' or '16-bit' (encoder.unit; predict and evaluate: --unit), HU with a window, or percentiles"
            if pixels.min() < 0:
                remedy = "set unit HU with a window, or percentiles"
            elif pixels.max() <= 255:
                remedy = "if these are 8-bit values, store them as such (uint8)"
            depth = f"{pixels.dtype} pixels (largest {pixels.max()}) of undeclared depth; the contract's unit is '{contract.unit}'"
            raise broken(name, "unit", f"{depth}: {remedy}")
        declared = (0.0, 2.0 ** max(8, int(pixels.max()).bit_length()) - 1)
        expected = contract.expected_range or declared
        bent.append("contract rule 'unit' bent: undeclared depth, scaled by the smallest n-bit range that holds the image's maximum")
    elif contract.unit not in ("auto", meaning):
        problem = f"{meaning} pixels, but the contract's unit is '{contract.unit}'"
        if not lenient or declared is None or not math.isfinite(declared[0]):
            raise broken(name, "unit", problem)
        window, expected = None, declared  # both are given in the other unit
        bent.append(f"contract rule 'unit' bent: {problem}; scaled by the range that the file declares")
    if expected is not None and not _within(pixels, expected):
        means = "expected_range says" if contract.expected_range else f"{meaning} means"
        if not lenient:
            values = f"values from {pixels.min():g} to {pixels.max():g}"
            floats = meaning == "unit-interval" and not contract.expected_range
            remedy = "; floats must lie in 0 to 1: divide by the full scale, or store the integers" if floats else ""
            raise broken(name, "expected_range", f"{values}, but {means} {expected[0]:g} to {expected[1]:g}{remedy}")
        pixels = np.clip(pixels, *expected)
        bent.append(f"contract rule 'expected_range' bent: values beyond what {means} {expected[0]:g} to {expected[1]:g} saturate")
    if contract.unit == "HU" and stored.unit != "HU" and pixels.dtype.kind == "f" and 0 <= pixels.min() < pixels.max() <= 1:
        problem = "floats that all lie in 0 to 1 are no Hounsfield units; give the contract the unit 'unit-interval'"
        if not lenient:
            raise broken(name, "unit", problem)
        bent.append(f"contract rule 'unit' bent: {problem}")
    inverted = stored.inverted and contract.photometric == "monochrome2"
    if contract.percentiles:
        low, high = (float(p) for p in np.percentile(pixels, contract.percentiles))
    elif window:
        low, high = window
    elif stored.voi is not None and contract.voi and contract.unit == "auto":
        shown = stored.voi(pixels)
        return (1 - shown if inverted else shown), tuple(bent)
    else:
        if declared is None or not math.isfinite(declared[0]):
            raise broken(name, "unit", f"{meaning} pixels of undeclared range; set unit HU with a window, or percentiles")
        low, high = declared
        if not _within(pixels, declared):  # an expected_range that is wider than the unit
            problem = f"values beyond {low:g} to {high:g}, what {meaning} means; give the contract a window"
            if not lenient:
                raise broken(name, "expected_range", problem)
            pixels = np.clip(pixels, low, high)
            bent.append(f"contract rule 'expected_range' bent: values beyond what {meaning} means saturate")
        return _affine(pixels, low, high, inverted), tuple(bent)
    return np.clip(_affine(pixels, low, high, inverted), 0, 1), tuple(bent)


def _meaning(stored: Stored, contract: InputContract) -> tuple[str | None, tuple[float, float] | None]:
    """Return the unit of the pixels and its range: declared, or by convention, or as the contract names it; None where nobody says."""
    if stored.pixels.dtype.kind == "f" and stored.unit in (None, "unit-interval"):  # floats declare nothing: a convention
        return ("HU", (-math.inf, math.inf)) if contract.unit == "HU" else ("unit-interval", (0.0, 1.0))
    if stored.unit is not None:
        return stored.unit, stored.range
    if contract.unit not in _DEEP:
        return None, None
    return contract.unit, (-math.inf, math.inf) if contract.unit == "HU" else (0.0, 2.0 ** int(contract.unit.removesuffix("-bit")) - 1)


def _within(pixels: np.ndarray, expected: tuple[float, float]) -> bool:
    """Tell whether all values lie in a range; of bytes in the range of bytes without looking."""
    low, high = expected
    if pixels.dtype.kind == "u" and low <= 0 and high >= np.iinfo(pixels.dtype).max:
        return True
    return bool(pixels.min() >= low and pixels.max() <= high)


def _affine(pixels: np.ndarray, low: float, high: float, inverted: bool) -> np.ndarray:
    """Map low to 0 and high to 1 (inverted: the other way) in float32; where they coincide, values beyond become 1 and others 0.

    Integers up to 24 bits are exact until the division, so equal pictures give equal bits however they are stored.
    """
    shifted: np.ndarray
    if inverted:
        shifted = np.subtract(np.float32(high), pixels, dtype=np.float32)
    elif low:
        shifted = np.subtract(pixels, np.float32(low), dtype=np.float32)
    else:
        shifted = pixels
    width = np.float32(high - low)
    if not width:  # percentiles of a (nearly) constant image, or a window narrower than float32 tells apart
        shifted = shifted > 0
        return shifted.astype(np.float32)
    with np.errstate(over="ignore"):  # by a very narrow window: what overflows saturates like all else beyond it
        result: np.ndarray = np.divide(shifted, width, dtype=np.float32)
    return result


def grey_of(pixels: np.ndarray) -> np.ndarray:
    """Return one plane of [H, W, 3] whose planes are equal, so that grey stored as RGB stays exactly what it was; else the pixels."""
    if pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8:
        first = pixels[:, :, 0]
        if np.array_equal(first, pixels[:, :, 1]) and np.array_equal(first, pixels[:, :, 2]):
            return first
    return pixels


def match_channels(unit: np.ndarray, contract: InputContract, name: str) -> np.ndarray:
    """Bring [H, W] or [H, W, c] in 0-1 to [C, H, W].

    Raises:
        ContractError: rule ``channels``, which is never bent.
    """
    have, want = 1 if unit.ndim == 2 else unit.shape[2], contract.channels
    planes = unit[None] if unit.ndim == 2 else np.moveaxis(unit, 2, 0)
    if have == want:
        return planes
    if contract.colour == "exact":
        raise broken(name, "channels", f"{have} channels, but the contract says {want} and colour 'exact' converts nothing")
    if have == 1 and want * unit.size > MAX_VALUES:
        raise broken(name, "channels", f"{unit.shape[1]}x{unit.shape[0]} pixels times {want} channels; {MAX_VALUES:,} values are the most")
    if have == 1:
        return np.repeat(planes, want, axis=0)
    if have == 3 and want == 1:
        same = np.array_equal(planes[0], planes[1]) and np.array_equal(planes[0], planes[2])
        return planes[:1] if same else np.tensordot(_LUMA, planes, axes=1)[None]
    raise broken(name, "channels", f"{have} channels, but the contract says {want} (grey and RGB are converted, nothing else)")
