"""Augmentation: image and masks move together, draws come from the generator alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from umsrep.errors import InputError
from umsrep.tasks.data.augment import Augment

STILL = {"rotate": 0.0, "shift": 0.0, "scale": 0.0, "brightness": 0.0, "contrast": 0.0, "gamma": 0.0, "flip": 0.0}


def only(**values: float) -> Augment:
    changes: dict[str, Any] = STILL | values
    return Augment(**changes)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def disc(height: int = 64, width: int = 48) -> tuple[Tensor, Tensor]:
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    mask = ((rows - 24) ** 2 + (columns - 20) ** 2 <= 100).to(torch.uint8)
    return mask[None].float() * 0.6 + 0.2, mask


def test_all_zero_changes_nothing() -> None:
    image, mask = disc()
    new, masks = only()(image, {"m": mask}, generator())
    torch.testing.assert_close(new, image, atol=1e-6, rtol=0)
    assert torch.equal(masks["m"], mask)


def test_the_same_generator_gives_the_same_and_inputs_stay() -> None:
    image, mask = disc()
    before = image.clone(), mask.clone()
    first, first_masks = Augment(flip=0.5)(image, {"m": mask}, generator(3))
    again, again_masks = Augment(flip=0.5)(image, {"m": mask}, generator(3))
    other, _ = Augment(flip=0.5)(image, {"m": mask}, generator(4))
    assert torch.equal(first, again)
    assert torch.equal(first_masks["m"], again_masks["m"])
    assert not torch.equal(first, other)
    assert torch.equal(image, before[0])
    assert torch.equal(mask, before[1])
    assert first.shape == image.shape
    assert first_masks["m"].dtype == torch.uint8


@pytest.mark.parametrize("seed", range(6))
def test_image_and_mask_move_together(seed: int) -> None:
    image, mask = disc()
    moved, masks = only(rotate=20, shift=0.1, scale=0.2, flip=0.5)(image, {"m": mask, "k": mask[None].repeat(2, 1, 1)}, generator(seed))
    new = masks["m"]
    inside, outside = moved[0][new == 1], moved[0][new == 0]
    # 0.8 and 0.2 blur into each other only at the rim, which is 63 of 317 pixels
    assert (inside > 0.5).float().mean() > 0.97
    assert (outside < 0.5).float().mean() > 0.97
    assert torch.equal(masks["k"][1], new), "planes of overlapping classes move alike"
    assert set(new.unique().tolist()) <= {0, 1, 255}
    assert not torch.equal(new, mask)


def test_what_comes_from_outside_is_black_and_ignored() -> None:
    image, mask = torch.ones(1, 40, 40), torch.ones(40, 40, dtype=torch.uint8)
    for seed in range(20):
        moved, masks = only(shift=0.5)(image, {"m": mask}, generator(seed))
        outside = masks["m"] == 255
        assert ((moved[0] < 0.5) != outside).sum() <= 80, "bilinear and nearest may part on the border, one row and one column"
        if outside.sum() > 200:
            return
    pytest.fail("no draw moved the image")


def test_flip_is_certain_at_one_and_mirrors_both() -> None:
    image, mask = disc()
    moved, masks = only(flip=1.0)(image, {"m": mask}, generator())
    torch.testing.assert_close(moved, image.flip(-1), atol=1e-6, rtol=0)
    assert torch.equal(masks["m"], mask.flip(-1))
    flips = sum(not torch.equal(only(flip=0.25)(image, {"m": mask}, generator(s))[1]["m"], mask) for s in range(400))
    assert 65 <= flips <= 135, "a quarter of 400, within four standard deviations"


def test_intensity_stays_in_range_and_reaches_its_limits() -> None:
    image = torch.rand(1, 32, 32, generator=generator(1))
    means = [float(only(brightness=0.3)(image, {}, generator(s))[0].mean() / image.mean()) for s in range(40)]
    assert min(means) < 0.8 < 1.2 < max(means)
    assert min(means) > 0.69
    assert max(means) < 1.31
    spreads = [float(only(contrast=0.3)(image, {}, generator(s))[0].std() / image.std()) for s in range(40)]
    assert 0.69 < min(spreads) < 0.8
    gammas = [float(only(gamma=1.0)(torch.full((1, 8, 8), 0.25), {}, generator(s))[0].mean()) for s in range(40)]
    assert 0.25**2 - 1e-6 <= min(gammas) < 0.15
    assert 0.4 < max(gammas) <= 0.25**0.5 + 1e-6
    strong = Augment(brightness=0.9, contrast=0.9, gamma=2)
    for seed in range(20):
        new, _ = strong(image, {}, generator(seed))
        assert float(new.min()) >= 0
        assert float(new.max()) <= 1
        assert torch.isfinite(new).all()


@pytest.mark.parametrize(("key", "value"), [("rotate", -1), ("rotate", 181), ("shift", 0.95), ("flip", 1.5), ("gamma", float("nan"))])
def test_impossible_values_are_refused(key: str, value: float) -> None:
    with pytest.raises(InputError, match=f"augment.{key} must be from 0 to"):
        only(**{key: value})
