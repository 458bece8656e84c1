"""Numbers and sentences of a card against its metadata and its results file."""

from __future__ import annotations

import dataclasses

import pytest

from tests.zoo.test_card_lint import CONFIG, GOOD, RESULTS
from umsrep.zoo.card import build_card
from umsrep.zoo.card_lint import lint_card
from umsrep.zoo.results import Measurement


def test_a_value_that_is_no_number_hides_no_other() -> None:
    text = GOOD.replace("      value: 0.9532\n", "      value: high\n").replace("| Dice | 0.931 |", "| Dice | 0.999 |")
    assert text.count("value: high\n") == text.count("| 0.999 |") == 1
    messages = [p.message for p in lint_card(text)]
    assert any("is no number with a name" in m for m in messages)
    assert any("is 0.999 here, but 0.9309 in the metadata" in m for m in messages)


FULL = dataclasses.replace(
    RESULTS,
    verdict="For radiographs of adults, not of children.",
    conditions="At 96 px, one seed.",
    training="Trained for ten epochs.",
    limits=("Fails on lateral views.", "Never tested on CT."),
    reproduce=("umsrep finetune --config m/config.yaml",),
    citation="A. Author, 2026.",
)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("not of children.", "and of children."),
        ("- Fails on lateral views.\n", ""),
        ("At 96 px, one seed.", "At 512 px, five seeds."),
        ("ten epochs", "two epochs"),
        ("m/config.yaml", "n/config.yaml"),
        ("A. Author", "B. Author"),
    ],
)
def test_prose_of_the_results_must_stand_on_the_card(old: str, new: str) -> None:
    card = build_card("m", CONFIG, FULL)
    assert old in card
    assert lint_card(card, config=CONFIG, results=FULL) == []
    (problem,) = lint_card(card.replace(old, new), config=CONFIG, results=FULL)
    assert "the results say '" in problem.message


def test_what_the_results_do_not_say_the_author_may() -> None:
    silent = dataclasses.replace(RESULTS, license="unknown")
    card = build_card("m", CONFIG, silent).replace("license: unknown", "license: mit")
    card = card.replace("Nobody has written yet for whom this model is and for whom not.", "For radiographs.\n\nOf adults.")
    assert lint_card(card, config=CONFIG, results=silent) == []
    messages = [p.message for p in lint_card(card, config=CONFIG, results=RESULTS)]
    assert messages == []
    (problem,) = lint_card(card.replace("license: mit", "license: isc"), config=CONFIG, results=RESULTS)
    assert problem.message == "metadata: license is not what the results give"


def test_an_undefined_subgroup_is_no_contradiction_but_an_undefined_number_is() -> None:
    about = {"group": "subgroups", "head": "finding", "metric": "auroc", "data": "lung", "split": "test, by site"}
    rows = (Measurement(**about, value=0.75, note="A"), Measurement(**about, value=None, note="B, all normal"))  # type: ignore[arg-type]
    results = dataclasses.replace(RESULTS, measurements=rows)
    card = build_card("m", CONFIG, results)
    assert lint_card(card, config=CONFIG, results=results) == []
    messages = [p.message for p in lint_card(card.replace("| 0.750 |", "| undefined |"))]
    assert any("is undefined here, but 0.75 in the metadata" in m for m in messages)
