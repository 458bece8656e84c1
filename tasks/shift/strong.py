"""StrongAugment's 19 operations as shifts: each at five fixed magnitudes inside the range that training draws from.

Pohjonen et al. 2022 (arXiv 2206.15274) make a shifted set of one operation at one magnitude; which five is our choice: even steps from
the magnitude that changes nothing to the end of the range, and both ends where there are two.
"""

from __future__ import annotations

import functools

from torch import Tensor

from umsrep.tasks.augment.operations import OPERATIONS, apply_operation
from umsrep.tasks.shift import intensity
from umsrep.tasks.shift.draws import Draws
from umsrep.tasks.shift.shift import Magnitude, Shift

Five = tuple[Magnitude, Magnitude, Magnitude, Magnitude, Magnitude]

_UP: Five = (1.2, 1.4, 1.6, 1.8, 2.0)
_TO_ZERO: Five = (0.8, 0.6, 0.4, 0.2, 0.0)
_TO_TENTH: Five = (0.82, 0.64, 0.46, 0.28, 0.1)
_SHARE: Five = (0.2, 0.4, 0.6, 0.8, 1.0)

MAGNITUDES: dict[str, tuple[str, str, Five]] = {
    "red-up": ("red", "factor on the red channel", _UP),
    "red-down": ("red", "factor on the red channel", _TO_ZERO),
    "green-up": ("green", "factor on the green channel", _UP),
    "green-down": ("green", "factor on the green channel", _TO_ZERO),
    "blue-up": ("blue", "factor on the blue channel", _UP),
    "blue-down": ("blue", "factor on the blue channel", _TO_ZERO),
    "hue-up": ("hue", "turn of the colour circle", (0.08, 0.16, 0.24, 0.32, 0.4)),
    "hue-down": ("hue", "turn of the colour circle", (-0.08, -0.16, -0.24, -0.32, -0.4)),
    "saturation-up": ("saturation", "factor on the distance from grey", _UP),
    "saturation-down": ("saturation", "factor on the distance from grey", _TO_ZERO),
    "brightness-up": ("brightness", "factor", _UP),
    "brightness-down": ("brightness", "factor", _TO_TENTH),
    "contrast-up": ("contrast", "factor on the distance from the mean", _UP),
    "contrast-down": ("contrast", "factor on the distance from the mean", _TO_TENTH),
    "gamma-up": ("gamma", "exponent", _UP),
    "gamma-down": ("gamma", "exponent", _TO_TENTH),
    "solarize": ("solarize", "grey level from which values are inverted, 0-255", (192, 160, 128, 96, 64)),
    "posterize": ("posterize", "bits kept", (5, 4, 3, 2, 1)),
    "sharpen": ("sharpen", "share of the filtered image", _SHARE),
    "emboss": ("emboss", "share of the filtered image", _SHARE),
    "blur": ("blur", "sigma, pixels", (0.6, 1.2, 1.8, 2.4, 3.0)),
    "noise": ("noise", "share of uniform noise", (0.04, 0.08, 0.12, 0.16, 0.2)),
    "jpeg": ("jpeg", "JPEG quality, 0-100", (60, 40, 20, 10, 0)),
    "tone-up": ("tone", "heights of the curve's inner controls", ((0.45, 0.75), (0.6, 0.8), (0.7, 0.9), (0.85, 0.95), (1.0, 1.0))),
    "tone-down": ("tone", "heights of the curve's inner controls", ((0.25, 0.55), (0.2, 0.4), (0.1, 0.3), (0.05, 0.15), (0.0, 0.0))),
    "autocontrast": ("autocontrast", "share of the stretched image", _SHARE),
    "equalize": ("equalize", "share of the equalised image", _SHARE),
    "grayscale": ("grayscale", "share of the grey image", _SHARE),
}
"""Shift's name (after ``strong-``) to its operation, the meaning of its magnitude, and magnitudes."""


def _operate(image: Tensor, magnitude: Magnitude, draws: Draws, *, name: str) -> Tensor:
    pair = (float(magnitude[0]), float(magnitude[1])) if isinstance(magnitude, tuple) else magnitude
    return apply_operation(image, name, pair)


def _seeded(image: Tensor, magnitude: float, draws: Draws, *, name: str) -> Tensor:
    return intensity.seeded(image, draws, name, magnitude)


def _blended(image: Tensor, magnitude: float, draws: Draws, *, name: str) -> Tensor:
    return intensity.blended(image, name, magnitude)


def shifts() -> list[Shift]:
    """Return every operation as a shift ``strong-<operation>[-up|-down]``."""
    result = []
    for name, (operation, meaning, magnitudes) in MAGNITUDES.items():
        known = OPERATIONS[operation]
        function = _seeded if operation == "noise" else _operate if known.parameters else _blended
        result.append(
            Shift(
                f"strong-{name}",
                "strong-augment",
                (),
                meaning,
                magnitudes,
                functools.partial(function, name=operation),
                "range of StrongAugment, steps ours",
                colour=known.colour,
            )
        )
    return result
