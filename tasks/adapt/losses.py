"""Distances between the features of two domains that training can make small: Deep CORAL and MMD."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from umsrep.errors import InputError

BANDWIDTH_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Bandwidths of `median_bandwidths` as multiples of the median distance."""


def deep_coral_loss(source: Tensor, target: Tensor) -> Tensor:
    """Return the Deep CORAL loss, ``|Cs - Ct|_F^2 / (4 d^2)``, of two sets of features (Sun & Saenko 2016, equation 1).

    ``Cs`` and ``Ct`` are the unbiased covariances (divided by n - 1) of the rows. Means play no part. Gradients reach both sets.

    Args:
        source: [n, d], n 2 or more; half precision is computed in float32.
        target: [m, d], m 2 or more.

    Returns:
        The loss, 0 or more, without axes.

    Raises:
        InputError: for features of other axes or different d, fewer than 2 rows in a set, or values that are not finite.
    """
    source, target = _pair(source, target, "deep_coral_loss", rows=2)
    with torch.autocast(source.device.type, enabled=False):
        difference = _covariance(source) - _covariance(target)
        loss = difference.square().sum() / (4 * source.shape[1] ** 2)
    return _finite(loss, source, target, "deep_coral_loss")


def mmd_loss(source: Tensor, target: Tensor, bandwidths: Sequence[float] | float | None = None) -> Tensor:
    """Return the squared maximum mean discrepancy, ``mean k(s, s') + mean k(t, t') - 2 mean k(s, t)`` (Gretton et al. 2012).

    This is the biased estimate (a V-statistic): the means run over all pairs, a row with itself included. So it is never negative, 0
    for equal sets, and for two sets of n rows from one distribution on average above 0 by at most 2 K / n. The kernel is a sum of K
    Gaussians, ``k(x, y) = sum over bandwidths sigma of exp(-|x - y|^2 / (2 sigma^2))``, so that the loss is at most 2 K (multi-kernel MMD,
    Long et al. 2015, with equal weights). Gradients reach both sets.

    Args:
        source: [n, d], n 1 or more; half precision is computed in float32.
        target: [m, d], m 1 or more.
        bandwidths: The standard deviations sigma, in the unit of the features (not variances, not 1 / sigma^2); one number or several.
            None takes `median_bandwidths` of these two sets.

    Returns:
        The loss, without axes.

    Raises:
        InputError: for features of other axes or different d, an empty set, values that are not finite, or a bandwidth not above 0.
    """
    source, target = _pair(source, target, "mmd_loss", rows=1)
    if bandwidths is None:
        bandwidths = median_bandwidths(source, target)
    given: Any = bandwidths  # also numpy's and torch's numbers and arrays
    single = isinstance(given, Real) or getattr(given, "ndim", 1) == 0
    sigmas = [float(sigma) for sigma in ([given] if single else given)]
    if not sigmas or not all(math.isfinite(s) and s > 0 for s in sigmas):
        raise InputError(f"mmd_loss: bandwidths must be one or more numbers above 0, not {bandwidths}")
    with torch.autocast(source.device.type, enabled=False):
        within = _mean_kernel(source, source, sigmas) + _mean_kernel(target, target, sigmas)
        loss = within - 2 * _mean_kernel(source, target, sigmas)
    return _finite(loss, source, target, "mmd_loss")


@torch.no_grad()
def median_bandwidths(source: Tensor, target: Tensor, factors: Sequence[float] = BANDWIDTH_FACTORS) -> tuple[float, ...]:
    """Return bandwidths for `mmd_loss` by the median heuristic: the median distance of different rows of both sets, times each factor.

    Where at least half of the pairs coincide the mean distance stands in for the median, and 1 where all do.

    Args:
        source: [n, d].
        target: [m, d].
        factors: Above 0.

    Returns:
        One standard deviation a factor; no gradient flows through them.

    Raises:
        InputError: as `mmd_loss`.
    """
    source, target = _pair(source, target, "median_bandwidths", rows=1)
    distances = torch.pdist(torch.cat([source, target]))  # pairs of different rows
    middle = float(_finite(distances.median(), source, target, "median_bandwidths"))
    middle = middle or float(distances.mean()) or 1.0
    return tuple(middle * factor for factor in factors)


def _covariance(features: Tensor) -> Tensor:
    centred = features - features.mean(dim=0)
    return centred.T @ centred / (len(features) - 1)


def _mean_kernel(x: Tensor, y: Tensor, sigmas: Sequence[float]) -> Tensor:
    # differences, not |x|^2 + |y|^2 - 2xy, which in float32 loses small distances between features far from zero
    squares = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()
    return torch.stack([torch.exp(-squares / (2 * sigma**2)).mean() for sigma in sigmas]).sum()


def _pair(source: Tensor, target: Tensor, name: str, *, rows: int) -> tuple[Tensor, Tensor]:
    """Check two sets of features against each other, and return them in float32 or float64."""
    for what, features in (("source", source), ("target", target)):
        if features.ndim != 2 or not features.is_floating_point():
            raise InputError(f"{name}: {what} must be float features [N, D], not {features.dtype} {list(features.shape)}; pool maps first")
        if len(features) < rows:
            raise InputError(
                f"{name}: {what} has {len(features)} row(s) and needs {rows} or more; take larger batches, or leave out a last short one"
            )
    if source.shape[1] != target.shape[1] or source.shape[1] == 0:
        raise InputError(f"{name}: source has {source.shape[1]} features and target {target.shape[1]}; both must come from the same layer")
    if source.device != target.device:
        raise InputError(f"{name}: source is on {source.device} and target on {target.device}")
    double = torch.float64 in (source.dtype, target.dtype)
    return source.to(torch.float64 if double else torch.float32), target.to(torch.float64 if double else torch.float32)


def _finite(value: Tensor, source: Tensor, target: Tensor, name: str) -> Tensor:
    """Return a value that is finite, or say which features are not: one look at the result instead of one at each input."""
    if bool(torch.isfinite(value)):
        return value
    wrong = [what for what, features in (("source", source), ("target", target)) if not bool(torch.isfinite(features).all())]
    reason = f"{' and '.join(wrong)} features are NaN or infinite" if wrong else "features are too large, the result overflows"
    raise InputError(f"{name}: {reason}; lower the learning rate or check the images")
