"""A spectral-Doppler echo simulator: spectra, envelope masks and flow classes from physics. Simulated, not clinical.

The view is the apical window: filling of the ventricles comes toward the transducer (above the baseline), ejection and regurgitation go
away from it (below). What a spectrum goes through: velocity waveform per beat -> distribution of velocities around it -> cosine of the
insonation angle -> sampling at the pulse repetition frequency (what lies beyond the scale wraps around) -> wall filter -> thermal noise ->
speckle -> gain and log compression. The published physiology stands in `doppler_flows`, equations and sites in `doppler_scanner`.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from umsrep.errors import InputError, nearest
from umsrep.tasks.data import doppler_flows as physiology
from umsrep.tasks.data import doppler_scanner as scanner
from umsrep.tasks.data.doppler_flows import FLOW_CLASSES, FLOWS, Floats
from umsrep.tasks.data.doppler_scanner import SITES, Grid, Site

__all__ = ["FLOWS", "SITES", "DopplerSpectrum", "Site", "simulate", "write_dataset"]

DISPLAY_MM = 120.0  # width of the scrolling display: at a sweep of 50 mm/s it holds 2.4 s
WINDOW_S = 0.012  # length of the analysis window of one spectrum


@dataclass(frozen=True)
class DopplerSpectrum:
    """One simulated spectrum; rows run from the highest velocity (top) to the lowest, columns are time.

    Attributes:
        image: The reference, float32 [H, W] in 0-1: speckle averaged over `looks` looks, low electronic noise.
        noisy: Its twin of the same parameters: one look (one of those averaged), low signal-to-noise ratio, at times interference lines.
        mask: uint8 [H, W]: 1 between the baseline and the traced envelope of the flow that `flow` names, wrapped where the image is;
            0 elsewhere: other streams, noise, the "beard" above the envelope. The wall filter's dark band inside it counts as envelope.
        flow: Class name, one of `FLOWS`.
        velocity: m/s [H], centre of each row, toward the transducer positive, uncorrected for the angle as in echocardiography.
        time: s [W], centre of each column.
        envelope: Traced envelope in m/s [W], signed as `velocity`, not wrapped.
        tint: Colour map of the site.
        parameters: Settings and physiology: site, patient, peak_velocity_m_s (of `envelope`, >= 0), nyquist_m_s, prf_hz, frequency_hz,
            angle_deg, baseline (fraction of the height above it), gain_db, snr_db, ... and what `doppler_flows.Physiology` holds.
    """

    image: Grid
    noisy: Grid
    mask: npt.NDArray[np.uint8]
    flow: str
    velocity: Floats
    time: Floats
    envelope: Floats
    tint: tuple[float, float, float]
    parameters: Mapping[str, float | str]

    def rgb(self, *, noisy: bool = False) -> npt.NDArray[np.uint8]:
        """Give the image in the colour map of its site, uint8 [H, W, 3]."""
        grey = (self.noisy if noisy else self.image)[..., None]
        return np.asarray(np.rint(255.0 * grey ** np.asarray(self.tint, dtype=np.float32)), dtype=np.uint8)


_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, math.inf), "patient": (0, math.inf), "heart_rate": (30, 150), "peak_velocity": (0.05, 10), "nyquist": (0.05, 20),
    "baseline": (0.05, 0.95), "angle_deg": (0, 75), "gain_db": (-40, 40), "snr_db": (0, 100), "noisy_snr_db": (0, 100), "looks": (1, 1024),
}  # fmt: skip


def _check(flow: str, site: str, size: tuple[int, int], numbers: Mapping[str, float | None]) -> None:
    if flow not in FLOWS:
        raise InputError(f"unknown flow '{flow}'{nearest(flow, FLOWS)}")
    if site not in SITES:
        raise InputError(f"unknown site '{site}'{nearest(site, SITES)}")
    if len(size) != 2 or min(size) < 16:
        raise InputError(f"size {size} of a Doppler spectrum: give (height, width), both at least 16 pixels")
    for name, value in numbers.items():
        low, high = _RANGES[name]
        if value is not None and not low <= value <= high:  # NaN is outside, too
            raise InputError(f"{name} {value} of a Doppler spectrum: give a value from {low} to {high}")


def simulate(
    flow: str,
    *,
    seed: int,
    size: tuple[int, int] = (128, 128),
    site: str = "A",
    patient: int | None = None,
    heart_rate: float | None = None,
    peak_velocity: float | None = None,
    nyquist: float | None = None,
    baseline: float | None = None,
    angle_deg: float | None = None,
    gain_db: float | None = None,
    snr_db: float | None = None,
    noisy_snr_db: float | None = None,
    looks: int = 8,
) -> DopplerSpectrum:
    """Simulate one spectrum; the same arguments give the same pixels, whatever else was drawn before.

    Args:
        flow: Class, one of `FLOWS`.
        seed: Of the acquisition (beats, settings, speckle), >= 0.
        size: (H, W) in pixels, at least 16 each.
        site: Key of `SITES`.
        patient: Seed of the physiology; None takes `seed`. One patient at several seeds is one heart examined several times.
        heart_rate: Beats a minute. This and the next seven are drawn where they are None.
        peak_velocity: Highest velocity along the flow in m/s (the display shows it times the cosine of the angle).
        nyquist: Nyquist velocity in m/s as displayed; the scale spans twice as much.
        baseline: Fraction of the height above zero velocity; 0.5 shows +-Nyquist. Moving it moves the wrap-around with it.
        angle_deg: Between beam and flow.
        gain_db: Receiver gain.
        snr_db: Blood over thermal noise in `image`, before log compression.
        noisy_snr_db: The same in `noisy`.
        looks: Independent looks averaged in `image`.

    Raises:
        InputError: (a ValueError) An unknown flow or site, or a number outside its range.
    """
    _check(flow, site, size, {
        "seed": seed, "patient": patient, "heart_rate": heart_rate, "peak_velocity": peak_velocity, "nyquist": nyquist,
        "baseline": baseline, "angle_deg": angle_deg, "gain_db": gain_db, "snr_db": snr_db, "noisy_snr_db": noisy_snr_db, "looks": looks,
    })  # fmt: skip
    c, s = FLOW_CLASSES[flow], SITES[site]
    who = seed if patient is None else patient
    p = physiology.draw_physiology(flow, np.random.default_rng([1, who]), heart_rate, peak_velocity)
    rng = np.random.default_rng([2, who, seed])
    height, width = size

    # The operator's settings. Every draw is made even when its value is given, so that giving one changes nothing else.
    drawn_gain, drawn_angle = float(rng.uniform(*s.gain_db)), float(rng.uniform(0.0, 25.0))
    floor = s.dynamic_range_db + drawn_gain  # noise this far below the blood is just black
    drawn_snr, drawn_noisy_snr = floor + float(rng.uniform(-5.0, 5.0)), floor - float(rng.uniform(12.0, 24.0))
    drawn_side = float(rng.uniform(0.5, 0.85)) if rng.uniform() < 0.75 else 0.5  # share of the height on the flow's side
    depth, sweep = float(rng.uniform(0.08, 0.12)), float(rng.choice(s.sweep_mm_s))
    angle = drawn_angle if angle_deg is None else angle_deg
    gain = drawn_gain if gain_db is None else gain_db
    snr = drawn_snr if snr_db is None else snr_db
    noisy_snr = drawn_noisy_snr if noisy_snr_db is None else noisy_snr_db
    zero = (drawn_side if c.direction > 0 else 1.0 - drawn_side) if baseline is None else baseline
    # The flow fills 50-93 % of its side; now and then the scale is too small for it, more often in pulsed mode with its lower limit.
    continuous = c.doppler == "continuous"
    room = float(rng.uniform(0.75, 0.97) if rng.uniform() < (0.05 if continuous else 0.12) else rng.uniform(1.08, 2.0))
    cosine = math.cos(math.radians(angle))
    scale = p.peak * cosine * room / (2.0 * (zero if c.direction > 0 else 1.0 - zero))
    frequency = s.continuous_hz if continuous else s.pulsed_hz
    if not continuous:  # an echo must return before the next pulse leaves
        scale = min(scale, scanner.nyquist_velocity(scanner.SPEED_OF_SOUND / (2.0 * depth), frequency))
    scale = scale if nyquist is None else nyquist
    cutoff = s.wall_filter_hz * (3.0 if continuous else 1.0) * scanner.SPEED_OF_SOUND / (2.0 * frequency)
    step = 2.0 * scale / height
    velocity: Floats = 2.0 * scale * zero - step * (np.arange(height, dtype=np.float64) + 0.5)
    time: Floats = (np.arange(width, dtype=np.float64) + 0.5) * (DISPLAY_MM / sweep / width)

    beats = physiology.draw_beats(p, time, rng, 0.05 if flow.startswith("tricuspid") else 0.02)
    streams = physiology.flow_streams(flow, p, beats, cosine, rng)
    power: Grid = np.zeros(size, dtype=np.float32)
    for stream in streams:
        power += scanner.stream_power(stream, velocity, time, scale, 1.2 * step, WINDOW_S)
    # Blood brightens and fades slowly as heart and probe move; valves click; walls echo strongly at low speed.
    phase = rng.uniform(0.0, 2.0 * np.pi, 3)[:, None]
    fading = (np.sin(2.0 * np.pi * np.array([[0.35], [0.9], [2.3]]) * time + phase) * np.array([[1.2], [1.0], [0.8]])).sum(0)
    power *= (10.0 ** (fading / 10.0)).astype(np.float32)
    wall = np.full(width, 10.0 ** (float(rng.uniform(-14.0, 2.0)) / 10.0))
    for moment, level in zip(physiology.valve_events(p), rng.uniform(-45.0, -12.0, 4), strict=True):
        since = time - beats.onset[:, None] - moment
        click = np.exp(-0.5 * (since / 0.007) ** 2).max(0) * 10.0 ** (level / 10.0)
        power += (np.exp(-np.abs(velocity) / (0.25 * scale))[:, None] * click).astype(np.float32)
        wall += np.exp(-0.5 * (since / 0.05) ** 2).max(0) * 10.0 ** ((level + 26.0) / 10.0)
    power += (np.exp(-0.5 * (velocity / (0.42 * cutoff)) ** 2)[:, None] * wall).astype(np.float32)
    opposite = np.rint((velocity[0] + velocity) / step).astype(int) % height  # the row of -velocity, itself wrapped
    power += power[opposite] * np.float32(10.0 ** (s.mirror_db / 10.0))

    fields = scanner.speckle(size, rng, looks)
    noise = np.full(height, 10.0 ** (-noisy_snr / 10.0))
    if rng.uniform() < 0.4:  # mains-driven electronics: lines at fixed frequencies, in both directions
        for line in rng.uniform(0.15, 0.9, 2) * scale:
            noise += 4.0 * noise[0] * np.exp(-0.5 * ((np.abs(velocity) - line) / (0.6 * step)) ** 2)
    passed = scanner.wall_filter(velocity, cutoff).astype(np.float32)[:, None]

    def shown(mean: Grid, look: Grid) -> Grid:
        level = scanner.log_compress(mean * passed * look, gain, s.dynamic_range_db) ** np.float32(s.grey_gamma)
        if s.baseline_grey > 0.0:
            level[int(zero * height)] = s.baseline_grey
        return level

    image = shown(power + np.float32(10.0 ** (-snr / 10.0)), fields.mean(0))
    noisy = shown(power + noise.astype(np.float32)[:, None], fields[0])
    traced = streams[0].envelope
    highest = float(traced.max())
    parameters: dict[str, float | str] = asdict(p)
    parameters |= {
        "site": site, "patient": who, "doppler": c.doppler, "peak_velocity_m_s": highest, "nyquist_m_s": scale, "frequency_hz": frequency,
        "prf_hz": 4.0 * frequency * scale / scanner.SPEED_OF_SOUND, "angle_deg": angle, "baseline": zero, "gain_db": gain, "snr_db": snr,
        "dynamic_range_db": s.dynamic_range_db, "noisy_snr_db": noisy_snr, "sweep_mm_s": sweep, "wall_filter_m_s": cutoff, "looks": looks,
    }  # fmt: skip
    mask = scanner.envelope_mask(traced, c.direction, velocity, scale)
    return DopplerSpectrum(image, noisy, mask, flow, velocity, time, c.direction * traced, s.tint, MappingProxyType(parameters))


_README = """# Simulated spectral-Doppler echo

