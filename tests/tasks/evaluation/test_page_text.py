"""How numbers of a review are written."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tasks.evaluation.reviews import classification, estimate, whole_review
from umsrep.tasks.evaluation import page_text as text


@pytest.mark.parametrize(
    ("found", "written"),
    [
        (estimate(0.913), "0.913 (0.883 to 0.943)"),
        (estimate(-0.05, wide=0.1), "−0.050 (−0.150 to 0.050)"),
        (estimate(0.913, note="fewer than 10 rows"), "0.913"),
        (estimate(None, note="undefined"), "—: undefined"),
        (None, "—"),
    ],
)
def test_estimates(found: dict[str, Any] | None, written: str) -> None:
    assert text.estimate(found, note=True) == written


def test_numbers_shares_and_p_values() -> None:
    assert text.number(-0.0004) == "0.000"  # no negative zero
    assert text.number(None) == text.percent(None) == text.p_text(None) == text.count(None) == "—"
    assert text.percent(0.4567) == "45.7 %"
    assert (text.p_text(0.0002), text.p_text(0.04)) == ("< 0.001", "0.040")


def test_metrics_have_names_for_people_also_after_scaling_and_of_one_class() -> None:
    assert text.label("nll_scaled") == "negative log likelihood after temperature scaling"
    assert text.label("dice/lung") == "Dice, lung"
    assert text.digits("psnr_gain") == 2


def test_a_grid_drops_empty_columns_and_sets_whole_numbers_to_the_right() -> None:
    grid = text.grid("c", ("name", "rows", "empty", "value"), [["a", "1,000", "", "0.5"], ["b", "—", "—", "x"]])
    assert list(grid.header) == ["name", "rows", "value"]
    assert grid.numbers == {1}
    assert text.grid("c", ("name", "rows"), []).header == ["name", "rows"]


def test_subgroups_say_n_gap_and_what_is_too_small() -> None:
    task = classification(["no", "yes"])
    grid = text.subgroup_grid(task["subgroups"][0], task)
    rows = {row[0]: row for row in grid.rows}
    assert list(rows) == ["all", "not recorded", "F", "M"]
    assert "too few rows" in rows["not recorded"]
    assert "0.920 (0.890 to 0.950)" in rows["F"]
    assert "0.020 (−0.010 to 0.050)" in rows["F"]
    assert "largest minus smallest 0.020" in grid.caption
    assert text.subgroup_grid(task["intersections"][0], task).rows[1][0] == "F and AP"


def test_coverage_names_class_site_and_group() -> None:
    conformal = classification(["no", "yes"])["conformal"]
    names = [row[0] for row in text.coverage_grid(conformal, "lac").rows]
    assert names == ["all", "class no", "class yes", "site North", "site South", "sex F", "sex M"]
    assert "9 calibration rows of each class" in text.quantile_text(conformal["methods"]["mondrian"])


def test_comparisons_show_the_adjusted_p() -> None:
    grid = text.comparison_grid(whole_review()["tasks"]["lungs"])
    assert "0.040 (0.010 to 0.070)" in grid.rows[0]
    assert "0.008" in grid.rows[0]
    assert "elsewhere" in grid.caption
