"""Joining scores and truths: what belongs together is found, what does not is said."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.tasks.benchmark.grids import cell
from tests.tasks.benchmark.test_truth_reader import CELLS, chosen, results, write
from umsrep.errors import InputError
from umsrep.tasks.benchmark.joining import join
from umsrep.tasks.benchmark.truth_reader import read_scores, read_truth


def test_join(tmp_path: Path) -> None:
    scores = read_scores([write(tmp_path / "s.json", [chosen(), chosen("us")])])
    joined = join(scores, read_truth([results(tmp_path / "r.json", CELLS)]))
    assert [(j.truth.name, j.truth.test) for j in joined] == [("cxr lesion", "test"), ("cxr lesion", "nih")]
    own = joined[0]
    assert own.truth.quality == pytest.approx({"a": 0.75, "b": 0.9, "c": 0.6, "d": 0.5}), "means over seeds"
    assert own.scores["b"] == {"log_me": 0.75, "knn_accuracy": 0.9, "parameters": 1000.0}
    assert {e: s["log_me"] for e, s in own.scores.items()} == {"a": 0.5, "b": 0.75, "c": 0.1}
    assert math.isnan(own.scores["a"]["gbc"])
    assert own.draws["c"] == {"log_me": [0.0, 0.2]}
    assert own.unmatched == ["d"]
    assert joined[1].truth.quality["b"] == 0.6
    assert math.isnan(joined[1].truth.quality["a"])
    other = read_truth([results(tmp_path / "r.json", CELLS)], {"classification": "balanced_accuracy"})
    assert other[0].quality["b"] == 0.45


def test_two_values_of_one_score_are_refused(tmp_path: Path) -> None:
    twice = read_scores([write(tmp_path / "s.json", [chosen(), chosen()])])
    truth = read_truth([results(tmp_path / "r.json", CELLS)])
    assert join(twice, truth)[0].scores["b"]["log_me"] == 0.75, "the same numbers twice do no harm"
    other = chosen()
    other["tasks"]["classification"]["encoders"]["ums"]["scores"]["log_me"] = 0.5
    with pytest.raises(InputError, match=r"cxr lesion: 'b' has two values of log_me, 0\.75 and 0\.5"):
        join(read_scores([write(tmp_path / "s.json", [chosen(), other])]), truth)


def test_what_choose_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        (tmp_path / name / "model").mkdir(parents=True)
    place = {"rank": 1, "low": 0.1, "high": 0.9}
    facts = [
        {"name": "lite0 (random)", "spec": "lite0", "arch": "lite0", "random": True, "cost": {"parameters": 9}},
        {"name": "model", "spec": "one/model", "arch": "lite0", "random": False},
        {"name": "two/model", "spec": str(tmp_path / "two" / "model"), "arch": "lite0", "random": False},
        {"name": "lite0.inet", "spec": "lite0=/w/lite0.inet.safetensors", "arch": "lite0", "random": False},
    ]
    values = {f["name"]: {**place, "value": float(i)} for i, f in enumerate(facts)}
    task = {"name": "classification", "kind": "classification", "scores": {"log_me": values}}
    scores = read_scores([write(tmp_path / "s.json", {"data": "data/cxr", "encoders": facts, "tasks": [task]})])
    configs = [("lite0", None, None), (None, None, "one/model"), (None, None, "two/model"), ("lite0", "../w/lite0.inet.safetensors", None)]
    cells = [cell(f"e{i}", 0.5, encoder={"arch": a, "weights": w, "name": n}) for i, (a, w, n) in enumerate(configs)]
    (one,) = join(scores, read_truth([results(tmp_path / "r.json", cells)]))
    assert [one.scores[f"e{i}"]["log_me"] for i in range(4)] == [0, 1, 2, 3], "two folders called model are told apart"
    task["scores"] = {"log_me": {"lite1": 1.0}}
    wrong = write(tmp_path / "s.json", {"data": "data/cxr", "encoders": facts[3:], "tasks": [task]})
    with pytest.raises(InputError, match="names 'lite1'; did you mean"):
        read_scores([wrong])


def test_tasks_of_one_set_are_told_apart(tmp_path: Path) -> None:
    both = chosen()
    both["tasks"]["label_binary"] = chosen(task="x")["tasks"]["x"]
    both["tasks"]["label_binary"]["encoders"]["ums"]["scores"]["log_me"] = 7.0
    scores = read_scores([write(tmp_path / "s.json", both)])
    by_column = [{**c, "targets": {"lesion": ["label_binary"]}} for c in CELLS]
    (one, _) = join(scores, read_truth([results(tmp_path / "r.json", by_column)]))
    assert one.scores["b"]["log_me"] == 7.0
    (one, _) = join(scores, read_truth([results(tmp_path / "r.json", CELLS)]))
    assert one.scores["b"]["log_me"] == 0.75, "the default column is the task called classification"
    unclear = [{**c, "targets": {"lesion": ["grade"]}} for c in CELLS]
    with pytest.raises(InputError, match=r"no task has both scores and a truth: the scores are of cxr classification \(classification\)"):
        join(scores, read_truth([results(tmp_path / "r.json", unclear)]))


def test_a_study_with_its_own_truth() -> None:
    path = Path(__file__).parents[3] / "docs" / "results" / "chaves2023.json"
    joined = join(read_scores([path]), None)
    assert [j.truth.name for j in joined] == ["BrainTumor", "BreakHis", "ISIC2019"]
    assert len(joined[0].scores) == 10
    assert joined[0].truth.metric.startswith("balanced accuracy")
