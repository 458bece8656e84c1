"""Linear probes: the simplest head of each kind, fitted in closed form or convexly on the features of a frozen encoder."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from umsrep.errors import InputError
from umsrep.zoo.transferability.log_me import best_evidence
from umsrep.zoo.transferability.sampling import at_pixels

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse ridge penalties (scikit-learn's C) among which the validation rows choose, for classification."""
SHRINKAGES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Shares of the covariance that become spherical, among which the validation rows choose, for segmentation."""
ABSENT = -30.0
"""Logit of a class that the training rows do not hold."""
PIXELS = 256
"""Pixels drawn in each training image."""
COMPONENTS = 16
"""Principal components of each level that steer the denoising filter."""
RADII = (1, 2, 3, 4)
"""The filter compares each pixel with the means of the squares of these radii around it; the largest one is also its window's."""


Probe = TypeVar("Probe")


# ---- classification ------------------------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True)
class ClassifierProbe:
    """Logistic regression on standardised embeddings.

    Attributes:
        mean: Of the training features, [D].
        scale: Their standard deviation, [D]; 1 where it is 0.
        weights: [K, D].
        bias: [K].
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray

    def logits(self, features_ND: np.ndarray) -> np.ndarray:
        """Return float64 [N, K]: for the softmax, or for K sigmoids if it was fitted to several labels."""
        logits: np.ndarray = (features_ND.astype(np.float64) - self.mean) / self.scale @ self.weights.T + self.bias
        return logits


def fit_classifier(features_ND: np.ndarray, labels: np.ndarray, classes: int, judge: Callable[[ClassifierProbe], float]) -> ClassifierProbe:
    """Fit one probe for each strength, and keep the one that a judge likes best (of equals the most regular).

    Args:
        features_ND: Training features [N, D].
        labels: int [N], or [N, K] of 0, 1 and NaN (not annotated), one regression for each column.
        classes: K.
        judge: Gives a probe's quality on validation rows, higher is better.

    Raises:
        InputError: where no label takes two values: there is nothing to learn.
    """
    features = features_ND.astype(np.float64)
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale[scale <= 1e-12 * np.maximum(np.abs(mean), 1)] = 1.0
    whitened = (features - mean) / scale
    columns = [labels[:, k] for k in range(classes)] if labels.ndim == 2 else [labels]
    if all(len(np.unique(column[~np.isnan(column.astype(np.float64))])) < 2 for column in columns):
        raise InputError(f"a probe needs two classes among its {len(features)} training row(s); take a larger fraction")
    made = []
    for strength in STRENGTHS:
        parts = [_regression(whitened, column, classes, strength, binary=labels.ndim == 2) for column in columns]
        made.append(ClassifierProbe(mean, scale, np.concatenate([w for w, _ in parts]), np.concatenate([b for _, b in parts])))
    return _best(made, judge)


def _regression(features: np.ndarray, labels: np.ndarray, classes: int, strength: float, *, binary: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return weights [K, D] and bias [K]; K is 1 for one of several labels, whose logit is that of a sigmoid."""
    from sklearn.linear_model import LogisticRegression

    known = ~np.isnan(labels.astype(np.float64))
    features, labels = features[known], labels[known].astype(np.int64)
    present = np.unique(labels)
    rows = 1 if binary else classes
    weights, bias = np.zeros((rows, features.shape[1])), np.full(rows, ABSENT)
    if len(present) < 2:
        if len(present):
            bias[0 if binary else present[0]] = (-ABSENT if present[0] else ABSENT) if binary else 0.0
        elif binary:
            bias[0] = 0.0
        return weights, bias
    fitted = LogisticRegression(C=strength, max_iter=2_000).fit(features, labels)
    if binary:
        return fitted.coef_, fitted.intercept_
    if len(present) == 2:
        weights[present[1]], bias[present[1]], bias[present[0]] = fitted.coef_[0], fitted.intercept_[0], 0.0
    else:
        weights[present], bias[present] = fitted.coef_, fitted.intercept_
    return weights, bias


# ---- segmentation --------------------------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True)
class PixelProbe:
    """Linear discriminant analysis of the pyramid's features at a pixel (bilinearly interpolated, all levels joined).

    Attributes:
        weights: [K, sum C].
        bias: [K].
        channels: Of each level.
    """

    weights: np.ndarray
    bias: np.ndarray
    channels: tuple[int, ...]

    def logits(self, levels: Sequence[np.ndarray], size: tuple[int, int]) -> Tensor:
        """Return float32 [N, K, H, W]; a linear map and an interpolation commute, so each level is mapped at its own size."""
        whole = torch.from_numpy(self.bias).float()[None, :, None, None]
        for weights, level in zip(_split(self.weights, self.channels), levels, strict=True):
            part = torch.einsum("kc,nchw->nkhw", torch.from_numpy(weights).float(), torch.from_numpy(level))
            whole = whole + F.interpolate(part, size, mode="bilinear", align_corners=False)
        return whole


