"""Shifts and left-out sites beside a review: only what belongs to it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tasks.evaluation.reviews import estimate, whole_review
from umsrep.errors import InputError
from umsrep.tasks.evaluation.page import render
from umsrep.tasks.evaluation.page_elsewhere import check_shifts, left_out_entry, left_out_grids, shift_grids


def shifts() -> dict[str, Any]:
    """What `umsrep evaluate --shifts --json` gives of two shifts on one head."""

    def one(drop: float) -> dict[str, Any]:
        severity = {str(k): {"auroc": 0.9 - drop * k / 3} for k in range(1, 6)}
        return {"heads": {"pneumonia": {"severity": severity, "mean": {"auroc": 0.9 - drop}, "drop": {"auroc": estimate(drop)}}}}

    head = {"kind": "classification", "n": 40, "patients": 20, "main": "auroc", "unshifted": {"auroc": 0.9}}
    return {
        **{"data": "data/cxr", "split": "test", "seed": 0, "resamples": 100, "chosen": "2 shifts"},
        "heads": {"pneumonia": head | {"overall": {"auroc": estimate(0.03)}}},
        "shifts": {"gain": one(0.01), "grid": one(0.05)},
    }


def test_shifts_are_ordered_by_what_they_cost() -> None:
    (grid,) = shift_grids(shifts())
    assert [row[0] for row in grid.rows] == ["grid", "gain"]
    assert grid.rows[0][1] == "0.883"  # 0.9 - 0.05 / 3
    assert grid.rows[0][-1] == "0.050 (0.020 to 0.080)"
    assert "0.030 (0.000 to 0.060) worse" in grid.caption


def test_shifts_of_something_else_are_refused() -> None:
    review = whole_review()
    assert check_shifts(shifts(), review, "f")
    for change in ({"split": "validation"}, {"heads": {"other": {"n": 40}}}, {"heads": {"pneumonia": {"n": 39}}}):
        with pytest.raises(InputError, match="the review"):
            check_shifts(shifts() | change, review, "f")
    wrong: object
    for wrong in ([], {"heads": {}}):
        with pytest.raises(InputError, match="is no JSON of"):
            check_shifts(wrong, review, "f")


def test_left_out_sites_stand_one_a_row_under_the_model_of_the_page() -> None:
    review, other = whole_review(), whole_review()
    other["data"]["sites"] = {"East": 40}
    other["tasks"]["pneumonia"]["metrics"]["auroc"] = estimate(0.7)
    del other["tasks"]["lungs"]
    review["left_out"] = [left_out_entry(other)]
    grids = left_out_grids(review)
    assert [grid.caption.partition(":")[0] for grid in grids] == ["pneumonia", "denoising"]
    assert grids[0].rows[1][0] == "East"
    assert "0.700 (0.670 to 0.730)" in grids[0].rows[1]
    review["shifts"] = shifts()
    text = render(review)
    assert "Under shift" in text
    assert "Sites left out of training" in text
