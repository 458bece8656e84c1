"""How alike two representations of the same samples are: linear CKA and SVCCA, at once or batch by batch.

Kornblith et al., Similarity of Neural Network Representations Revisited, ICML 2019 (linear CKA); Song et al., Feature Selection via
Dependence Maximization, JMLR 2012 (unbiased HSIC); Nguyen, Raghu, Kornblith, ICLR 2021 (CKA in batches); Raghu et al., SVCCA, NeurIPS
2017. Everything is computed in float64, and no input is changed.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from umsrep.errors import InputError

Matrix = NDArray[np.float64]


# ---- linear CKA ----------------------------------------------------------------------------------------------------------
def linear_cka(x: ArrayLike, y: ArrayLike, *, unbiased: bool = False) -> float:
    """Return the linear centred kernel alignment HSIC(x, y) / sqrt(HSIC(x, x) HSIC(y, y)).

    It does not change under rotation and uniform scaling of either. With few samples and many features the usual (biased) estimate
    is far from 0 for independent representations: about sqrt(Dx Dy / ((N + Dx) (N + Dy))).

    Args:
        x: Features [N, Dx]; N at least 2.
        y: Features [N, Dy] of the same samples.
        unbiased: With the unbiased estimate of HSIC, about 0 for independent representations; N at least 4.

    Returns:
        0 to 1 (unbiased: -1 to 1), 1 for the same representation. 0 where one of them is constant, as for distance correlation.

    Raises:
        InputError: for other shapes, too few samples, NaN or infinities.
    """
    first, second = _checked(x, y, least=4 if unbiased else 2)
    hsic = _unbiased_hsic if unbiased else _cross
    return _ratio(hsic(first, second), hsic(first, first), hsic(second, second))


class StreamingCKA:
    """Linear CKA in batches of any size, equal to `linear_cka` of all samples at once; keeps (Dx + Dy)^2 numbers."""

    def __init__(self) -> None:
        """Start without samples."""
        self._moments = _Moments()

    def update(self, x: ArrayLike, y: ArrayLike) -> None:
        """Take the two representations of some more samples, [n, Dx] and [n, Dy]."""
        self._moments.update(x, y)

    def result(self) -> float:
        """Return the similarity of all samples so far."""
        xx, xy, yy = self._moments.scatters()
        return _ratio(*(float(np.sum(s**2)) for s in (xy, xx, yy)))


class MinibatchCKA:
    """Linear CKA from the mean of each batch's unbiased HSICs (Nguyen et al. 2021, equation 2); keeps three numbers.

    It tends to the unbiased `linear_cka` of the whole set, whatever the size of the batches, and is it for a single batch.
    """

    def __init__(self) -> None:
        """Start without samples."""
        self._sums = np.zeros(3)

    def update(self, x: ArrayLike, y: ArrayLike) -> None:
        """Take the two representations of one batch, [n, Dx] and [n, Dy]; n at least 4."""
        a, b = _checked(x, y, least=4)
        self._sums += [_unbiased_hsic(a, b), _unbiased_hsic(a, a), _unbiased_hsic(b, b)]

    def result(self) -> float:
        """Return the similarity of all batches so far."""
        return _ratio(*self._sums.tolist())


def _cross(x: Matrix, y: Matrix) -> float:
    """Return |x'y|^2 (Frobenius) of centred x and y: (N - 1)^2 times the biased HSIC. Through N x N where that is smaller."""
    if len(x) ** 2 < x.shape[1] * y.shape[1]:
        return float(np.sum((x @ x.T) * (y @ y.T)))
    return float(np.sum((x.T @ y) ** 2))


def _unbiased_hsic(x: Matrix, y: Matrix) -> float:
    """Return Song et al.'s equation 5 for linear kernels of centred x and y, times N (N - 3), without making the kernels."""
    count = len(x)
    own_x, own_y = np.sum(x**2, axis=1), np.sum(y**2, axis=1)  # the kernels' diagonals, which the estimate leaves out
    rows_x, rows_y = x @ x.sum(0) - own_x, y @ y.sum(0) - own_y
    trace = _cross(x, y) - own_x @ own_y
    return float(trace + rows_x.sum() * rows_y.sum() / ((count - 1) * (count - 2)) - 2 * (rows_x @ rows_y) / (count - 2))


def _ratio(xy: float, xx: float, yy: float) -> float:
    if xx <= 0 or yy <= 0:
        return 0.0
    return float(np.clip(xy / (math.sqrt(xx) * math.sqrt(yy)), -1, 1))


# ---- SVCCA -------------------------------------------------------------------------------------------------------------
def svcca(x: ArrayLike, y: ArrayLike, *, variance: float = 0.98) -> float:
    """Return the mean canonical correlation of the leading principal components of two representations.

    It does not change under rotation and uniform scaling of either. It needs many more samples than components: where the components
    of both together reach N - 1, any two representations correlate perfectly.

    Args:
        x: Features [N, Dx]; N at least 2.
        y: Features [N, Dy] of the same samples.
        variance: Share of each one's variance that its components explain.

    Returns:
        0 to 1; the mean over as many correlations as the smaller number of components. 0 where one of them is constant.

    Raises:
        InputError: for other shapes, NaN or infinities, or a share that is not above 0 and at most 1.
    """
    _check_variance(variance)
    first, second = _checked(x, y, least=2)
    bases = []
    for values in (first, second):
        left, singular, _ = np.linalg.svd(values, full_matrices=False)
        bases.append(left[:, : _kept(singular**2, variance)])
    return _mean_correlation(bases[0].T @ bases[1])


