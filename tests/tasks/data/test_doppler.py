"""The spectral-Doppler simulator: equations, physiology, display, data folder."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from umsrep.tasks.data.doppler import FLOWS, SITES, simulate, write_dataset
from umsrep.tasks.data.doppler_flows import FLOW_CLASSES, draw_physiology, e_wave, systolic_intervals
from umsrep.tasks.data.doppler_scanner import (
    doppler_shift,
    envelope_mask,
    log_compress,
    nyquist_velocity,
    speckle,
    wall_filter,
    wrap_velocity,
)

REQUIRED = {
    "mitral_inflow_normal",
    "mitral_inflow_impaired_relaxation",
    "mitral_inflow_restrictive",
    "aortic_outflow",
    "aortic_stenosis",
    "mitral_regurgitation",
    "tricuspid_regurgitation",
}


def test_the_flow_classes_are_all_there() -> None:
    assert set(FLOWS) >= REQUIRED
    assert len(SITES) >= 2


# --- equations, against numbers worked out by hand ---------------------------------------------------------------------------------------


def test_doppler_shift_of_one_metre_a_second_at_two_megahertz() -> None:
    assert doppler_shift(1.0, 2.0e6) == pytest.approx(2597.4026, abs=1e-4)  # 2 * 1 * 2e6 / 1540
    assert doppler_shift(1.0, 2.0e6, 60.0) == pytest.approx(1298.7013, abs=1e-4)  # cos 60 = 1/2
    assert doppler_shift(-0.5, 2.0e6) == pytest.approx(-1298.7013, abs=1e-4)


def test_nyquist_velocity_is_the_velocity_of_half_the_repetition_frequency() -> None:
    assert nyquist_velocity(5000.0, 2.5e6) == pytest.approx(0.77)  # 1540 * 5000 / (4 * 2.5e6)
    assert nyquist_velocity(5000.0, 2.5e6, 60.0) == pytest.approx(1.54)
    assert doppler_shift(nyquist_velocity(6200.0, 3e6, 20.0), 3e6, 20.0) == pytest.approx(3100.0)


def test_wrapping() -> None:
    np.testing.assert_allclose(wrap_velocity([0.0, 0.9, 1.1, 2.0, 3.3, -1.2], 1.0), [0.0, 0.9, -0.9, 0.0, -0.7, 0.8], atol=1e-12)
    np.testing.assert_allclose(wrap_velocity([1.4, 1.6, -0.6], 1.0, lowest=-0.5), [1.4, -0.4, 1.4], atol=1e-12)  # baseline moved down


def test_wall_filter_halves_the_power_at_its_cutoff() -> None:
    np.testing.assert_allclose(wall_filter([0.0, 0.1, -0.1, 0.05, 0.4], 0.1), [0.0, 0.5, 0.5, 1 / 257, 1.0], atol=2e-5)


def test_log_compression_of_known_powers() -> None:
    np.testing.assert_allclose(log_compress([1.0, 0.1, 1e-4, 1e-9, 10.0], 0.0, 40.0), [1.0, 0.75, 0.0, 0.0, 1.0], atol=1e-6)
    assert log_compress(0.1, 5.0, 50.0) == pytest.approx(0.9)


def test_speckle_power_is_exponential_and_averages_down() -> None:
    one = speckle((400, 400), np.random.default_rng(0), looks=4)
    assert one.shape == (4, 400, 400)
    assert one.mean() == pytest.approx(1.0, rel=0.02)
    assert one.std() == pytest.approx(one.mean(), rel=0.02)  # exponential: mean = standard deviation
    assert (one > 2.0).mean() == pytest.approx(np.exp(-2.0), rel=0.03)
    assert one.mean(0).std() == pytest.approx(0.5, rel=0.03)  # four independent looks
    # Amplitude correlation of neighbours 2a / (1 + 2a^2) with a = 0.5; squared for power.
    assert np.corrcoef(one[0][1:].ravel(), one[0][:-1].ravel())[0, 1] == pytest.approx((1.0 / 1.5) ** 2, abs=0.03)


# --- physiology --------------------------------------------------------------------------------------------------------------------------


def test_systolic_intervals_at_70_beats_a_minute() -> None:
    assert systolic_intervals(70.0) == pytest.approx((0.103, 0.294))


def test_deceleration_time_is_where_the_steepest_tangent_meets_zero() -> None:
    t = np.linspace(0.0, 0.5, 50001)
    v = e_wave(t, 0.09, 0.2)
    assert v.max() == pytest.approx(1.0)
    assert t[v.argmax()] == pytest.approx(0.09, abs=1e-3)
    slope = np.gradient(v, t)
    i = int(slope.argmin())
    assert t[i] - v[i] / slope[i] - 0.09 == pytest.approx(0.2, abs=1e-3)


@pytest.mark.parametrize(
    ("flow", "low", "high", "deceleration"),
    [
        ("mitral_inflow_impaired_relaxation", 0.3, 0.8, (0.2, 0.3)),
        ("mitral_inflow_normal", 0.8, 2.0, (0.14, 0.24)),
        ("mitral_inflow_restrictive", 2.0, 4.0, (0.08, 0.16)),
    ],
)
def test_the_waves_measured_on_the_spectrum_define_the_mitral_class(
    flow: str, low: float, high: float, deceleration: tuple[float, float]
) -> None:
    for seed in range(12):
        d = simulate(flow, seed=seed, size=(32, 2048), angle_deg=0.0, heart_rate=75.0)
        v = d.envelope
        assert v.min() >= 0.0  # filling comes toward the apex
        local = (v[1:-1] > v[:-2]) & (v[1:-1] >= v[2:]) & (v[1:-1] > 0.05)
        at, peak = d.time[1:-1][local], v[1:-1][local]
        # At 75 beats a minute systole parts A from the next E by more than 0.4 s, while E to A takes less.
        ratios = [peak[i + 1] / peak[i] for i in range(len(at) - 1) if at[i + 1] - at[i] > 0.4]
        assert ratios, seed
        assert low < min(ratios) <= max(ratios) < high
        assert deceleration[0] < float(d.parameters["deceleration"]) < deceleration[1]


@pytest.mark.parametrize(
    ("flow", "low", "high"),
    [
        ("aortic_outflow", 0.7, 1.35),
        ("aortic_stenosis", 2.5, 5.5),
        ("mitral_regurgitation", 4.0, 6.0),
        ("tricuspid_regurgitation", 2.2, 3.8),
    ],
)
def test_jets_go_away_from_the_apex_at_published_speeds(flow: str, low: float, high: float) -> None:
    for seed in range(12):
        d = simulate(flow, seed=seed, size=(16, 1024), angle_deg=0.0)
        assert d.envelope.max() <= 0.0
        assert low < -d.envelope.min() < high


def test_regurgitation_lasts_longer_than_ejection_and_rises_faster() -> None:
    share: dict[str, list[float]] = defaultdict(list)
    fullness: dict[str, list[float]] = defaultdict(list)
    for flow in ("aortic_stenosis", "mitral_regurgitation"):
        for seed in range(8):
            v = -simulate(flow, seed=seed, size=(16, 1024), heart_rate=70.0).envelope
            share[flow].append(float((v > 0).mean()))
            fullness[flow].append(float(v[v > 0].mean() / v.max()))  # 2/pi for a half sine, more for a parabola
    assert min(share["mitral_regurgitation"]) > max(share["aortic_stenosis"])
    assert np.mean(fullness["mitral_regurgitation"]) > np.mean(fullness["aortic_stenosis"]) + 0.04


def test_severe_stenosis_peaks_later_than_mild() -> None:
    mild, severe = ([draw_physiology("aortic_stenosis", np.random.default_rng(s), peak=None) for s in range(400)] for _ in range(2))
    early = np.mean([p.peak_fraction for p in mild if p.peak < 3.0])
    late = np.mean([p.peak_fraction for p in severe if p.peak > 5.0])
    assert late > early + 0.03


def test_the_angle_slows_what_is_displayed() -> None:
    straight, oblique = (simulate("mitral_regurgitation", seed=3, angle_deg=a).envelope for a in (0.0, 60.0))
    np.testing.assert_allclose(oblique, 0.5 * straight, rtol=1e-9)


# --- the spectrum ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flow", FLOWS)
def test_shapes_ranges_and_axes(flow: str) -> None:
    d = simulate(flow, seed=1, size=(96, 160), site="C")
    for image in (d.image, d.noisy):
        assert image.shape == (96, 160)
        assert image.dtype == np.float32
        assert 0.0 <= image.min() < image.max() <= 1.0
    assert d.mask.dtype == np.uint8
    assert set(np.unique(d.mask)) == {0, 1}
    assert d.rgb().shape == (96, 160, 3)
    nyquist = float(d.parameters["nyquist_m_s"])
    assert d.velocity[0] - d.velocity[-1] == pytest.approx(2 * nyquist * 95 / 96)
    assert d.time[0] == pytest.approx((d.time[1] - d.time[0]) / 2)
    assert nyquist == pytest.approx(nyquist_velocity(float(d.parameters["prf_hz"]), float(d.parameters["frequency_hz"])))
    with pytest.raises(FrozenInstanceError):
        d.flow = "other"  # type: ignore[misc]


def test_the_seed_alone_decides() -> None:
    first = simulate("aortic_stenosis", seed=5)
    np.random.seed(0)  # noqa: NPY002 - the point: global state must not matter
    simulate("mitral_regurgitation", seed=6)
    again = simulate("aortic_stenosis", seed=5)
    for name in ("image", "noisy", "mask", "velocity", "time"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.parameters == again.parameters
    assert not np.array_equal(first.image, simulate("aortic_stenosis", seed=6).image)


def test_a_patient_keeps_the_heart_and_changes_the_acquisition() -> None:
    one, two = (simulate("mitral_inflow_normal", seed=s, patient=9) for s in (0, 1))
    assert [one.parameters[k] for k in ("heart_rate", "e", "a")] == [two.parameters[k] for k in ("heart_rate", "e", "a")]
    assert one.parameters["nyquist_m_s"] != two.parameters["nyquist_m_s"]
    assert not np.array_equal(one.image, two.image)


def test_given_values_change_nothing_else() -> None:
    drawn = simulate("aortic_outflow", seed=2)
    given = simulate("aortic_outflow", seed=2, gain_db=float(drawn.parameters["gain_db"]), nyquist=float(drawn.parameters["nyquist_m_s"]))
    np.testing.assert_array_equal(drawn.image, given.image)
    louder = simulate("aortic_outflow", seed=2, gain_db=float(drawn.parameters["gain_db"]) + 6.0)
    assert louder.image.mean() > drawn.image.mean() + 0.03
    np.testing.assert_array_equal(louder.mask, drawn.mask)


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("factor", [0.7, 0.97, 1.03, 1.5])
def test_aliasing_wraps_exactly_when_the_peak_exceeds_nyquist(flow: str, factor: float) -> None:
    peak = 1.2
    d = simulate(flow, seed=4, size=(256, 256), angle_deg=0.0, baseline=0.5, peak_velocity=peak, nyquist=peak / factor)
    direction = FLOW_CLASSES[flow].direction
    other_side = (direction * d.velocity < 0)[:, None]
    measured = float(d.parameters["peak_velocity_m_s"])
    half_a_row = peak / factor / 256
    assert 0.95 * peak < measured <= peak
    assert bool((d.mask * other_side).any()) == (measured > peak / factor + half_a_row)  # the first row centre beyond the scale
    if factor > 1.2:  # the wrapped part of the spectrum is as bright as the rest
        wrapped = d.mask.astype(bool) & other_side
        beside = ~d.mask.astype(bool) & other_side & (np.abs(d.velocity) > 0.5 * peak / factor)[:, None]
        assert d.image[wrapped].mean() > d.image[beside].mean() + 0.2


def test_mask_of_a_known_envelope() -> None:
    velocity = np.array([1.5, 0.5, -0.5, -1.5])  # Nyquist 2, baseline in the middle
    envelope = np.array([0.0, 1.0, 2.0, 3.0])
    np.testing.assert_array_equal(envelope_mask(envelope, +1, velocity, 2.0), [[0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 1]])
    np.testing.assert_array_equal(envelope_mask(envelope, -1, velocity, 2.0), envelope_mask(envelope, +1, velocity, 2.0)[::-1])


def test_baseline_shift_undoes_the_wrap() -> None:
    wrapped = simulate("aortic_outflow", seed=4, angle_deg=0.0, baseline=0.5, peak_velocity=1.2, nyquist=0.8)
    moved = simulate("aortic_outflow", seed=4, angle_deg=0.0, baseline=0.2, peak_velocity=1.2, nyquist=0.8)
    assert (wrapped.mask * (wrapped.velocity > 0)[:, None]).any()
    assert not (moved.mask * (moved.velocity > 0)[:, None]).any()
    assert int(wrapped.mask.sum()) == pytest.approx(int(moved.mask.sum()), rel=0.02)  # the same rows, elsewhere


@pytest.mark.parametrize("flow", FLOWS)
def test_the_wall_filter_empties_the_band_around_the_baseline(flow: str) -> None:
    d = simulate(flow, seed=8, site="B", size=(512, 128), baseline=0.5, gain_db=0.0)  # site B draws no baseline
    cutoff = float(d.parameters["wall_filter_m_s"])
    band = np.abs(d.velocity) < 0.25 * cutoff
    assert band.any()
    assert d.image[band].mean() < 0.05
    assert d.image[(np.abs(d.velocity) > cutoff) & (np.abs(d.velocity) < 2 * cutoff)].mean() > 0.15


@pytest.mark.parametrize("site", sorted(SITES))
@pytest.mark.parametrize("flow", FLOWS)
def test_the_mask_is_where_the_spectrum_is(flow: str, site: str) -> None:
    inside, outside, noisy_inside, noisy_outside = [], [], [], []
    for seed in range(4):
        d = simulate(flow, seed=seed, site=site)
        m = d.mask.astype(bool)
        assert 0.01 < m.mean() < 0.6
        inside.append(d.image[m].mean())
        outside.append(d.image[~m].mean())
        noisy_inside.append(d.noisy[m].mean())
        noisy_outside.append(d.noisy[~m].mean())
    assert np.mean(inside) > 2.0 * np.mean(outside)
    assert np.mean(noisy_inside) > np.mean(noisy_outside) + 0.05


def test_the_reference_is_smoother_and_darker_outside_than_its_noisy_twin() -> None:
    for flow in FLOWS:
        d = simulate(flow, seed=11)
        outside = d.mask == 0
        assert d.noisy[outside].mean() > d.image[outside].mean() + 0.05
        assert np.abs(np.diff(d.noisy, axis=1)).mean() > 2.0 * np.abs(np.diff(d.image, axis=1)).mean()
    single = simulate("aortic_outflow", seed=11, looks=1, snr_db=20.0, noisy_snr_db=20.0)
    lines = np.abs(single.image - single.noisy).max(1) > 0
    assert lines.mean() < 0.15  # one look at the same noise is the same picture, but for interference lines


def test_sites_differ_in_more_than_the_patients() -> None:
    shown = {name: simulate("mitral_regurgitation", seed=0, site=name) for name in SITES}
    assert len({float(d.parameters["frequency_hz"]) for d in shown.values()}) == len(SITES)
    assert len({float(d.parameters["dynamic_range_db"]) for d in shown.values()}) == len(SITES)
    assert len({SITES[name].sweep_mm_s for name in SITES}) == len(SITES)
    assert len({d.tint for d in shown.values()}) >= 3
    grey, sepia = shown["A"].rgb().astype(int), shown["B"].rgb().astype(int)
    assert np.array_equal(grey[..., 0], grey[..., 2])
    assert (sepia[..., 0] - sepia[..., 2]).mean() > 10
    assert {d.parameters["heart_rate"] for d in shown.values()} == {shown["A"].parameters["heart_rate"]}  # the same heart everywhere


def test_no_pixel_tells_all_classes_apart() -> None:
    images = np.stack([[simulate(flow, seed=s, size=(32, 32), site="ABCD"[s % 4]).image for s in range(24)] for flow in FLOWS])
    middle = np.median(images, axis=1, keepdims=True)  # [K, 1, H, W]
    distance = np.abs(images[:, :, None] - middle.transpose(1, 0, 2, 3)[None])  # [K, n, K, H, W]
    right = (distance.argmin(2) == np.arange(len(FLOWS))[:, None, None, None]).mean((0, 1))
    assert right.max() < 0.55  # chance is 1/7; the best single pixel stays far from a classifier


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flow": "mitral_inflow_norml"}, "did you mean 'mitral_inflow_normal'"),
        ({"site": "Z"}, "unknown site 'Z'; known: A, B, C, D"),
        ({"size": (8, 128)}, "at least 16 pixels"),
        ({"seed": -1}, "seed -1"),
        ({"patient": -2}, "patient -2"),
        ({"heart_rate": 0.0}, "heart_rate 0.0 of a Doppler spectrum: give a value from 30 to 150"),
        ({"peak_velocity": float("nan")}, "peak_velocity nan"),
        ({"baseline": 1.0}, "baseline 1.0"),
        ({"angle_deg": 90.0}, "angle_deg 90.0"),
        ({"looks": 0}, "looks 0"),
    ],
)
def test_bad_arguments_are_one_clear_line(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"flow": FLOWS[0], "seed": 0} | change
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        simulate(**arguments)  # type: ignore[arg-type]
    assert message in str(caught.value)


# --- the data folder ---------------------------------------------------------------------------------------------------------------------


def _pixels(path: Path) -> tuple[str, NDArray[np.uint8]]:
    with Image.open(path) as image:
        return image.mode, np.asarray(image, dtype=np.uint8)


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_dataset(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_dataset(tmp_path / "d", 210, size=(32, 48), progress=lambda i, n: seen.append((i, n)))
    rows = _rows(tmp_path / "d")
    assert len(rows) == 210
    assert seen[-1] == (210, 210)
    assert len(seen) == 210
    assert list(rows[0])[:6] == ["file_name", "mask_file_name", "label", "split", "patient_id", "site"]
    assert {"heart_rate", "nyquist_m_s", "peak_velocity_m_s", "noisy_file_name"} <= set(rows[0])
    splits, flows = defaultdict(set), defaultdict(set)
    for row in rows:
        splits[row["patient_id"]].add(row["split"])
        flows[row["split"]].add(row["label"])
    assert len(splits) == 70
    assert all(len(s) == 1 for s in splits.values())  # no patient in two splits
    assert Counter(row["split"] for row in rows) == {"train": 147, "validation": 21, "test": 42}
    assert all(flows[split] == set(FLOWS) for split in ("train", "validation", "test"))
    assert set(Counter(row["label"] for row in rows).values()) == {30}
    assert {row["site"] for row in rows} == set(SITES)
    for row in rows[::37]:
        modes, pixels = zip(*(_pixels(tmp_path / "d" / row[k]) for k in ("file_name", "mask_file_name", "noisy_file_name")), strict=True)
        assert modes == ("L", "L", "L")
        assert {p.shape for p in pixels} == {(32, 48)}
        assert set(np.unique(pixels[1])) <= {0, 1}
        assert pixels[0].std() > 5
    assert "Simulated, not clinical" in (tmp_path / "d" / "README.md").read_text(encoding="utf-8")


def test_dataset_is_decided_by_its_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_dataset(tmp_path / name, 7, seed=seed, size=(16, 16), sites=["B", "C"], noisy=False, colour=True)
    a, b, c = (_rows(tmp_path / name) for name in "abc")
    assert a == b
    assert a != c
    assert not {r["patient_id"] for r in a} & {r["patient_id"] for r in c}
    assert {r["site"] for r in a} == {"B", "C"}
    assert {r["split"] for r in a} == {"train", "validation", "test"}  # even one spectrum a flow fills every split
    assert "noisy_file_name" not in a[0]
    first = a[0]["file_name"]
    assert _pixels(tmp_path / "a" / first)[0] == "RGB"
    assert (tmp_path / "a" / first).read_bytes() == (tmp_path / "b" / first).read_bytes()


def test_dataset_refuses_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        write_dataset(tmp_path, 0)
    with pytest.raises(ValueError, match="unknown site 'AA'"):
        write_dataset(tmp_path, 3, sites=["A", "AA"])
    with pytest.raises(ValueError, match="did you mean 'aortic_stenosis'"):
        write_dataset(tmp_path, 3, flows=["aortic_stenoses"])
    with pytest.raises(ValueError, match="no site"):
        write_dataset(tmp_path, 3, sites=[])
    assert not (tmp_path / "images").exists()  # nothing was written before the check
    write_dataset(tmp_path, 1, size=(16, 16))
    with pytest.raises(ValueError, match=r"already holds a metadata\.csv"):
        write_dataset(tmp_path, 1, size=(16, 16))
    write_dataset(tmp_path, 2, size=(16, 16), overwrite=True)
    assert len(_rows(tmp_path)) == 2
