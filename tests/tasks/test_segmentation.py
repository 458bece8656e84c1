from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from umsrep.errors import InputError
from umsrep.tasks.segmentation import LOSSES, Segmentation, check_mask, hausdorff95

BINARY = ("lung",)
SOFT = ("background", "lung", "heart")


def make(mode: str, **options: Any) -> tuple[Segmentation, torch.Tensor, torch.Tensor]:
    """A task with random logits and target of 5 rows: row 1 wholly ignored, row 2 background only, row 3 partly ignored."""
    source = torch.Generator().manual_seed(0)
    task = Segmentation(BINARY if mode == "binary" else SOFT, multi_label=mode == "multi", **options)
    k = len(task.classes)
    shape = (5, k, 12, 10) if mode == "multi" else (5, 12, 10)
    target = torch.randint(0, k if mode == "softmax" else 2, shape, generator=source)
    target[1], target[2], target[3, ..., :4] = 255, 0, 255
    return task, 3 * torch.randn(5, k, 12, 10, generator=source), target


def square(top: int, left: int, side: int, size: int = 40) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def logits_of(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.where(mask, 4.0, -4.0)).float()


def one(task: Segmentation, predicted: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    return task.rows(logits_of(predicted)[None, None], torch.from_numpy(truth.astype(np.int64))[None])


modes = pytest.mark.parametrize("mode", ["binary", "softmax", "multi"])
losses = pytest.mark.parametrize("loss", LOSSES)


@modes
@losses
def test_loss_of_a_batch_is_the_concatenation_of_its_rows(mode: str, loss: str) -> None:
    task, logits, target = make(mode, loss=loss)
    whole = task.loss(logits, target)
    assert whole.shape == (5,)
    assert whole.dtype == torch.float32
    torch.testing.assert_close(whole, torch.cat([task.loss(logits[i : i + 1], target[i : i + 1]) for i in range(5)]))


@modes
@losses
def test_a_fully_ignored_row_has_loss_zero_no_gradient_and_no_metric(mode: str, loss: str) -> None:
    task, logits, target = make(mode, loss=loss)
    logits.requires_grad_()
    values = task.loss(logits, target)
    values.sum().backward()
    assert values[1] == 0
    assert logits.grad is not None
    assert bool((logits.grad[1] == 0).all())
    assert bool((logits.grad[0] != 0).any())
    rows = task.rows(logits, target)
    assert all(np.isnan(rows[name][1]).all() for name in ("dice", "iou", "hd95"))
    assert (rows["hd95_undefined"][1] == 0).all()


@modes
@losses
@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_gradients_are_finite_at_saturated_logits(mode: str, loss: str, scale: float) -> None:
    task, logits, target = make(mode, loss=loss)
    logits = (logits.sign() * scale).requires_grad_()
    values = task.loss(logits, target)
    values.sum().backward()
    assert logits.grad is not None
    assert bool(values.isfinite().all())
    assert bool(logits.grad.isfinite().all())


@modes
@losses
def test_ignored_pixels_change_neither_loss_nor_metrics(mode: str, loss: str) -> None:
    task, logits, target = make(mode, loss=loss)
    other = logits.clone()
    other[3, ..., :4] = -other[3, ..., :4] + 2
    torch.testing.assert_close(task.loss(other, target), task.loss(logits, target), rtol=0, atol=0)
    for name, value in task.rows(logits, target).items():
        np.testing.assert_array_equal(task.rows(other, target)[name], value)


@modes
@losses
def test_a_row_cropped_to_its_annotated_part_has_the_same_loss(mode: str, loss: str) -> None:
    task, logits, target = make(mode, loss=loss)
    cropped = task.loss(logits[3:4, ..., 4:].contiguous(), target[3:4, ..., 4:])
    torch.testing.assert_close(task.loss(logits, target)[3:4], cropped)


def test_binary_loss_by_hand() -> None:
    logits = torch.tensor([[[[2.0, -1.0], [0.5, 3.0]]]])
    target = torch.tensor([[[1, 0], [1, 255]]])
    p = [1 / (1 + math.exp(-x)) for x in (2.0, -1.0, 0.5)]
    ce = -(math.log(p[0]) + math.log(1 - p[1]) + math.log(p[2])) / 3
    dice = 1 - (2 * (p[0] + p[2]) + 1) / (sum(p) + 2 + 1)
    assert float(Segmentation(BINARY, loss="ce").loss(logits, target)) == pytest.approx(ce, rel=1e-5)
    assert float(Segmentation(BINARY, loss="dice").loss(logits, target)) == pytest.approx(dice, rel=1e-5)
    assert float(Segmentation(BINARY).loss(logits, target)) == pytest.approx(ce + dice, rel=1e-5)


def test_the_one_class_sigmoid_is_the_two_class_softmax() -> None:
    task, logits, target = make("binary")
    both = Segmentation(("background", "lung"))
    pair = torch.cat([torch.zeros_like(logits), logits], 1)
    torch.testing.assert_close(task.loss(logits, target), both.loss(pair, target))
    for name, value in task.rows(logits, target).items():
        np.testing.assert_array_equal(both.rows(pair, target)[name], value)


def test_multi_label_of_one_channel_each_is_the_mean_of_binary_tasks() -> None:
    task, logits, target = make("multi", loss="dice+focal")
    keep = torch.tensor([0, 2, 3, 4])
    single = [Segmentation(BINARY, loss="dice+focal").loss(logits[keep, k : k + 1], target[keep, k]) for k in range(3)]
    torch.testing.assert_close(task.loss(logits, target)[keep], torch.stack(single).mean(0))


@losses
def test_a_class_not_annotated_in_a_row_is_left_out_of_its_mean(loss: str) -> None:
    _, logits, target = make("multi")
    target[0, 2] = 255
    three = Segmentation(SOFT, multi_label=True, loss=loss).loss(logits[:1], target[:1])
    two = Segmentation(SOFT[:2], multi_label=True, loss=loss).loss(logits[:1, :2], target[:1, :2])
    torch.testing.assert_close(three, two)


def test_focal_loss_equals_torchvision() -> None:
    logits, target = torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(0)), torch.ones(2, 1, 6, 6)
    target[:, :, :3] = 0
    reference = sigmoid_focal_loss(logits, target, alpha=-1, gamma=2).flatten(1).mean(1)
    focal = Segmentation(BINARY, loss="dice+focal").loss(logits, target.long()) - Segmentation(BINARY, loss="dice").loss(
        logits, target.long()
    )
    torch.testing.assert_close(focal, reference)


