"""Reading scores and truths; the helpers serve test_joining.py too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tasks.benchmark.grids import cell
from umsrep.errors import InputError
from umsrep.tasks.benchmark.truth_reader import read_scores, read_truth


def write(path: Path, values: Any) -> Path:
    path.write_text(json.dumps(values))
    return path


def chosen(data: str = "/elsewhere/cxr", task: str = "classification", **more: Any) -> dict[str, Any]:
    encoders = {
        "lite0 (random)": {
            "spec": "lite0",
            "config": {"arch": "lite0", "weights": None},
            "scores": {"log_me": {"value": 0.5}, "gbc": None},
        },
        "ums": {"config": {"name": "models/ums"}, "scores": {"log_me": 0.75}, "baselines": {"knn_accuracy": 0.9}},
        "inet": {"config": {"arch": "lite0", "weights": "/w/lite0.safetensors"}, "scores": {"log_me": {"value": 0.1, "draws": [0.0, 0.2]}}},
    }
    return {"data": data, "tasks": {task: {"kind": "classification", "encoders": encoders | more}}}


CELLS = [
    cell("a", 0.7, encoder={"name": None, "arch": "lite0", "weights": None}),
    cell("a", 0.8, seed=1, encoder={"name": None, "arch": "lite0", "weights": None}),
    cell("b", 0.9, encoder={"name": "models/ums", "arch": None, "weights": None}, shifted={"nih": {"lesion": {"n": 2.0, "auroc": 0.6}}}),
    cell("c", 0.6, encoder={"name": None, "arch": "lite0", "weights": "x/lite0.safetensors"}),
    cell("d", 0.5),
]


def results(path: Path, cells: list[dict[str, Any]]) -> Path:
    return write(path, {"cells": cells, "metrics": {"classification": "auroc"}})


def test_the_strategy_is_chosen_on_validation_rows(tmp_path: Path) -> None:
    validated = {"lesion": {"n": 4.0, "auroc": 0.99}}
    cells = [cell("a", 0.9, strategy="full"), cell("a", 0.6, strategy="frozen", validation=validated), cell("b", 0.7)]
    (truth,) = read_truth([results(tmp_path / "r.json", cells)])
    assert truth.quality == {"a": 0.6, "b": 0.7}, "not the one that is best on the test rows"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": "x"}, "tasks must map names to entries"),
        ({"tasks": {"a": {"kind": "guess", "encoders": {}}}}, "task 'a' has kind 'guess'"),
        ({"tasks": {"a": {"kind": "classification", "encoders": {}}}}, "tasks.a.encoders must map names"),
        ({"tasks": {"a": {"kind": "classification", "encoders": {"e": {}}}}}, "task 'a' holds no scores"),
        ({"tasks": {"a": {"kind": "classification", "encoders": {"e": {"scores": {"h": "high"}}}}}}, "a, e, h: 'high' is no number"),
    ],
)
def test_files_of_scores_that_are_none(values: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_scores([write(tmp_path / "s.json", values)])


def test_tasks_that_the_first_variant_leaves_out(tmp_path: Path) -> None:
    measured = {"other": {"n": 4.0, "auroc": 0.7}}
    more: dict[str, Any] = {"kinds": {"other": "classification"}, "test": measured, "validation": measured, "targets": {"other": ["grade"]}}
    found = read_truth([results(tmp_path / "r.json", [cell("a", 0.9), cell("a", 0.9, strategy="other", **more)])])
    assert [(t.task, t.quality, t.columns) for t in found] == [("lesion", {"a": 0.9}, ()), ("other", {"a": 0.7}, ("grade",))]


def test_metrics_that_cannot_be_compared(tmp_path: Path) -> None:
    path = results(tmp_path / "r.json", CELLS)
    with pytest.raises(InputError, match="metric: unknown kind 'clasification'; did you mean 'classification'"):
        read_truth([path], {"clasification": "auroc"})
    with pytest.raises(InputError, match="metric: of 'hd95' less is better"):
        read_truth([path], {"segmentation": "hd95"})


def test_files_of_results_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_truth([tmp_path / "none.json"])
    with pytest.raises(InputError, match="holds no cells"):
        read_truth([write(tmp_path / "r.json", {})])
    with pytest.raises(InputError, match="no axis 'encoders'"):
        read_truth([results(tmp_path / "r.json", [cell("a", 0.5, axes={"variant": "a"})])])
    with pytest.raises(InputError, match="'aurok' of 'lesion' was not measured; did you mean 'auroc'"):
        read_truth([results(tmp_path / "r.json", CELLS)], {"classification": "aurok"})
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        read_scores([tmp_path / "bad.json"])