def fit_pixels(
    levels: Sequence[np.ndarray],
    masks_NHW: np.ndarray,
    classes: int,
    judge: Callable[[PixelProbe], float],
    *,
    ignore: int = 255,
    seed: int = 0,
) -> PixelProbe:
    """Fit class means and one shrunk covariance (Fisher 1936; Ledoit & Wolf's target) to drawn pixels.

    Args:
        levels: Feature maps [N, C, h, w] each.
        masks_NHW: uint8 [N, H, W], the class of each pixel.
        classes: K.
        judge: Gives a probe's quality on validation rows, higher is better.
        ignore: Value of pixels that no one annotated.
        seed: Of the 256 pixels drawn in each image.

    Raises:
        InputError: where the drawn pixels are of one class only.
    """
    generator = np.random.default_rng(seed)
    size = (masks_NHW.shape[1], masks_NHW.shape[2])
    points, labels = [], []
    for image, mask in enumerate(masks_NHW):
        flat = mask.reshape(-1)
        there = np.flatnonzero(flat != ignore)
        drawn = np.sort(generator.choice(there, min(PIXELS, len(there)), replace=False))
        points.append(_at(levels, image, drawn, size))
        labels.append(flat[drawn])
    x, y = np.concatenate(points), np.concatenate(labels).astype(np.int64)
    counts = np.bincount(y, minlength=classes)
    if (counts > 0).sum() < 2:
        raise InputError(f"a probe needs two classes among the pixels of its {len(masks_NHW)} training image(s); take a larger fraction")
    # a class that is not there keeps the mean of all pixels, which only its bias then tells from the others
    means = np.stack([x[y == k].mean(axis=0) if counts[k] else x.mean(axis=0) for k in range(classes)])
    within = x - means[y]
    covariance = within.T @ within / len(x)
    middle = x.mean(axis=0)
    made = []
    for shrinkage in SHRINKAGES:
        level = np.trace(covariance) / len(covariance)
        shrunk = (1 - shrinkage) * covariance + shrinkage * (level or 1.0) * np.eye(len(covariance))
        weights = np.linalg.solve(shrunk, (means - middle).T).T
        with np.errstate(divide="ignore"):
            bias = np.log(counts / len(y)) - 0.5 * np.einsum("kd,kd->k", weights, means - middle) - weights @ middle
        made.append(PixelProbe(weights, np.where(counts > 0, bias, ABSENT), tuple(level.shape[1] for level in levels)))
    return _best(made, judge)


# ---- denoising -----------------------------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True)
class FilterProbe:
    """A linear filter, and what the encoder's maps add to it: the two regressions of `umsrep.zoo.denoising_gain`, kept to be applied.

    Attributes:
        filter: Regression of clean - noisy on the window around a pixel: [C (2 r + 1)^2 + 1, C], the last row an offset.
        steering: Regression of what that leaves on what the maps add: [M, C].
        known: What the window already says of the maps' features: [C (2 r + 1)^2 + 1, M].
        axes: Of each level its principal axes [c, k], over the root of the level's variance.
        centres: Of each level the mean [k] in these coordinates.
        spreads: Standard deviations of the differences [4 C].
        offset: Mean of the second regression's target [C].
        shift: Mean of the maps' features [M].
    """

    filter: np.ndarray
    steering: np.ndarray
    known: np.ndarray
    axes: tuple[np.ndarray, ...]
    centres: tuple[np.ndarray, ...]
    spreads: np.ndarray
    offset: np.ndarray
    shift: np.ndarray

    def denoise(self, levels: Sequence[np.ndarray], noisy_NCHW: np.ndarray) -> Tensor:
        """Return the clean images, float32 [N, C, H, W] in the unit of the noisy ones."""
        count, channels, height, width = noisy_NCHW.shape
        everywhere = np.arange(height * width)
        result = np.empty(noisy_NCHW.shape, dtype=np.float32)
        for i in range(count):
            window, differences = _surroundings(noisy_NCHW[i], everywhere)
            components = self.components([_at([level], i, everywhere, (height, width)) for level in levels])
            rest = _steered(components, differences / self.spreads) - window @ self.known
            change = window @ self.filter + (rest - self.shift) @ self.steering + self.offset
            result[i] = noisy_NCHW[i] + change.T.reshape(channels, height, width)
        return torch.from_numpy(result)

    def components(self, points: Sequence[np.ndarray]) -> np.ndarray:
        """Return the coordinates of each level's features [P, c] along its axes, joined: [P, K]."""
        parts = [p @ axes - centre for p, axes, centre in zip(points, self.axes, self.centres, strict=True)]
        return np.concatenate([np.empty((len(points[0]), 0)), *parts], axis=1)