def test_background_is_left_out_of_dice_and_absent_classes_are_not() -> None:
    task = Segmentation(SOFT, loss="dice")
    logits = torch.zeros(1, 3, 4, 4)
    logits[:, 1] = 100.0
    lung = torch.ones(1, 4, 4, dtype=torch.int64)
    assert float(task.loss(logits, lung)) == pytest.approx(0.0, abs=1e-5)  # heart absent from both: no loss
    # All lung where there is none: lung 1 - 1 / (16 + 1), heart 0; the background's overlap does not enter.
    assert float(task.loss(logits, torch.zeros_like(lung))) == pytest.approx((1 - 1 / 17) / 2, rel=1e-4)


@modes
def test_class_weights_act_on_the_pixels_of_their_class(mode: str) -> None:
    weights = (3.0,) if mode == "binary" else (0.5, 1.0, 4.0)
    task, logits, target = make(mode, loss="ce", class_weights=weights)
    valid = target != 255
    if mode == "softmax":
        pixel = F.cross_entropy(logits, target.masked_fill(~valid, 0), weight=torch.tensor(weights), reduction="none")
    else:
        full = target[:, None] if mode == "binary" else target
        positive = torch.tensor(weights)[:, None, None]
        pixel = F.binary_cross_entropy_with_logits(logits, (full == 1).float(), pos_weight=positive, reduction="none")
        valid = full != 255
    expected = (pixel * valid).flatten(1).sum(1) / valid.flatten(1).sum(1).clamp(min=1)
    torch.testing.assert_close(task.loss(logits, target), expected)


def test_better_logits_have_a_lower_loss() -> None:
    truth = torch.from_numpy(square(5, 5, 10)).long()[None]
    for loss in LOSSES:
        task = Segmentation(BINARY, loss=loss)
        values = [float(task.loss(scale * logits_of(square(5, 5, 10))[None, None], truth)) for scale in (-1.0, 0.0, 0.5, 1.0)]
        assert values == sorted(values, reverse=True)
        assert values[0] > 2 * values[-1]


@pytest.mark.parametrize("shift", [0, 1, 3, 6])
@pytest.mark.parametrize("axis", [0, 1])
def test_shifted_squares_have_the_dice_iou_and_distance_of_the_shift(shift: int, axis: int) -> None:
    truth = square(8, 8, 12)
    predicted = np.roll(truth, shift, axis)
    rows = one(Segmentation(BINARY), predicted, truth)
    overlap = 12 * (12 - shift)
    assert rows["dice"][0, 0] == pytest.approx(2 * overlap / 288)
    assert rows["iou"][0, 0] == pytest.approx(overlap / (288 - overlap))
    assert rows["hd95"][0, 0] == shift


