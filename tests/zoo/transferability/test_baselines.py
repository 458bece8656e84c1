"""Nearest neighbours and the linear probe against scikit-learn, and what patients change."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import LeaveOneOut, StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.zoo.transferability.sets import clusters, rotation
from umsrep.errors import InputError
from umsrep.zoo.transferability import knn_accuracy, linear_probe

both = pytest.mark.parametrize("score", [knn_accuracy, linear_probe])


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_neighbours_are_those_of_scikit_learn(distance: str) -> None:
    features, labels = clusters(41, 5, 2, apart=0.8)  # two classes and odd k: no ties
    model = KNeighborsClassifier(5, metric=distance, algorithm="brute")
    predicted = cross_val_predict(model, features, labels, cv=LeaveOneOut())
    assert 0.5 < (predicted == labels).mean() < 1
    value = knn_accuracy(features, labels, k=5, distance=distance, metric="accuracy")  # type: ignore[arg-type]
    assert value == pytest.approx((predicted == labels).mean())
    balanced = knn_accuracy(features, labels, k=5, distance=distance)  # type: ignore[arg-type]
    assert balanced == pytest.approx(balanced_accuracy_score(labels, predicted))
    chances = cross_val_predict(model, features, labels, cv=LeaveOneOut(), method="predict_proba")[:, 1]
    close = roc_auc_score(labels, chances)
    assert knn_accuracy(features, labels, k=5, distance=distance, metric="auroc") == pytest.approx(close, abs=0.05)  # type: ignore[arg-type]


def test_a_tie_goes_to_the_nearer_neighbours() -> None:
    features = [[0.0], [1.0], [1.5], [-3.0], [-3.1], [90.0]]
    labels = ["a", "a", "a", "b", "b", "a"]
    # row 0: neighbours a, a, b, b at k = 4; the two a are nearer
    assert knn_accuracy(features[:5], labels[:5], k=4, metric="accuracy") == pytest.approx(3 / 5)


def test_neighbours_of_the_same_patient_do_not_vote() -> None:
    """Two images of each patient are alike, and patients say nothing of the label: only leaving the patient out shows it."""
    random = np.random.default_rng(0)
    patients = np.repeat(np.arange(60), 2)
    features = np.repeat(random.normal(size=(60, 4)) * 10, 2, axis=0) + random.normal(size=(120, 4)) * 0.01
    labels = np.repeat(random.permutation(np.arange(60) % 2), 2)
    assert knn_accuracy(features, labels, k=1) == 1
    assert 0.3 < knn_accuracy(features, labels, k=1, groups=patients) < 0.7
    assert knn_accuracy(features, labels, k=1, groups=[None] * 120) == 1


def test_fewer_other_patients_than_k() -> None:
    features, labels = clusters(30, 3, 2, apart=9)
    assert knn_accuracy(features, labels, k=500) == knn_accuracy(features, labels, k=29)
    half = (np.arange(30) < 15).astype(int)
    assert 0 <= knn_accuracy(features, labels, k=29, groups=half) <= 1


def test_probe_is_that_of_scikit_learn() -> None:
    features, labels = clusters(80, 4, 3, apart=0.8)
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    chances = cross_val_predict(model, features, labels, cv=folds, method="predict_proba")
    predicted = chances.argmax(axis=1)
    assert linear_probe(features, labels) == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert linear_probe(features, labels, metric="accuracy") == pytest.approx((predicted == labels).mean())
    assert linear_probe(features, labels, metric="auroc") == pytest.approx(roc_auc_score(labels, chances, multi_class="ovr"), abs=1e-6)


def test_probe_keeps_patients_whole() -> None:
    random = np.random.default_rng(0)
    patients = np.repeat(np.arange(30), 4)
    features = np.eye(30)[patients] + random.normal(size=(120, 30)) * 0.01
    labels = random.permutation(np.arange(30) % 2)[patients]
    assert linear_probe(features, labels) == 1
    assert linear_probe(features, labels, groups=patients) < 0.7


@both
def test_multi_label_is_judged_by_auroc(score: Callable[..., float]) -> None:
    features, labels = clusters(60, apart=0.5)
    matrix = np.stack([labels == 0, labels == 1], axis=1)
    assert score(features, matrix) == score(features, matrix, metric="auroc")
    assert score(features, matrix) != score(features, matrix, metric="balanced_accuracy")


@both
def test_separable_features_score_one_and_noise_guesses(score: Callable[..., float]) -> None:
    features, labels = clusters(90, 6, 3, apart=50)
    assert score(features, labels) == 1
    noise = np.random.default_rng(5).normal(size=(300, 4))
    guess = np.random.default_rng(6).integers(0, 3, 300)
    assert score(noise, guess) == pytest.approx(1 / 3, abs=0.1)
    assert score(noise, guess, metric="auroc") == pytest.approx(0.5, abs=0.1)


def test_invariance() -> None:
    features, labels = clusters(60, 5, apart=0.7)
    moved = features @ rotation(5) * 1e5 + 3e5
    assert knn_accuracy(moved, labels) == knn_accuracy(features, labels)
    scaled = features * [1, 10, 100, 0.1, 1e-6] + 7
    assert linear_probe(scaled, labels) == pytest.approx(linear_probe(features, labels), abs=0.02)


def test_a_class_in_one_patient_only() -> None:
    """Held out with its patient, the class is unknown in training, and its rows count as wrong; no warning, no failure."""
    features, labels = clusters(40, 4, 2, apart=9)
    patients = np.where(labels == 1, 0, np.arange(40) + 1)
    assert linear_probe(features, labels, groups=patients) == pytest.approx(0.5)


def test_refusals() -> None:
    features, labels = clusters(12)
    with pytest.raises(InputError, match="all rows are of one patient"):
        knn_accuracy(features, labels, groups=["p"] * 12)
    with pytest.raises(InputError, match="a class with two patients"):
        linear_probe(features, labels, groups=["p"] * 12)
    with pytest.raises(InputError, match="a class with two patients"):
        linear_probe(features, range(12))
    with pytest.raises(InputError, match="'balanced_accuracy'"):
        linear_probe(features, labels, metric="balanced")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least"):
        knn_accuracy(features, labels, k=0)
    with pytest.raises(InputError, match="at least 2"):
        linear_probe(features, labels, folds=1)
