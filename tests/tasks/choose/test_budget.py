"""Trying out: successive halving, and what trusting a score would have cost."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.tasks.runs import ARCH
from umsrep import InputError
from umsrep.tasks.choose import choose
from umsrep.tasks.choose.budget import ALL, Plan, Round, _regret, parse_budget


def test_a_budget_is_read() -> None:
    assert parse_budget("4") == Plan(4, 100)
    assert parse_budget("3x25") == Plan(3, 25)
    for text in ("1", "x", "4x0", "4x", "-2", "4 x 5", ""):
        with pytest.raises(InputError, match="must be K or KxSTEPS"):
            parse_budget(text)


def test_regret_compares_encoders_of_equally_many_steps() -> None:
    rounds = [Round(10, {"t": {"a": 0.5, "b": 0.7, "c": 0.6}}), Round(20, {"t": {"b": 0.8, "c": 0.9}}), Round(40, {"t": {"c": 0.95}})]
    assert _regret(rounds, "t", {"a": 3.0, "b": 1.0}) == {"choice": ["a"], "lost": pytest.approx(0.2), "steps": 10}
    assert _regret(rounds, "t", {"a": 0.0, "b": 1.0}) == {"choice": ["b"], "lost": pytest.approx(0.1), "steps": 20}
    assert _regret(rounds, "t", {"c": 1.0}) == {"choice": ["c"], "lost": 0.0, "steps": 40}
    assert _regret(rounds, "t", {"d": 1.0, "a": 0.0}) == {"choice": ["d"], "lost": None, "steps": None}
    tied = _regret(rounds, "t", {"a": 1.0, "c": 1.0})
    assert tied == {"choice": ["a", "c"], "lost": pytest.approx(0.7 - 0.55), "steps": 10}  # as if one were drawn


@pytest.mark.slow
def test_the_first_are_tried_and_a_repeated_call_takes_what_is_there(tiny_data: Path, weights: Path, tmp_path: Path) -> None:
    options = {"image_size": 32, "resamples": 2, "tasks": ["classification", "denoising"], "cache": tmp_path / "cache"}
    specs = [f"{ARCH}={weights}", ARCH, "cbr_tiny"]
    found = choose(tiny_data, specs, budget="3x2", output=tmp_path / "out", **options)  # type: ignore[arg-type]
    budget = found.budget
    assert [one.steps for one in budget.rounds] == [2, 4, 8]
    assert [len(one.quality[ALL]) for one in budget.rounds] == [3, 2, 1]
    assert set(budget.rounds[0].quality) == {ALL, "classification", "denoising"}
    assert budget.best in budget.rounds[-1].quality[ALL]
    assert budget.metrics["denoising"] == "psnr_gain"
    lost = [one["lost"] for scores in budget.regrets.values() for one in scores.values() if one["lost"] is not None]
    assert lost
    assert all(math.isfinite(value) and value >= 0 for value in lost)
    again = choose(tiny_data, specs, budget="3x2", output=tmp_path / "out", **options)  # type: ignore[arg-type]
    assert again.budget.rounds == budget.rounds
    with pytest.raises(InputError, match="began with"):
        choose(tiny_data, specs, budget="3x2", output=tmp_path / "out", seed=1, **options)  # type: ignore[arg-type]
