"""Rankings of encoders, with ties."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.zoo.transferability.sets import clusters, softmax
from umsrep.errors import InputError
from umsrep.zoo import transferability
from umsrep.zoo.transferability import FEATURE_SCORES, Ranking, leep, nce, rank_encoders


def test_public_names() -> None:
    """The names of the contract."""
    names = ["h_score", "regularized_h_score", "n_leep", "log_me", "gbc", "nce", "leep", "knn_accuracy", "linear_probe", "rank_encoders"]
    for name in names:
        assert callable(getattr(transferability, name))
        assert name in transferability.__all__


def test_every_score_prefers_features_that_know_the_classes() -> None:
    good, labels = clusters(90, 6, apart=3)
    fair, _ = clusters(90, 6, apart=0.6)
    noise = np.random.default_rng(3).normal(size=(90, 9)) + 2
    probabilities = {"good": softmax(np.eye(3)[labels] * 5), "noise": softmax(noise)}
    rankings = rank_encoders({"noise": noise, "good": good, "fair": fair}, labels, source_probabilities=probabilities)
    assert list(rankings) == [*FEATURE_SCORES, "leep", "nce"]
    for name in FEATURE_SCORES:
        assert rankings[name].ranks() == {"good": 1, "fair": 2, "noise": 3}
        assert not rankings[name].failures
    for name in ("leep", "nce"):
        assert rankings[name].tiers() == [["good"], ["noise"]]
        assert rankings[name].failures == {"fair": "the encoder has no source classifier"}
    assert rankings["leep"].values["noise"] == leep(probabilities["noise"], labels)
    assert rankings["nce"].values["noise"] == nce(noise.argmax(axis=1), labels)


def test_ties_share_a_place() -> None:
    ranking = Ranking("auroc", {"d": 0.1, "b": 0.8, "a": 0.9, "c": 0.8 + 1e-13})
    assert ranking.tiers() == [["a"], ["c", "b"], ["d"]]
    assert ranking.ranks() == {"a": 1, "b": 2, "c": 2, "d": 4}
    assert ranking.tiers(tolerance=0.2) == [["a", "c", "b"], ["d"]]
    assert Ranking("x", {"a": -math.inf, "b": -math.inf, "c": -1}).tiers() == [["c"], ["a", "b"]]
    features, labels = clusters()
    same = rank_encoders({"a": features, "b": features[:, ::-1], "c": features @ np.ones((8, 1))}, labels, scores=["h_score", "gbc"])
    assert list(same) == ["h_score", "gbc"]
    assert same["h_score"].tiers()[0] == ["a", "b"] or same["h_score"].tiers()[0] == ["b", "a"]


def test_known_baselines_and_failures() -> None:
    features, labels = clusters()
    broken = features.copy()
    broken[7, 0] = np.nan
    known = {"parameters": {"good": 4.6e6}, "source accuracy": {"good": 0.7, "broken": 0.8}}
    rankings = rank_encoders({"good": features, "broken": broken}, labels, scores=["log_me"], known=known)
    assert list(rankings) == ["log_me", "parameters", "source accuracy"]
    assert list(rankings["log_me"].values) == ["good"]
    assert "row 7, column 0" in rankings["log_me"].failures["broken"]
    assert rankings["parameters"].failures == {"broken": "not known"}
    assert rankings["source accuracy"].tiers() == [["broken"], ["good"]]


def test_patients_reach_the_baselines() -> None:
    features, labels = clusters(20, 3, 2, apart=0)
    twice, patients = np.repeat(features, 12, axis=0), np.repeat(np.arange(20), 12)
    names = ["knn_accuracy", "linear_probe"]
    free, grouped = (rank_encoders({"a": twice}, np.repeat(labels, 12), scores=names, groups=g) for g in (None, patients))
    assert free["knn_accuracy"].values["a"] > grouped["knn_accuracy"].values["a"]
    assert grouped["linear_probe"].values["a"] == transferability.linear_probe(twice, np.repeat(labels, 12), groups=patients)


def test_refusals() -> None:
    features, labels = clusters()
    with pytest.raises(InputError, match="no encoder"):
        rank_encoders({}, labels)
    with pytest.raises(InputError, match="score 'logme' is unknown; did you mean 'log_me'"):
        rank_encoders({"a": features}, labels, scores=["logme"])
    with pytest.raises(InputError, match="encoder 'aa' has no features"):
        rank_encoders({"a": features}, labels, known={"parameters": {"aa": 1}})
    with pytest.raises(InputError, match="differ in rows: a 60, b 59"):
        rank_encoders({"a": features, "b": features[1:]}, labels)
