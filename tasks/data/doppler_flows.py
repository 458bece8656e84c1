"""The patient side of `umsrep.tasks.data.doppler`: flow classes, their published ranges, and velocity waveforms.

Systolic time intervals: Weissler, Harris and Schoenfeld, Circulation 37:149 (1968). Mitral inflow: Nagueh et al., J Am Soc Echocardiogr
22:107 (2009) and 29:277 (2016). Aortic flow: Baumgartner et al., J Am Soc Echocardiogr 30:372 (2017). Mitral regurgitation: Zoghbi et al.,
J Am Soc Echocardiogr 30:303 (2017). Tricuspid regurgitation: Rudski et al., J Am Soc Echocardiogr 23:685 (2010).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def systolic_intervals(heart_rate: float) -> tuple[float, float]:
    """Pre-ejection period and left ventricular ejection time in s (Weissler 1968, men): 131 - 0.4 HR and 413 - 1.7 HR ms."""
    return (131.0 - 0.4 * heart_rate) / 1000.0, (413.0 - 1.7 * heart_rate) / 1000.0


@dataclass(frozen=True)
class FlowClass:
    """Published ranges of one flow class; intervals in s, velocities in m/s, each (lowest, highest) of a uniform draw.

    Attributes:
        doppler: Pulsed wave (a narrow velocity distribution) or continuous wave (every velocity along the beam: a filled envelope).
        direction: +1 toward the transducer at the apex, -1 away from it.
        heart_rate: Beats a minute.
        peak: Peak velocity: the E wave for mitral inflow, the jet otherwise.
        peak_fraction: Time of the systolic flow's peak as a fraction of its duration.
        ratio: E/A, of the class itself for mitral inflow, of the forward flow seen beside it for the others.
        deceleration: Deceleration time of E.
        relaxation: Isovolumic relaxation time.
    """

    doppler: Literal["pulsed", "continuous"]
    direction: int
    heart_rate: tuple[float, float]
    peak: tuple[float, float]
    peak_fraction: tuple[float, float] = (0.25, 0.36)
    ratio: tuple[float, float] = (0.9, 1.9)
    deceleration: tuple[float, float] = (0.15, 0.22)
    relaxation: tuple[float, float] = (0.06, 0.09)


FLOW_CLASSES: dict[str, FlowClass] = {
    # Nagueh 2016: E/A <= 0.8 with E <= 0.5 m/s is grade I, E/A >= 2 grade III. Nagueh 2009: deceleration > 200 ms and
    # relaxation >= 100 ms impaired, < 160 ms and <= 60 ms restrictive.
    "mitral_inflow_normal": FlowClass("pulsed", +1, (52, 80), (0.60, 1.00)),
    "mitral_inflow_impaired_relaxation": FlowClass(
        "pulsed", +1, (52, 72), (0.35, 0.50), ratio=(0.45, 0.78), deceleration=(0.205, 0.28), relaxation=(0.10, 0.13)
    ),
    "mitral_inflow_restrictive": FlowClass(
        "pulsed", +1, (60, 85), (0.85, 1.35), ratio=(2.05, 3.2), deceleration=(0.10, 0.155), relaxation=(0.04, 0.06)
    ),
    # Baumgartner 2017: outflow tract about 1 m/s; stenosis mild 2.6-2.9, moderate 3-4, severe > 4 m/s; the peak comes later as it worsens.
    "aortic_outflow": FlowClass("pulsed", -1, (52, 90), (0.75, 1.30)),
    "aortic_stenosis": FlowClass("continuous", -1, (52, 90), (2.6, 5.4), peak_fraction=(0.30, 0.46)),
    # Zoghbi 2017: 4-6 m/s whatever the severity, from mitral closure to mitral opening, E of the forward flow raised.
    "mitral_regurgitation": FlowClass("continuous", -1, (55, 95), (4.2, 6.0), peak_fraction=(0.40, 0.48), ratio=(1.1, 2.4)),
    # Rudski 2010: above 2.8 m/s the right ventricular pressure is raised.
    "tricuspid_regurgitation": FlowClass("continuous", -1, (55, 95), (2.3, 3.7), peak_fraction=(0.46, 0.56), relaxation=(0.03, 0.06)),
}

FLOWS: tuple[str, ...] = tuple(FLOW_CLASSES)


@dataclass(frozen=True)
class Physiology:
    """One patient's flow, drawn from a `FlowClass`; s and m/s along the flow; `e` and `a` are the peaks of the inflow waves."""

    heart_rate: float
    peak: float
    peak_fraction: float
    e: float
    a: float
    deceleration: float
    relaxation: float


