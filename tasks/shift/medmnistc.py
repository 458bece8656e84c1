"""MedMNIST-C's corruptions: for each data set the magnitudes of severities 1 to 5, and AlexNet's errors that relative errors refer to.

Di Salvo, Doerrich, Ledig 2024, "MedMNIST-C", arXiv 2406.17536. The numbers are those of the authors' package
(github.com/francescodisalvo05/medmnistc-api, medmnistc/corruptions/registry.py and utils/baselines.py at commit b6dee0e), which made
them on images of 224 x 224. Lengths scale with the image here. What differs from the package is said beside each operation
(`umsrep.tasks.shift.filters`, `intensity`, `overlays`) and in docs/shifts.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from umsrep.tasks.shift import filters, intensity, overlays
from umsrep.tasks.shift.shift import Magnitude, Shift

SOURCE = "MedMNIST-C"
Five = tuple[Magnitude, Magnitude, Magnitude, Magnitude, Magnitude]

_KINDS: dict[str, tuple[Callable[..., Any], str, bool]] = {
    "pixelate": (filters.pixelate, "pixels a side, times", False),
    "jpeg": (intensity.jpeg, "JPEG quality, 1-100", False),
    "gaussian-noise": (intensity.gaussian_noise, "standard deviation, 0-1", False),
    "speckle-noise": (intensity.speckle_noise, "standard deviation over the pixel's value", False),
    "impulse-noise": (intensity.impulse_noise, "share of values set to black or white", False),
    "shot-noise": (intensity.shot_noise, "counts at white", False),
    "gaussian-blur": (filters.blur, "sigma, pixels at 224 px", False),
    "defocus-blur": (filters.defocus, "radius and edge's sigma, pixels at 224 px", False),
    "motion-blur": (filters.motion, "radius and sigma, pixels at 224 px", False),
    "zoom-blur": (filters.zoom_blur, "largest magnification and step", False),
    "brightness-up": (intensity.brightness, "factor", False),
    "brightness-down": (intensity.brightness, "factor", False),
    "contrast-up": (intensity.contrast, "factor on the distance from the mean", False),
    "contrast-down": (intensity.contrast, "factor on the distance from the mean", False),
    "gamma-up": (intensity.gamma, "exponent", False),
    "gamma-down": (intensity.gamma, "exponent", False),
    "saturate": (intensity.saturate, "added to HSV saturation", True),
    "stain-deposit": (overlays.stains, "blots", False),
    "bubble": (overlays.bubbles, "largest radius in pixels at 224 px, and number", False),
    "black-corner": (overlays.black_corner, "radius of what is seen, in half sides", False),
    "characters": (overlays.characters, "words, letters of the longest, scale of the font", False),
}
"""Corruption to its operation, the meaning of its magnitude, and whether it needs colours."""

_MODALITY: dict[str, str] = {
    "pneumoniamnist": "cxr",
    "chestmnist": "cxr",
    "breastmnist": "us",
    "dermamnist": "dermoscopy",
    "pathmnist": "histology",
    "retinamnist": "fundus",
    "octmnist": "oct",
}

_JPEG: Five = (50, 30, 15, 10, 7)
_UP: Five = (1.1, 1.2, 1.3, 1.4, 1.5)
_DOWN: Five = (0.9, 0.8, 0.7, 0.6, 0.5)
_MORE: Five = (1.1, 1.2, 1.3, 1.4, 1.6)
_LESS: Five = (0.9, 0.8, 0.7, 0.6, 0.4)
# The package gives kernels of 3, 5, 7, 9, 11 (and a sixth of 13, never reached) to torchvision, whose sigma is 0.15 k + 0.35.
_BLUR: Five = (0.8, 1.1, 1.4, 1.7, 2.0)

MAGNITUDES: dict[str, dict[str, Five]] = {
    "pneumoniamnist": {
        "pixelate": (0.8, 0.7, 0.6, 0.5, 0.4),
        "jpeg": _JPEG,
        "gaussian-noise": (0.04, 0.05, 0.06, 0.07, 0.08),
        "speckle-noise": (0.05, 0.07, 0.10, 0.15, 0.20),
        "impulse-noise": (0.005, 0.01, 0.013, 0.017, 0.02),
        "shot-noise": (300, 200, 150, 100, 80),
        "gaussian-blur": _BLUR,
        "brightness-up": _UP,
        "brightness-down": _DOWN,
        "contrast-up": _MORE,
        "contrast-down": _LESS,
        "gamma-up": _MORE,
        "gamma-down": _LESS,
    },
    "chestmnist": {  # its other corruptions are pneumoniamnist's
        "pixelate": (0.30, 0.25, 0.20, 0.15, 0.10),
        "gaussian-noise": (0.04, 0.08, 0.12, 0.18, 0.26),
        "speckle-noise": (0.05, 0.15, 0.2, 0.35, 0.45),
        "impulse-noise": (0.01, 0.03, 0.06, 0.09, 0.17),
        "shot-noise": (60, 25, 18, 10, 5),
    },
    "breastmnist": {
        "pixelate": (0.30, 0.25, 0.20, 0.15, 0.10),
        "jpeg": _JPEG,
        "speckle-noise": (0.10, 0.15, 0.20, 0.25, 0.30),
        "motion-blur": ((5, 5), (9, 7), (9, 10), (13, 10), (17, 12)),
        "brightness-up": (1.4, 1.5, 1.6, 1.8, 2.0),
        "brightness-down": (0.55, 0.5, 0.45, 0.4, 0.3),
        "contrast-down": _LESS,
    },
    "dermamnist": {
        "pixelate": (0.7, 0.5, 0.40, 0.30, 0.25),
        "jpeg": (30, 20, 15, 10, 7),
        "gaussian-noise": (0.04, 0.08, 0.12, 0.18, 0.26),
        "speckle-noise": (0.05, 0.15, 0.2, 0.35, 0.45),
        "impulse-noise": (0.01, 0.03, 0.06, 0.09, 0.17),
        "shot-noise": (60, 25, 18, 10, 5),
        "defocus-blur": ((4, 0.1), (5, 0.2), (6, 0.3), (7, 0.4), (8, 0.5)),
        "motion-blur": ((10, 5), (15, 6.5), (15, 8), (15, 12), (20, 15)),  # (15, 5) in the package: see below
        "zoom-blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        "brightness-up": _UP,
        "brightness-down": _DOWN,
        "contrast-up": _MORE,
        "contrast-down": (0.8, 0.7, 0.6, 0.5, 0.4),
        "black-corner": (1.10, 1.05, 1.00, 0.95, 0.90),  # the package has 0.90 before 0.95: severities must grow
        "characters": ((1, 6, 0.14), (2, 7, 0.15), (3, 8, 0.16), (4, 9, 0.17), (6, 10, 0.18)),
    },
    "pathmnist": {
        "pixelate": (0.8, 0.6, 0.40, 0.30, 0.25),
        "jpeg": _JPEG,
        "defocus-blur": ((3, 0.1), (4, 0.1), (5, 0.2), (6, 0.2), (7, 0.3)),
        "motion-blur": ((5, 5), (10, 5), (15, 6.5), (15, 8), (15, 12)),  # (15, 5)
        "brightness-up": (1.1, 1.15, 1.2, 1.22, 1.25),
        "brightness-down": (0.85, 0.80, 0.75, 0.72, 0.70),
        "contrast-up": _MORE,
        "contrast-down": (0.8, 0.7, 0.6, 0.55, 0.5),
        "saturate": (0.05, 0.10, 0.15, 0.20, 0.25),
        "stain-deposit": (1, 2, 3, 4, 5),
        "bubble": ((7, 15), (10, 15), (12, 15), (15, 20), (17, 25)),
    },
    "retinamnist": {
        "pixelate": (0.8, 0.60, 0.50, 0.40, 0.35),
        "jpeg": (30, 25, 20, 10, 5),
        "gaussian-noise": (0.04, 0.08, 0.12, 0.16, 0.20),
        "speckle-noise": (0.10, 0.15, 0.20, 0.25, 0.30),
        "defocus-blur": ((4, 0.1), (5, 0.2), (6, 0.3), (7, 0.4), (8, 0.5)),
        "motion-blur": ((8, 5), (15, 6.5), (15, 8), (15, 12), (20, 15)),  # (15, 5)
        "brightness-down": _DOWN,
        "contrast-down": _LESS,
    },
    "octmnist": {
        "pixelate": (0.30, 0.25, 0.20, 0.15, 0.10),
        "jpeg": (30, 15, 10, 7, 5),
        "speckle-noise": (0.15, 0.30, 0.40, 0.50, 0.60),
        "defocus-blur": (
            (0.5, 0.6),
            (1, 0.6),
            (1.5, 0.6),
            (2.0, 0.6),
            (2.5, 0.6),
        ),  # edges in the package: .6 .5 .1 .5 .1
        "motion-blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        "contrast-down": (0.6, 0.4, 0.3, 0.2, 0.15),
    },
}
"""Set to corruption to magnitudes. Motion of (15, 5) after (10, 5), as in the package, changes nothing: a Gaussian of 5 pixels ends before
either cut-off; the sigma is 6.5 here."""

BASELINES: dict[str, dict[str, float]] = {
    "pneumoniamnist": {
        "clean": 0.10085, "pixelate": 0.22103, "jpeg": 0.27983, "gaussian-noise": 0.44145, "speckle-noise": 0.34573,
        "impulse-noise": 0.45812, "shot-noise": 0.41068, "gaussian-blur": 0.27308, "brightness-up": 0.14650, "brightness-down": 0.27821,
        "contrast-up": 0.09530, "contrast-down": 0.23744, "gamma-up": 0.09607, "gamma-down": 0.16641,
    },
    "chestmnist": {
        "clean": 0.28391, "pixelate": 0.44895, "jpeg": 0.34576, "gaussian-noise": 0.47688, "speckle-noise": 0.45688,
        "impulse-noise": 0.48554, "shot-noise": 0.49270, "gaussian-blur": 0.31768, "brightness-up": 0.29937, "brightness-down": 0.29712,
        "contrast-up": 0.28751, "contrast-down": 0.29547, "gamma-up": 0.28746, "gamma-down": 0.28916,
    },
    "breastmnist": {
        "clean": 0.14536, "pixelate": 0.46128, "jpeg": 0.29862, "speckle-noise": 0.38709, "motion-blur": 0.25902,
        "brightness-up": 0.31980, "brightness-down": 0.21128, "contrast-down": 0.15865,
    },
    "dermamnist": {
        "clean": 0.39858, "pixelate": 0.51051, "jpeg": 0.47716, "gaussian-noise": 0.77016, "speckle-noise": 0.76888,
        "impulse-noise": 0.79956, "shot-noise": 0.83916, "defocus-blur": 0.70083, "motion-blur": 0.62664, "zoom-blur": 0.52777,
        "brightness-up": 0.44740, "brightness-down": 0.57730, "contrast-up": 0.43042, "contrast-down": 0.53982,
        "black-corner": 0.75915, "characters": 0.44619,
    },
    "pathmnist": {
        "clean": 0.08839, "pixelate": 0.20934, "jpeg": 0.24709, "defocus-blur": 0.46213, "motion-blur": 0.36891,
        "brightness-up": 0.41552, "brightness-down": 0.28117, "contrast-up": 0.23389, "contrast-down": 0.13719, "saturate": 0.33411,
        "stain-deposit": 0.24931, "bubble": 0.10818,
    },
    "retinamnist": {
        "clean": 0.55821, "pixelate": 0.60170, "jpeg": 0.67952, "gaussian-noise": 0.70408, "speckle-noise": 0.61353,
        "defocus-blur": 0.68829, "motion-blur": 0.70758, "brightness-down": 0.58448, "contrast-down": 0.60929,
    },
    "octmnist": {
        "clean": 0.20200, "pixelate": 0.31240, "jpeg": 0.29640, "speckle-noise": 0.38600, "defocus-blur": 0.30840,
        "motion-blur": 0.48920, "contrast-down": 0.41960,
    },
}  # fmt: skip
"""AlexNet's balanced error (1 - balanced accuracy) on each set's own test split at 224 px: unshifted, and its mean over severities."""


def shifts() -> list[Shift]:
    """Return every corruption as a shift ``<data set>-<corruption>``."""
    result = []
    for name, table in MAGNITUDES.items():
        for corruption, magnitudes in table.items():
            operation, meaning, colour = _KINDS[corruption]
            result.append(
                Shift(f"{name}-{corruption}", "medmnist-c", (_MODALITY[name],), meaning, magnitudes, operation, SOURCE, colour=colour)
            )
    return result
