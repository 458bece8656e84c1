"""Checklist items about the model and its training: from the review, the card and the run."""

from __future__ import annotations

from pathlib import Path

from tests.tasks.evaluation.checklists import PRESET, both, run_folder
from tests.tasks.evaluation.reviews import whole_review
from umsrep.tasks.evaluation.checklist import OPEN


def test_what_the_review_knows() -> None:
    _, claim = both(whole_review())
    assert "a" * 12 in claim["22"]["answer"]
    assert "torch 2.9.1" in claim["23"]["answer"]
    assert claim["27"]["answer"] == "None: one model."
    for number in ("24", "25", "26"):
        assert claim[number]["status"] == OPEN, "nothing is known of the training"


def test_a_preset_brings_its_card() -> None:
    tripod, claim = both(whole_review(), PRESET)
    assert "cc-by-4.0" in tripod["22"]["answer"]
    assert "timm/tf_efficientnet_lite0.in1k" in claim["24"]["answer"]
    assert claim["26"]["status"] == OPEN  # the card does not say how the epoch was chosen


def test_a_run_folder_tells_how_it_was_trained(tmp_path: Path) -> None:
    tripod, claim = both(whole_review(), run_folder(tmp_path / "run", "c" * 64))
    assert "pneumonia [1.0, 2.0]" in tripod["13"]["answer"]
    assert claim["24"]["answer"] == "Random weights, seed 7."
    assert "rotate 10.0" in claim["25"]["answer"]
    assert "flip" not in claim["25"]["answer"]
    assert "mean over heads" in claim["26"]["answer"]
    assert "Training: torch 2.9.0" in claim["23"]["answer"]
    assert "moving average over training (decay 0.99)" in claim["27"]["answer"]
