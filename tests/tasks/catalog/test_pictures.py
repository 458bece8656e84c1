"""Reliability and shift, drawn: the right points, and every number as text too."""

from __future__ import annotations

import dataclasses
import re

import pytest

from tests.tasks.catalog.made_up import results_file
from umsrep.tasks.catalog.pictures import reliability, shifts, split_severity
from umsrep.zoo.results import Measurement, Reliability, ReliabilityBin, Results

SHIFT = Measurement("shift", "lungs", "dice", "discs", 0.8, split="test", interval=(0.7, 0.9), images=40)


@pytest.mark.parametrize(
    ("split", "note", "found"),
    [
        ("test", "gaussian_noise, severity 3", ("gaussian_noise", "test", 3.0)),
        ("test", "gamma (severity 2 of 5)", ("gamma", "test", 2.0)),
        ("test", "Severity=1.5: blur", ("blur", "test", 1.5)),
        ("test, blur, severity 4", None, ("test, blur", None, 4.0)),
        ("severity 1", None, ("shift", None, 1.0)),
        ("test", "scatter, mean of 5 severities", None),
        ("13 places", None, None),
    ],
)
def test_a_severity_is_found_in_note_or_split(split: str, note: str | None, found: object) -> None:
    assert split_severity(dataclasses.replace(SHIFT, split=split, note=note)) == found


def test_severities_are_lines_from_the_number_that_is_not_shifted() -> None:
    results = Results.from_dict(results_file(0))
    (picture,), tables = shifts(results)
    assert picture.title == "lungs: Dice under shift, invented_cxr, test"
    assert picture.drawing.count('<path class="line ') == 3
    assert picture.drawing.count("<circle") == 3 * 6, "severity 0 to 5"
    assert [name in picture.legend for name in ("gaussian_noise", "motion_blur", "gamma")] == [True] * 3
    assert picture.numbers["rows"][0][:2] == ["gaussian_noise", "0"]
    assert len(picture.numbers["rows"]) == 18
    assert "447 images of 222 patients; data: CC BY 4.0" in picture.text
    assert 'role="img" aria-label="lungs: Dice under shift' in picture.drawing
    elsewhere, changed = tables
    assert elsewhere["caption"] == "lungs: Dice elsewhere"
    assert [row[0] for row in elsewhere["rows"]] == [
        "invented_cxr, test – held-out, not shifted",
        "elsewhere, 13 places",
        "elsewhere, one scanner",
    ]
    assert "30 images of 222 patients" in elsewhere["rows"][1]
    assert changed["caption"].startswith(
        "finding: AUROC under shift, invented_cxr, test, images changed; 447 images of 222 patients; data:"
    )
    assert [row[0].partition(",")[0] for row in changed["rows"]] == ["unchanged", "scatter", "rotation", "label_overlay"], "worst first"
    assert changed["rows"][1][-1] == "drop 0.080 (0.070 to 0.090)"
    assert all('class="rule"' in row[2] for row in changed["rows"])


def test_what_is_undefined_or_has_no_interval_is_still_listed() -> None:
    rows = [dataclasses.replace(SHIFT, value=None, interval=None), dataclasses.replace(SHIFT, interval=None, note="b", images=None)]
    _, (found,) = shifts(Results(measurements=tuple(rows)))
    assert [row[1] for row in found["rows"]] == ["0.800 (no interval)", "undefined"]
    (picture,), _ = shifts(Results(measurements=(dataclasses.replace(SHIFT, value=None, interval=None, note="x, severity 1"),)))
    assert picture.numbers["rows"] == [["x", "1", "undefined", "40 images"]]


def test_reliability_has_a_line_for_each_class_and_dots_by_count() -> None:
    results = Results.from_dict(results_file(0))
    (picture,) = reliability(results)
    assert picture.title == "Reliability of finding on invented_cxr, test"
    assert picture.text.startswith("expected calibration error 0.")
    assert "85 rows; data: CC BY 4.0" in picture.text
    assert picture.drawing.count('<path class="line s') == 2
    radii = [float(r) for r in re.findall(r' r="([\d.]+)"', picture.drawing)]
    assert radii[:5] == sorted(radii[:5])
    assert radii[4] == 7.5
    assert picture.numbers["rows"][0] == ["normal", "0.050", f"{0.05**1.2:.3f}", "3"]
    assert len(picture.numbers["rows"]) == 10
    assert reliability(Results()) == []


def test_of_many_classes_six_share_a_picture() -> None:
    bins = (ReliabilityBin(0.5, 0.5, 4),)
    many = Results(reliability=tuple(Reliability("finding", "discs", bins, class_=f"c{k}") for k in range(8)))
    assert [p.drawing.count("<circle") for p in reliability(many)] == [6, 2]
