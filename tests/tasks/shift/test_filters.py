"""Blurs against SciPy and against what their names promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from tests.tasks.shift.phantoms import draws, phantom
from umsrep.tasks.shift import filters
from umsrep.tasks.shift.shift import REFERENCE_SIDE


def point(side: int = 65) -> torch.Tensor:
    image = torch.zeros(1, 1, side, side)
    image[..., side // 2, side // 2] = 1
    return image


@pytest.mark.parametrize("sigma", [1.0, 2.5, 20.0])
def test_gaussian_blur_is_scipys(sigma: float) -> None:
    image = phantom(48)[None]
    want = ndimage.gaussian_filter(image[0, 0].double().numpy(), sigma, mode="reflect", truncate=6)
    torch.testing.assert_close(filters.gaussian_blur(image, sigma)[0, 0].double(), torch.from_numpy(want), atol=2e-4, rtol=0)


def test_a_gaussian_far_below_a_pixel_still_blurs() -> None:
    image = phantom(28)[None]
    changes = [float((filters.gaussian_blur(image, s) - image).abs().mean()) for s in (0.05, 0.1, 0.2)]
    assert 0 < changes[0] < changes[1] < changes[2]


def moments(kernel: torch.Tensor) -> tuple[float, float, float, float]:
    """Sum, row and column of the middle, and variance along the larger axis, of a blurred point."""
    k = kernel[0, 0].double().numpy()
    rows, columns = np.mgrid[: k.shape[0], : k.shape[1]]
    total = k.sum()
    middle = (k * rows).sum() / total, (k * columns).sum() / total
    covariance = np.array(
        [
            [(k * (rows - middle[0]) ** 2).sum(), (k * (rows - middle[0]) * (columns - middle[1])).sum()],
            [(k * (rows - middle[0]) * (columns - middle[1])).sum(), (k * (columns - middle[1]) ** 2).sum()],
        ]
    )
    return total, middle[0], middle[1], float(np.linalg.eigvalsh(covariance / total)[1])


def test_defocus_spreads_a_point_over_a_disc() -> None:
    radius = 6.0 / 65 * REFERENCE_SIDE  # 6 pixels here
    total, row, column, variance = moments(filters.defocus(point(), (radius, 0.0), draws()))
    assert (total, row, column) == pytest.approx((1, 32, 32), abs=1e-3)
    assert variance == pytest.approx(6.0**2 / 4, rel=0.02)  # of a uniform disc along one axis


def test_motion_is_centred_and_as_long_as_half_a_gaussian() -> None:
    sigma = 4.0 / 65 * REFERENCE_SIDE
    total, row, column, variance = moments(filters.motion(point(), (4 * sigma, sigma), draws()))
    assert (total, row, column) == pytest.approx((1, 32, 32), abs=1e-2)
    assert variance == pytest.approx(4.0**2 * (1 - 2 / np.pi) + 1 / 6, rel=0.03)  # half-normal, and the bilinear pixels


def test_pixelate_keeps_means_and_halves_exactly() -> None:
    image = phantom(32)[None]
    halved = filters.pixelate(image, 0.5, draws())
    want = torch.nn.functional.avg_pool2d(image, 2).repeat_interleave(2, -1).repeat_interleave(2, -2)
    torch.testing.assert_close(halved, want)
    assert float(filters.pixelate(image, 0.3, draws()).mean()) == pytest.approx(float(image.mean()), abs=0.01)


def test_zoom_blur_keeps_the_middle_and_a_flat_image() -> None:
    flat = torch.full((1, 1, 33, 33), 0.4)
    torch.testing.assert_close(filters.zoom_blur(flat, (1.31, 0.03), draws()), flat)
    _, row, column, _ = moments(filters.zoom_blur(point(33), (1.31, 0.03), draws()))
    assert (row, column) == pytest.approx((16, 16), abs=1e-4)
