"""Linear filters of a batch of images [B, C, H, W]: blurs by their transfer function, motion, zoom, pixels of another size.

Lengths are in pixels of an image of 224 x 224 and scale with the root of the area (`length`). Blurs with a known transfer function work
in the cosine transform (DCT-II), whose symmetric extension is the mirror image beyond the border: exact for any width, also one far
below a pixel, at the cost of two or four matrix products. All are centred: they move no edge, so masks stay valid.
"""

from __future__ import annotations

import functools
import math
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from umsrep.tasks.shift.draws import Draws
from umsrep.tasks.shift.shift import REFERENCE_SIDE


def length(pixels: float, image: Tensor) -> float:
    """Scale a length from an image of 224 x 224 to this one's size."""
    return pixels * math.sqrt(image.shape[-2] * image.shape[-1]) / REFERENCE_SIDE


@functools.lru_cache(maxsize=32)
def _cosines(size: int) -> Tensor:
    """Orthonormal DCT-II: [frequency k, position]; k is k / (2 size) cycles a pixel."""
    k, n = np.arange(size)[:, None], np.arange(size)[None, :]
    matrix = np.cos(np.pi * k * (n + 0.5) / size) * math.sqrt(2.0 / size)
    matrix[0] /= math.sqrt(2.0)
    return torch.from_numpy(matrix)


@functools.lru_cache(maxsize=32)
def _gaussian_matrix(size: int, sigma: float) -> Tensor:
    """[size, size] float32 that filters a line by exp(-2 pi^2 sigma^2 f^2), mirrored at its ends."""
    cosines = _cosines(size)
    frequency = torch.arange(size, dtype=torch.float64) / (2 * size)
    transfer = torch.exp(-2 * (math.pi * sigma * frequency) ** 2)
    return (cosines.T @ (transfer[:, None] * cosines)).float()


def gaussian_blur(image: Tensor, sigma: float, sigma_columns: float | None = None) -> Tensor:
    """Blur by a Gaussian of ``sigma`` pixels (of this image) along rows' direction down, and ``sigma_columns`` across; may overshoot."""
    height, width = image.shape[-2:]
    down = _gaussian_matrix(height, sigma).to(image.device)
    across = _gaussian_matrix(width, sigma if sigma_columns is None else sigma_columns).to(image.device)
    return down @ image @ across.T


def blur(image: Tensor, sigma: float, draws: Draws) -> Tensor:
    """Gaussian blur, sigma in pixels at 224 px."""
    return gaussian_blur(image, length(sigma, image))


@functools.lru_cache(maxsize=16)
def _disc_transfer(height: int, width: int, radius: float, sigma: float) -> Tensor:
    """Transfer function [H, W] on the frequencies of the DCT: a disc, 2 J1(2 pi r f) / (2 pi r f), times that of a Gaussian."""
    from scipy.special import j1

    frequency = np.hypot(np.arange(height)[:, None] / (2 * height), np.arange(width)[None, :] / (2 * width))
    argument = 2 * np.pi * radius * frequency
    disc = np.where(argument > 1e-9, 2 * j1(argument) / np.maximum(argument, 1e-9), 1.0)
    return torch.from_numpy((disc * np.exp(-2 * (np.pi * sigma * frequency) ** 2)).astype(np.float32))


def defocus(image: Tensor, magnitude: tuple[float, float], draws: Draws) -> Tensor:
    """Blur of a lens out of focus: a disc of (radius, soft edge's sigma) pixels at 224 px."""
    radius, sigma = (length(value, image) for value in magnitude)
    height, width = image.shape[-2:]
    rows, columns = (_cosines(size).float().to(image.device) for size in (height, width))
    transfer = _disc_transfer(height, width, radius, sigma).to(image.device)
    return rows.T @ (transfer * (rows @ image @ columns.T)) @ columns


