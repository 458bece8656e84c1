"""The judgement of scores: published tables come out of it, and its files agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from umsrep.errors import InputError
from umsrep.tasks.benchmark.joining import Joined, join
from umsrep.tasks.benchmark.truth import judge, markdown, write_judgement
from umsrep.tasks.benchmark.truth_reader import Truth, read_scores
from umsrep.tasks.choose.truth import load_truth

RESULTS = Path(__file__).parents[3] / "docs" / "results"


def test_chaves_2023() -> None:
    """Their conclusion, with intervals: over their three sets, no score's interval of Kendall's tau lies above one half."""
    path = RESULTS / "chaves2023.json"
    judgement = judge(join(read_scores([path]), None), resamples=300)
    published = json.loads(path.read_text())["published_kendall"]
    for task in judgement["tasks"]:
        for score, found in task["scores"].items():
            assert float(f"{round(found['kendall'], 3):.2f}") == published[task["task"]][score]
            assert found["n"] == 10
    kinds = judgement["kinds"]["classification"]
    assert kinds["log_me"]["kendall"] == pytest.approx((0.5844 + 0.3778 - 0.0667) / 3, abs=1e-4)
    assert kinds["log_me"]["tasks"] == 3
    assert all(found["kendall_low"] < 0.5 for found in kinds.values())
    assert judgement["shifted"] == {}


def joined(test: str = "test", **scores: list[float]) -> Joined:
    names = list("abcd")
    quality = dict(zip(names, [0.9, 0.8, 0.7, 0.6], strict=True))
    truth = Truth("cxr lesion", ("cxr",), "lesion", "classification", test, "auroc", (), quality | {"e": 0.95}, {})
    return Joined(truth, {n: {s: v[i] for s, v in scores.items()} for i, n in enumerate(names)}, {}, ["e"])


def test_judgement(tmp_path: Path) -> None:
    some = [joined(parameters=[1, 2, 3, 4], log_me=[4, 3, 2, 1]), joined("nih", log_me=[1, 2, 4, 3], parameters=[4, 4, 4, 4])]
    judgement = judge(some, resamples=200)
    own, shifted = judgement["tasks"]
    assert list(own["scores"]) == ["log_me", "parameters"], "baselines stand last"
    assert own["scores"]["log_me"]["kendall"] == 1
    assert own["scores"]["log_me"]["regret"] == pytest.approx(0.05), "the best one has no score"
    assert own["random_regret"] == pytest.approx(0.95 - 0.79)
    assert own["without_scores"] == ["e"]
    assert own["scores"]["parameters"]["baseline"]
    assert (own["in_distribution"], shifted["in_distribution"]) == (True, False)
    assert shifted["scores"]["parameters"]["kendall"] is None, "equal scores rank nothing"
    assert judgement["kinds"]["classification"]["log_me"]["kendall"] == 1
    assert judgement["shifted"]["classification"]["log_me"]["kendall"] == pytest.approx(-2 / 3)
    studies = load_truth(Path(write_judgement(judgement, tmp_path / "read")[0]))
    assert [(s.kind, s.data, s.distribution, s.encoders) for s in studies] == [
        ("classification", "cxr", "in", 4),
        ("classification", "cxr to nih", "out", 4),
    ], "umsrep choose reads it"
    assert studies[0].scores["log_me"].tau == 1
    files = write_judgement(judgement, tmp_path / "out")
    assert json.loads(Path(files[0]).read_text()) == judgement
    text = Path(files[1]).read_text()
    assert text == markdown(judgement)
    assert "| *parameters* | – | – |" in text
    assert "Without scores: e." in text
    assert "| log_me | +1.00 (+1.00 to +1.00) |" in text
    with Image.open(files[2]) as picture:
        assert min(picture.size) > 200
    assert judge(some, resamples=200) == judgement


def test_too_few_encoders() -> None:
    one = joined(log_me=[1, 2, 3, 4])
    few = Joined(one.truth, {"a": {"log_me": 1.0}, "b": {"log_me": 2.0}}, {}, ["c", "d", "e"])
    with pytest.raises(InputError, match=r"2 encoder\(s\) have both scores and a truth, 3 or more are needed; without scores: c, d, e"):
        judge([few], resamples=10)


def test_a_score_of_two_encoders_is_not_judged() -> None:
    one = joined(log_me=[1, 2, 3, 4], leep=[4, 3, float("nan"), float("nan")])
    found = judge([one], resamples=50)["tasks"][0]["scores"]["leep"]
    assert (found["kendall"], found["regret"], found["n"]) == (None, None, 0), "not a tau of 1"


def test_a_score_with_draws_is_less_sure() -> None:
    plain = joined(log_me=[4.0, 3.0, 2.0, 1.0])
    draws: dict[str, dict[str, Any]] = {n: {"log_me": [v, 2.5]} for n, v in zip("abcd", [4.0, 3.0, 2.0, 1.0], strict=True)}
    loose: dict[str, dict[str, Any]] = {n: {"log_me": [v, 5 - v]} for n, v in zip("abcd", [4.0, 3.0, 2.0, 1.0], strict=True)}
    lows = [
        judge([Joined(plain.truth, plain.scores, d, [])], resamples=200)["tasks"][0]["scores"]["log_me"]["kendall_low"]
        for d in ({}, draws, loose)
    ]
    assert lows == pytest.approx([1, 1, -1]), "a draw of equal scores is undefined and left out; a reversed one counts"
