"""Singular values and principal components by way of the smaller Gram matrix, which is what makes the scores fast."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from umsrep.zoo.transferability.checks import Floats

ROUNDING = 1e-12
"""A column whose spread is below this part of its largest value is constant but for rounding."""


class Spectrum(NamedTuple):
    """The part of targets Y [N, C] that features F = U S V' [N, D] of rank k reach.

    Attributes:
        squares: S^2, [k], largest first.
        reached: (U'Y)^2, [k, C].
        total: y'y of each column, [C].
        rest: y'y - (U'y)'(U'y), [C].
    """

    squares: Floats
    reached: Floats
    total: Floats
    rest: Floats


def centred(features: Floats) -> Floats:
    """Return features less their mean; columns that are constant but for rounding become exactly 0."""
    largest = np.maximum(features.max(axis=0), -features.min(axis=0))
    result: Floats = features - features.mean(axis=0)
    result[:, np.maximum(result.max(axis=0), -result.min(axis=0)) <= ROUNDING * largest] = 0
    return result


def unit_scale(features: Floats) -> Floats:
    """Return features divided by their largest magnitude, for scores that do not depend on the scale."""
    largest = max(features.max(), -features.min())
    return features / largest if largest else features


def spectrum(features: Floats, targets: Floats, *, exact: bool = False) -> Spectrum:
    """Decompose features and project targets.

    The Gram matrix squares the condition, so it shows singular values down to about 1e-6 of the largest only. What lies below is
    decomposed for itself, in the directions that the Gram matrix leaves. The rest stays exact to 1e-16 of y'y; ``exact`` decomposes the
    features themselves, at several times the cost.
    """
    rows, columns = features.shape
    total = np.einsum("nc,nc->c", targets, targets)
    rounding = max(rows, columns) * np.finfo(np.float64).eps
    if exact:
        left, values, _ = np.linalg.svd(features, full_matrices=False)
        keep = values > values[0] * rounding
        left, squares = left[:, keep], values[keep] ** 2
        inner = left.T @ targets
        beyond = targets - left @ inner
        return Spectrum(squares, inner**2, total, np.einsum("nc,nc->c", beyond, beyond) * (len(squares) < rows))
    tall = rows >= columns
    squares, vectors = np.linalg.eigh(features.T @ features if tall else features @ features.T)
    first = int(np.searchsorted(squares, squares[-1] * rounding, side="right"))
    hidden, vectors, squares = vectors[:, :first], vectors[:, first:][:, ::-1], squares[first:][::-1]
    inner = vectors.T @ (features.T @ targets) / np.sqrt(squares)[:, None] if tall else vectors.T @ targets
    reached = inner**2
    if first and len(squares):
        below = (features @ hidden, targets) if tall else (hidden.T @ features, hidden.T @ targets)
        if np.sqrt((below[0] ** 2).sum(axis=0 if tall else 1)).max() > rounding * np.sqrt(squares[0]):
            deeper = spectrum(*below)
            keep = deeper.squares > rounding**2 * squares[0]
            squares, reached = np.concatenate([squares, deeper.squares[keep]]), np.concatenate([reached, deeper.reached[keep]])
    rest = np.maximum(total - reached.sum(axis=0), 0) * (len(squares) < rows)
    return Spectrum(squares, reached, total, rest)


def principal_components(features: Floats, *, most: int | None = None, variance: float = 1.0) -> Floats:
    """Return coordinates along the principal axes.

    Args:
        features: Centred features [N, D].
        most: How many axes at the most.
        variance: Leave off the axes beyond the first that hold this share of the variance together.

    Returns:
        float64 [N, k], k >= 1; the sign of an axis is arbitrary.
    """
    from scipy.linalg import eigh

    rows, columns = features.shape
    side = min(rows, columns)
    gram = features.T @ features if rows >= columns else features @ features.T
    first = 0 if most is None else max(side - most, 0)
    whole, count = np.trace(gram), side - first
    values, vectors = eigh(gram, overwrite_a=True, check_finite=False, subset_by_index=(first, side - 1), driver="evr")
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    if variance < 1:
        count = min(int(np.searchsorted(np.cumsum(values), variance * whole)) + 1, count)
    coordinates: Floats = features @ vectors[:, :count] if rows >= columns else vectors[:, :count] * np.sqrt(values[:count])
    return coordinates
