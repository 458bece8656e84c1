from __future__ import annotations

import math

import pytest
import torch

from umsrep.errors import InputError
from umsrep.tasks.noise import NOISES, add_noise, draw_level, level_range


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grey(value: float, size: int = 400) -> torch.Tensor:
    return torch.full((1, size, size), value)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("level", [5.0, 25.0, 50.0])
@pytest.mark.parametrize("value", [0.25, 0.5, 1.0])
def test_mean_and_standard_deviation_follow_the_documented_formula(noise: str, level: float, value: float) -> None:
    s = level / 255
    expected = {
        "gaussian": s,
        "speckle": s * value,
        "poisson": s * math.sqrt(2 * value),
        "mixed": math.sqrt(s**2 / 2 * 2 * value + s**2 / 2),
    }[noise]
    added = add_noise(grey(value), noise, level, generator()) - value
    assert float(added.std()) == pytest.approx(expected, rel=0.01)  # 160,000 pixels: standard error 0.2 %
    assert abs(float(added.mean())) < 5 * expected / 400


@pytest.mark.parametrize("noise", ["poisson", "mixed"])
def test_signal_dependent_noise_has_the_nominal_strength_at_mid_grey(noise: str) -> None:
    assert float(add_noise(grey(0.5), noise, 25.5, generator()).std()) == pytest.approx(0.1, rel=0.01)


def test_noise_is_not_clipped() -> None:
    white, black = add_noise(grey(1.0), "gaussian", 50, generator()), add_noise(grey(0.0), "gaussian", 50, generator())
    assert float((white > 1).float().mean()) == pytest.approx(0.5, abs=0.01)
    assert float((black < 0).float().mean()) == pytest.approx(0.5, abs=0.01)


def test_poisson_noise_leaves_black_black_and_takes_negative_pixels_as_black() -> None:
    assert torch.equal(add_noise(grey(-0.1, 8), "poisson", 25, generator()), grey(0.0, 8))


@pytest.mark.parametrize("noise", NOISES)
def test_level_zero_changes_nothing(noise: str) -> None:
    image = torch.rand(3, 5, 7, generator=generator())
    assert torch.equal(add_noise(image, noise, 0.0, generator()), image)


@pytest.mark.parametrize("noise", NOISES)
def test_same_seed_same_noise_and_the_input_is_untouched(noise: str) -> None:
    image = torch.rand(3, 16, 9, generator=generator())
    before = image.clone()
    one, two = add_noise(image, noise, 25, generator(1)), add_noise(image, noise, 25, generator(1))
    assert torch.equal(one, two)
    assert not torch.equal(one, add_noise(image, noise, 25, generator(2)))
    assert one.shape == image.shape
    assert torch.equal(image, before)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_keep_their_type_and_stay_finite(noise: str, dtype: torch.dtype) -> None:
    noisy = add_noise(grey(0.5, 64).to(dtype), noise, 0.2, generator())  # 800,000 photons: beyond float16
    assert noisy.dtype == dtype
    assert bool(noisy.isfinite().all())


def test_levels_are_uniform_over_the_range() -> None:
    source = generator()
    levels = torch.tensor([draw_level((10, 50), source) for _ in range(4000)])
    assert 10 <= float(levels.min()) < 10.2
    assert 49.8 < float(levels.max()) <= 50
    assert float(levels.mean()) == pytest.approx(30, abs=1)
    assert float(levels.std()) == pytest.approx(40 / math.sqrt(12), rel=0.05)


def test_a_fixed_level_draws_nothing() -> None:
    source = generator()
    state = source.get_state()
    assert draw_level(25, source) == draw_level((25, 25), source) == 25.0
    assert torch.equal(source.get_state(), state)


@pytest.mark.parametrize(
    ("level", "message"),
    [(-1, ">= 0"), ((0, math.inf), "finite"), (math.nan, "finite"), ((50, 10), r"write \[10, 50\]"), ((1, 2, 3), "pair"), ((), "pair")],
)
def test_bad_levels_are_refused(level: float | tuple[float, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        level_range(level)


def test_integer_images_and_unknown_noise_are_refused() -> None:
    with pytest.raises(ValueError, match="float image in the range 0-1"):
        add_noise(torch.zeros(1, 4, 4, dtype=torch.uint8), "gaussian", 25, generator())
    with pytest.raises(ValueError, match="unknown noise 'rician'"):
        add_noise(grey(0.5, 4), "rician", 25, generator())
