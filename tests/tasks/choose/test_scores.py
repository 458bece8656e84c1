"""Scores of one encoder: those of the library, halves of whole patients, and the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from umsrep.tasks.choose.scores import CLASSIFICATION, clusters, half_draws, score_classification, score_denoising, score_segmentation
from umsrep.tasks.features import DenseFeatures
from umsrep.zoo import transferability

PATIENTS = [f"p{i // 2}" for i in range(24)]


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = np.arange(24) // 2 % 2
    return generator.normal(size=(24, 6)).astype(np.float32) + labels[:, None], labels


def test_halves_hold_whole_patients() -> None:
    draws = half_draws(PATIENTS, resamples=20, seed=0)
    assert len(draws) == 20
    for rows in draws:
        assert len(rows) == 12
        assert {PATIENTS[r] for r in rows}.isdisjoint({p for i, p in enumerate(PATIENTS) if i not in rows})
    assert len({tuple(rows) for rows in draws}) > 15
    assert all(np.array_equal(a, b) for a, b in zip(draws, half_draws(PATIENTS, resamples=20, seed=0), strict=True))
    assert half_draws(["a", "b", "c"], resamples=20, seed=0) == []


def test_the_spread_over_halves_is_that_over_samples() -> None:
    """The sd of a mean over halves is the standard error of the mean of all (Shao & Wu 1989): s / sqrt(N)."""
    values = np.random.default_rng(0).normal(size=200)
    draws = half_draws([str(i) for i in range(200)], resamples=2000, seed=0)
    spread = np.std([values[rows].mean() for rows in draws], ddof=1)
    assert spread == pytest.approx(values.std(ddof=1) / np.sqrt(200), rel=0.05)


def test_unknown_patients_are_patients_of_their_own() -> None:
    assert len(set(clusters(["a", "", "a", ""]))) == 3


def test_values_are_the_librarys_and_draws_those_of_the_halves() -> None:
    features, labels = data()
    probabilities = np.full((24, 2), 0.5)
    found = score_classification(features, labels, PATIENTS, probabilities=probabilities, resamples=5, seed=0)
    assert set(found.values) == set(CLASSIFICATION)
    assert found.values["log_me"] == transferability.log_me(features, labels)
    assert found.values["knn_accuracy"] == transferability.knn_accuracy(features, labels, groups=np.array(PATIENTS))
    first = half_draws(PATIENTS, resamples=5, seed=0)[0]
    assert found.draws["log_me"][0] == transferability.log_me(features[first], labels[first])
    assert found.draws["log_me"].shape == (5,)
    assert found.draws["n_leep"].shape == (0,)
    assert found.values["leep"] == pytest.approx(-np.log(2))


def test_without_a_classifier_leep_and_nce_are_not_guessed() -> None:
    features, labels = data()
    found = score_classification(features, labels, PATIENTS, probabilities=None, resamples=0, seed=0)
    assert set(found.failures) == {"leep", "nce"}
    assert all("not applicable" in why for why in found.failures.values())
    assert not set(found.values) & {"leep", "nce"}


def test_a_half_with_one_class_tells_nothing() -> None:
    features, _ = data()
    labels = np.zeros(24, dtype=np.int64)
    labels[:2] = 1  # one patient
    found = score_classification(features, labels, PATIENTS, probabilities=None, resamples=12, seed=0)
    assert np.isnan(found.draws["log_me"]).any()
    assert np.isfinite(found.draws["log_me"]).any()


def test_numbers_are_kept_and_made_anew_for_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = data()
    first = score_classification(features, labels, PATIENTS, probabilities=None, resamples=3, seed=0, cache=tmp_path)
    calls = []
    true = transferability.FEATURE_SCORES["log_me"]

    def counted(*arguments: np.ndarray) -> float:
        calls.append(arguments)
        return true(*arguments)

    monkeypatch.setitem(transferability.FEATURE_SCORES, "log_me", counted)
    again = score_classification(features, labels, PATIENTS, probabilities=None, resamples=3, seed=0, cache=tmp_path)
    assert not calls
    assert list(again.values) == list(first.values)
    assert again.values == first.values
    assert all(np.array_equal(again.draws[k], first.draws[k]) for k in first.draws)
    score_classification(features, 1 - labels, PATIENTS, probabilities=None, resamples=3, seed=0, cache=tmp_path)
    assert calls


def test_dense_tasks_are_scored_on_maps() -> None:
    generator = np.random.default_rng(0)
    levels = tuple(generator.normal(size=(6, c, s, s)).astype(np.float32) for c, s in ((3, 16), (5, 8)))
    masks = (generator.random((6, 32, 32)) < 0.4).astype(np.uint8)
    unknown = [""] * 6
    found = score_segmentation(DenseFeatures(tuple(range(6)), levels, masks=masks), unknown, resamples=2, seed=0)
    wanted = transferability.cc_fv(levels, masks, groups=np.arange(6), samples=64, pairs=100, seed=0)
    assert found.values == {"cc_fv": pytest.approx(wanted)}
    assert np.isfinite(found.draws["cc_fv"]).all()
    clean = generator.random((6, 1, 32, 32)).astype(np.float32)
    noisy = clean + generator.normal(0, 0.1, clean.shape).astype(np.float32)
    gain = score_denoising(DenseFeatures(tuple(range(6)), levels, clean=clean, noisy=noisy), unknown, resamples=0, seed=0)
    assert gain.values == {"denoising_gain": transferability.denoising_gain(levels, noisy, clean, groups=np.arange(6), samples=64, seed=0)}
