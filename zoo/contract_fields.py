"""The fields of an input contract: the values each may have, refused early because they may come from somebody's config.json."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from umsrep.errors import InputError, nearest
from umsrep.zoo.stored import MAX_VALUES, MIN_SIDE

if TYPE_CHECKING:
    from umsrep.zoo.input_contract import InputContract

Unit = Literal["auto", "8-bit", "10-bit", "12-bit", "14-bit", "16-bit", "HU", "unit-interval"]
Resize = Literal["stretch", "pad"]
Photometric = Literal["monochrome2", "as-stored"]
Colour = Literal["convert", "exact"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "unit": get_args(Unit),
    "resize": get_args(Resize),
    "photometric": get_args(Photometric),
    "colour": get_args(Colour),
}
_PAIRS = ("window", "percentiles", "expected_range")
_MAX_SIDE = 16384
MOST_CHANNELS = 1024
_MOST_STORED = 1e30
_MOST_AFFINE = 1e6  # mean and std act on values of 0 to 1; float32 keeps them apart within this


def check_fields(contract: InputContract) -> None:
    """Refuse a wrong type or an impossible value.

    Raises:
        InputError: naming the field, what is wrong with it and, for a misspelt word, the nearest that exists.
    """
    if not isinstance(contract.channels, int) or isinstance(contract.channels, bool):
        raise InputError(f"contract: channels must be a whole number, not {shown(contract.channels)}")
    if contract.channels < 1:
        raise InputError(f"contract: channels must be 1 or more, not {shown(contract.channels)}")
    if contract.channels > MOST_CHANNELS:
        raise InputError(f"contract: channels must be {MOST_CHANNELS:,} or fewer, not {shown(contract.channels)}")
    for name, choices in _CHOICES.items():
        value = getattr(contract, name)
        if not isinstance(value, str):
            raise InputError(f"contract: {name} must be a text, not {shown(value)}")
        if value not in choices:
            raise InputError(f"contract: unknown {name} '{value}'{nearest(value, choices)}")
    for name in ("voi", "antialias"):
        if not isinstance(getattr(contract, name), bool):
            raise InputError(f"contract: {name} must be true or false, not {shown(getattr(contract, name))}")
    _check_size(contract.size)
    if isinstance(contract.size, tuple) and (values := contract.channels * math.prod(contract.size)) > MAX_VALUES:
        raise InputError(
            f"contract: size {contract.size} and {contract.channels} channels are {values:,} values; {MAX_VALUES:,} are the most"
        )
    _check_affine(contract)
    for name in _PAIRS:
        _check_pair(name, getattr(contract, name))
    if contract.window is not None and contract.percentiles is not None:
        raise InputError("contract: window and percentiles exclude each other: one rule maps stored values to 0-1")
    if contract.percentiles is not None and not 0 <= contract.percentiles[0] < contract.percentiles[1] <= 100:
        raise InputError(f"contract: percentiles must lie in 0 to 100, for example (1, 99), not {shown(contract.percentiles)}")
    if contract.unit == "HU" and contract.window is None:
        raise InputError("contract: unit HU needs a window, for example window=(-1000, 400)")


def _check_size(size: Any) -> None:
    if size is None:
        return
    whole = isinstance(size, tuple) and len(size) == 2 and all(isinstance(s, int) and not isinstance(s, bool) for s in size)
    if not whole or not all(MIN_SIDE <= s <= _MAX_SIDE for s in size):
        raise InputError(f"contract: size must be two whole numbers from {MIN_SIDE} to {_MAX_SIDE}, not {shown(size)}")


def _check_affine(contract: InputContract) -> None:
    for name in ("mean", "std"):
        value = getattr(contract, name)
        values = value if isinstance(value, tuple) else (value,)
        if not all(map(_number, values)):
            raise InputError(f"contract: {name} must be made of numbers, not {shown(value)}")
        if isinstance(value, tuple) and len(value) != contract.channels:
            raise InputError(f"contract: {name} has {len(value)} values for {contract.channels} channels")
        if not all(abs(v) < math.inf and (name == "mean" or v > 0) for v in values):  # NaN compares as false
            raise InputError(f"contract: {name} must be finite{' and above 0' if name == 'std' else ''}, not {shown(value)}")
        if not all(abs(v) <= _MOST_AFFINE and (name == "mean" or v >= 1 / _MOST_AFFINE) for v in values):
            least = -_MOST_AFFINE if name == "mean" else 1 / _MOST_AFFINE
            raise InputError(f"contract: {name} must be {least:g} to {_MOST_AFFINE:g}, not {shown(value)}")


def _check_pair(name: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, tuple) or not all(map(_number, value)):
        raise InputError(f"contract: {name} must be made of numbers, not {shown(value)}")
    if len(value) != 2 or not all(abs(v) <= _MOST_STORED for v in value) or not np.float32(value[0]) < np.float32(value[1]):
        raise InputError(f"contract: {name} must be (low, high) with low < high, both finite and apart in float32, not {shown(value)}")


def shown(value: Any) -> str:
    """Return a value as Python writes it, cut short: a number from JSON may have thousands of digits."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def describe(contract: InputContract) -> list[str]:
    """Say a contract in words, one line a rule; see `InputContract.describe`."""
    if contract.unit == "auto":
        unit = "what the file declares (8-bit, DICOM's bits after its rescale, floats 0-1); an undeclared depth is refused"
        if contract.percentiles:
            unit = "any: the percentiles set the scale"
    else:
        unit = f"{contract.unit}; every other is refused"
    if contract.percentiles:
        intensity = "percentiles {:g} and {:g} of each image become 0 and 1; values outside saturate".format(*contract.percentiles)
    elif contract.window:
        intensity = "window {:g} to {:g} in stored units becomes 0 to 1; values outside saturate".format(*contract.window)
    else:
        intensity = "the ends of the unit's range become 0 and 1"
        if contract.unit == "auto":
            own = (
                "the file's own VOI LUT or window becomes 0 to 1, else" if contract.voi else "the file's own VOI LUT or window is ignored;"
            )
            intensity = f"{own} {intensity}"
    expected = "{:g} to {:g} in stored units".format(*contract.expected_range) if contract.expected_range else "that of the stored unit"
    photometric = "MONOCHROME1 is inverted: high values are bright" if contract.photometric == "monochrome2" else "as stored"
    colour = "grey and RGB are converted (BT.601 luma)" if contract.colour == "convert" else "no conversion: other files are refused"
    if isinstance(contract.size, tuple):
        fit = "stretched" if contract.resize == "stretch" else "aspect kept, padded with 0 at the right and bottom"
        smooth = "antialiased" if contract.antialias else "without antialiasing"
        size = f"{contract.size[0]} x {contract.size[1]} pixels (height x width), {fit}, bilinear, {smooth}"
    else:
        size = "the file's own"
    low, high = contract.tensor_range
    return [
        f"stored unit: {unit}",
        f"intensity: {intensity}",
        f"expected range: {expected}; values beyond are refused",
        f"photometric: {photometric}",
        f"channels: {contract.channels}; {colour}",
        f"size: {size}",
        f"normalisation: (x - {_shown(contract.mean)}) / {_shown(contract.std)}, so the tensor lies in {low:.4g} to {high:.4g}",
    ]


def _shown(value: float | tuple[float, ...]) -> str:
    return f"({', '.join(f'{v:g}' for v in value)})" if isinstance(value, tuple) else f"{value:g}"
