"""CKA and SVCCA against their definitions, their invariances, and batch by batch against all at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from umsrep.errors import InputError
from umsrep.zoo.similarity import Matrix, MinibatchCKA, StreamingCKA, StreamingSVCCA, linear_cka, svcca

Score = Callable[[Any, Any], float]


def unbiased(x: Any, y: Any) -> float:
    return linear_cka(x, y, unbiased=True)


def normal(*shape: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).normal(size=shape)


def related(count: int, dx: int, dy: int, seed: int = 3) -> tuple[Matrix, Matrix]:
    """Two representations with some directions in common."""
    shared = normal(count, 3, seed=seed)
    return shared @ normal(3, dx, seed=seed + 1) + normal(count, dx, seed=seed + 2), shared @ normal(3, dy, seed=seed + 3) + 1.0


SCORES = pytest.mark.parametrize("score", [linear_cka, unbiased, svcca])
SIZES = pytest.mark.parametrize(("count", "dx", "dy"), [(60, 7, 5), (9, 20, 30), (30, 40, 4)])


@SCORES
@SIZES
def test_bounds_identity_and_symmetry(score: Score, count: int, dx: int, dy: int) -> None:
    x, y = related(count, dx, dy)
    kept = x.copy(), y.copy()
    value = score(x, y)
    assert -1 <= value <= 1
    assert score(y, x) == pytest.approx(value, abs=1e-12)
    assert score(x, x) == pytest.approx(1, abs=1e-12)
    assert isinstance(value, float)
    assert all(np.array_equal(a, b) for a, b in zip((x, y), kept, strict=True)), "inputs must stay"


@SCORES
@SIZES
def test_rotation_scale_and_shift_change_nothing(score: Score, count: int, dx: int, dy: int) -> None:
    x, y = related(count, dx, dy)
    rotation, _ = np.linalg.qr(normal(dx, dx, seed=9))
    value = score(x, y)
    assert value < 0.999 or score is svcca  # there is something to lose
    for changed in (x @ rotation, -3e4 * x, 1e-5 * x, x + 7):
        assert score(changed, y) == pytest.approx(value, abs=1e-9)
    order = np.random.default_rng(1).permutation(count)
    assert score(x[order], y[order]) == pytest.approx(value, abs=1e-12)


def test_cka_is_kornbliths_through_kernels() -> None:
    for x, y in (related(40, 6, 9), related(8, 25, 30)):
        centring = np.eye(len(x)) - 1 / len(x)
        k, m = (centring @ v @ v.T @ centring for v in (x, y))
        assert linear_cka(x, y) == pytest.approx(np.sum(k * m) / math.sqrt(np.sum(k * k) * np.sum(m * m)), abs=1e-12)


def test_unbiased_hsic_is_the_mean_over_all_fourtuples() -> None:
    x, y = related(7, 3, 4)

    def hsic(a: Matrix, b: Matrix) -> float:  # Song et al. 2012, equation 4
        k, m = a @ a.T, b @ b.T
        tuples = itertools.permutations(range(len(a)), 4)
        return float(np.mean([k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in tuples]))

    assert unbiased(x, y) == pytest.approx(hsic(x, y) / math.sqrt(hsic(x, x) * hsic(y, y)), abs=1e-12)


def test_independent_representations() -> None:
    count, dx, dy = 200, 50, 30
    pairs = [(normal(count, dx, seed=s), normal(count, dy, seed=s + 100)) for s in range(8)]
    expected = math.sqrt(dx * dy / ((count + dx) * (count + dy)))
    assert np.mean([linear_cka(x, y) for x, y in pairs]) == pytest.approx(expected, rel=0.02)
    assert np.mean([unbiased(x, y) for x, y in pairs]) == pytest.approx(0, abs=0.01)


def test_svcca_finds_planted_correlations() -> None:
    rho = 0.6
    shared, own = normal(20_000, 4, seed=1), normal(20_000, 4, seed=2)
    assert svcca(shared, rho * shared + math.sqrt(1 - rho**2) * own, variance=1.0) == pytest.approx(rho, abs=0.01)
    # one strong direction in common: the weak ones, 1 % of the variance, are left out at .98 and count at 1
    strong = normal(20_000, 1, seed=3) * 20
    x, y = np.hstack([strong, normal(20_000, 3, seed=4)]), np.hstack([strong, normal(20_000, 3, seed=5)])
    assert svcca(x, y) == pytest.approx(1, abs=1e-3)
    assert svcca(x, y, variance=1.0) == pytest.approx(0.25, abs=0.02)


def test_svcca_of_too_few_samples_is_always_one() -> None:
    assert svcca(normal(10, 20), normal(10, 20, seed=1), variance=1.0) == pytest.approx(1)


@pytest.mark.parametrize(("whole", "stream"), [(linear_cka, StreamingCKA), (svcca, StreamingSVCCA)])
@pytest.mark.parametrize(("count", "dx", "dy"), [(301, 12, 7), (21, 30, 40)])
def test_streaming_is_exact(whole: Score, stream: Any, count: int, dx: int, dy: int) -> None:
    x, y = related(count, dx, dy)
    x += 1e3  # a mean far from 0
    for cuts in ([], [1], [5, 6, 20], [count - 1]):
        measure = stream()
        for a, b in zip(np.split(x, cuts), np.split(y, cuts), strict=True):
            measure.update(a, b)
        assert measure.result() == pytest.approx(whole(x, y), abs=1e-10)


def test_minibatches_of_one_are_the_whole_and_of_many_agree() -> None:
    x, y = related(4000, 10, 6)
    one = MinibatchCKA()
    one.update(x, y)
    assert one.result() == pytest.approx(unbiased(x, y), abs=1e-12)
    for size in (8, 50):
        many = MinibatchCKA()
        for start in range(0, len(x), size):
            many.update(x[start : start + size], y[start : start + size])
        assert many.result() == pytest.approx(unbiased(x, y), abs=0.02)
        biased = [linear_cka(x[s : s + size], y[s : s + size]) for s in range(0, len(x), size)]
    assert abs(np.mean(biased) - unbiased(x, y)) > 0.02, "biased batches would not agree"


@SCORES
def test_constant_features(score: Score) -> None:
    x, y = related(20, 4, 3)
    with_constant = np.hstack([x, np.full((20, 2), 0.1)])
    assert score(with_constant, y) == pytest.approx(score(x, y), abs=1e-12)
    assert score(np.full((20, 3), 0.1), y) == 0.0
    for stream in (StreamingCKA(), StreamingSVCCA()):
        for part in np.split(y, 4):
            stream.update(np.full((5, 3), 0.1), part)
        assert stream.result() == 0.0


@SCORES
def test_errors_name_what_is_wrong(score: Score) -> None:
    x = normal(6, 2)
    broken = x.copy()
    broken[4, 1] = np.nan
    for first, second, words in (
        (broken, x, "x holds NaN or an infinity, first in row 4"),
        (x, broken, "y holds NaN"),
        (x, x[:5], "x has 6 samples, y has 5"),
        (x[:, 0], x, r"features \[N, D\], not of shape \(6,\)"),
        (x[:1], x[:1], "or more, has 1"),
    ):
        with pytest.raises(InputError, match=words):
            score(first, second)


def test_errors_of_streams_and_shares() -> None:
    with pytest.raises(InputError, match="variance must be above 0"):
        svcca(normal(5, 2), normal(5, 2), variance=0.0)
    with pytest.raises(InputError, match="variance must be above 0"):
        StreamingSVCCA(1.5)
    measure = StreamingCKA()
    with pytest.raises(InputError, match="needs 2 samples or more, has 0"):
        measure.result()
    measure.update(normal(3, 2), normal(3, 4))
    with pytest.raises(InputError, match="a batch of 3 and 4 features after one of 2 and 4"):
        measure.update(normal(3, 3), normal(3, 4))
