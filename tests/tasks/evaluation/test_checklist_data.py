"""Checklist items about the data: from the review, the card and the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tasks.evaluation.checklists import PRESET, both, run_folder
from tests.tasks.evaluation.reviews import whole_review
from umsrep.tasks.evaluation.checklist import OPEN, PARTLY


def test_what_the_review_knows() -> None:
    tripod, claim = both(whole_review())
    assert "column sex: 1 rows without a value" in tripod["11"]["answer"]
    assert tripod["11"]["status"] == PARTLY
    assert "2 rows without a patient, each counted as one of its own" in claim["12"]["answer"]
    assert "normal 20, pneumonia 20" in tripod["10"]["answer"]
    assert "North (20 rows), South (20 rows)" in tripod["6a"]["answer"]
    assert "Calibration: 60 rows of 30 patients" in tripod["21"]["answer"]
    assert "split test: 40 rows of 20 patients" in tripod["5a"]["answer"]


def test_without_sites_groups_and_training_data_their_items_stay_open() -> None:
    found = whole_review()
    found["data"]["sites"] = {}
    for task in found["tasks"].values():
        task |= {"sites": None, "subgroups": []}
    tripod, claim = both(found)
    for items, number in ((tripod, "6a"), (tripod, "16"), (tripod, "20b"), (claim, "32"), (claim, "33"), (claim, "36")):
        assert items[number]["status"] == OPEN, number


def test_a_preset_brings_its_card() -> None:
    tripod, _ = both(whole_review(), PRESET)
    assert "cxr_guangzhou" in tripod["5a"]["answer"]
    assert "patients: 2,277" in tripod["5a"]["answer"]


@pytest.mark.parametrize("internal", [True, False])
def test_a_run_tells_whether_this_is_other_data(tmp_path: Path, internal: bool) -> None:
    tripod, claim = both(whole_review(), run_folder(tmp_path / "run", "c" * 64 if internal else "d" * 64))
    assert "Trained on sets/cxr" in tripod["5a"]["answer"]
    assert ("is one of those trained on" in tripod["16"]["answer"]) == internal
    assert (claim["32"]["status"] == OPEN, claim["33"]["status"] == OPEN) == ((False, True) if internal else (True, False))
