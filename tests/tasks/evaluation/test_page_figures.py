"""The charts say what the numbers say."""

from __future__ import annotations

import re

from tests.tasks.evaluation.reviews import classification, denoising, segmentation
from umsrep.tasks.evaluation import page_figures as figures


def test_the_dot_on_the_roc_is_the_threshold_in_use() -> None:
    task = classification(["no", "yes"])
    picture = figures.roc(task)
    assert figures.operating_points(task) == {"yes": (0.85, 0.8)}
    # axes of 302 x 240 pixels from (46, 250): 1 - 0.8 to the right, 0.85 upwards
    assert 'cx="106.4" cy="46"' in picture.drawing
    assert "sensitivity 0.850, specificity 0.800" in picture.text


def test_many_classes_are_not_all_drawn_and_that_is_said() -> None:
    task = classification(["no", "yes"])
    curve = task["curves"]["yes"]
    task["curves"] = {f"c{k}": curve for k in range(9)}
    task["prevalence"]["overall"] = {name: {"value": 0.1} for name in task["curves"]}
    for picture in (figures.roc(task), figures.precision_recall(task)):
        assert len(re.findall('class="line s', picture.drawing)) == 6
        assert "first 6 of 9 classes" in picture.text


def test_reliability_leaves_out_empty_bins_and_fades_those_without_interval() -> None:
    calibration = classification(["no", "yes"])["calibration"]
    calibration["before"]["reliability"][7]["accuracy_low"] = None
    drawing = figures.reliability(calibration).drawing
    assert drawing.count('class="dot s0') == drawing.count('class="dot s1') == 8
    assert drawing.count("dot s0 faint") == 1
    assert drawing.count('class="bar pale"') == 8
    calibration["after"] = None
    assert "s1" not in figures.reliability(calibration).drawing


def test_a_histogram_holds_every_defined_image_and_says_how_many_are_not() -> None:
    picture = figures.histogram("hd95", [1.0, 2.0, 3.0, None], "")
    assert picture.text == "3 images; line: the middle, 2.00; 1.00 to 3.00. Undefined in 1 more, of which nothing is drawn."
    assert picture.drawing.count("<rect") == 3
    assert figures.histogram("dice", [None], "").text == "Defined for no image."
    assert figures.histogram("dice", [1.0, 1.0], "", unit_range=True).drawing.count("<rect") == 1  # the right end belongs to the last bin


def test_dense_heads_show_what_they_have() -> None:
    assert [p.title for p in figures.distributions(segmentation(["back", "lung"]))] == ["Dice", "surface Dice", "HD95 (px)"]
    assert [p.title for p in figures.distributions(denoising())] == ["PSNR gain (dB)", "Gain over noise"]


def test_a_decision_curve_far_below_zero_does_not_squeeze_the_rest() -> None:
    curve = classification(["no", "yes"])["decision_curve"]["yes"]
    curve["treat_all"] = [-50.0] * len(curve["thresholds"])
    assert "−50" not in figures.decision("yes", curve).drawing
