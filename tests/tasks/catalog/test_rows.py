"""Which numbers stand beside each other, and what is said beside each."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.tasks.catalog.made_up import entry
from umsrep.tasks.catalog import rows
from umsrep.zoo.results import Data, Measurement, Results

DICE = Measurement("results", "lungs", "dice", "discs", 0.95, split="test", interval=(0.94, 0.96), images=40, patients=20)


@pytest.mark.parametrize(
    ("note", "condition", "remark"),
    [
        (None, "", ""),
        ("scatter, mean of 5 severities: drop 0.080 (0.07 to 0.09)", "scatter, mean of 5 severities", "drop 0.080 (0.07 to 0.09)"),
        ("women; less all others: 0.01", "women", "less all others: 0.01"),
        ("sigma 0.04", "sigma 0.04", ""),
    ],
)
def test_a_note_is_a_condition_and_a_remark(note: str | None, condition: str, remark: str) -> None:
    assert rows.condition_and_remark(dataclasses.replace(DICE, note=note)) == (condition, remark)


@pytest.mark.parametrize(
    "change",
    [
        {"data": "other"},
        {"split": "validation"},
        {"images": 41},
        {"images": None},
        {"patients": 21},
        {"head": "heart"},
        {"metric": "iou"},
        {"labels": 0.1},
        {"mode": "frozen"},
        {"note": "sigma 0.04"},
    ],
)
def test_only_equal_conditions_compare(change: dict[str, Any]) -> None:
    one, other = (entry(k, results=Results(measurements=(m,))) for k, m in enumerate((DICE, dataclasses.replace(DICE, **change))))
    assert [len(c.cells) for c in rows.columns([one, one])] == [2]
    assert [len(c.cells) for c in rows.columns([one, other])] == [1, 1]


def test_another_group_value_or_remark_compares() -> None:
    other = dataclasses.replace(DICE, value=0.9, group="shift", interval=None, note="; drop 0.05")
    (column,) = rows.columns([entry(k, results=Results(measurements=(m,))) for k, m in enumerate((DICE, other))])
    assert {k: m.value for k, m in column.cells.items()} == {0: 0.95, 1: 0.9}
    assert (column.place, column.label, column.lower) == ("discs, test: 40 images of 20 patients", "lungs: Dice", False)
    cell = rows.as_data(column, 1, entry(0, results=Results()))
    assert cell == {
        "value": 0.9,
        "interval": None,
        "text": "0.900 (no interval)",
        "licence": "data: licence not recorded",
        "remark": "drop 0.05",
    }


def test_what_others_did_is_no_number_of_the_model_and_frequent_images_come_first() -> None:
    rare = dataclasses.replace(DICE, data="rare", metric="hd95", labels=0.1, mode="frozen")
    baseline = dataclasses.replace(DICE, method="Total variation")
    one = entry(0, results=Results(measurements=(rare, baseline, DICE)))
    two = entry(1, results=Results(measurements=(DICE,)))
    first, second = rows.columns([one, two])
    assert (first.key.data, second.key.data) == ("discs", "rare")
    assert (second.label, second.lower) == ("lungs: HD95 (px) (10 % of the labels, frozen)", True)


def test_interval_number_data_and_licence_stand_beside_each_value() -> None:
    results = Results(data=(Data("discs", license="CC BY 4.0"),), measurements=(DICE, dataclasses.replace(DICE, images=41)))
    (found,) = rows.tables(results.measurements, results)
    assert found["caption"] == "lungs on discs, test; data: CC BY 4.0"
    assert found["header"] == ["metric", "value (95 % interval)", "measured on"]
    assert found["rows"][0] == ["Dice", "0.950 (0.940 to 0.960)", "40 images of 20 patients"]
    (one,) = rows.tables([dataclasses.replace(DICE, images=None, patients=None, data="other")], results)
    assert one["caption"] == "lungs on other, test: number of images not stated; data: licence not recorded"
    assert rows.first_lines(entry(0, results=results)) == [
        {"what": "lungs: Dice", "text": "0.950 (0.940 to 0.960)", "on": "discs, test: 40 images of 20 patients; data: CC BY 4.0"}
    ]


def test_values_say_what_they_lack() -> None:
    assert rows.value_text(dataclasses.replace(DICE, interval=None)) == "0.950 (no interval)"
    assert rows.value_text(dataclasses.replace(DICE, value=None, interval=None)) == "undefined"
    assert rows.value_text(dataclasses.replace(DICE, interval=None, sd=0.01, seeds=3)) == "0.950, sd 0.010 over 3 seeds"
    assert rows.value_text(dataclasses.replace(DICE, interval=None, seeds=1)) == "0.950 over 1 seed (no interval)"
