"""Crops, holes and noise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from umsrep.tasks.data.augment import Augment
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.pretrain.views import Crops, Masked, Noisy, Whole, crop
from umsrep.zoo import InputContract

CONTRACT = InputContract(size=32)
STILL = Augment(rotate=0, shift=0, scale=0, brightness=0, contrast=0, gamma=0, flip=0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def image() -> Tensor:
    """A ramp from left (0) to right (1), 40 x 60."""
    return torch.linspace(0, 1, 60).repeat(1, 40, 1)


def test_whole(image: Tensor) -> None:
    assert torch.equal(Whole(CONTRACT)(image, generator())["image"], CONTRACT.normalise(CONTRACT.fit(image)))


def test_noisy_twin(image: Tensor) -> None:
    views = Noisy(CONTRACT, STILL, Denoising(level=25.0))(image, generator())
    assert torch.allclose(views["clean"], CONTRACT.fit(image))
    noise = CONTRACT.denormalise(views["image"]) - views["clean"]
    assert float(noise.std()) == pytest.approx(25 / 255, rel=0.1)


@pytest.mark.parametrize("policy", ["strong", "randaugment", "trivialaugment"])
def test_every_policy_serves_every_view(image: Tensor, policy: Any) -> None:
    augment = Augment(policy=policy)
    for seed in range(12):
        views = Noisy(CONTRACT, augment, Denoising(level=25.0))(image, generator(seed))
        noise = CONTRACT.denormalise(views["image"]) - views["clean"]
        assert float(noise.std()) == pytest.approx(25 / 255, rel=0.15), "noise comes after the policy and is not in the target"
        assert 0 <= float(views["clean"].min()) <= float(views["clean"].max()) <= 1
        Masked(CONTRACT, augment, 8, 0.6)(image, generator(seed))
        crops = Crops(CONTRACT, augment, ((16, 16), (16, 16)), ((0.5, 1.0), (0.5, 1.0)))(image, generator(seed))
        assert not torch.equal(crops["view0"], crops["view1"])


@pytest.mark.parametrize(("ratio", "count"), [(0.6, 10), (0.01, 1), (0.99, 15)])
def test_as_many_patches_are_hidden_in_every_image(image: Tensor, ratio: float, count: int) -> None:
    masks = [Masked(CONTRACT, STILL, 8, ratio)(image, generator(seed))["hidden"] for seed in range(5)]
    assert [(tuple(m.shape), int(m.sum())) for m in masks] == [((4, 4), count)] * 5, "at least one, and never all"
    assert len({tuple(m.flatten().tolist()) for m in masks}) > 1


def test_a_crop_of_everything_is_the_fitted_image(image: Tensor) -> None:
    draws = [crop(image, (32, 32), (1.0, 1.0), generator(seed)) for seed in range(20)]
    assert min(float((d - CONTRACT.fit(image)).abs().max()) for d in draws) < 0.15, "aspects are jittered, so it is nearly so"


def test_crops_have_the_areas_asked_for(image: Tensor) -> None:
    # on a ramp the spread of a crop's columns is its width; an aspect r spreads an area a to a width of sqrt(a r)
    for low, high in ((0.5, 1.0), (0.1, 0.3)):
        widths = []
        for seed in range(200):
            view = crop(image, (16, 16), (low, high), generator(seed))
            assert view.shape == (1, 16, 16)
            widths.append(float(view[0, 0, -1] - view[0, 0, 0]))
        assert min(widths) >= (low * 3 / 4) ** 0.5 * 15 / 16 - 0.05
        assert max(widths) <= min(1.0, (high * 4 / 3) ** 0.5) + 0.02
        assert max(widths) - min(widths) > 0.1


def test_views_differ_in_size_and_content(image: Tensor) -> None:
    views = Crops(CONTRACT, Augment(), ((32, 32), (32, 32), (16, 16)), ((0.5, 1.0),) * 2 + ((0.1, 0.3),))(image, generator())
    assert {name: tuple(v.shape) for name, v in views.items()} == {"view0": (1, 32, 32), "view1": (1, 32, 32), "view2": (1, 16, 16)}
    assert not torch.equal(views["view0"], views["view1"])
    assert all(float(v.min()) >= -1 and float(v.max()) <= 1 for v in views.values()), "within the contract's range"


def test_padded_contracts_crop_the_padded_image() -> None:
    padded = InputContract(size=32, resize="pad")
    bright = torch.ones(1, 20, 40)  # fitted, the lower half is padding
    views = Crops(padded, STILL, ((32, 32),), ((1.0, 1.0),))(bright, generator(3))
    assert 0.3 < float(padded.denormalise(views["view0"]).mean()) < 0.75
