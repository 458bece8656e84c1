from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from umsrep.errors import InputError
from umsrep.tasks.denoising import LOSSES, Denoising, psnr, ssim


def images(n: int = 4, channels: int = 1, height: int = 40, width: int = 33, seed: int = 0) -> torch.Tensor:
    """Smooth images with an edge, not white noise: SSIM has something to see."""
    source = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, 5, 5, generator=source)
    image = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    image[..., width // 2 :] *= 0.5
    return image


@pytest.mark.parametrize(("level", "golden"), [(25.0, 20.17), (25.5, 20.0), (51.0, 13.98)])
def test_psnr_of_the_noisy_input_is_the_golden_number(level: float, golden: float) -> None:
    clean = images(4, height=128, width=128)
    task = Denoising(level=level)
    source = torch.Generator().manual_seed(0)
    noisy = torch.stack([task.corrupt(row, generator=source)[0] for row in clean])
    summary = task.summarise(task.rows(noisy, clean, noisy=noisy))
    assert summary["psnr_noisy"] == pytest.approx(golden, abs=0.1)
    assert summary["psnr_gain"] == pytest.approx(0.0, abs=1e-6)


def test_corrupt_reports_the_level_it_drew_and_takes_a_fixed_one() -> None:
    task = Denoising(level=[20, 40])
    clean = torch.full((1, 256, 256), 0.5)
    noisy, level = task.corrupt(clean, generator=torch.Generator().manual_seed(3))
    assert 20 <= level <= 40
    assert float((noisy - clean).std()) == pytest.approx(level / 255, rel=0.02)
    assert task.corrupt(clean, generator=torch.Generator(), level=10)[1] == 10.0


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_of_a_batch_is_the_concatenation_of_its_rows(loss: str, channels: int) -> None:
    target = images(5, channels)
    output = target + 0.1 * torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    task = Denoising(loss=loss)
    whole = task.loss(output, target)
    single = torch.cat([task.loss(output[i : i + 1], target[i : i + 1]) for i in range(5)])
    assert whole.shape == (5,)
    assert whole.dtype == torch.float32
    torch.testing.assert_close(whole, single, rtol=1e-5, atol=1e-7)


def test_loss_values_by_hand() -> None:
    target = torch.full((2, 1, 16, 16), 0.5)
    output = target + torch.tensor([0.1, -0.3])[:, None, None, None]
    torch.testing.assert_close(Denoising(loss="l1").loss(output, target), torch.tensor([0.1, 0.3]))
    expected = torch.tensor([math.hypot(0.1, 1e-3), math.hypot(0.3, 1e-3)])
    torch.testing.assert_close(Denoising(loss="charbonnier").loss(output, target), expected)
    # Flat images: SSIM is its luminance term.
    luminance = (2 * 0.5 * 0.6 + 1e-4) / (0.5**2 + 0.6**2 + 1e-4)
    mixed = Denoising(loss="l1+ssim", ssim_weight=0.5).loss(output, target)
    assert float(mixed[0]) == pytest.approx(0.1 + 0.5 * (1 - luminance), abs=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", [(1, 1), (2, 9), (40, 33)])
def test_gradients_are_finite_even_at_a_perfect_output(loss: str, size: tuple[int, int]) -> None:
    target = torch.cat([images(2, 1, *size), torch.zeros(1, 1, *size)])
    output = target.clone().requires_grad_()
    Denoising(loss=loss).loss(output, target).sum().backward()
    assert output.grad is not None
    assert bool(output.grad.isfinite().all())


def test_ssim_gradient_is_right() -> None:
    target = images(1, 1, 8, 7)
    output = (target + 0.1 * torch.rand(target.shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    ssim(output, target).sum().backward()
    assert output.grad is not None
    step = torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    ahead, behind = (float(ssim(output.detach() + sign * 1e-3 * step, target)) for sign in (1, -1))
    assert float((output.grad * step).sum()) == pytest.approx((ahead - behind) / 2e-3, rel=0.02)


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_equals_torchmetrics(channels: int) -> None:
    target = images(3, channels)
    output = target + 0.1 * torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    reference = structural_similarity_index_measure(output.double(), target.double(), data_range=1.0, reduction="none")
    torch.testing.assert_close(ssim(output, target).double(), reference, rtol=0, atol=2e-5)  # float32 cancellation


@pytest.mark.parametrize(("side", "radius"), [(12, 5), (11, 5), (10, 4), (7, 3), (4, 1), (3, 1)])
def test_small_images_get_the_largest_odd_window_that_fits(side: int, radius: int) -> None:
    target = images(2, 1, side, 20)
    output = target + 0.1 * torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    options: dict[str, Any] = {"sigma": 0.3 * radius, "data_range": 1.0, "reduction": "none"}
    reference = structural_similarity_index_measure(output.double(), target.double(), **options)
    torch.testing.assert_close(ssim(output, target).double(), reference, rtol=0, atol=2e-5)


def test_ssim_agrees_with_scikit_image() -> None:
    target = images(1, 1, 64, 64)
    output = target.clone()
    output[..., 10:-10, 10:-10] += 0.05 * torch.randn(1, 1, 44, 44, generator=torch.Generator().manual_seed(1))
    options: dict[str, Any] = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    inner = structural_similarity(output[0, 0].numpy(), target[0, 0].numpy(), **options)
    # scikit-image leaves out a border of 5 pixels, where the images (and their windows) are equal here: SSIM 1.
    assert float(ssim(output, target)) == pytest.approx((54**2 * inner + 64**2 - 54**2) / 64**2, abs=1e-4)


def test_ssim_is_one_only_for_equal_images() -> None:
    target = images(2)
    torch.testing.assert_close(ssim(target, target), torch.ones(2), rtol=0, atol=1e-6)
    assert float(ssim(target, target.flip(-1)).max()) < 0.9


def test_autocast_and_low_precision_matmul_do_not_reach_ssim() -> None:
    target = images(2)
    output = target + 0.02 * torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = Denoising(loss="l1+ssim").loss(output, target)
    torch.testing.assert_close(inside, Denoising(loss="l1+ssim").loss(output, target), rtol=0, atol=0)


def test_psnr_by_hand_unclipped_and_capped_at_equality() -> None:
    target = torch.full((4, 3, 8, 8), 0.9)
    output = target + torch.tensor([0.1, 0.5, 1e-7, 0.0])[:, None, None, None]  # 1.4 is not clipped to 1
    torch.testing.assert_close(psnr(output, target), torch.tensor([20.0, 6.0206, 100.0, 100.0]), rtol=0, atol=1e-3)


def test_rows_of_three_channels_and_their_summary() -> None:
    clean = images(3, 3)
    source = torch.Generator().manual_seed(0)
    noisy = clean + 0.2 * torch.randn(clean.shape, generator=source)
    output = clean + 0.1 * torch.randn(clean.shape, generator=source)
    task = Denoising()
    rows = task.rows(output, clean, noisy=noisy)
    assert {name: value.shape for name, value in rows.items()} == dict.fromkeys(("psnr", "ssim", "psnr_noisy", "ssim_noisy"), (3,))
    summary = task.summarise(rows)
    assert summary["psnr_gain"] == pytest.approx(20 * math.log10(2), abs=0.2)
    assert summary["psnr"] == pytest.approx(float(rows["psnr"].mean()), abs=1e-4)
    assert summary["ssim"] > summary["ssim_noisy"]
    assert task.score(summary) == summary["psnr_gain"]


def test_without_a_noisy_image_selection_falls_back_to_psnr() -> None:
    clean = images(2)
    task = Denoising()
    summary = task.summarise(task.rows(clean + 0.1, clean))
    assert math.isnan(summary["psnr_gain"])
    assert task.score(summary) == pytest.approx(20.0, abs=1e-3)


def test_no_rows_give_nan_and_an_empty_loss() -> None:
    task = Denoising(loss="l1+ssim")
    empty = torch.zeros(0, 1, 8, 8)
    assert task.loss(empty, empty).shape == (0,)
    assert all(math.isnan(value) for value in task.summarise(task.rows(empty, empty, noisy=empty)).values())


def test_bf16_output_is_measured_in_float32() -> None:
    target = images(2)
    output = (target + 0.1).bfloat16()
    task = Denoising()
    assert task.loss(output, target).dtype == torch.float32
    assert task.rows(output, target)["psnr"].dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise": "gausian"}, "did you mean 'gaussian'"),
        ({"loss": "l1+sim"}, r"did you mean 'l1\+ssim'"),
        ({"level": (50, 0)}, "backwards"),
        ({"level": -5}, ">= 0"),
        ({"ssim_weight": 0.0}, "ssim_weight"),
    ],
)
def test_bad_configuration_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Denoising(**arguments)  # type: ignore[arg-type]


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match="of one shape"):
        Denoising().loss(torch.zeros(2, 1, 8, 8), torch.zeros(2, 3, 8, 8))


def test_a_task_is_frozen_and_comparable() -> None:
    assert Denoising(level=[25, 25]) == Denoising(level=25)
    assert hash(Denoising(level=[0, 50])) == hash(Denoising(level=(0, 50)))
    with pytest.raises(AttributeError):
        Denoising().noise = "speckle"  # type: ignore[misc]
