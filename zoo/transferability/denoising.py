"""A score for denoising: what an encoder's maps add to a linear filter (the reasoning: docs/transferability.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umsrep.errors import InputError
from umsrep.zoo.transferability.checks import Floats, Ints, array_of, as_groups, same_length
from umsrep.zoo.transferability.log_me import best_evidence
from umsrep.zoo.transferability.sampling import as_levels, at_pixels
from umsrep.zoo.transferability.spectra import centred, principal_components

COMPONENTS = 16
"""Principal components of each level that take part."""


def denoising_gain(
    levels: Sequence[Any],
    noisy: Any,
    clean: Any,
    *,
    groups: Any = None,
    window: int = 9,
    samples: int = 128,
    folds: int = 4,
    seed: int = 0,
) -> float:
    """Mean gain in PSNR over the noisy image of a filter that the encoder's maps steer, cross-validated, in dB.

    At drawn pixels, clean - noisy is regressed twice, each time by the ridge regression of largest evidence (`log_me`). First on the
    ``window`` x ``window`` noisy pixels around, which is a linear filter and the same for every encoder. Then what that leaves on the
    encoder's maps of the noisy image, interpolated to the pixel (the first 16 principal components of each level, taken over all drawn
    pixels), alone and times the differences between the pixel and the means of the 3 x 3, 5 x 5, ... pixels around it: so features
    decide how strongly and how widely to smooth. Deterministic for a seed.

    Args:
        levels: The encoder's maps of the noisy images, a sequence of [N, C, H, W] of any size; empty scores the window alone.
        noisy: [N, C, H, W], in any unit.
        clean: [N, C, H, W], in the same unit.
        groups: The patient of each image [N], kept whole in a fold; None or "" is a patient of its own.
        window: Odd; 1 takes the pixel alone, and no differences. The edge of the image is mirrored.
        samples: Pixels drawn in each image.
        folds: How many; fewer where there are fewer patients.
        seed: Of the pixels and the folds.

    Returns:
        dB; higher is better. 0 leaves the image as it is, without levels it is what the linear filter gains, and where there is nothing to
        learn it is a little below 0.

    Raises:
        InputError: The input cannot be scored; names the image.
    """
    noisy, clean = array_of(noisy), array_of(clean)
    if noisy.ndim != 4 or noisy.shape != clean.shape or not noisy.size or noisy.dtype.kind not in "fiu" or clean.dtype.kind not in "fiu":
        raise InputError(f"noisy is {list(noisy.shape)}, clean {list(clean.shape)}; both are real numbers [N, C, H, W]")
    if window < 1 or window % 2 == 0 or samples < 2 or folds < 2:
        raise InputError(f"window {window} is odd, samples {samples} and folds {folds} are at least 2")
    if groups is not None:
        same_length(array_of(groups), len(noisy), "groups")
    patients = as_groups(groups, len(noisy))
    random = np.random.default_rng(seed)
    folds = min(folds, int(patients.max()) + 1)
    if folds < 2:
        raise InputError("noisy: images of at least two patients are needed to cross-validate")
    fold = (random.permutation(int(patients.max()) + 1) % folds)[patients]
    maps = as_levels(levels, len(noisy)) if len(levels) else []
    size = (noisy.shape[2], noisy.shape[3])
    pixels = [np.sort(random.choice(size[0] * size[1], min(samples, size[0] * size[1]), replace=False)) for _ in noisy]
    targets = []
    for i, drawn in enumerate(pixels):
        noise = (clean[i].astype(np.float64) - noisy[i]).reshape(noisy.shape[1], -1).T[drawn]
        if not np.isfinite(noise).all() or not noise.any():
            raise InputError(f"image {i} (counted from 0): clean - noisy holds NaN or infinite values, or is 0 at every drawn pixel")
        targets.append(noise)
    y = np.concatenate(targets)
    around = np.concatenate([_windows(noisy[i].astype(np.float64), drawn, window) for i, drawn in enumerate(pixels)])
    filtered = around.reshape(len(y), -1)
    steered = _steered(around, [_components(m, pixels, size, f"level {k}") for k, m in enumerate(maps)])
    each = np.repeat(fold, len(targets[0]))
    left = np.empty_like(y)
    for k in range(folds):
        left[each == k] = _left(filtered, steered, y, each == k)
    before, after = (np.add.reduceat((part**2).sum(axis=1), np.arange(0, len(y), len(targets[0]))) for part in (y, left))
    return float(10 * np.log10(before / np.maximum(after, 1e-30 * before)).mean())


def _windows(image: Floats, pixels: Ints, window: int) -> Floats:
    """Return the pixels [C, H, W] around others: [P, C, window, window]."""
    half = window // 2
    padded = np.pad(image, ((0, 0), (half, half), (half, half)), mode="symmetric")
    views = np.lib.stride_tricks.sliding_window_view(padded, (window, window), axis=(1, 2))
    y, x = np.unravel_index(pixels, image.shape[1:])
    return views[:, y, x].transpose(1, 0, 2, 3)


def _components(maps: NDArray[Any], pixels: Sequence[Ints], size: tuple[int, int], name: str) -> Floats:
    """Return a level's principal components at all drawn pixels [R, k], together of variance 1; none where the level is constant."""
    points = centred(np.concatenate([at_pixels(maps, i, drawn, size, name) for i, drawn in enumerate(pixels)]))
    spread = np.sqrt((points**2).sum(axis=1).mean())
    return principal_components(points / spread, most=COMPONENTS) if spread else points[:, :0]


def _steered(around: Floats, levels: Sequence[Floats]) -> Floats:
    """Return the components, and their products with the differences between mean and pixel of each size and channel: [R, M]."""
    features = np.concatenate([np.empty((len(around), 0)), *levels], axis=1)
    half = around.shape[2] // 2
    centre = around[:, :, half, half]
    radii = range(1, half + 1)
    means = [around[:, :, half - r : half + r + 1, half - r : half + r + 1].mean(axis=(2, 3)) - centre for r in radii]
    differences = np.concatenate([m / (m.std() or 1) for m in means], axis=1) if means else np.empty((len(around), 0))
    return np.concatenate([features, (features[:, :, None] * differences[:, None, :]).reshape(len(around), -1)], axis=1)


def _left(filtered: Floats, steered: Floats, y: Floats, held: NDArray[np.bool_]) -> Floats:
    """Return what is left of y [R, C] in the held-out rows after both regressions."""
    train = ~held
    estimate = _ridge(filtered[train], y[train], filtered)
    rest = y - estimate
    if not steered.shape[1]:
        return rest[held]
    # what the window already says of the features is taken out, so that the second regression adds and does not repeat
    known = np.column_stack([filtered, np.ones(len(filtered))])
    new = steered - known @ np.linalg.lstsq(known[train], steered[train], rcond=None)[0]
    return rest[held] - _ridge(new[train], rest[train], new[held])


def _ridge(x: Floats, y: Floats, new: Floats) -> Floats:
    """Fit a ridge regression whose penalty has the largest evidence for each channel, and predict."""
    mean, offset = x.mean(axis=0), y.mean(axis=0)
    scale = np.abs(x - mean).max()
    if not scale or not (y - offset).any(axis=0).all():
        return np.broadcast_to(offset, (len(new), y.shape[1]))
    f = (x - mean) / scale
    _, penalty = best_evidence(f, y - offset)
    values, axes = np.linalg.eigh(f.T @ f)
    weights = axes @ ((axes.T @ (f.T @ (y - offset))) / (np.maximum(values, 0)[:, None] + penalty))
    predicted: Floats = (new - mean) / scale @ weights + offset
    return predicted
