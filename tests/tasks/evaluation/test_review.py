"""The whole review on a trained model: every key of the schema, numbers that agree with evaluate, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tasks.runs import Records, put, rewrite
from tests.tiny import write_tiny_data
from umsrep.errors import InputError
from umsrep.tasks.data.dataset import Target
from umsrep.tasks.evaluate import evaluate
from umsrep.tasks.evaluation.evaluating import evaluate_with_intervals
from umsrep.tasks.evaluation.review import review
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.trainer import Report

QUICK: dict[str, Any] = {"resamples": 50, "title": None}


@pytest.fixture(scope="module")
def found(trained: Report, tiny_data: Path) -> dict[str, Any]:
    """A review of the training rows (the only split with more than 10), with everything switched on."""
    return review(
        str(trained.model), tiny_data, split="train", groups=["label"], compare=trained.model, alpha=0.25, classical=["gaussian"], **QUICK
    )


def test_it_is_json_with_the_keys_of_the_schema(found: dict[str, Any]) -> None:
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["kind"] == "umsrep review"
    assert list(found["tasks"]) == ["denoising", "disc", "size"]
    common = {"kind", "classes", "multi_label", "positive", "n", "patients", "target", "main", "metrics", "per_class", "lower_is_better"}
    common |= {"subgroups", "intersections", "sites", "comparisons", "records"}
    for task in found["tasks"].values():
        assert common <= task.keys()
        for one in task["metrics"].values():
            assert one.keys() >= {"value", "low", "high", "n", "patients", "method"}
    size, disc = found["tasks"]["size"], found["tasks"]["disc"]
    assert {"threshold", "curves", "calibration", "temperature", "conformal", "prevalence"} <= size.keys()
    assert {"predictive_values", "decision_curve"} <= size.keys()
    assert {"calibration", "temperature", "empty"} <= disc.keys()
    assert found["tasks"]["denoising"]["classical"]["gaussian"]["psnr"]["n"] == 16
    assert found["model"]["sha256"]["model.safetensors"]
    assert found["data"]["sites"] == {"A": 8, "B": 8}
    assert found["calibration_data"]["split"] == "validation"
    assert found["calibration_data"]["shared_patients"] == 0


def test_values_are_those_of_evaluate(found: dict[str, Any], trained: Report, tiny_data: Path) -> None:
    model = MultiTaskModel.from_pretrained(trained.model)
    plain = evaluate(model, tiny_data, split="train", title=None)
    beside = evaluate_with_intervals(model, tiny_data, split="train", title=None, resamples=50)
    for head, metrics in plain.items():
        assert {k: v for k, v in beside[head].items() if k not in ("patients", "intervals")} == pytest.approx(metrics, nan_ok=True)
        task = found["tasks"][head]
        for metric, value in metrics.items():
            if metric == "n":
                assert task["n"] == value
            elif "/" not in metric and value == value:
                assert task["metrics"][metric]["value"] == pytest.approx(value, abs=1e-5), metric
                one = task["metrics"][metric]
                assert beside[head]["intervals"][metric] == pytest.approx([one["low"], one["high"]], abs=1e-4), metric
                assert one["low"] <= one["value"] + 1e-9
                assert one["value"] <= one["high"] + 1e-9
    assert beside["size"]["patients"] == found["tasks"]["size"]["patients"] == 8


def test_a_model_does_not_differ_from_itself(found: dict[str, Any]) -> None:
    comparisons = [one for task in found["tasks"].values() for one in task["comparisons"]]
    assert {one["difference"] for one in comparisons if one["difference"] is not None} == {0}
    assert {one["family"] for one in comparisons} == {sum(one["p"] is not None for one in comparisons)}


def test_records_are_in_the_order_of_the_table(found: dict[str, Any]) -> None:
    for task in found["tasks"].values():
        rows = [one["row"] for one in task["records"]]
        assert rows == sorted(rows)
        assert len(rows) == task["n"]
    one = found["tasks"]["size"]["records"][0]
    assert (one["file"], one["line"], one["patient"], one["site"], one["groups"]) == ("images/00.png", 2, "000", "B", {"label": "small"})
    assert one["correct"] == (one["truth"] == one["predicted"])
    assert sum(one["probabilities"].values()) == pytest.approx(1)


def test_too_few_calibration_rows_are_said(found: dict[str, Any]) -> None:
    methods = found["tasks"]["size"]["conformal"]["methods"]
    assert methods["lac"]["quantile"] is not None, "4 rows are enough for alpha 0.25: (1 - a) / a = 3"
    assert methods["lac"]["coverage"]["overall"]["n"] == 13
    assert "3 needed, there are small 2, large 2" in methods["mondrian"]["needed"]
    assert methods["mondrian"]["coverage"]["overall"]["value"] is None


def test_without_calibration_rows_a_note_says_so(trained: Report, tmp_path: Path) -> None:
    def external(records: Records) -> None:
        for record in records:
            record["split"] = "test"
            record["patient_id"] = ""

    folder = rewrite(write_tiny_data(tmp_path / "data"), external)
    found = review(trained.model, folder, tasks=["size"], **QUICK)
    assert found["calibration_data"] is None
    assert found["tasks"]["size"]["temperature"] is found["tasks"]["size"]["conformal"] is None
    assert any("no row with split = validation" in note for note in found["notes"])
    assert any("24 of 24 rows have no patient_id" in note for note in found["notes"])
    other = write_tiny_data(tmp_path / "other")
    target = {"size": Target("finding_large", {"0": "small", "1": "large"})}
    shifted = review(
        trained.model, folder, tasks=["size"], calibrate_on="train", calibration_data=other, calibration_targets=target, alpha=0.2, **QUICK
    )
    assert shifted["tasks"]["size"]["conformal"]["methods"]["lac"]["shift"]
    assert shifted["tasks"]["size"]["temperature"]["n"] == 13
    assert not shifted["calibration_data"]["same_data"]


def test_patients_on_both_sides_are_counted(trained: Report, tmp_path: Path) -> None:
    folder = rewrite(write_tiny_data(tmp_path / "data"), put(23, "patient_id", "009"))
    found = review(trained.model, folder, tasks=["size"], **QUICK)
    assert found["calibration_data"]["shared_patients"] == 1
    assert any("flattered" in note for note in found["notes"])


def test_what_is_refused_before_the_model_runs(trained: Report, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umsrep.tasks.evaluation.sides.collect", lambda *_, **__: pytest.fail("the model ran"))
    for match, options in (
        ("no column 'sitee'; did you mean 'site'", {"groups": ["sitee"]}),
        ("calibrating on 'test', the split under review", {"calibrate_on": "test"}),
        ("alpha must be above 0", {"alpha": 1.5}),
        ("write 5 % as 0.05", {"prevalences": [5]}),
        ("not among the groups", {"edges": {"age": [40]}}),
        ("a column twice", {"groups": ["site", "site"]}),
        ("tolerance must be 0 or more", {"tolerance": -1}),
        ("no head 'sise'", {"tasks": ["sise"]}),
        ("resamples must be 1 or more", {"resamples": 0}),
    ):
        with pytest.raises(InputError, match=match):
            review(trained.model, tiny_data, **(QUICK | options))