def test_distances_follow_the_spacing() -> None:
    truth = torch.from_numpy(square(8, 8, 12)).long()[None]
    predicted = logits_of(np.roll(square(8, 8, 12), 3, axis=1))[None, None]
    task = Segmentation(BINARY)
    rows = task.rows(predicted.repeat(3, 1, 1, 1), truth.repeat(3, 1, 1), spacing=torch.tensor([[2.0, 0.5], [0.7, 0.7], [torch.nan] * 2]))
    assert rows["hd95"][:, 0].tolist() == [3, 3, 3]
    assert rows["hd95_mm"][:, 0].tolist() == pytest.approx([1.5, 2.1, math.nan], nan_ok=True)
    assert rows["spaced"].tolist() == [1, 1, 0]
    assert "hd95_mm" not in task.summarise(rows), "a mean over some rows is none"
    known = task.summarise({key: values[:2] for key, values in rows.items()})
    assert known["hd95"] == 3
    assert known["hd95_mm"] == known[f"hd95_mm/{task.foreground[0]}"] == pytest.approx(1.8)
    assert "hd95_mm" not in task.summarise(task.rows(predicted, truth))


@pytest.mark.parametrize("seed", range(6))
def test_hausdorff_equals_brute_force_on_the_whole_image(seed: int) -> None:
    random = np.random.default_rng(seed)
    masks = [random.random((24, 31)) < density for density in (0.1, 0.6)]
    masks[0][:, :5] = False  # the boxes differ, and masks touch the border
    spacing = (1.5, 0.7)
    points = [np.argwhere(mask & ~binary_erosion(mask)) * spacing for mask in masks]
    distances = cdist(points[0], points[1])
    expected = np.percentile(np.concatenate([distances.min(0), distances.min(1)]), 95)
    assert hausdorff95(masks[0], masks[1], spacing) == pytest.approx(expected)
    assert hausdorff95(masks[1], masks[0], spacing) == pytest.approx(expected)


def test_a_few_stray_pixels_do_not_move_the_95th_percentile() -> None:
    truth = square(5, 5, 20)
    predicted = truth.copy()
    predicted[39, 39] = True
    assert hausdorff95(truth, predicted) == 0
    assert math.isnan(hausdorff95(truth, np.zeros_like(truth)))


def test_absent_missed_and_invented_classes() -> None:
    task = Segmentation(BINARY)
    nothing, something = square(0, 0, 0), square(5, 5, 6)
    pairs = [(nothing, nothing), (something, nothing), (nothing, something), (something, something)]
    rows = {
        name: np.concatenate([one(task, predicted, truth)[name] for predicted, truth in pairs])
        for name in ("dice", "iou", "hd95", "hd95_undefined")
    }
    np.testing.assert_array_equal(rows["dice"][:, 0], [np.nan, 0, 0, 1])
    np.testing.assert_array_equal(rows["iou"][:, 0], [np.nan, 0, 0, 1])
    np.testing.assert_array_equal(rows["hd95"][:, 0], [np.nan, np.nan, np.nan, 0])
    np.testing.assert_array_equal(rows["hd95_undefined"][:, 0], [0, 1, 1, 0])
    summary = task.summarise(rows)
    assert summary["dice"] == summary["dice/lung"] == pytest.approx(1 / 3)
    assert summary["hd95"] == 0
    assert summary["hd95_undefined"] == 2
    assert task.score(summary) == summary["dice"]


def test_summary_means_over_images_before_classes() -> None:
    task = Segmentation(SOFT)
    dice = np.array([[1.0, np.nan], [0.5, np.nan], [0.0, 0.2]])
    summary = task.summarise({"dice": dice, "iou": dice, "hd95": dice, "hd95_undefined": np.zeros((3, 2))})
    assert summary["dice/lung"] == pytest.approx(0.5)
    assert summary["dice/heart"] == pytest.approx(0.2)
    assert summary["dice"] == pytest.approx(0.35)
    assert set(summary) == {f"{m}{c}" for m in ("dice", "iou", "hd95") for c in ("", "/lung", "/heart")} | {"hd95_undefined"}


def test_multi_label_masks_may_overlap() -> None:
    task = Segmentation(("lung", "heart"), multi_label=True)
    truth = np.stack([square(5, 5, 20), square(10, 10, 8)])
    predicted = np.stack([square(5, 5, 20), square(10, 12, 8)])
    rows = task.rows(logits_of(predicted)[None], torch.from_numpy(truth.astype(np.int64))[None])
    np.testing.assert_allclose(rows["dice"], [[1.0, 0.75]])
    np.testing.assert_allclose(rows["hd95"], [[0.0, 2.0]])
    assert task.foreground == ("lung", "heart")


