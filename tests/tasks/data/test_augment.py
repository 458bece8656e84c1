"""Augmentation: image and masks move together, draws come from the generator alone."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from umsrep.errors import InputError
from umsrep.tasks.augment import StrongAugment
from umsrep.tasks.data.augment import Augment
from umsrep.zoo import InputContract

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
    assert torch.equal(new, image)
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


# ---- markers: discs at known places, drawn in the image and, each with its own index, in the mask ---------------------------------
# (row, column) as fractions of the sides, without any symmetry, and far enough from the rim to stay inside under every setting below
MARKERS = ((0.32, 0.36), (0.40, 0.62), (0.66, 0.34), (0.62, 0.66), (0.50, 0.47))
RADIUS = 6.0
GEOMETRY: dict[str, dict[str, float]] = {
    "rotate": {"rotate": 25.0},
    "shift": {"shift": 0.1},
    "scale": {"scale": 0.2},
    "flip": {"flip": 1.0},
    "all": {"rotate": 25.0, "shift": 0.1, "scale": 0.2, "flip": 0.5},
    "all, with intensity": {"rotate": 25.0, "shift": 0.1, "scale": 0.2, "flip": 0.5, "brightness": 0.15, "contrast": 0.15, "gamma": 0.2},
}
SIZES = ((112, 112), (96, 144), (150, 90))


def draw_markers(height: int, width: int, radius: float = RADIUS) -> tuple[Tensor, Tensor, Tensor]:
    """Return an image with soft-edged discs, the mask of their indices 1 to 5, and their centres (x, y) from the image's middle."""
    fine = 5
    rows = ((torch.arange(height * fine) + 0.5) / fine - 0.5)[:, None]
    columns = (torch.arange(width * fine) + 0.5) / fine - 0.5
    image, mask, centres = torch.zeros(height * fine, width * fine), torch.zeros(height, width, dtype=torch.uint8), []
    for index, (down, right) in enumerate(MARKERS, 1):
        y, x = round(down * (height - 1)), round(right * (width - 1))
        image[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = 0.8
        inside = (torch.arange(height)[:, None] - y) ** 2 + (torch.arange(width) - x) ** 2 <= radius**2
        mask[inside] = index
        centres.append((x - (width - 1) / 2, y - (height - 1) / 2))
    return F.avg_pool2d(image[None], fine), mask, torch.tensor(centres, dtype=torch.float64)


def centroid(weights_HW: Tensor) -> Tensor:
    """Return (x, y) of the centre of mass, from the image's middle."""
    height, width = weights_HW.shape
    x, y = torch.arange(width, dtype=torch.float64) - (width - 1) / 2, torch.arange(height, dtype=torch.float64) - (height - 1) / 2
    weights = weights_HW.double()
    return torch.stack([(weights.sum(0) * x).sum(), (weights.sum(1) * y).sum()]) / weights.sum()


def found_markers(image_HW: Tensor, mask_HW: Tensor, radius: float = RADIUS) -> tuple[Tensor, Tensor]:
    """Return where the image and where the mask have the markers; the image is searched around the mask's places."""
    height, width = image_HW.shape
    from_mask = torch.stack([centroid(mask_HW == index) for index in range(1, len(MARKERS) + 1)])
    y, x = torch.arange(height)[:, None] - (height - 1) / 2, torch.arange(width) - (width - 1) / 2
    near = [(x - float(c[0])) ** 2 + (y - float(c[1])) ** 2 <= (radius + 3) ** 2 for c in from_mask]
    return torch.stack([centroid(image_HW * window) for window in near]), from_mask


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("setting", GEOMETRY)
def test_image_and_mask_move_together_and_as_far_as_was_asked(setting: str, size: tuple[int, int]) -> None:
    image, mask, centres = draw_markers(*size)
    values, still = GEOMETRY[setting], torch.zeros_like(mask)
    planes = torch.stack([mask == 1, mask == 4]).to(torch.uint8)
    seen, gaps = [], []
    for seed in range(40):
        moved, masks = only(**values)(image, {"index": mask, "planes": planes, "empty": still}, generator(seed))
        in_image, in_mask = found_markers((moved[0] - moved.min()), masks["index"], RADIUS * 1.2)
        gaps.append(in_image - in_mask)
        assert float(gaps[-1].abs().max()) < 0.55, "half a pixel, which nearest neighbour rounds away"
        assert torch.equal(masks["planes"][1] == 1, masks["index"] == 4), "planes of overlapping classes move alike"
        assert torch.equal(masks["planes"][0] == 255, masks["empty"] == 255)
        assert set(masks["index"].unique().tolist()) <= {0, 1, 2, 3, 4, 5, 255}
        assert masks["index"].dtype == torch.uint8
        # what happened, read off the image's markers: x' = a x - b y + right, y' = b x + a y + down (x mirrored first after a flip)
        fits = []
        for mirror in (1.0, -1.0):
            x, y = centres[:, 0] * mirror, centres[:, 1]
            one, zero = torch.ones_like(x), torch.zeros_like(x)
            design = torch.cat([torch.stack([x, -y, one, zero], 1), torch.stack([y, x, zero, one], 1)])
            solution = torch.linalg.lstsq(design, in_image.T.reshape(-1, 1)).solution
            error = float((design @ solution - in_image.T.reshape(-1, 1)).abs().max())
            fits.append((error, mirror, solution.flatten().tolist()))
        error, mirror, (a, b, right, down) = min(fits)
        assert error < 0.15, "circles stay circles and distances keep their proportions, also where the image is not square"
        seen.append((math.degrees(math.atan2(b, a)), right / size[1], down / size[0], math.hypot(a, b) - 1, mirror))
    assert float(torch.cat(gaps).mean(0).abs().max()) < 0.15, "and to no side more than to the other"
    degrees, right_by, down_by, grown, mirrors = (torch.tensor(v) for v in zip(*seen, strict=True))
    for got, limit, tolerance in (
        (degrees, values.get("rotate", 0.0), 0.2),
        (right_by, values.get("shift", 0.0), 0.002),
        (down_by, values.get("shift", 0.0), 0.002),
        (grown, values.get("scale", 0.0), 0.005),
    ):
        assert float(got.abs().max()) <= limit + tolerance
        assert float(got.max()) >= 0.6 * limit - tolerance, "40 draws come near the limit, both ways"
        assert float(got.min()) <= -0.6 * limit + tolerance
    assert float((mirrors < 0).float().mean()) == pytest.approx(values.get("flip", 0.0), abs=0.3)


@pytest.mark.parametrize("size", SIZES)
def test_the_geometry_is_torchvisions(size: tuple[int, int]) -> None:
    image, mask = torch.rand(2, *size, generator=generator(9)), draw_markers(*size)[1]
    for seed in range(10):
        draws = (torch.rand(8, generator=generator(seed)) * 2 - 1).tolist()
        move: dict[str, Any] = {
            "angle": 25 * draws[0],
            "translate": [0.1 * draws[1] * size[1], 0.1 * draws[2] * size[0]],
            "scale": 1 + 0.2 * draws[3],
            "shear": [0.0, 0.0],
        }
        moved, masks = only(rotate=25, shift=0.1, scale=0.2)(image, {"m": mask}, generator(seed))
        torch.testing.assert_close(moved, TF.affine(image, **move, interpolation=InterpolationMode.BILINEAR), atol=2e-4, rtol=0)
        theirs = TF.affine(mask[None], **move, interpolation=InterpolationMode.NEAREST, fill=[255])[0]
        assert int((masks["m"] != theirs).sum()) <= 3, "places that lie between two pixels may round differently"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
@pytest.mark.parametrize("setting", ["rotate", "shift", "scale", "all"])
def test_what_comes_from_outside_is_black_and_ignored(setting: str, dtype: torch.dtype) -> None:
    image, mask = torch.ones(1, 50, 70), torch.full((50, 70), 200, dtype=dtype)
    most = 0
    for seed in range(20):
        moved, masks = only(**GEOMETRY[setting])(image, {"m": mask}, generator(seed))
        outside = masks["m"] == 255
        # a place beyond the rim by less than half a pixel is still the rim's; its grey is mixed with black
        assert torch.equal(masks["m"] == 200, ~outside)
        assert float(moved[0][~outside].min()) >= 0.25 - 1e-4
        assert not outside.any() or float(moved[0][outside].max()) <= 0.5 + 1e-4
        most = max(most, int(outside.sum()))
    assert most > 150


@pytest.mark.parametrize("name", ["brightness", "contrast", "gamma"])
def test_intensity_leaves_every_mask_as_it_is(name: str) -> None:
    image, mask, _ = draw_markers(96, 144)
    mask[:5] = 255
    planes = torch.stack([mask, mask.flip(0)])
    for seed in range(10):
        moved, masks = only(**{name: 0.5})(image * 0.5 + 0.2, {"m": mask, "k": planes}, generator(seed))
        assert torch.equal(masks["m"], mask)
        assert torch.equal(masks["k"], planes)
        in_image, in_mask = found_markers(moved[0] - moved.min(), mask)
        assert float((in_image - in_mask).abs().max()) < 0.55
        order = (image * 0.5 + 0.2).flatten().argsort(stable=True)
        assert bool((moved.flatten()[order].diff() >= -1e-6).all()), "grey levels keep their order"


@pytest.mark.parametrize("resize", ["stretch", "pad"])
@pytest.mark.parametrize("target", [(96, 96), (72, 120), (300, 260)])
@pytest.mark.parametrize("size", [(150, 230), (210, 130), (160, 160)])
def test_the_contracts_resize_moves_image_and_mask_together(size: tuple[int, int], target: tuple[int, int], resize: Any) -> None:
    radius = 9.0
    image, mask, centres = draw_markers(*size, radius)
    contract = InputContract(size=target, resize=resize)
    planes = torch.stack([mask == 2, mask == 5]).to(torch.uint8)
    unit, index, overlapping = contract.fit(image), contract.fit_mask(mask), contract.fit_mask(planes)
    assert unit.shape == (1, *target)
    assert index.shape == target
    inner = contract.inner_size(*size)
    factor = torch.tensor([inner[1] / size[1], inner[0] / size[0]], dtype=torch.float64)
    in_image, in_mask = found_markers(unit[0], index, radius * float(factor.max()))
    # from middle to middle of the part that holds the image, in pixels of the new one
    offset = torch.tensor([inner[1] - target[1], inner[0] - target[0]], dtype=torch.float64) / 2
    assert float((in_image - (centres * factor + offset)).norm(dim=1).max()) < 0.1
    assert float((in_image - in_mask).abs().max()) < 0.55
    padding = torch.ones(target, dtype=torch.bool)
    padding[: inner[0], : inner[1]] = False
    assert torch.equal(index == 255, padding)
    assert torch.equal(overlapping == 255, padding.expand(2, *target))
    assert torch.equal(overlapping[1] == 1, index == 5)
    assert float(unit[0][padding].sum()) == 0
    for seed in range(5):  # and then the augmentation, as in training
        moved, masks = Augment(flip=0.5)(unit, {"m": index}, generator(seed))
        in_image, in_mask = found_markers(moved[0] - moved.min(), masks["m"], radius * float(factor.max()) * 1.05)
        assert float((in_image - in_mask).abs().max()) < 0.8, "rounded twice"


# ---- the defaults keep disease in sight (docs/augmentation.md, benchmarks/study_augment.py) -----------------------------------------
def lost(augment: Augment, masks: list[Tensor], draws: int) -> Tensor:
    """Return the fraction of a mask's foreground that leaves the frame, for each draw."""
    fractions = []
    for seed in range(draws):
        mask = masks[seed % len(masks)]
        scale = 1 + augment.scale * float(torch.rand(8, generator=generator(seed))[3] * 2 - 1)
        new = augment(torch.zeros(1, *mask.shape), {"m": mask}, generator(seed))[1]["m"]
        fractions.append(1 - float((new == 1).sum()) / (float((mask == 1).sum()) * scale**2))
    return torch.tensor(fractions)


def lungs(height: int = 128, width: int = 128) -> Tensor:
    """Two ellipses that reach to within 6 % of the frame, as in a tightly collimated film."""
    y, x = torch.arange(height)[:, None] / height - 0.5, torch.arange(width) / width - 0.5
    return ((((x.abs() - 0.24) / 0.2) ** 2 + (y / 0.44) ** 2) <= 1).to(torch.uint8)


def test_the_defaults_keep_the_lungs_in_the_frame() -> None:
    gone = lost(Augment(), [lungs()], 1000)
    assert float(gone.max()) < 0.03
    assert float(gone.mean()) < 0.003
    assert float(lost(Augment(shift=0.2), [lungs()], 50).max()) > 0.1, "the measure sees a crop"
    assert Augment().flip == 0, "the heart stays on its side"


@pytest.mark.slow
def test_the_defaults_keep_real_lungs_in_the_frame(unpacked: Callable[[str], Path]) -> None:
    folder = unpacked("cxr_guangzhou")
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        names = [row["mask_file_name"] for row in csv.DictReader(file) if row["mask_file_name"]]
    masks = []
    for name in names[::11]:
        with Image.open(folder / name) as picture:
            masks.append(torch.from_numpy(np.array(picture)))
    assert len(masks) > 300
    gone = lost(Augment(), masks, 2000)
    assert float(gone.mean()) < 0.005
    assert float(gone.quantile(0.99)) < 0.03
    assert float(gone.max()) < 0.1


def test_the_defaults_keep_a_small_nodule() -> None:
    """A nodule of 3 px in diameter, the smallest that resampling by bilinear interpolation may not wash out."""
    peaks, sums = [], []
    for seed in range(300):
        place = torch.rand(2, generator=generator(1000 + seed)) * 0.4 + 0.3
        fine = 4
        y = ((torch.arange(128 * fine) + 0.5) / fine - 0.5)[:, None] - float(place[0]) * 127
        x = (torch.arange(128 * fine) + 0.5) / fine - 0.5 - float(place[1]) * 127
        image = F.avg_pool2d((y**2 + x**2 <= 1.5**2).float()[None], fine)
        scale = 1 + Augment().scale * float(torch.rand(8, generator=generator(seed))[3] * 2 - 1)
        moved, _ = only(rotate=Augment().rotate, shift=Augment().shift, scale=Augment().scale)(image, {}, generator(seed))
        peaks.append(float(moved.max() / image.max()))
        sums.append(float(moved.sum() / image.sum()) / scale**2)
    assert min(peaks) > 0.88
    assert sum(peaks) / len(peaks) > 0.97
    assert 0.95 < min(sums) < max(sums) < 1.05


def test_the_defaults_keep_contrast_against_noise() -> None:
    """Intensity alone: a faint nodule stands out of the noise as before, on dark, middle and bright lungs."""
    nodule = draw_markers(96, 96)[1] > 0
    for level in (0.15, 0.4, 0.75):
        noise = torch.randn(1, 96, 96, generator=generator(5)) * 0.02
        image = (level + 0.06 * nodule + noise).clamp(0, 1)

        def stands_out(x: Tensor) -> float:
            return float((x[0][nodule].mean() - x[0][~nodule].mean()) / x[0][~nodule].std())

        before = stands_out(image)
        kept = [stands_out(Augment(rotate=0, shift=0, scale=0)(image, {}, generator(seed))[0]) / before for seed in range(200)]
        assert min(kept) > 0.95
        assert max(kept) < 1.05


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


def test_noise_comes_on_every_second_image_with_any_strength_up_to_its_own() -> None:
    image, augment = torch.full((1, 64, 64), 0.5), Augment(noise=51)
    spreads = torch.tensor([float((augment.add_noise(image, generator(seed)) - image).std()) for seed in range(400)])
    assert 0.42 < float((spreads > 0).float().mean()) < 0.58
    noisy = spreads[spreads > 0]
    assert 0.19 < float(noisy.max()) < 0.21  # 51 / 255, and the chance in the standard deviation of 4,096 pixels
    assert float(noisy.mean()) == pytest.approx(0.1, abs=0.015)
    assert torch.equal(augment.add_noise(image, generator(1)), augment.add_noise(image, generator(1)))
    still = Augment(rotate=0, shift=0, scale=0, noise=51)
    assert float(still(image, {}, generator(0))[0].std()) < 1e-6, "the augmented image is denoising's target, too"
    assert Augment().add_noise(image, generator(0)) is image


@pytest.mark.parametrize(
    ("key", "value"),
    [("noise", -1), ("noise", 256), ("rotate", -1), ("rotate", 181), ("shift", 0.95), ("flip", 1.5), ("gamma", float("nan"))],
)
def test_impossible_values_are_refused(key: str, value: float) -> None:
    with pytest.raises(InputError, match=f"augment.{key} must be from 0 to"):
        only(**{key: value})


POLICIES = ["strong", "randaugment", "trivialaugment"]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_follows_the_same_geometry_and_comes_from_the_onegenerator(policy: Any) -> None:
    image, mask = disc()
    different, moved = 0, 0
    for seed in range(40):
        made, masks = Augment(policy=policy)(image, {"m": mask}, generator(seed))
        again, again_masks = Augment(policy=policy)(image, {"m": mask}, generator(seed))
        _, mild_masks = Augment()(image, {"m": mask}, generator(seed))
        assert torch.equal(made, again)
        assert torch.equal(masks["m"], again_masks["m"])
        assert 0 <= float(made.min()) <= float(made.max()) <= 1
        different += not torch.equal(made, Augment()(image, {"m": mask}, generator(seed))[0])
        moved += not torch.equal(masks["m"], mild_masks["m"])
    assert different == 40, "the mild changes of grey are left out"
    assert moved == 0 if policy == "strong" else 5 < moved < 38


def test_strong_is_the_geometry_and_then_strong_augment() -> None:
    image, mask = disc()
    still = only(policy="strong")  # type: ignore[arg-type]
    for seed in range(10):
        drawn = generator(seed)
        Augment.draw(drawn)
        made, masks = still(image, {"m": mask}, generator(seed))
        assert torch.equal(made, StrongAugment()(image, generator=drawn))
        assert torch.equal(masks["m"], mask)


def test_the_target_of_a_denoiser_gets_no_noise_from_the_policy() -> None:
    image, _ = disc()
    still = only(policy="strong")  # type: ignore[arg-type]
    noisy = set()
    for seed in range(120):
        drawn = generator(seed)
        Augment.draw(drawn)
        names = [name for name, _ in StrongAugment.draw(drawn)]
        one, other = (still(image, {}, generator(seed), is_target=target)[0] for target in (False, True))
        assert torch.equal(one, other) or "noise" in names
        if names[-1] == "noise":
            noisy.add(not torch.equal(one, other))
    assert noisy == {True}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"policy": "stong"}, "no policy 'stong'; did you mean 'strong'"),
        ({"policy": "strong", "magnitude": 9}, "augment.magnitude belongs to policy randaugment, not to strong"),
        ({"policy": "randaugment", "magnitude": 31}, "augment.magnitude must be from 0 to 30"),
        ({"policy": "randaugment", "operations": 0}, "augment.operations must be from 1 to 14"),
    ],
)
def test_wrong_policies_are_told(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Augment(**values)


def test_operations_and_magnitude_reach_randaugment() -> None:
    image, _ = disc()
    weak, strong = (only(policy="randaugment", operations=4, magnitude=m) for m in (0, 30))  # type: ignore[arg-type]
    changes = [[float((a(image, {}, generator(s))[0] - image).abs().mean()) for s in range(20)] for a in (weak, strong)]
    assert sum(changes[0]) < sum(changes[1])