def fit_filter(levels: Sequence[np.ndarray], noisy_NCHW: np.ndarray, clean_NCHW: np.ndarray, *, seed: int = 0) -> FilterProbe:
    """Fit both regressions to drawn pixels, each with the ridge penalty of largest evidence; nothing is chosen on validation rows.

    Args:
        levels: The encoder's maps of the noisy images [N, C, h, w] each.
        noisy_NCHW: [N, C, H, W].
        clean_NCHW: [N, C, H, W], in the same unit.
        seed: Of the 256 pixels drawn in each image.
    """
    generator = np.random.default_rng(seed)
    size = (noisy_NCHW.shape[2], noisy_NCHW.shape[3])
    drawn = [np.sort(generator.choice(size[0] * size[1], min(PIXELS, size[0] * size[1]), replace=False)) for _ in noisy_NCHW]
    y = np.concatenate([_noise(noisy, clean, d) for noisy, clean, d in zip(noisy_NCHW, clean_NCHW, drawn, strict=True)])
    surroundings = [_surroundings(noisy, d) for noisy, d in zip(noisy_NCHW, drawn, strict=True)]
    window, differences = (np.concatenate(parts) for parts in zip(*surroundings, strict=True))
    axes, centres, components = [], [], [np.empty((len(y), 0))]
    for level in levels:
        points = np.concatenate([_at([level], i, d, size) for i, d in enumerate(drawn)])
        values, vectors = np.linalg.eigh(np.cov(points, rowvar=False, ddof=0).reshape(points.shape[1], -1))
        kept = vectors[:, ::-1][:, : min(COMPONENTS, int((values > 1e-12 * max(values[-1], 1e-300)).sum()))]
        axes.append(kept / math.sqrt(max(values.sum(), 1e-300)))
        centres.append(points.mean(axis=0) @ axes[-1])
        components.append(points @ axes[-1] - centres[-1])
    spreads = differences.std(axis=0)
    spreads[spreads == 0] = 1.0
    first = np.zeros((window.shape[1], y.shape[1]))
    first[:-1], first[-1] = _ridge(window[:, :-1], y)
    rest = y - window @ first
    steered = _steered(np.concatenate(components, axis=1), differences / spreads)
    known = np.linalg.lstsq(window, steered, rcond=None)[0]
    new = steered - window @ known
    shift = new.mean(axis=0)
    weights, offset = _ridge(new - shift, rest)
    return FilterProbe(first, weights, known, tuple(axes), tuple(centres), spreads, offset, shift)


def _noise(noisy: np.ndarray, clean: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    noise: np.ndarray = (clean.astype(np.float64) - noisy).reshape(len(noisy), -1).T[drawn]
    return noise


def _surroundings(noisy_CHW: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the windows around pixels with a 1 behind them [P, C (2 r + 1)^2 + 1], and the means around less the pixel [P, C radii]."""
    half = max(RADII)
    padded = np.pad(noisy_CHW.astype(np.float64), ((0, 0), (half, half), (half, half)), mode="symmetric")
    views = np.lib.stride_tricks.sliding_window_view(padded, (2 * half + 1, 2 * half + 1), axis=(1, 2))
    y, x = np.unravel_index(pixels, noisy_CHW.shape[1:])
    around = views[:, y, x].transpose(1, 0, 2, 3)
    squares = (around[:, :, half - r : half + r + 1, half - r : half + r + 1] for r in RADII)
    differences = np.concatenate([s.mean(axis=(2, 3)) - around[:, :, half, half] for s in squares], axis=1)
    return np.column_stack([around.reshape(len(pixels), -1), np.ones(len(pixels))]), differences


def _steered(components: np.ndarray, differences: np.ndarray) -> np.ndarray:
    products = (components[:, :, None] * differences[:, None, :]).reshape(len(components), -1)
    return np.concatenate([components, products], axis=1)


def _ridge(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return weights [M, C] and offset [C] of the regression with the largest evidence for each channel."""
    mean, offset = x.mean(axis=0), y.mean(axis=0)
    scale = np.abs(x - mean).max() if x.size else 0.0
    if not scale or not (y - offset).any(axis=0).all():
        return np.zeros((x.shape[1], y.shape[1])), offset
    f = (x - mean) / scale
    _, penalty = best_evidence(f, y - offset)
    values, axes = np.linalg.eigh(f.T @ f)
    weights = axes @ ((axes.T @ (f.T @ (y - offset))) / (np.maximum(values, 0)[:, None] + penalty)) / scale
    return weights, offset - mean @ weights


# ---- shared --------------------------------------------------------------------------------------------------------
def _at(levels: Sequence[np.ndarray], image: int, pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.concatenate([at_pixels(level, image, pixels, size, f"level {k}") for k, level in enumerate(levels)], axis=1)


def _split(weights: np.ndarray, channels: Sequence[int]) -> list[np.ndarray]:
    return np.split(weights, np.cumsum(channels)[:-1], axis=1)


def _best(made: Sequence[Probe], judge: Callable[[Probe], float]) -> Probe:
    qualities = [judge(one) for one in made]
    return made[int(np.nanargmax(qualities))] if not np.isnan(qualities).all() else made[0]
