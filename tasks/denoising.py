"""Denoising: remove noise that the task itself added. Images are in the unit range 0-1."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from umsrep.errors import InputError
from umsrep.tasks.noise import NOISES, add_noise, draw_level, level_range
from umsrep.tasks.task import Task, check_choice, finite_mean

LOSSES: tuple[str, ...] = ("l1", "charbonnier", "l1+ssim", "charbonnier+ssim")
MAX_PSNR = 100.0
CHARBONNIER_EPSILON = 1e-3
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2


@dataclass(frozen=True, init=False)
class Denoising(Task):
    """Denoising with self-made noise.

    Attributes:
        noise: ``"gaussian"``, ``"speckle"``, ``"poisson"`` or ``"mixed"`` (formulas: :func:`umsrep.tasks.noise.add_noise`).
        level: strength in 8-bit grey levels (sigma = level / 255); a pair is drawn from uniformly, once per image.
        loss_name: set by the argument ``loss``; ``"l1"``, ``"charbonnier"`` (Charbonnier et al., ICIP 1994, epsilon 1e-3),
            or one of them plus ``ssim_weight * (1 - SSIM)`` (after Zhao et al., IEEE TCI 2017).
        ssim_weight: weight of the SSIM term.
    """

    noise: str
    level: float | Sequence[float]
    loss_name: str
    ssim_weight: float

    kind: ClassVar[str] = "denoising"
    input: ClassVar[Literal["clean", "noisy"]] = "noisy"
    metric: ClassVar[str] = "psnr_gain"
    fallbacks: ClassVar[tuple[str, ...]] = ("psnr",)

    def __init__(
        self,
        noise: str = "gaussian",
        level: float | Sequence[float] = (0.0, 50.0),
        loss: str = "l1",
        ssim_weight: float = 0.1,
    ) -> None:
        """Check and keep the configuration.

        Raises:
            InputError: unknown noise or loss (names the nearest), a bad level range, or ``ssim_weight`` not > 0.
        """
        check_choice(noise, NOISES, "noise")
        check_choice(loss, LOSSES, "denoising loss")
        if not (math.isfinite(ssim_weight) and ssim_weight > 0):
            raise InputError(f"ssim_weight {ssim_weight} must be finite and > 0: leave '+ssim' out of the loss to drop the term")
        low, high = level_range(level)
        object.__setattr__(self, "noise", noise)
        object.__setattr__(self, "level", low if low == high else (low, high))
        object.__setattr__(self, "loss_name", loss)
        object.__setattr__(self, "ssim_weight", float(ssim_weight))

    def corrupt(self, unit_CHW: Tensor, generator: torch.Generator, level: float | None = None) -> tuple[Tensor, float]:
        """A noisy twin of one image.

        Args:
            unit_CHW: float image ``[C, H, W]``, unit range 0-1.
            generator: source of the level and of the noise.
            level: fixed strength in 8-bit grey levels; None draws from the task's range.

        Returns:
            The noisy image (same shape and dtype, not clipped) and the level used.
        """
        chosen = draw_level(self.level if level is None else level, generator)
        return add_noise(unit_CHW, self.noise, chosen, generator), chosen

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean pixel loss of each row (plus the SSIM term), ``[n]`` float32.

        Args:
            output: denoised images ``[n, C, H, W]``, unit range.
            target: clean images, same shape.
        """
        output, target = _pair(output, target)
        difference = output - target
        if self.loss_name.startswith("charbonnier"):
            pixel = torch.sqrt(difference.square() + CHARBONNIER_EPSILON**2)
        else:
            pixel = difference.abs()
        loss = pixel.flatten(1).mean(1)
        return loss + self.ssim_weight * (1.0 - ssim(output, target)) if self.loss_name.endswith("+ssim") else loss

    @torch.no_grad()
    def rows(self, output: Tensor, target: Tensor, **extra: Tensor) -> dict[str, np.ndarray]:
        """PSNR in dB and SSIM of each row, and with ``noisy=`` also those of the noisy input (``*_noisy``), each ``[n]``."""
        statistics: dict[str, Tensor] = {"psnr": psnr(output, target), "ssim": ssim(output, target)}
        if "noisy" in extra:
            statistics["psnr_noisy"] = psnr(extra["noisy"], target)
            statistics["ssim_noisy"] = ssim(extra["noisy"], target)
        return {name: value.cpu().numpy() for name, value in statistics.items()}

    def summarise(self, rows: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Means over images of ``psnr``, ``ssim``, ``psnr_noisy``, ``ssim_noisy``, and ``psnr_gain`` (dB over the input)."""
        names = ("psnr", "ssim", "psnr_noisy", "ssim_noisy")
        summary = {name: finite_mean(rows[name]) if name in rows else math.nan for name in names}
        summary["psnr_gain"] = summary["psnr"] - summary["psnr_noisy"]
        return summary


def psnr(image: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each row, ``[n]`` in dB, data range 1, no clipping.

    Identical images would be infinite and spoil every mean, so values stop at 100 dB (an error of 0.003 grey levels).
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio  # costs a second: not at import

    image, target = _pair(image, target)
    if not len(image):
        return image.new_zeros(0)
    value = peak_signal_noise_ratio(image, target, data_range=1.0, reduction="none", dim=(1, 2, 3))
    return value.clamp(max=MAX_PSNR)


def ssim(image: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each row, ``[n]`` in [-1, 1], differentiable, data range 1.

    Wang et al., IEEE TIP 2004: an 11 x 11 Gaussian window of sigma 1.5. Where a side is under 11 pixels the window is the
    largest odd one that fits, and sigma shrinks with it (0.3 of the radius; at a side of 1 or 2 pixels the window is one
    pixel). Equal to torchmetrics, but smoothing by two matrix products: 10 to 25 times faster on a CPU, with gradients.
    """
    image, target = _pair(image, target)
    smooth_h, smooth_w = (_gaussian_matrix(size, _radius(image)).to(image.device) for size in image.shape[-2:])
    with _full_precision(image.device):
        moments = smooth_h @ torch.cat((image, target, image.square(), target.square(), image * target)) @ smooth_w.T
    mean_x, mean_y, square_x, square_y, product = moments.chunk(5)
    variances = (square_x - mean_x.square()).clamp(min=0) + (square_y - mean_y.square()).clamp(min=0)
    luminance = (2 * mean_x * mean_y + SSIM_C1) / (mean_x.square() + mean_y.square() + SSIM_C1)
    structure = (2 * (product - mean_x * mean_y) + SSIM_C2) / (variances + SSIM_C2)
    return (luminance * structure).flatten(1).mean(1)


def _radius(image: Tensor) -> int:
    return min(5, (min(image.shape[-2:]) - 1) // 2)


def _gaussian_matrix(size: int, radius: int) -> Tensor:
    """``[size, size]`` matrix that smooths a line of pixels with the Gaussian window, the line reflected at its ends."""
    offsets = np.arange(-radius, radius + 1)
    window = np.exp(-0.5 * (offsets / (0.3 * radius or 1.0)) ** 2)
    source = np.abs(np.arange(size)[:, None] + offsets)
    source = np.where(source >= size, 2 * (size - 1) - source, source)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], source), window / window.sum())
    return torch.from_numpy(matrix.astype(np.float32))


@contextlib.contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    # SSIM takes variances as E[x^2] - E[x]^2: products in bf16 (autocast) or TF32 would swamp its constants.
    with torch.autocast(device.type, enabled=False):
        if device.type != "cuda":
            yield
            return
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)


def _pair(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if image.shape != target.shape or image.ndim != 4:
        raise ValueError(f"denoising needs two [n, C, H, W] images of one shape, got {tuple(image.shape)} and {tuple(target.shape)}")
    return image.float(), target.float()