class StreamingSVCCA:
    """SVCCA in batches of any size, equal to `svcca` of all samples at once; keeps (Dx + Dy)^2 numbers."""

    def __init__(self, variance: float = 0.98) -> None:
        """Start without samples; ``variance`` as in `svcca`."""
        _check_variance(variance)
        self.variance = variance
        self._moments = _Moments()

    def update(self, x: ArrayLike, y: ArrayLike) -> None:
        """Take the two representations of some more samples, [n, Dx] and [n, Dy]."""
        self._moments.update(x, y)

    def result(self) -> float:
        """Return the similarity of all samples so far."""
        xx, xy, yy = self._moments.scatters()
        whiteners = []
        for scatter in (xx, yy):
            values, vectors = np.linalg.eigh(scatter)
            values, vectors = values[::-1], vectors[:, ::-1]
            count = _kept(values, self.variance)
            whiteners.append(vectors[:, :count] / np.sqrt(values[:count]))
        return _mean_correlation(whiteners[0].T @ xy @ whiteners[1])


def _kept(spectrum: Matrix, variance: float) -> int:
    """Return how many of the falling squared singular values explain the share; none of those that are rounding errors."""
    real = spectrum[spectrum > spectrum[:1].clip(0) * len(spectrum) * np.finfo(float).eps]
    if not len(real):
        return 0
    explained = np.cumsum(real) / real.sum()
    return min(int(np.searchsorted(explained, variance - 1e-12)) + 1, len(real))


def _mean_correlation(cross: Matrix) -> float:
    return float(np.linalg.svd(cross, compute_uv=False).clip(0, 1).mean()) if cross.size else 0.0


def _check_variance(variance: float) -> None:
    if not 0 < variance <= 1:
        raise InputError(f"svcca: variance must be above 0 and at most 1, not {variance}")


# ---- shared ------------------------------------------------------------------------------------------------------------
class _Moments:
    """Count, means and scatter (sum of outer products about the mean) of [x, y], merged batch by batch (Chan et al. 1983)."""

    def __init__(self) -> None:
        self.count, self.split = 0, 0
        self.origin: Matrix = np.zeros(0)
        self.mean: Matrix = np.zeros(0)
        self.scatter: Matrix = np.zeros((0, 0))

    def update(self, x: ArrayLike, y: ArrayLike) -> None:
        a, b = _checked(x, y, least=1, centre=False)
        joint = np.concatenate([a, b], axis=1)
        if not self.count:
            self.origin = joint[0].copy()  # a constant feature is then exactly 0 and not a rounding error
            self.split, self.mean = a.shape[1], np.zeros(joint.shape[1])
            self.scatter = np.zeros((joint.shape[1],) * 2)
        elif (a.shape[1], joint.shape[1]) != (self.split, len(self.mean)):
            raise InputError(
                f"similarity: a batch of {a.shape[1]} and {b.shape[1]} features after one of {self.split} and {len(self.mean) - self.split}"
            )
        joint -= self.origin
        mean, total = joint.mean(0), self.count + len(joint)
        joint -= mean
        step = mean - self.mean
        self.scatter += joint.T @ joint + np.outer(step, step) * (self.count * len(a) / total)
        self.mean += step * (len(a) / total)
        self.count = total

    def scatters(self) -> tuple[Matrix, Matrix, Matrix]:
        """Return those of x, of x with y, and of y."""
        if self.count < 2:
            raise InputError(f"similarity: needs 2 samples or more, has {self.count}")
        k = self.split
        return self.scatter[:k, :k], self.scatter[:k, k:], self.scatter[k:, k:]


def _checked(x: ArrayLike, y: ArrayLike, *, least: int, centre: bool = True) -> tuple[Matrix, Matrix]:
    """Return float64 copies of two representations, centred."""
    arrays = []
    for name, given in (("x", x), ("y", y)):
        values = np.asarray(given).astype(np.float64)
        if values.ndim != 2 or not values.size:
            raise InputError(f"similarity: {name} must be features [N, D], not of shape {values.shape}")
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
            raise InputError(f"similarity: {name} holds NaN or an infinity, first in row {row}")
        if centre:
            values -= values[0].copy()  # first, so that a constant feature is exactly 0 and not a rounding error
            values -= values.mean(0)
        arrays.append(values)
    if len(arrays[0]) != len(arrays[1]):
        raise InputError(f"similarity: x has {len(arrays[0])} samples, y has {len(arrays[1])}; they must be of the same samples")
    if len(arrays[0]) < least:
        raise InputError(f"similarity: needs {least} samples or more, has {len(arrays[0])}")
    return arrays[0], arrays[1]
