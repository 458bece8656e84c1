import collections

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from umsrep.errors import InputError
from umsrep.tasks.augment import RandAugment, TrivialAugment, automatic
from umsrep.tasks.augment.geometry import IGNORE

POLICIES = [RandAugment(), RandAugment(operations=3, magnitude=30), TrivialAugment()]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def disc(height: int = 40, width: int = 48, channels: int = 1) -> tuple[Tensor, Tensor]:
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    mask = ((rows - 18) ** 2 + (columns - 20) ** 2 <= 64).to(torch.uint8)
    return (mask * 0.6 + 0.2).expand(channels, height, width).clone(), mask


def middle(weights: Tensor) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(weights.shape[0]), torch.arange(weights.shape[1]), indexing="ij")
    return torch.stack([(weights * rows).sum(), (weights * columns).sum()]) / weights.sum()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_one_generator_gives_one_result_and_inputs_stay(policy, channels):
    image, mask = disc(channels=channels)
    kept = image.clone(), mask.clone()
    different = 0
    for seed in range(60):
        made, masks = policy(image, {"disc": mask}, generator=seeded(seed))
        torch.manual_seed(seed)
        again, again_masks = policy(image, {"disc": mask}, generator=seeded(seed))
        assert torch.equal(made, again)
        assert torch.equal(masks["disc"], again_masks["disc"])
        assert made.shape == image.shape
        assert masks["disc"].dtype == mask.dtype
        assert float(made.min()) >= 0
        assert float(made.max()) <= 1
        assert set(masks["disc"].unique().tolist()) <= {0, 1, IGNORE}
        made.zero_(), masks["disc"].zero_()
        different += not torch.equal(again, image)
    assert torch.equal(image, kept[0])
    assert torch.equal(mask, kept[1])
    assert different > 30


@pytest.mark.parametrize("name", automatic._GEOMETRY)
@pytest.mark.parametrize("space", [0, 1])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_mask_goes_where_the_image_goes(name, space, sign):
    image, mask = disc()
    largest = automatic.TABLE[name]
    assert largest is not None
    for share in (0.3, 0.6):
        moved, masks = automatic._move(image, {"m": mask}, name, sign * share * largest[space])
        inside = masks["m"] != IGNORE
        seen = (moved[0] > 0.5) & inside
        assert int((seen != (masks["m"] == 1)).logical_and(inside).sum()) <= 16  # the disc's edge
        assert (moved[0][masks["m"] == 1] > 0.4).all()
        assert not torch.equal(masks["m"], mask)
        shown = (masks["m"] == 1).float()
        if name.startswith("translate") and float(shown.sum()) == float(mask.sum()):
            axis = 0 if name == "translate_y" else 1
            step = (middle(shown) - middle(mask.float()))[axis]
            assert float(step) == pytest.approx(sign * share * largest[space] * mask.shape[axis], abs=0.6)


def test_rotation_is_torchvisions():
    image, _ = disc(41, 41)
    moved, _ = automatic._move(image, {}, "rotate", 30.0)
    wanted = TF.rotate(image, -30.0, TF.InterpolationMode.BILINEAR)  # theirs turns against the clock
    assert float((moved - wanted).abs().max()) < 1e-4


def test_photometric_operations_are_torchvisions():
    image = torch.rand(3, 20, 20, generator=seeded(1))
    for strength in (-0.99, -0.4, 0.5, 0.99):
        assert torch.allclose(automatic._change(image, "brightness", strength), TF.adjust_brightness(image, 1 + strength), atol=1e-6)
        assert torch.allclose(automatic._change(image, "contrast", strength), TF.adjust_contrast(image, 1 + strength), atol=1e-3)
        assert torch.allclose(automatic._change(image, "saturation", strength), TF.adjust_saturation(image, 1 + strength), atol=1e-3)
        assert torch.allclose(automatic._change(image, "sharpness", strength), TF.adjust_sharpness(image, 1 + strength), atol=1e-6)
    for name in ("posterize", "identity"):
        assert torch.equal(automatic._change(image, name, 0.0), image)
    assert len(automatic._change(image, "posterize", 6.0).unique()) == 4


def test_draws_are_uniform():
    generator = seeded()
    drawn = [TrivialAugment.draw(generator)[0] for _ in range(6000)]
    counts = collections.Counter(name for name, _ in drawn)
    assert set(counts) == set(automatic.TABLE)
    assert max(abs(n / 6000 - 1 / 14) for n in counts.values()) < 4.5 * (1 / 14 * 13 / 14 / 6000) ** 0.5
    turns = [strength for name, strength in drawn if name == "rotate"]
    assert len({round(abs(t), 6) for t in turns}) == automatic.STEPS
    assert sum(t < 0 for t in turns) / len(turns) == pytest.approx(0.5, abs=0.12)
    both = RandAugment(operations=3, magnitude=15).draw(seeded())
    assert len(both) == 3
    assert all(abs(s) == pytest.approx(0.5 * automatic.TABLE[n][0]) for n, s in both if automatic.TABLE[n])  # type: ignore[index]


@pytest.mark.parametrize(("operations", "magnitude"), [(0, 9), (2, 31), (2, -1)])
def test_wrong_numbers_are_told(operations, magnitude):
    with pytest.raises(InputError, match="RandAugment needs"):
        RandAugment(operations, magnitude)


def test_images_out_of_range_are_told():
    with pytest.raises(InputError, match="from 0 to 1"):
        TrivialAugment()(torch.full((1, 8, 8), 200.0), generator=seeded())
