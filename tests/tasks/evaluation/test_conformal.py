"""Split conformal sets: the quantile's definition, MAPIE as an oracle, and the coverage that is promised."""

from __future__ import annotations

import math

import numpy as np
import pytest

from umsrep.errors import InputError
from umsrep.tasks.evaluation.conformal import TooFewRows, calibrate, conformal_quantile, coverage, coverage_by, rows_needed


def draw(n: int, seed: int, k: int = 3, prior: tuple[float, ...] = (0.5, 0.3, 0.2)) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a mediocre classifier that expects the first class most, and labels."""
    generator = np.random.default_rng(seed)
    target = generator.choice(k, size=n, p=prior)
    logits = generator.normal(size=(n, k)) + 1.2 * (np.arange(k) == target[:, None]) + np.log([0.6, 0.3, 0.1])
    e = np.exp(logits)
    return e / e.sum(axis=1, keepdims=True), target


def test_the_quantile_is_the_right_order_statistic() -> None:
    scores = np.arange(1, 20) / 20
    assert conformal_quantile(scores, 0.1) == 18 / 20, "ceil(20 x 0.9) = 18"
    assert conformal_quantile(scores, 0.05) == 19 / 20, "ceil(20 x 0.95) = 19, though 20 * (1 - 0.05) is not 19 in floating point"
    assert conformal_quantile(scores[::-1], 0.5) == 10 / 20
    with pytest.raises(TooFewRows, match=r"19 calibration row\(s\) are too few for alpha 0.04: 24 needed"):
        conformal_quantile(scores, 0.04)


@pytest.mark.parametrize(("alpha", "needed"), [(0.5, 1), (0.2, 4), (0.1, 9), (0.05, 19), (0.01, 99)])
def test_rows_needed_are_needed_and_enough(alpha: float, needed: int) -> None:
    assert rows_needed(alpha) == needed
    assert conformal_quantile(np.arange(needed) + 1.0, alpha) == needed
    with pytest.raises(TooFewRows):
        conformal_quantile(np.arange(needed - 1), alpha)


def test_sets_are_mapies() -> None:
    mapie = pytest.importorskip("mapie.classification", reason="needs the extra calibration (mapie)")
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Given(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        """A fitted classifier whose features are its probabilities."""

        classes_ = np.arange(3)

        def __sklearn_is_fitted__(self) -> bool:
            return True

        def fit(self, x: np.ndarray, y: np.ndarray) -> Given:
            return self

        def predict_proba(self, x: np.ndarray) -> np.ndarray:
            return x

        def predict(self, x: np.ndarray) -> np.ndarray:
            return np.asarray(x.argmax(axis=1))

    (p, y), (test, _) = draw(157, 0), draw(500, 1)
    for alpha in (0.05, 0.1, 0.3):
        theirs = mapie.SplitConformalClassifier(Given(), confidence_level=1 - alpha, conformity_score="lac", prefit=True)
        theirs.conformalize(p, y)
        _, sets = theirs.predict_set(test)
        np.testing.assert_array_equal(calibrate(p, y, alpha).sets(test), sets[:, :, 0])


def test_coverage_is_what_is_promised() -> None:
    """Over many calibrations the coverage is 90 of 100, the rank over n + 1, up to the error of this simulation."""
    test, truth = draw(4000, 99)
    found = [coverage(calibrate(*draw(99, seed), 0.1).sets(test), truth).mean() for seed in range(200)]
    assert np.mean(found) == pytest.approx(0.9, abs=0.015)


def test_mondrian_covers_each_class_also_under_label_shift() -> None:
    p, y = draw(3000, 0)
    shifted, truth = draw(6000, 1, prior=(0.05, 0.15, 0.8))
    marginal, mondrian = (coverage(calibrate(p, y, 0.1, mondrian=m).sets(shifted), truth) for m in (False, True))
    by_class = coverage_by(mondrian, [str(t) for t in truth])
    assert all(abs(value - 0.9) < 0.04 for value in by_class.values())
    assert marginal.mean() < 0.87 < mondrian.mean(), "the rare class was covered worst, and is now common"


def test_classes_that_are_too_small_are_named() -> None:
    p, y = draw(40, 2, prior=(0.6, 0.35, 0.05))
    with pytest.raises(TooFewRows, match=r"9 needed, there are sick \d"):
        calibrate(p, y, 0.1, mondrian=True, classes=["healthy", "mild", "sick"])
    assert not calibrate(p, y, 0.1).mondrian
    for alpha in (0.0, 1.0, math.nan):
        with pytest.raises(InputError, match="alpha must be"):
            conformal_quantile([0.1], alpha)
    with pytest.raises(InputError, match="NaN"):
        conformal_quantile([0.1, math.nan], 0.5)
