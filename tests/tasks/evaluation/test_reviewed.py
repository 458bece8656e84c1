"""What a review keeps of each image: surface Dice, pixel calibration in bounded memory, sampled pixels, losses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from umsrep.tasks.classification import Classification
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.evaluation.metrics import PixelMetrics
from umsrep.tasks.evaluation.reviewed import SAMPLED_PIXELS, ReviewedSegmentation, reviewed, surface_dice
from umsrep.tasks.segmentation import Segmentation, hausdorff95


def square(top: int, left: int, side: int = 8, size: int = 32) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_surface_dice_of_squares() -> None:
    one = square(5, 5)
    assert surface_dice(one, one, 0) == 1
    moved = square(5, 8)
    assert surface_dice(one, moved, 3) == 1, "no surface pixel is farther than the shift"
    # 28 surface pixels each; those on the shared parts of top and bottom rows (5 columns each) lie on the other surface
    assert surface_dice(one, moved, 0) == pytest.approx(20 / 56)
    assert surface_dice(one, moved, 1.5, (0.5, 0.5)) == 1, "3 pixels of 0.5 mm"
    assert surface_dice(one, moved, 1.4, (0.5, 0.5)) < 1
    assert surface_dice(one, moved, 1) == surface_dice(moved, one, 1)
    assert surface_dice(one, np.zeros_like(one), 100) == 0
    assert surface_dice(np.zeros_like(one), one, 100) == 0
    assert math.isnan(surface_dice(np.zeros_like(one), np.zeros_like(one), 1))
    values = [surface_dice(one, square(9, 12), t) for t in range(12)]
    assert values == sorted(values)
    assert surface_dice(one, square(9, 12), hausdorff95(one, square(9, 12))) >= 0.95


def images(n: int = 6, k: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(k, (n, 12, 16), generator=generator)
    target[0, :6] = 255
    return torch.randn(n, k, 12, 16, generator=generator) * 2, target


def test_pixel_calibration_is_that_of_all_pixels() -> None:
    logits, target = images()
    task = ReviewedSegmentation.of(Segmentation(["background", "a", "b"]), temperature=2.0)
    rows = task.rows(logits, target)
    found = {k: float(v[0]) for k, v in PixelMetrics(rows["pixels"])(np.ones((1, 6))).items()}
    known = target != 255
    p, y = logits.softmax(1).permute(0, 2, 3, 1)[known], target[known]
    assert found["ece"] == pytest.approx(float(multiclass_calibration_error(p, y, 3, n_bins=15)), abs=1e-5)
    assert found["nll"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, target, ignore_index=255)), abs=1e-5)
    assert found["brier"] == pytest.approx(float((p - torch.nn.functional.one_hot(y, 3)).square().sum(1).mean()), abs=1e-5)
    scaled = PixelMetrics(rows["pixels_scaled"])(np.ones((1, 6)))
    assert float(scaled["nll"][0]) == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits / 2, target, ignore_index=255)), abs=1e-5
    )
    assert rows["pixels"].shape == (6, 16, 3), "bounded: no pixel is kept"
    weights = np.array([[2.0, 0, 1, 1, 0, 3]])
    again = [0, 0, 2, 3, 5, 5, 5]
    twice = PixelMetrics(rows["pixels"][again])(np.ones((1, 7)))
    assert float(PixelMetrics(rows["pixels"])(weights)["ece"][0]) == pytest.approx(float(twice["ece"][0]))


def test_one_class_and_overlapping_ones() -> None:
    logits, target = images(k=2)
    binary = ReviewedSegmentation.of(Segmentation(["a"]), sampled=True)
    rows = binary.rows(logits[:, :1], target)
    p = logits[:, 0].sigmoid()
    known = target != 255
    nll = torch.nn.functional.binary_cross_entropy(p[known], target[known].float())
    assert float(PixelMetrics(rows["pixels"])(np.ones((1, 6)))["nll"][0]) == pytest.approx(float(nll), abs=1e-5)
    assert rows["sample"].shape == (6, SAMPLED_PIXELS, 1)
    assert (rows["sample_target"] >= 0).sum(axis=1).tolist() == [96, 192, 192, 192, 192, 192]
    both = ReviewedSegmentation.of(Segmentation(["a", "b"], multi_label=True))
    twice = both.rows(logits, torch.stack([target, target], dim=1))
    assert twice["pixels"][:, -1, 0].tolist() == [192, *[384] * 5]


def test_empty_masks_are_counted() -> None:
    truth = torch.zeros(4, 8, 8, dtype=torch.long)
    truth[0, :3], truth[1, :3] = 1, 1
    logits = torch.full((4, 1, 8, 8), -5.0)
    logits[0, 0, :3] = logits[2, 0, :3] = 5.0
    rows = ReviewedSegmentation.of(Segmentation(["a"])).rows(logits, truth)
    assert rows["empty"][:, 0].tolist() == [[False] * 3, [False, True, False], [False, False, True], [True, False, False]]
    np.testing.assert_array_equal(rows["surface_dice"][:, 0], [1, 0, 0, np.nan])


def test_other_tasks_keep_their_losses() -> None:
    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 1])
    task = Classification(["a", "b", "c"])
    rows = reviewed(task).rows(logits, target)
    np.testing.assert_allclose(rows["loss"], task.loss(logits, target).numpy())
    np.testing.assert_allclose(rows["logits"], logits.numpy())
    clean, noisy = torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16)
    np.testing.assert_allclose(reviewed(Denoising()).rows(noisy, clean, noisy=noisy)["loss"], Denoising().loss(noisy, clean).numpy())
