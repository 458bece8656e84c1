"""A choice as rows of text."""

from __future__ import annotations

import dataclasses

from tests.tasks.runs import ARCH
from umsrep.tasks.choose import Choice, table
from umsrep.tasks.choose.budget import ALL, Budget, Round
from umsrep.tasks.choose.choice import CONSENSUS
from umsrep.tasks.choose.ranking import Place


def test_numbers_are_written_with_ranks() -> None:
    place = Place(-1.5, (-2.0, -1.0), 2)
    assert table.score_text(CONSENSUS, place) == "1.50 (2)"
    assert table.score_text(CONSENSUS, place, interval=True) == "1.50 [1.000, 2.000] (2)"
    assert table.score_text("log_me", place, interval=True) == "-1.500 [-2.000, -1.000] (2)"
    assert table.score_text("parameters", Place(3_370_432.0, None, 1)) == "3.37 M (1)"


def test_a_row_an_encoder_with_dashes_where_nothing_applies(choice: Choice) -> None:
    header, rows = table.score_rows(choice.tasks[0])
    assert len({len(header), *map(len, rows)}) == 1
    assert {row[1] for row in rows} == {f"{ARCH}.source", f"{ARCH} (random)"}
    cells = {row[1]: dict(zip(header, row, strict=True)) for row in rows}
    assert cells[f"{ARCH} (random)"]["LEEP"] == "—"
    assert cells[f"{ARCH}.source"]["LEEP"] != "—"
    header, rows = table.combined_rows(choice)
    assert len({len(header), *map(len, rows)}) == 1
    ranks = [place.rank for place in choice.combined.values()]
    assert rows[0][0] == ("1=" if ranks.count(1) > 1 else "1")


def test_the_basis_and_the_baselines_are_said(choice: Choice) -> None:
    assert table.basis_text(choice.tasks[0]).startswith("ranked by the mean rank over H-score")
    assert table.size_text(choice.tasks[0]).startswith("baselines put first: size: ")


def test_what_was_tried_is_a_table(choice: Choice) -> None:
    quality = {ALL: {"a": 0.5, "b": 0.75}, "denoising": {"a": 1.0, "b": 2.0}}
    regrets: dict[str, dict[str, dict[str, object]]] = {
        ALL: {"combined ranking": {"choice": ["a"], "lost": 0.25, "steps": 2}, "x": {"choice": ["c"], "lost": None, "steps": None}}
    }
    budget = Budget([Round(2, quality)], "b", {ALL: "mean", "denoising": "psnr_gain"}, regrets, 1.0, [])
    tried = dataclasses.replace(choice, budget=budget)
    assert table.round_rows(tried)[1] == [["2", "b", "0.7500", "2.0000"], ["2", "a", "0.5000", "1.0000"]]
    assert table.budget_rows(tried)[1] == [
        [ALL, "combined ranking", "a", "0.2500", "mean", "2"],
        [ALL, "x", "c", "not tried", "mean", "—"],
    ]