def motion(image: Tensor, magnitude: tuple[float, float], draws: Draws) -> Tensor:
    """Blur along a straight line, in a direction of -45 to 45 degrees that the seed decides.

    The profile is that of ImageMagick, which MedMNIST-C calls: half a Gaussian of ``sigma``, cut off at twice ``radius`` (pixels at
    224 px). It is centred here at its mean, where the original drags the image along.
    """
    radius, sigma = (length(value, image) for value in magnitude)
    step = min(0.25, sigma / 4)
    position = torch.arange(math.ceil(2 * radius / step) + 1) * step
    weight = torch.exp(-0.5 * (position / sigma) ** 2)
    weight /= weight.sum()
    position = position - (weight * position).sum()
    margin = math.ceil(float(position.abs().max())) + 1
    angle = (draws.uniform(1).cpu() - 0.5) * (math.pi / 2)
    kernel = _line(position * torch.sin(angle), position * torch.cos(angle), weight, margin).to(image.device)
    height, width = image.shape[-2:]
    padded = F.pad(image, (margin,) * 4, mode="replicate")
    tall, wide = padded.shape[-2:]
    transfer = torch.fft.rfft2(kernel, s=(tall, wide))[:, None]
    blurred: Tensor = torch.fft.irfft2(torch.fft.rfft2(padded) * transfer, s=(tall, wide))
    return blurred[..., 2 * margin : 2 * margin + height, 2 * margin : 2 * margin + width]


def _line(down: Tensor, across: Tensor, weight: Tensor, margin: int) -> Tensor:
    """Kernels [B, side, side] of weights at positions [B, P] from the middle, each shared by its four nearest pixels."""
    side = 2 * margin + 1
    kernel = torch.zeros(len(down), side * side)
    low_down, low_across = down.floor(), across.floor()
    for i in (0, 1):
        for j in (0, 1):
            share = (1 - (down - low_down - i).abs()) * (1 - (across - low_across - j).abs())
            place = (low_down + i + margin) * side + low_across + j + margin
            kernel.scatter_add_(1, place.long(), weight * share)
    return kernel.reshape(-1, side, side)


@functools.lru_cache(maxsize=32)
def _zoom_matrix(size: int, zooms: tuple[float, ...]) -> Tensor:
    """[zooms, size, size]: linear interpolation of a line at its magnified positions, the ends repeated."""
    position = (np.arange(size) - (size - 1) / 2)[None] / np.asarray(zooms)[:, None] + (size - 1) / 2
    position = position.clip(0, size - 1)
    lower = np.floor(position).astype(int).clip(0, max(size - 2, 0))
    part = position - lower
    matrix = np.zeros((len(zooms), size, size), dtype=np.float32)
    z, n = np.meshgrid(np.arange(len(zooms)), np.arange(size), indexing="ij")
    np.add.at(matrix, (z, n, lower), 1 - part)
    np.add.at(matrix, (z, n, np.minimum(lower + 1, size - 1)), part)
    return torch.from_numpy(matrix)


def zoom_blur(image: Tensor, magnitude: tuple[float, float], draws: Draws) -> Tensor:
    """Mean over the magnifications from 1 up to ``magnitude[0]`` in steps of ``magnitude[1]``, all divided by their mean: centred."""
    largest, step = magnitude
    zooms = np.arange(1, largest, step)
    zooms = np.concatenate([[1.0], zooms])  # the original counts the image itself once more
    factors = tuple(float(z) for z in zooms / zooms.mean())
    down, across = (_zoom_matrix(size, factors).to(image.device) for size in image.shape[-2:])
    total = torch.zeros_like(image)
    for rows, columns in zip(down, across, strict=True):
        total += rows @ image @ columns.T
    return total / len(factors)


@functools.lru_cache(maxsize=32)
def _pixelate_matrix(size: int, factor: float) -> Tensor:
    """[size, size]: means over ``size * factor`` equal cells; a pixel takes those of the cells it lies in, by its share in each."""
    cells = max(1, int(size * factor))
    edges = np.linspace(0, size, cells + 1)
    start, end = np.arange(size)[None, :], np.arange(1, size + 1)[None, :]
    overlap = (np.minimum(end, edges[1:, None]) - np.maximum(start, edges[:-1, None])).clip(0)  # [cells, size]
    down = overlap / overlap.sum(axis=1, keepdims=True)
    return torch.from_numpy((overlap / overlap.sum(axis=0)).T @ down).float()


def pixelate(image: Tensor, factor: float, draws: Draws) -> Tensor:
    """Larger pixels: ``factor`` times as many a side, each the mean of its area."""
    down, across = (_pixelate_matrix(size, factor).to(image.device) for size in image.shape[-2:])
    return down @ image @ across.T


def clear_caches() -> None:
    """Drop the matrices of all sizes (images of many sizes, as in writing a folder, would fill memory)."""
    for cached in (_cosines, _gaussian_matrix, _disc_transfer, _zoom_matrix, _pixelate_matrix):
        cast(Any, cached).cache_clear()
