"""Calibration errors against torchmetrics and scikit-learn, the Brier score's parts, and the bins of the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional import classification as oracle

from umsrep.tasks.evaluation.calibration import BINS, Calibration, adaptive_bin_of, bin_of, brier_score, expected_calibration_error
from umsrep.tasks.evaluation.resample import Draws, sample


def classifier(k: int, n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overconfident probabilities of k classes, and the truth."""
    generator = np.random.default_rng(seed)
    target = generator.integers(k, size=n)
    logits = generator.normal(size=(n, k)) * 2 + 1.5 * (np.arange(k) == target[:, None])
    e = np.exp(logits)
    return e / e.sum(axis=1, keepdims=True), target


def numbers(probabilities: np.ndarray, target: np.ndarray) -> dict[str, float]:
    return {k: float(v[0]) for k, v in Calibration(probabilities, target)(np.ones((1, len(probabilities)))).items()}


def test_binary_is_torchmetrics() -> None:
    p, y = classifier(2)
    expected = float(oracle.binary_calibration_error(torch.from_numpy(p[:, 1].copy()), torch.from_numpy(y), n_bins=15, norm="l1"))
    found = numbers(p, y)
    assert found["ece"] == pytest.approx(expected, abs=1e-6)
    assert found["mce"] == pytest.approx(
        float(oracle.binary_calibration_error(torch.from_numpy(p[:, 1].copy()), torch.from_numpy(y), n_bins=15, norm="max")), abs=1e-6
    )
    assert found["brier"] == pytest.approx(brier_score_loss(y, p[:, 1]), abs=1e-12)
    assert found["nll"] == pytest.approx(log_loss(y, p[:, 1]), abs=1e-9)
    assert expected_calibration_error(p, y) == found["ece"]
    assert brier_score(p, y) == found["brier"]


def test_multi_class_is_torchmetrics() -> None:
    p, y = classifier(4)
    expected = oracle.multiclass_calibration_error(torch.from_numpy(p), torch.from_numpy(y), num_classes=4, n_bins=15, norm="l1")
    found = numbers(p, y)
    assert found["ece"] == pytest.approx(float(expected), abs=1e-6)
    each = [
        oracle.binary_calibration_error(torch.from_numpy(p[:, k].copy()), torch.from_numpy((y == k).astype(int)), n_bins=15)
        for k in range(4)
    ]
    assert found["ece_classwise"] == pytest.approx(float(np.mean([float(e) for e in each])), abs=1e-6)
    assert found["brier"] == pytest.approx(((p - np.eye(4)[y]) ** 2).sum(axis=1).mean(), abs=1e-12)
    assert found["nll"] == pytest.approx(log_loss(y, p), abs=1e-9)


def test_labels_that_are_not_annotated_do_not_count() -> None:
    generator = np.random.default_rng(1)
    p = generator.random((300, 3))
    y = (generator.random((300, 3)) < p).astype(float)
    y[generator.random((300, 3)) < 0.3] = np.nan
    found = numbers(p, y)
    known = [~np.isnan(y[:, k]) for k in range(3)]
    each = [numbers(np.stack([1 - p[m, k], p[m, k]], axis=1), y[m, k].astype(int)) for k, m in enumerate(known)]
    for name in ("ece", "brier", "nll"):
        assert found[name] == pytest.approx(np.mean([one[name] for one in each]), abs=1e-12)


@pytest.mark.parametrize("k", [2, 4])
def test_parts_add_up(k: int) -> None:
    p, y = classifier(k)
    parts = Calibration(p, y).parts()
    total = parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within_bins"]
    assert total == pytest.approx(brier_score(p, y), abs=1e-12)
    assert abs(parts["within_bins"]) < 0.02 * k
    share = np.bincount(y, minlength=k) / len(y)
    assert parts["uncertainty"] == pytest.approx((share * (1 - share)).sum() / (2 if k == 2 else 1))
    base = np.tile(share, (len(y), 1))
    assert Calibration(base, y).parts()["reliability"] == pytest.approx(0, abs=1e-12)
    assert Calibration(base, y).parts()["resolution"] == pytest.approx(0, abs=1e-12)


def test_bins_close_at_one_and_adaptive_ones_are_even() -> None:
    assert bin_of(np.array([0.0, 1 / 15, 0.999, 1.0])).tolist() == [0, 1, 14, 14]
    counts = np.bincount(adaptive_bin_of(np.random.default_rng(2).random(1500) ** 3))
    assert len(counts) == BINS
    assert counts.min() >= 99
    assert adaptive_bin_of(np.full(20, 0.3)).max() <= 1, "equal confidences stay together"


def test_picture_bins_hold_all_rows_with_intervals() -> None:
    p, y = classifier(2)
    groups = [str(i // 2) for i in range(400)]
    own, draws = Calibration(p, y), Draws(groups, resamples=200)
    bins = own.reliability(sample({"bins": own.bin_draws}, draws)["bins"], draws)
    assert sum(b["n"] for b in bins) == 400
    for one in bins:
        if one["n"] >= 10:
            assert one["accuracy_low"] <= one["accuracy"] <= one["accuracy_high"]
            assert one["low"] <= one["confidence"] <= one["high"]
            rows = (p[:, 1] >= one["low"]) & (p[:, 1] < one["high"])
            assert one["accuracy"] == pytest.approx(y[rows].mean())
    assert sum(b["n"] * abs(b["confidence"] - b["accuracy"]) for b in bins if b["n"]) / 400 == pytest.approx(
        expected_calibration_error(p, y)
    )