def draw_physiology(flow: str, rng: np.random.Generator, heart_rate: float | None = None, peak: float | None = None) -> Physiology:
    """Draw one patient; `heart_rate` and `peak` (m/s, the highest velocity of the flow) replace their draws."""
    c = FLOW_CLASSES[flow]
    rate, top, fraction, ratio, deceleration, relaxation, inflow = (
        float(rng.uniform(*r)) for r in (c.heart_rate, c.peak, c.peak_fraction, c.ratio, c.deceleration, c.relaxation, (0.6, 1.0))
    )
    if flow == "aortic_stenosis":  # severity delays the peak: the two draws share half of their variation
        fraction = 0.5 * fraction + 0.5 * float(np.interp(top, c.peak, c.peak_fraction))
    # The regurgitant volume comes back through the mitral valve and raises E; the tricuspid valve is wider, its flow slower.
    forward = {"mitral_regurgitation": 1.35, "tricuspid_regurgitation": 0.65}.get(flow, 1.0)
    e = top if flow.startswith("mitral_inflow") else inflow * forward
    a = e / ratio
    highest = max(e, a) if flow.startswith("mitral_inflow") else top
    if peak is not None:
        if flow.startswith("mitral_inflow"):
            e, a = e * peak / highest, a * peak / highest
        highest = peak
    return Physiology(rate if heart_rate is None else heart_rate, highest, fraction, e, a, deceleration, relaxation)


def bump(x: Floats, peak: float, power: float) -> Floats:
    """sin(pi x^k)^power on 0-1, zero outside, k such that the maximum 1 lies at `peak`; power 0.5 is the parabola-like regurgitant jet.

    A jet's speed is the square root of a pressure difference (simplified Bernoulli, dp = 4 v^2), which itself rises and falls like a sine.
    """
    warped = np.clip(x, 0.0, 1.0) ** (math.log(0.5) / math.log(peak))
    return np.asarray(np.where((x > 0.0) & (x < 1.0), np.maximum(np.sin(np.pi * warped), 0.0) ** power, 0.0))


def e_wave(t: Floats, acceleration: float, deceleration: float) -> Floats:
    """Early filling of peak 1 at t = `acceleration` s; `deceleration` s later its steepest tangent meets zero."""
    width = deceleration / (0.5 + 1.0 / math.pi)  # of the raised cosine: its mid-slope tangent meets zero there
    rise = np.sin(0.5 * np.pi * np.clip(t / acceleration, 0.0, 1.0)) ** 1.6
    fall = 0.5 * (1.0 + np.cos(np.pi * np.clip((t - acceleration) / width, 0.0, 1.0)))
    return np.asarray(np.where(t < acceleration, rise, fall))


def valve_events(p: Physiology) -> tuple[float, float, float, float]:
    """Seconds after R of: mitral closure, aortic opening, aortic closure, mitral opening."""
    pep, ejection = systolic_intervals(p.heart_rate)
    return 0.025, pep, pep + ejection, pep + ejection + p.relaxation


@dataclass(frozen=True)
class Beats:
    """R waves (s) that cover the display, one scale factor of the amplitude a beat, and the time axis [W] they are seen on."""

    onset: Floats
    length: Floats
    scale: Floats
    time: Floats

    def envelope(self, shape: Callable[[Floats, Floats], Floats]) -> Floats:
        """Velocity [W]: the largest over beats of `shape`(time since R [B, W], beat length [B, 1])."""
        since = self.time[None, :] - self.onset[:, None]
        return np.asarray((shape(since, self.length[:, None]) * self.scale[:, None]).max(0))


