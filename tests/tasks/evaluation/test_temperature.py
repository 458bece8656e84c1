"""Temperature scaling: the best there is, no decision changed, and nothing invented where it is not determined."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from umsrep.errors import InputError
from umsrep.tasks.evaluation.temperature import fit_temperature, logits_of, probabilities_of, scale


def problem(k: int, true_temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are too sharp by a known factor, and labels drawn from the right probabilities."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(4000, k)) * 2
    p = probabilities_of(logits)
    label = (p.cumsum(axis=1) > generator.random((4000, 1))).argmax(axis=1)
    return logits * true_temperature, label


@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("true", [0.5, 2.5])
def test_the_known_temperature_is_found_and_is_the_minimum(k: int, true: float) -> None:
    logits, label = problem(k, true)
    found = fit_temperature(logits, label)
    assert found.value == pytest.approx(true, rel=0.08)

    def nll(log_t: float) -> float:
        return float(torch.nn.functional.cross_entropy(torch.from_numpy(logits / math.exp(log_t)), torch.from_numpy(label)))

    best = minimize_scalar(nll, bounds=(-3, 3), method="bounded", options={"xatol": 1e-8})
    assert found.value == pytest.approx(math.exp(best.x), rel=1e-4)
    assert found.nll_after == pytest.approx(best.fun, abs=1e-9)
    assert found.nll_before == pytest.approx(nll(0.0), abs=1e-12)
    assert found.nll_after < found.nll_before


@pytest.mark.parametrize("temperature", [0.1, 3.0])
def test_no_decision_changes(temperature: float) -> None:
    logits, _ = problem(5, 1.0)
    p = probabilities_of(logits)
    assert (scale(p, temperature).argmax(axis=1) == p.argmax(axis=1)).all()
    np.testing.assert_allclose(scale(p, 1.0), p, atol=1e-12)
    np.testing.assert_allclose(scale(p, temperature), probabilities_of(logits, temperature), atol=1e-9)
    both = probabilities_of(logits, multi_label=True)
    assert ((scale(both, temperature, multi_label=True) > 0.5) == (both > 0.5)).all()


def test_labels_share_one_temperature() -> None:
    generator = np.random.default_rng(3)
    logits = generator.normal(size=(3000, 4)) * 1.5
    target = (generator.random((3000, 4)) < probabilities_of(logits, multi_label=True)).astype(float)
    target[generator.random((3000, 4)) < 0.2] = np.nan
    found = fit_temperature(logits * 2, target, multi_label=True)
    assert found.value == pytest.approx(2, rel=0.08)
    assert found.n == int((~np.isnan(target)).sum())


def test_where_nothing_determines_it() -> None:
    separable = np.array([[4.0, -4], [3, -3], [-5, 5]])
    found = fit_temperature(separable, np.array([0, 0, 1]))
    assert math.isnan(found.value)
    assert "all right" in found.note
    assert found.nll_after == found.nll_before
    assert "tell nothing" in fit_temperature(separable, np.array([1, 1, 0])).note
    with pytest.raises(InputError, match="no rows"):
        fit_temperature(np.empty((0, 2)), np.empty(0))
    with pytest.raises(InputError, match="1 row"):
        fit_temperature(np.array([[np.nan, 1.0], [0, 1]]), np.array([0, 1]))
    with pytest.raises(InputError, match="no annotated rows"):
        fit_temperature(np.ones((2, 1)), np.full((2, 1), np.nan), multi_label=True)


def test_certain_probabilities_have_logits() -> None:
    p = np.array([[1.0, 0.0], [0.5, 0.5]])
    assert np.isfinite(logits_of(p)).all()
    assert np.isfinite(logits_of(np.array([[0.0], [1.0], [0.3]]), multi_label=True)).all()
    np.testing.assert_allclose(probabilities_of(logits_of(np.array([[0.3]]), multi_label=True), multi_label=True), [[0.3]])
