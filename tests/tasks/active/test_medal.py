"""MedAL: the paper's rule against a plain computation, the published code's variant, ties, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from umsrep import InputError
from umsrep.tasks.active import distances, entropy, medal, medal_select

FEATURES = np.array([[10.0, 0.0], [-10.0, 0.0], [0.0, 9.0], [9.5, 0.0]])
EVEN = np.full((4, 2), 0.5)


def test_the_mean_distance_and_the_centroid_differ_as_in_the_golden_example() -> None:
    labelled = np.array([0, 1])
    assert medal_select(FEATURES, labelled, EVEN, 1).tolist() == [2]
    assert medal_select(FEATURES, labelled, EVEN, 1, distance="centroid").tolist() == [3]
    mask = np.array([True, True, False, False])
    assert medal_select(FEATURES, mask, EVEN, 2).tolist() == [2, 3]
    picks = medal.pick_farthest(FEATURES, mask, entropy(EVEN), 2)
    np.testing.assert_allclose(picks.distances, [np.sqrt(181), (0.5 + 19.5 + np.hypot(9.5, 9)) / 3])
    picks = medal.pick_farthest(FEATURES, mask, entropy(EVEN), 2, distance="centroid")
    np.testing.assert_allclose(picks.distances, [9.5, np.hypot(9.5 / 3, 9)])


def plain(features: NDArray[Any], labelled: list[int], scores: NDArray[Any], budget: int, candidates: int, centroid: bool) -> list[int]:
    """The rule word by word, everything computed anew for each pick."""
    free = [i for i in range(len(features)) if i not in labelled]
    kept = sorted(free, key=lambda i: -scores[i])[:candidates]
    known, taken = list(labelled), []
    for _ in range(budget):
        points = features[known].astype(np.float64)
        points = points.mean(axis=0, keepdims=True) if centroid else points
        best = max((i for i in kept if i not in taken), key=lambda i: cdist(features[i : i + 1], points).mean())
        taken.append(best)
        known.append(best)
    return taken


@pytest.mark.parametrize("rule", ["mean", "centroid"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_it_is_the_rule_word_by_word(rule: medal.Distance, dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    features: NDArray[Any] = random.normal(size=(200, 6)).astype(dtype)
    probabilities = random.dirichlet(np.ones(3), 200)
    labelled = [5, 190, 17]
    scores = entropy(probabilities)
    wanted = plain(features, labelled, scores, 12, 60, rule == "centroid")
    before = features.copy(), probabilities.copy()
    assert medal_select(features, labelled, probabilities, 12, candidates=60, distance=rule).tolist() == wanted
    monkeypatch.setattr("umsrep.tasks.active.checks.CHUNK_BYTES", 1000)  # blocks of a few rows
    monkeypatch.setattr(medal, "_IN_MEMORY", 0)  # features are read where they lie
    monkeypatch.setattr(distances, "_DIRECT", 0)  # distances by products
    assert medal_select(features, np.array(labelled), probabilities, 12, candidates=60, distance=rule).tolist() == wanted
    assert np.array_equal(features, before[0])
    assert np.array_equal(probabilities, before[1])


def test_only_the_most_uncertain_are_looked_at() -> None:
    features = np.arange(6.0)[:, None]
    probabilities = np.array([[1, 0], [0.5, 0.5], [0.6, 0.4], [0.7, 0.3], [0.8, 0.2], [0.9, 0.1]])
    assert medal_select(features, [0], probabilities, 1, candidates=2).tolist() == [2]
    assert medal_select(features, [0], probabilities, 1, candidates=100).tolist() == [5]
    assert medal_select(features, [0], probabilities, 1).tolist() == [5]  # 50 by default


def test_equal_scores_go_by_row_number() -> None:
    features = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, -1.0], [-1.0, 0.0]])
    even = np.full((5, 2), 0.5)
    assert medal_select(features, [0], even, 1).tolist() == [1]
    turned = np.array([[0.6, 0.4], [0.4, 0.6], [0.6, 0.4], [0.4, 0.6], [0.6, 0.4]])  # of the same entropy
    assert medal_select(features, [0], turned, 1, candidates=3).tolist() == [1]
    angle = np.linspace(0, 2 * np.pi, 9)[:-1]
    ring = np.concatenate([np.zeros((1, 2)), np.stack([np.cos(angle), np.sin(angle)], axis=1)])  # equal but for rounding
    assert medal_select(ring, [0], np.full((9, 2), 0.5), 1).tolist() == [1]


def test_a_mapped_file_serves(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(50, 4)).astype(np.float32)
    np.save(tmp_path / "f.npy", features)
    probabilities = random.uniform(size=(50, 3))  # sigmoids
    mapped = np.load(tmp_path / "f.npy", mmap_mode="r")
    found = medal_select(mapped, [1, 2], probabilities, 5)
    assert found.tolist() == medal_select(features, [1, 2], probabilities, 5).tolist()
    assert found.dtype == np.int64
    assert not {1, 2} & set(found.tolist())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": np.array([[0.0, 0.0], [1.0, np.nan], [0.0, 9.0], [9.5, 0.0]])}, "features: row 1 holds NaN"),
        ({"features": FEATURES[:, 0]}, r"features: float64 \[4\]"),
        ({"features": FEATURES.astype(str)}, "numbers"),
        ({"probabilities": EVEN[:3]}, "probabilities: 3 rows, but features have 4"),
        ({"probabilities": np.where(np.eye(4, 2) == 1, np.nan, 0.5)}, "probabilities: row 0"),
        ({"probabilities": EVEN * 3}, "no logits"),
        ({"probabilities": EVEN[:, 0]}, r"numbers \[N, K\]"),
        ({"labelled": [0, 0]}, "row 0 is named twice"),
        ({"labelled": [4]}, "4 is no row"),
        ({"labelled": [-1]}, "-1 is no row"),
        ({"labelled": [0.0]}, "row numbers"),
        ({"labelled": [True, False]}, "a mask"),
        ({"labelled": []}, "orb_initial_set"),
        ({"budget": 3}, "budget 3: only 2 unlabelled"),
        ({"budget": 0}, "1 or more"),
        ({"budget": 1.5}, "no whole number"),
        ({"budget": True}, "1 or more"),
        ({"candidates": 1, "budget": 2}, "fewer than the budget"),
        ({"distance": "cosine"}, "distance 'cosine'"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"features": FEATURES, "labelled": [0, 1], "probabilities": EVEN, "budget": 1}
    with pytest.raises(InputError, match=message):
        medal_select(**{**given, **changes})
