from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest

from umsrep.errors import InputError
from umsrep.tasks.classical import CLASSICAL, Method, apply, tune

SIGMA = 25 / 255
FAST: dict[str, dict[str, Any]] = {"bayes_shrink": {"shifts": 1}, "visu_shrink": {"shifts": 1}}


def scene(size: int = 64) -> np.ndarray:
    """Piecewise smooth, 0-1: a shaded disc on a ramp with a bar."""
    y, x = np.mgrid[:size, :size] / size
    image = 0.2 + 0.3 * x
    image[(x - 0.4) ** 2 + (y - 0.5) ** 2 < 0.08] = 0.8
    image[:, size // 8 * 6 : size // 8 * 7] -= 0.2
    return np.asarray(image - 0.1 * y, dtype=np.float32)


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return (SIGMA * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def error(image: np.ndarray, clean: np.ndarray) -> float:
    return float(np.mean((image - clean) ** 2))


@pytest.mark.parametrize("name", CLASSICAL)
def test_removes_most_of_the_noise_from_a_piecewise_smooth_image(name: str) -> None:
    clean = scene()
    noisy = clean + noise(clean.shape)
    out = apply(name, noisy, SIGMA, **FAST.get(name, {}))
    assert out.shape == clean.shape
    assert out.dtype == np.float32
    assert error(out, clean) < 0.35 * error(noisy, clean)


@pytest.mark.parametrize("name", CLASSICAL)
def test_no_noise_returns_a_copy_and_the_input_is_never_touched(name: str) -> None:
    noisy = scene() + noise((64, 64))
    before = noisy.copy()
    same = apply(name, noisy, 0.0)
    np.testing.assert_array_equal(same, noisy)
    assert same is not noisy
    apply(name, noisy, SIGMA, **FAST.get(name, {}))
    np.testing.assert_array_equal(noisy, before)


@pytest.mark.parametrize("name", CLASSICAL)
def test_one_channel_is_the_plain_image_and_three_are_all_denoised(name: str) -> None:
    clean = scene(48)[:, :40]  # not square: a swapped axis shows
    colour = np.stack([clean, 0.5 * clean, clean[::-1]])
    noisy = colour + noise(colour.shape)
    fast = FAST.get(name, {})
    plain = apply(name, noisy[0], SIGMA, **fast)
    np.testing.assert_array_equal(apply(name, noisy[:1], SIGMA, **fast), plain[None])
    out = apply(name, noisy, SIGMA, **fast)
    for channel in range(3):
        assert error(out[channel], colour[channel]) < 0.5 * error(noisy[channel], colour[channel])
    if name != "nlm":  # the only one whose channels share weights
        np.testing.assert_allclose(out[0], plain, atol=1e-6)


@pytest.mark.parametrize("name", CLASSICAL)
def test_nothing_is_clipped(name: str) -> None:
    """Black and white shifted by 2 give the same, shifted: no method looks at the absolute value."""
    noisy = (scene() + noise((64, 64))).astype(np.float64)
    fast = FAST.get(name, {})
    if name == "tv":
        fast = {"eps": 1e-7}  # the stopping rule compares energies, which do not depend on the offset beyond rounding
    np.testing.assert_allclose(apply(name, noisy + 2, SIGMA, **fast), apply(name, noisy, SIGMA, **fast) + 2, atol=2e-3)


@pytest.mark.parametrize("name", CLASSICAL)
def test_grids_are_ascending_and_functions_name_their_source(name: str) -> None:
    method = CLASSICAL[name]
    assert all(a < b for a, b in itertools.pairwise(method.grid))
    assert method.grid[-1] / method.grid[0] > 2
    assert method.function.__doc__


@pytest.mark.parametrize("name", CLASSICAL)
def test_tuned_optimum_is_interior_and_beats_every_other_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = CLASSICAL[name]
    narrow = {key: choices[:1] for key, choices in method.options.items()}  # one combination is enough here
    monkeypatch.setitem(CLASSICAL, name, Method(method.title, method.function, method.parameter, method.grid, narrow))
    clean = [scene(), scene()[:, ::-1].copy()]
    noisy = [image + noise(image.shape, seed) for seed, image in enumerate(clean)]
    tuned = tune(name, clean, noisy, SIGMA)
    assert tuned.interior
    assert tuned.gain > 2
    assert tuned.psnr == max(value for _, value in tuned.curve)
    tried = [parameters[method.parameter] for parameters, _ in tuned.curve]
    assert min(tried) < tuned.parameters[method.parameter] < max(tried)
    again = [apply(name, image, SIGMA, **tuned.parameters) for image in noisy]
    by_hand = np.mean([-10 * np.log10(error(a, c)) for a, c in zip(again, clean, strict=True)])
    assert tuned.psnr == pytest.approx(by_hand, abs=1e-3)


@pytest.mark.parametrize("grid", [(0.2, 0.3), (6.0, 9.0)])
def test_a_grid_to_one_side_is_extended_until_the_optimum_is_inside(grid: tuple[float, float]) -> None:
    clean = [scene()]
    noisy = [scene() + noise((64, 64))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tuned = tune("gaussian", clean, noisy, SIGMA, grid=grid)
    assert tuned.interior
    assert 0.5 < tuned.parameters["width"] < 2
    assert len(tuned.curve) > 2


def test_a_hopeless_grid_warns() -> None:
    with pytest.warns(RuntimeWarning, match="end of what was tried"):
        tuned = tune("gaussian", [scene()], [scene() + noise((64, 64))], SIGMA, grid=(0.30, 0.301))
    assert not tuned.interior
    assert len(tuned.curve) == 10


def test_wavelet_options_are_searched_and_the_best_is_kept() -> None:
    clean, noisy = [scene(32)], [scene(32) + noise((32, 32))]
    tuned = tune("bayes_shrink", clean, noisy, SIGMA, grid=(0.7, 1.0, 1.4))
    combinations = {(parameters["wavelet"], parameters["levels"]) for parameters, _ in tuned.curve}
    assert len(combinations) == 9
    best = max(tuned.curve, key=lambda entry: entry[1])
    assert tuned.parameters == best[0]


def test_shifts_help_wavelets() -> None:
    clean = scene()
    noisy = clean + noise(clean.shape)
    single = apply("bayes_shrink", noisy, SIGMA, shifts=0)
    assert error(apply("bayes_shrink", noisy, SIGMA, shifts=3), clean) < 0.9 * error(single, clean)


def test_wrong_input_is_one_line_with_the_remedy() -> None:
    image = scene()
    for wrong, message in (
        (lambda: apply("nml", image, SIGMA), "did you mean 'nlm'"),
        (lambda: apply("nlm", image, SIGMA, weight=1.0), "unknown parameter of 'nlm' 'weight'"),
        (lambda: apply("bayes_shrink", image, SIGMA, wavelet="sym44"), "did you mean 'sym4'"),
        (lambda: apply("visu_shrink", image, SIGMA, threshold="firm"), "unknown threshold 'firm'"),
        (lambda: apply("tv", (image * 255).astype(np.uint8), SIGMA), "uint8"),
        (lambda: apply("tv", image[None, None], SIGMA), r"float \[H, W\]"),
        (lambda: apply("tv", image, -0.1), "sigma -0.1 must be"),
        (lambda: apply("tv", np.full((32, 32), np.nan), SIGMA), "NaN"),
        (lambda: tune("tv", [], [], SIGMA), "0 clean and 0 noisy"),
        (lambda: tune("tv", [image], [image[1:]], SIGMA), "equal shape"),
        (lambda: tune("tv", [image], [image], 0.0), "nothing to tune"),
        (lambda: tune("tv", [image], [image], SIGMA, grid=(1.0, 0.5)), "ascending order"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            wrong()
        assert "\n" not in str(caught.value)