def draw_beats(p: Physiology, time: Floats, rng: np.random.Generator, respiration: float = 0.02) -> Beats:
    """Draw R waves with 2 % sinus variation and a respiratory swing of the amplitude (4.5 s period) around them."""
    mean = 60.0 / p.heart_rate
    count = int(np.ceil(time[-1] / mean)) + 4
    length = mean * np.clip(1.0 + 0.02 * rng.standard_normal(count), 0.94, 1.06)
    onset = np.cumsum(length) - length - mean * (1.0 + float(rng.uniform()))
    scale = 1.0 + respiration * np.sin(2.0 * np.pi * (onset / 4.5 + float(rng.uniform()))) + 0.015 * rng.standard_normal(count)
    return Beats(onset, length, np.minimum(scale / scale.max(), 1.0), time)


def inflow(p: Physiology, beats: Beats) -> Floats:
    """E and A waves of an atrioventricular valve, m/s [W]; A starts 105 ms before the next R and lasts 135 ms."""
    opening = valve_events(p)[3]

    def shape(since: Floats, length: Floats) -> Floats:
        early = p.e * e_wave(since - opening, 0.035 + 0.3 * p.deceleration, p.deceleration)  # acceleration 65-120 ms
        return np.maximum(early, p.a * bump((since - length + 0.105) / 0.135, 0.46, 1.3))

    return beats.envelope(shape)


def systolic(p: Physiology, beats: Beats, peak: float, kind: Literal["ejection", "regurgitation"], power: float) -> Floats:
    """Systolic flow of peak `peak`, m/s [W]: within ejection, or from valve closure to the inflow valve's opening."""
    closure, ejection, end_ejection, opening = valve_events(p)
    start, end = (ejection, end_ejection) if kind == "ejection" else (closure, opening)
    return beats.envelope(lambda since, _: peak * bump((since - start) / (end - start), p.peak_fraction, power))


@dataclass(frozen=True)
class Stream:
    """One blood stream under the beam: traced envelope m/s [W] (>= 0), direction, power in dB, distribution and its relative spread."""

    envelope: Floats
    direction: int
    level_db: float
    kind: Literal["plug", "jet"]
    spread: float


def flow_streams(flow: str, p: Physiology, beats: Beats, cosine: float, rng: np.random.Generator) -> list[Stream]:
    """List what lies under the beam, the stream of the class first; envelopes as seen at an angle of that cosine."""
    level, beside, spread = float(rng.uniform(-6.0, 0.0)), float(rng.uniform(-34.0, -16.0)), float(rng.uniform(0.07, 0.13))
    filling = cosine * inflow(p, beats)
    if flow.startswith("mitral_inflow"):  # the outflow tract is next to it and often faintly seen
        outflow = cosine * systolic(p, beats, 0.8, "ejection", 1.0)
        return [Stream(filling, +1, level, "plug", spread), Stream(outflow, -1, beside - 4.0, "plug", 0.16)]
    if flow == "aortic_outflow":
        ejection = cosine * systolic(p, beats, p.peak, "ejection", 1.0)
        return [Stream(ejection, -1, level, "plug", spread), Stream(filling, +1, beside - 4.0, "plug", 0.18)]
    if flow == "aortic_stenosis":  # the continuous beam also holds the slow stream before the valve
        jet = cosine * systolic(p, beats, p.peak, "ejection", 0.85)
        before = Stream(jet * (1.0 / p.peak), -1, level, "plug", 0.2)
        return [Stream(jet, -1, level, "jet", spread), before, Stream(filling, +1, beside, "jet", 0.15)]
    power = 0.5 if flow == "mitral_regurgitation" else 0.75  # right ventricular pressure is less square
    jet = cosine * systolic(p, beats, p.peak, "regurgitation", power)
    return [Stream(jet, -1, level - 2.0, "jet", spread), Stream(filling, +1, beside + 6.0, "jet", 0.15)]
