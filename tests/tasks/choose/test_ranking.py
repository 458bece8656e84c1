"""Ranks with ties."""

from __future__ import annotations

import numpy as np
import pytest

from umsrep.tasks.choose.ranking import mean_ranks, places

GENERATOR = np.random.default_rng(0)


def test_without_draws_only_equal_values_tie() -> None:
    found = places({"a": 1.0, "b": 3.0, "c": 3.0, "d": 2.0}, {})
    assert {name: place.rank for name, place in found.items()} == {"a": 4, "b": 1, "c": 1, "d": 3}
    assert all(place.interval is None for place in found.values())


def test_a_difference_within_its_paired_interval_is_a_tie() -> None:
    noise = GENERATOR.normal(0, 1, 200)
    alone = {"a": 5 + noise, "b": 4.5 + GENERATOR.normal(0, 1, 200)}
    assert {n: p.rank for n, p in places({"a": 5.0, "b": 4.5}, alone).items()} == {"a": 1, "b": 1}
    together = {"a": 5 + noise, "b": 4.5 + noise + GENERATOR.normal(0, 0.01, 200)}  # the same rows: the noise is shared
    found = places({"a": 5.0, "b": 4.5}, together)
    assert {n: p.rank for n, p in found.items()} == {"a": 1, "b": 2}
    low, high = found["a"].interval or (0, 0)
    assert (low + high) / 2 == pytest.approx(5)  # about the estimate, wherever the draws lie
    assert high - low == pytest.approx(2 * 1.96 * noise.std(ddof=1), rel=1e-3)


def test_a_rank_counts_those_that_are_surely_better() -> None:
    """a beats c, and b ties with both: 1, 1, 2."""
    draws = {name: value + GENERATOR.normal(0, 0.5, 400) for name, value in (("a", 3.0), ("b", 2.0), ("c", 1.0))}
    found = places({"a": 3.0, "b": 2.0, "c": 1.0}, draws)
    assert [found[name].rank for name in "abc"] == [1, 1, 2]


def test_draws_that_tell_nothing_are_left_out() -> None:
    draws = {"a": np.array([1.0, np.nan, 1.2]), "b": np.array([0.0, 0.5, np.nan])}
    found = places({"a": 1.0, "b": 0.2}, draws)
    assert found["a"].interval is not None
    assert found["b"].rank == 2  # one pair is left: no interval of the difference


def test_mean_ranks_are_negative_and_follow_draws() -> None:
    values = [{"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 5.0, "b": 5.0, "c": 1.0}]
    draws = [{n: np.array([v, -v]) for n, v in values[0].items()}, {n: np.empty(0) for n in "abc"}]
    means, drawn = mean_ranks(values, draws, ["a", "b", "c"])
    assert means == {"a": -(3 + 1.5) / 2, "b": -(2 + 1.5) / 2, "c": -(1 + 3) / 2}
    assert drawn["a"].tolist() == [-(3 + 1.5) / 2, -(1 + 1.5) / 2]  # the second number keeps its ranks
    assert mean_ranks(values[1:], draws[1:], ["a", "b", "c"])[1]["a"].shape == (0,)
