"""Checklist items about the evaluation, its results and what can be shared."""

from __future__ import annotations

from pathlib import Path

from tests.tasks.evaluation.checklists import both, run_folder
from tests.tasks.evaluation.reviews import whole_review
from umsrep.tasks.evaluation.checklist import FILLED, OPEN, PARTLY


def test_what_the_review_knows() -> None:
    tripod, claim = both(whole_review())
    assert "0.900 (0.870 to 0.930)" in tripod["23a"]["answer"]
    assert tripod["23a"]["status"] == FILLED
    assert "North 0.900, South 0.920 (0.890 to 0.950)" in tripod["12d"]["answer"]
    assert "temperature 1.700" in tripod["12f"]["answer"]
    assert "2,000 resamples" in claim["29"]["answer"]
    assert "c" * 64 in tripod["18e"]["answer"]


def test_without_groups_sites_gallery_and_shifts_their_items_stay_open() -> None:
    found = whole_review()
    found["settings"]["groups"] = []
    for task in found["tasks"].values():
        task |= {"sites": None, "temperature": None}
    tripod, claim = both(found)
    for items, number in ((tripod, "12d"), (tripod, "14"), (claim, "30"), (claim, "39")):
        assert items[number]["status"] == OPEN, number
    assert tripod["23a"]["status"] == PARTLY
    assert tripod["12f"]["answer"].startswith("None")


def test_a_gallery_and_shifts_are_named() -> None:
    found = whole_review() | {"gallery": {"pneumonia": {"worst": [{}] * 3, "random": [{}] * 2}}, "shifts": {"dose": {}}}
    _, claim = both(found)
    assert "pneumonia: 3 worst rows as pictures, 2 at random beside them" in claim["39"]["answer"]
    assert "section Under shift" in claim["30"]["answer"]


def test_where_no_head_classifies_accuracy_does_not_apply() -> None:
    found = whole_review()
    del found["tasks"]["pneumonia"]
    _, claim = both(found)
    assert claim["38"]["answer"] == "Does not apply: no head classifies."


def test_a_run_brings_the_commit(tmp_path: Path) -> None:
    tripod, _ = both(whole_review(), run_folder(tmp_path / "run", "c" * 64))
    assert "f" * 40 in tripod["18f"]["answer"]
