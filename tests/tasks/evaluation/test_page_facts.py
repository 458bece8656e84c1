"""The head of the page says only what the JSON says."""

from __future__ import annotations

from tests.tasks.evaluation.reviews import whole_review
from umsrep.tasks.evaluation.page_facts import evaluated, limits, methods, verdict


def test_the_verdict_has_the_main_metric_of_each_head_with_its_interval() -> None:
    text = verdict(whole_review())
    assert text.startswith("On 40 images of 20 patients (split test, 2 sites): pneumonia: AUROC 0.900 (0.870 to 0.930); lungs: Dice")


def test_limits_follow_from_the_numbers() -> None:
    found = whole_review()
    found["calibration_data"]["shared_patients"] = 4
    lines = limits(found)
    assert lines[0].startswith("For research only")
    assert any("Only 20 patients" in line for line in lines)
    assert any(line.startswith("2 of 40 rows name no patient") for line in lines)
    assert any(line.startswith("4 patients are") and "calibration data" in line for line in lines)
    assert found["notes"][0] in lines
    found["data"] |= {"patients": 400, "rows_without_patient": 0, "sites": {"A": 40}}
    found["calibration_data"] = None
    found["settings"]["groups"] = []
    text = " ".join(limits(found))
    assert "Only" not in text
    assert "of one site" in text
    assert "fairness was not looked at" in text


def test_what_was_evaluated_has_checksums_prevalence_and_noise() -> None:
    facts = dict(evaluated(whole_review()))
    assert facts["sha256 of heads.safetensors"] == "b" * 64
    assert facts["pneumonia: label and prevalence"] == "column label; normal 60.0 %, pneumonia 40.0 %"
    assert facts["noise"] == "gaussian, level 25 of 255, seed 0"
    found = whole_review()
    del found["tasks"]["denoising"]
    assert "noise" not in dict(evaluated(found))


def test_methods_name_the_settings() -> None:
    text = " ".join(methods(whole_review()))
    for word in ("2,000 resamples", "95 %", "alpha 0.1", "within 2 pixels", "umsrep 0.1.0"):
        assert word in text