**Simulated, not clinical.** Made by `umsrep.tasks.data.doppler.write_dataset` ({n} spectra of {patients} simulated patients, seed {seed}):
no patient, no scanner. Use it to try software out, never to judge how a model does on patients.

- `images/`: reference spectra (speckle averaged, low noise), 8-bit PNG, {colour}.
- `noisy/`, if there: the same spectra, single look, low signal-to-noise ratio (`noisy_file_name`).
- `masks/`: index images, 0 background, 1 spectral envelope (baseline to traced velocity, wrapped where the spectrum is).
- `metadata.csv`: `label` is the flow class; `split` is by patient; `patient_id`, `site`; heart_rate (1/min), nyquist_m_s,
  peak_velocity_m_s.
"""


def write_dataset(
    folder: str | Path,
    n: int,
    *,
    seed: int = 0,
    size: tuple[int, int] = (128, 128),
    sites: Sequence[str] = tuple(SITES),
    flows: Sequence[str] = FLOWS,
    spectra_per_patient: int = 3,
    noisy: bool = True,
    colour: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write `n` spectra as a data folder: images/, masks/, noisy/, metadata.csv (written last) and a README that says they are simulated.

    Patients have one flow each and are dealt to flows and splits in turn, so that classes are even and every split (train, validation,
    test, about 70 : 10 : 20) has a patient from 7 patients of 7 flows on; a patient is in one split. `file_name` is the reference,
    `noisy_file_name` its twin.

    Args:
        folder: Where to; made if missing.
        n: How many spectra, >= 1.
        seed: Another seed gives other patients.
        size: (H, W) in pixels.
        sites: Keys of `SITES`, dealt to patients evenly.
        flows: Classes to write.
        spectra_per_patient: Fewer where `n` is too small to give every flow a patient.
        noisy: Also write the noisy twins.
        colour: Store RGB in the site's colour map; else its grey values, one channel.
        overwrite: Write into a folder that already holds a metadata.csv.
        progress: Called with (written, n) after each spectrum.

    Raises:
        InputError: (a ValueError) `n` < 1, unknown flow or site, none given, or a metadata.csv is in the way.
    """
    root = Path(folder)
    if n < 1 or spectra_per_patient < 1:
        raise InputError(f"{n} spectra, {spectra_per_patient} a patient: both must be at least 1")
    if not sites or not flows:
        raise InputError("no site or no flow given: name at least one of each")
    for site, flow in [(site, flows[0]) for site in sites] + [(sites[0], flow) for flow in flows]:
        _check(flow, site, size, {"seed": seed})
    if (root / "metadata.csv").exists() and not overwrite:
        raise InputError(f"{root} already holds a metadata.csv: choose another folder, or overwrite=True")
    for sub in ("images", "masks", *(["noisy"] if noisy else [])):
        (root / sub).mkdir(parents=True, exist_ok=True)
    patients = min(n, max(len(flows), -(-n // spectra_per_patient)))
    dealt = np.random.default_rng([3, seed]).permutation(np.arange(patients) % len(sites))
    rows: list[dict[str, Any]] = []
    for i in range(n):
        who, visit = i % patients, i // patients
        turn, kind = divmod(who, len(flows))
        place = (turn + 3 * kind) % 10  # 3 and 10 share no factor: the splits stay even over classes
        heart = int(np.random.SeedSequence([seed, who]).generate_state(1)[0])
        d = simulate(flows[kind], seed=visit, size=size, site=sites[dealt[who]], patient=heart)
        name = f"s{seed}p{who:05d}_{visit}.png"
        row: dict[str, Any] = {"file_name": f"images/{name}", "mask_file_name": f"masks/{name}", "label": d.flow}
        row |= {"split": "validation" if place == 5 else "test" if place in (3, 8) else "train", "patient_id": f"s{seed}p{who:05d}"}
        row |= {"site": sites[dealt[who]]} | {k: f"{d.parameters[k]:.4f}" for k in ("heart_rate", "nyquist_m_s", "peak_velocity_m_s")}
        Image.fromarray(d.rgb() if colour else _grey(d.image)).save(root / "images" / name)
        Image.fromarray(d.mask).save(root / "masks" / name)
        if noisy:
            Image.fromarray(d.rgb(noisy=True) if colour else _grey(d.noisy)).save(root / "noisy" / name)
            row["noisy_file_name"] = f"noisy/{name}"
        rows.append(row)
        if progress is not None:
            progress(i + 1, n)
    stored = "RGB in the site's colour map" if colour else "grey"
    (root / "README.md").write_text(_README.format(n=n, patients=patients, seed=seed, colour=stored), encoding="utf-8")
    with (root / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _grey(image: Grid) -> npt.NDArray[np.uint8]:
    return np.asarray(np.rint(255.0 * image), dtype=np.uint8)
