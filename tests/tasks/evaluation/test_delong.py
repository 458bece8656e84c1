"""DeLong: the ovarian data of the paper, the definition by pairs, the clustered variance, and speed."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest

from umsrep.errors import InputError
from umsrep.tasks.evaluation.delong import areas, difference, interval


@pytest.fixture(scope="module")
def ovarian() -> tuple[np.ndarray, np.ndarray]:
    """The 43 complete rows of DeLong et al. (1988): albumin, total protein, 10 - K-G score; does the patient benefit from surgery?

    As printed in the SAS/STAT User's Guide, PROC LOGISTIC, "Comparing Receiver Operating Characteristic Curves" (example 54.8, 60.8 or
    76.8, by edition). SAS models the event 0, and its logistic fits turn the directions: the areas are the same.
    """
    table = np.loadtxt(Path(__file__).with_name("ovarian.csv"), delimiter=",", skiprows=1)
    assert table.shape == (43, 4)
    return np.stack([table[:, 0], table[:, 1], 10 - table[:, 2]]), table[:, 3] == 1


def test_the_published_numbers(ovarian: tuple[np.ndarray, np.ndarray]) -> None:
    scores, truth = ovarian
    assert truth.sum() == 31
    found = areas(scores, truth)
    np.testing.assert_allclose(found.auroc, [0.7366, 0.6478, 0.7258], atol=5e-5)
    np.testing.assert_allclose(found.standard_error, [0.0927, 0.1000, 0.1028], atol=5e-5)
    one, other = difference(found, 0, 1), difference(found, 1, 2)
    assert (round(one.difference, 4), round(one.p, 4)) == (0.0887, 0.1118)
    assert (round(other.difference, 4), round(other.p, 4)) == (-0.0780, 0.4561)
    assert one.low < 0 < one.high


def by_pairs(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The paper's definition in O(m n): every positive against every negative."""
    x, y = scores[:, truth][:, :, None], scores[:, ~truth][:, None]
    kernel = (x > y) + 0.5 * (x == y)
    v10, v01 = kernel.mean(2), kernel.mean(1)
    return kernel.mean((1, 2)), np.cov(v10) / v10.shape[1] + np.cov(v01) / v01.shape[1]


@pytest.mark.parametrize("ties", [False, True])
def test_the_fast_version_is_the_definition(ties: bool) -> None:
    generator = np.random.default_rng(0)
    truth = generator.random(300) < 0.3
    scores = generator.normal(size=(3, 300)) + truth
    scores = scores.round(0) if ties else scores
    found = areas(scores, truth)
    auroc, covariance = by_pairs(scores, truth)
    np.testing.assert_allclose(found.auroc, auroc, atol=1e-12)
    np.testing.assert_allclose(found.covariance, covariance, atol=1e-12)
    singles = areas(scores, truth, [None] * 300)
    np.testing.assert_array_equal(singles.covariance, found.covariance)
    assert not singles.clustered


def test_rows_that_are_copies_carry_no_information() -> None:
    """Each row four times under one patient: the clustered variance is that of the rows once, DeLong's a quarter of it."""
    generator = np.random.default_rng(1)
    truth = generator.random(200) < 0.4
    scores = generator.normal(size=(2, 200)) + truth
    once = areas(scores, truth)
    copied = np.repeat(scores, 4, axis=1), np.repeat(truth, 4)
    patients = [str(k) for k in range(200) for _ in range(4)]
    np.testing.assert_allclose(areas(*copied, patients).covariance, once.covariance, rtol=0.02)
    np.testing.assert_allclose(areas(*copied).covariance, once.covariance / 4, rtol=0.02)


def test_clustered_variance_counts_patients_with_both_outcomes() -> None:
    """The clustered variance is what a bootstrap over patients finds, where DeLong's own is far off."""
    generator = np.random.default_rng(2)
    patients = np.repeat(np.arange(150), 4)
    truth = generator.random(600) < 0.5
    scores = generator.normal(size=600) + truth + np.repeat(generator.normal(size=150), 4) * 2
    groups = [str(p) for p in patients]
    found = areas(scores, truth, groups)
    assert found.clustered
    draws = []
    for _ in range(400):
        rows = np.concatenate([np.flatnonzero(patients == p) for p in generator.integers(150, size=150)])
        draws.append(by_pairs(scores[None, rows], truth[rows])[0][0])
    assert found.standard_error[0] == pytest.approx(np.std(draws), rel=0.12)


def test_equal_and_perfect_tests() -> None:
    generator = np.random.default_rng(3)
    truth = np.arange(40) % 2 == 0
    scores = generator.normal(size=40) + truth
    same = difference(areas(np.stack([scores, 2 * scores + 1]), truth))
    assert (same.difference, same.p) == (0, 1)
    perfect = areas(truth.astype(float), truth)
    assert interval(perfect) == (1, 1)
    low, high = interval(areas(scores, truth))
    assert 0 < low < float(areas(scores, truth).auroc[0]) < high < 1
    certain = difference(areas(np.stack([truth * 1.0, -1.0 * truth]), truth))
    assert certain.difference == 1
    assert math.isnan(certain.p)


def test_what_has_no_variance_is_refused() -> None:
    with pytest.raises(InputError, match="1 positive and 3 negative"):
        areas(np.arange(4.0), np.array([0, 0, 0, 1]))
    with pytest.raises(InputError, match="not finite"):
        areas(np.array([0, np.nan, 1, 2]), np.array([0, 0, 1, 1]))
    with pytest.raises(InputError, match="one length"):
        areas(np.arange(3.0), np.array([0, 1]))
    with pytest.raises(InputError, match="1 patient"):
        areas(np.arange(4.0), np.array([0, 0, 1, 1]), ["a", "b", "c", "c"])


def test_large_sets_take_no_quadratic_time() -> None:
    generator = np.random.default_rng(4)
    truth = generator.random(100_000) < 0.5
    start = time.process_time()
    areas(generator.normal(size=(2, 100_000)), truth)
    assert time.process_time() - start < 2, "5e9 pairs would take minutes and 20 GB"
