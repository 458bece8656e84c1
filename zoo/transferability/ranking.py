"""Scores of several encoders as rankings, with ties as ties."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from umsrep.errors import InputError, nearest
from umsrep.zoo.transferability.baselines import knn_accuracy, linear_probe
from umsrep.zoo.transferability.checks import array_of, as_features
from umsrep.zoo.transferability.gbc import gbc
from umsrep.zoo.transferability.h_scores import h_score, regularized_h_score
from umsrep.zoo.transferability.leep import leep, n_leep, nce
from umsrep.zoo.transferability.log_me import log_me

FEATURE_SCORES: dict[str, Callable[..., float]] = {
    "h_score": h_score,
    "regularized_h_score": regularized_h_score,
    "n_leep": n_leep,
    "log_me": log_me,
    "gbc": gbc,
    "knn_accuracy": knn_accuracy,
    "linear_probe": linear_probe,
}
"""Scores of features and labels."""

SOURCE_SCORES: dict[str, Callable[..., float]] = {"leep": leep, "nce": nce}
"""Scores of the source classifier's answers and labels."""

GROUPED = ("knn_accuracy", "linear_probe")
"""Those that keep patients apart."""


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Encoders by one score.

    Attributes:
        score: Its name.
        values: The score of each encoder; higher is better.
        failures: Why an encoder has none, one line each.
    """

    score: str
    values: Mapping[str, float]
    failures: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def tiers(self, tolerance: float = 1e-9) -> list[list[str]]:
        """Return names from best to worst; those in one list are tied.

        Args:
            tolerance: How far, relative to the larger magnitude, a value may lie from the best of its tier. Rounding alone by default.
        """
        tiers: list[list[str]] = []
        for name in sorted(self.values, key=lambda n: (-self.values[n], n)):
            value = self.values[name]
            best = self.values[tiers[-1][0]] if tiers else np.inf
            if best == value or (np.isfinite([best, value]).all() and best - value <= tolerance * max(abs(best), abs(value))):
                tiers[-1].append(name)
            else:
                tiers.append([name])
        return tiers

    def ranks(self, tolerance: float = 1e-9) -> dict[str, int]:
        """Return each encoder's place from 1; tied encoders share the best place of their tier (1, 2, 2, 4)."""
        places, place = {}, 1
        for tier in self.tiers(tolerance):
            places.update(dict.fromkeys(tier, place))
            place += len(tier)
        return places


def rank_encoders(
    features_by_name: Mapping[str, Any],
    labels: Any,
    *,
    scores: Sequence[str] | None = None,
    groups: Any = None,
    source_probabilities: Mapping[str, Any] | None = None,
    known: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, Ranking]:
    """Rank encoders by every score and baseline.

    Args:
        features_by_name: Features [N, D] of the same images by the name of the encoder; D may differ.
        labels: Classes [N] of any kind, or multi-label [N, K] of 0 and 1.
        scores: Names of FEATURE_SCORES and SOURCE_SCORES; None takes all, those of a source classifier where there is one.
        groups: The patient of each image [N], for the baselines that cross-validate.
        source_probabilities: Softmax [N, Z] of an encoder's own classifier by the name of the encoder; its largest is NCE's source label.
        known: Baselines that were measured elsewhere: name -> encoder -> value, higher is better, e.g. ``{"parameters": {"a": 4.6e6},
            "source accuracy": {"a": 0.71}}``.

    Returns:
        Name -> `Ranking`, in the order of FEATURE_SCORES, SOURCE_SCORES and ``known``. An encoder that a score refuses is in its
        ``failures``.

    Raises:
        InputError: No encoder, an unknown score or encoder, encoders with different numbers of rows.
    """
    if not features_by_name:
        raise InputError("there is no encoder to rank")
    source, known = source_probabilities or {}, known or {}
    if scores is None:
        scores = [*FEATURE_SCORES, *(SOURCE_SCORES if source else ())]
    for name in scores:
        if name not in FEATURE_SCORES and name not in SOURCE_SCORES:
            raise InputError(f"score {name!r} is unknown{nearest(name, [*FEATURE_SCORES, *SOURCE_SCORES])}")
    for name in {*source, *(n for values in known.values() for n in values)} - set(features_by_name):
        raise InputError(f"encoder {name!r} has no features{nearest(name, features_by_name)}")
    rows = {name: len(array_of(features)) for name, features in features_by_name.items()}
    if len(set(rows.values())) > 1:
        raise InputError(f"encoders differ in rows: {', '.join(f'{n} {r}' for n, r in rows.items())}; all need the same images")
    rankings = {}
    for score in [*(s for s in FEATURE_SCORES if s in scores), *(s for s in SOURCE_SCORES if s in scores)]:
        values, failures = {}, {}
        for name, features in features_by_name.items():
            try:
                values[name] = _score(score, features, source.get(name), labels, groups)
            except InputError as error:
                failures[name] = str(error)
        rankings[score] = Ranking(score, values, failures)
    for score, measured in known.items():
        missing = {name: "not known" for name in features_by_name if name not in measured}
        rankings[score] = Ranking(score, dict(measured), missing)
    return rankings


def _score(score: str, features: Any, probabilities: Any, labels: Any, groups: Any) -> float:
    if score in FEATURE_SCORES:
        return FEATURE_SCORES[score](features, labels, **({"groups": groups} if score in GROUPED else {}))
    if probabilities is None:
        raise InputError("the encoder has no source classifier")
    return leep(probabilities, labels) if score == "leep" else nce(as_features(probabilities).argmax(axis=1), labels)
