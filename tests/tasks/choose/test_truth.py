"""How well scores predicted the truth, as read from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from umsrep import InputError
from umsrep.tasks.choose import truth
from umsrep.tasks.choose.truth import best_score, load_truth, statement


def study(data: str = "us_lung", **scores: Any) -> dict[str, Any]:
    named = {"kind": "classification", "data": data, "task": "label", "metric": "balanced_accuracy", "encoders": 9}
    return {**named, "distribution": "in", "scores": scores}


def agreement(tau: float | None, low: float = -1, high: float = 1, regret: float | None = None) -> dict[str, Any]:
    return {"tau": tau, "tau_interval": [low, high], "weighted_tau": tau, "regret": regret}


def write(path: Path, *studies: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"schema_version": 1, "studies": studies}))
    return path


def test_the_statement_says_what_was_measured(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.json",
        study(log_me=agreement(0.3, -0.2, 0.7, 0.021), knn_accuracy=agreement(0.6, 0.1, 0.9), nce=agreement(None)),
        study("cxr", log_me=agreement(-0.1, -0.5, 0.4), knn_accuracy=agreement(0.4, 0.05, 0.8)),
    )
    studies = load_truth(path)
    lines = statement(studies, "classification", ["log_me", "knn_accuracy", "nce"])
    assert lines[0].startswith("k-NN: Kendall tau 0.50 on average (us_lung label: 0.60 [0.10, 0.90] over 9 encoders, cxr label: 0.40")
    assert "LogME: Kendall tau 0.10" in lines[1]
    assert "its first choice lost 0.021 balanced_accuracy" in lines[1]
    assert lines[2] == "NCE: not measured yet"
    assert best_score(studies, "classification") == "knn_accuracy"
    assert best_score(studies, "segmentation") is None
    assert statement(studies, "segmentation", ["cc_fv"]) == ["How well scores predict fine-tuned segmentation: not measured yet."]


def test_a_score_must_hold_in_every_study(tmp_path: Path) -> None:
    path = write(tmp_path / "t.json", study(log_me=agreement(0.9, 0.5, 1)), study("cxr", log_me=agreement(0.2, -0.1, 0.5)))
    assert best_score(load_truth(path), "classification") is None


def test_without_a_shipped_file_nothing_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth, "FILE", "none.json")
    assert load_truth() == []


def test_what_is_shipped_can_be_read() -> None:
    for one in load_truth():
        assert one.encoders >= 8
        assert one.kind in ("classification", "segmentation", "denoising")
        assert one.scores


def test_faults_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.json: cannot be read"):
        load_truth(tmp_path / "none.json")
    for text, message in (("no json", "no file of scores"), ('{"schema_version": 2}', "must be 1"), ("[]", "no file of scores")):
        (tmp_path / "t.json").write_text(text)
        with pytest.raises(InputError, match=message):
            load_truth(tmp_path / "t.json")
    broken = study(log_me={"tau": "high"})
    with pytest.raises(InputError, match=r"t.json: no file of scores against truth \(ValueError"):
        load_truth(write(tmp_path / "t.json", broken))
