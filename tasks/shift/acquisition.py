"""Shifts of acquisition, as they come with another room, scanner or habit; formulas in `radiography`, `ultrasound`, `geometry`."""

from __future__ import annotations

from umsrep.tasks.shift import geometry, overlays, radiography, ultrasound
from umsrep.tasks.shift.shift import Shift

_CXR, _US, _DOPPLER = ("cxr",), ("us",), ("doppler",)
_FAMILY = "acquisition"
_PHYSICS = "model of physics, steps ours"

SHIFTS_OF_ACQUISITION: tuple[Shift, ...] = (
    # chest radiography
    Shift("exposure-under", _FAMILY, _CXR, "exposure, times", (0.8, 0.65, 0.5, 0.4, 0.3), radiography.exposure, _PHYSICS),
    Shift("exposure-over", _FAMILY, _CXR, "exposure, times", (1.25, 1.5, 2.0, 2.5, 3.3), radiography.exposure, _PHYSICS),
    Shift("dose", _FAMILY, _CXR, "photons for a pixel at 224 px, open beam", (4000, 2000, 1000, 500, 250), radiography.dose, _PHYSICS),
    Shift("scatter", _FAMILY, _CXR, "added scatter over primary", (0.25, 0.5, 1.0, 1.5, 2.0), radiography.scatter, _PHYSICS),
    Shift("grid-lines", _FAMILY, _CXR, "loss of signal in a line's middle", (0.05, 0.1, 0.2, 0.3, 0.4), radiography.grid_lines, _PHYSICS),
    Shift("grid-cutoff", _FAMILY, _CXR, "loss of signal at one side", (0.2, 0.4, 0.55, 0.7, 0.8), radiography.grid_cutoff, _PHYSICS),
    Shift(
        "detector", _FAMILY, _CXR, "sigma in pixels at 224 px and sd of noise, 0-1",
        ((0.6, 0.01), (1.0, 0.015), (1.5, 0.02), (2.2, 0.03), (3.0, 0.04)), radiography.detector, _PHYSICS,
    ),
    Shift(
        "collimation", _FAMILY, _CXR, "mean share of a side that is dark",
        (0.02, 0.05, 0.08, 0.12, 0.16), geometry.collimate, _PHYSICS, geometric=True,
    ),
    Shift(
        "magnification-up", _FAMILY, _CXR, "magnification, times (PA to AP)",
        (1.04, 1.08, 1.12, 1.16, 1.2), geometry.magnify, _PHYSICS, geometric=True,
    ),
    Shift(
        "magnification-down", _FAMILY, _CXR, "magnification, times (AP to PA, or a larger field)",
        (0.96, 0.92, 0.88, 0.84, 0.8), geometry.magnify, _PHYSICS, geometric=True,
    ),
    # B-mode ultrasound
    Shift("gain-up", _FAMILY, _US, "dB of 60", (3, 6, 9, 12, 15), ultrasound.gain, _PHYSICS),
    Shift("gain-down", _FAMILY, _US, "dB of 60", (-3, -6, -9, -12, -15), ultrasound.gain, _PHYSICS),
    Shift("tgc-up", _FAMILY, _US, "dB of 60 at the lower border", (4, 8, 12, 16, 20), ultrasound.time_gain, _PHYSICS),
    Shift("tgc-down", _FAMILY, _US, "dB of 60 at the lower border", (-4, -8, -12, -16, -20), ultrasound.time_gain, _PHYSICS),
    Shift("depth-up", _FAMILY, _US, "depth shown, times", (1.1, 1.2, 1.3, 1.45, 1.6), geometry.depth, _PHYSICS, geometric=True),
    Shift("depth-down", _FAMILY, _US, "depth shown, times", (0.92, 0.84, 0.76, 0.68, 0.6), geometry.depth, _PHYSICS, geometric=True),
    Shift("probe-frequency-down", _FAMILY, _US, "frequency, times", (0.85, 0.7, 0.58, 0.46, 0.36), ultrasound.lower_frequency, _PHYSICS),
    Shift("probe-frequency-up", _FAMILY, _US, "MHz more", (0.5, 1.0, 1.5, 2.0, 3.0), ultrasound.higher_frequency, _PHYSICS),
    # spectral Doppler
    Shift(
        "sweep-faster", _FAMILY, _DOPPLER, "sweep speed, times",
        (1.15, 1.33, 1.5, 1.75, 2.0), geometry.sweep_speed, _PHYSICS, geometric=True,
    ),
    Shift(
        "sweep-slower", _FAMILY, _DOPPLER, "sweep speed, times",
        (0.9, 0.8, 0.7, 0.6, 0.5), geometry.sweep_speed, _PHYSICS, geometric=True,
    ),
    Shift("doppler-gain-up", _FAMILY, _DOPPLER, "dB of 40", (3, 6, 9, 12, 15), ultrasound.doppler_gain, _PHYSICS),
    Shift("doppler-gain-down", _FAMILY, _DOPPLER, "dB of 40", (-3, -6, -9, -12, -15), ultrasound.doppler_gain, _PHYSICS),
    Shift(
        "velocity-scale-up", _FAMILY, _DOPPLER, "Nyquist limit, times",
        (1.15, 1.3, 1.5, 1.75, 2.0), geometry.velocity_scale, _PHYSICS, geometric=True,
    ),
    Shift(
        "velocity-scale-down", _FAMILY, _DOPPLER, "Nyquist limit, times",
        (0.9, 0.8, 0.7, 0.6, 0.5), geometry.velocity_scale, _PHYSICS, geometric=True,
    ),
    # every kind
    Shift(
        "burned-in-text", _FAMILY, ("cxr", "us", "doppler"), "words, and height of a letter in percent of the image's",
        ((1, 3.0), (2, 3.5), (4, 4.0), (7, 4.5), (10, 5.0)), overlays.burned_in_text, "ours",
    ),
)  # fmt: skip