def test_no_rows_give_nan() -> None:
    task = Segmentation(SOFT)
    empty = torch.zeros(0, 3, 8, 8), torch.zeros(0, 8, 8, dtype=torch.int64)
    assert task.loss(*empty).shape == (0,)
    summary = task.summarise(task.rows(*empty))
    assert summary.pop("hd95_undefined") == 0
    assert all(math.isnan(value) for value in summary.values())


def test_uint8_targets_and_bf16_logits_give_the_same_loss() -> None:
    task, logits, target = make("softmax")
    logits = logits.bfloat16()
    torch.testing.assert_close(task.loss(logits, target.to(torch.uint8)), task.loss(logits.float(), target))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": ["lung"], "loss": "dice+cee"}, r"did you mean 'dice\+ce'"),
        ({"classes": ["a", "b", "a"]}, "duplicate class name 'a'"),
        ({"classes": "lung"}, "must be a list"),
        ({"classes": []}, "at least 1"),
        ({"classes": ["a", "b"], "class_weights": [1.0]}, r"1 value\(s\), but there are 2 classes"),
        ({"classes": ["a", "b"], "class_weights": [1.0, -1.0]}, ">= 0"),
        ({"classes": ["a"], "class_weights": [1.0], "loss": "dice"}, "cross-entropy term"),
        ({"classes": ["a"], "ignore_index": 1}, "ignore_index 1 is also"),
    ],
)
def test_bad_configuration_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Segmentation(**arguments)


def test_wrong_shapes_and_float_targets_are_refused() -> None:
    task = Segmentation(SOFT)
    with pytest.raises(ValueError, match="needs"):
        task.loss(torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 9, dtype=torch.int64))
    with pytest.raises(ValueError, match="needs"):
        task.loss(torch.zeros(2, 2, 8, 8), torch.zeros(2, 8, 8, dtype=torch.int64))
    with pytest.raises(ValueError, match="integer class indices"):
        task.loss(torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 8))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_check_mask_names_the_offending_values(dtype: type) -> None:
    mask: np.ndarray = np.array([[0, 1], [7, 255]], dtype=dtype)
    message = r"^mask value 7, but classes are 0=background, 1=lung \(255 = ignore\)$"
    for classes in (("lung",), ("background", "lung")):
        with pytest.raises(InputError, match=message):
            check_mask(mask, classes)
        check_mask(np.where(mask == 7, 1, mask).astype(dtype), classes)


def test_check_mask_of_the_other_modes() -> None:
    check_mask(np.array([[0, 2], [1, 255]], dtype=np.uint8), SOFT)
    check_mask(np.array([[True, False]]), BINARY)
    check_mask(np.zeros((0, 4), dtype=np.uint8), BINARY)
    with pytest.raises(InputError, match=r"mask values -1, 3, but"):
        check_mask(np.array([[-1, 3, 0]]), SOFT)
    with pytest.raises(InputError, match="mask value 2, but classes are 0=absent, 1=present"):
        check_mask(np.array([[[2, 0]]]), SOFT, multi_label=True)
    with pytest.raises(InputError, match=r"mask values 0.5, nan, but"):
        check_mask(np.array([[0.5, np.nan]]), BINARY)
    with pytest.raises(InputError, match="and 242 more"):
        check_mask(np.arange(256, dtype=np.uint8), ("a", "b", "c", "d", "e"))


# ---- spectral decoupling -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", ["binary", "softmax", "multi"])
def test_spectral_decoupling_adds_lambda_times_the_logits_of_annotated_pixels(mode: str) -> None:
    gradients = []
    for penalty in (0.0, 0.3):
        task, logits, target = make(mode, spectral_decoupling=penalty)
        leaf = logits.clone().requires_grad_()
        task.loss(leaf, target).sum().backward()
        assert leaf.grad is not None
        gradients.append(leaf.grad)
    valid = (target != 255) if target.ndim == 4 else (target != 255)[:, None].expand_as(logits)
    pixels = valid.flatten(1).sum(1).clamp(min=1)[:, None, None, None] / logits.shape[1]
    assert torch.allclose(gradients[1] - gradients[0], torch.where(valid, 0.3 * logits / pixels, 0.0), atol=1e-6)
    assert float((gradients[1] - gradients[0])[1].abs().max()) == 0, "a row without annotated pixels"
