"""Rows for cards: what stands in a review, a table of shifts, a benchmark, is what comes out, and it fits a results file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from umsrep.errors import InputError
from umsrep.tasks import card_rows
from umsrep.tasks.evaluation.review import review
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.shift.robustness import evaluate_shifts
from umsrep.tasks.trainer import Report
from umsrep.zoo.results import Measurement, Results


@pytest.fixture(scope="module")
def found(trained: Report, tiny_data: Path) -> dict[str, Any]:
    """As review.json holds it."""
    made = review(
        str(trained.model), tiny_data, split="train", groups=["label"], alpha=0.25, classical=["gaussian"], resamples=50, title=None
    )
    read: dict[str, Any] = json.loads(json.dumps(made, allow_nan=False))
    return read


def _one(rows: list[Measurement], **wanted: Any) -> Measurement:
    (row,) = [row for row in rows if all(getattr(row, key) == value for key, value in wanted.items())]
    return row


def test_a_review_gives_metrics_calibration_and_subgroups(found: dict[str, Any]) -> None:
    rows = card_rows.rows_of_review(found, data="tiny", group="shift", split="elsewhere")
    assert {row.group for row in rows} == {"shift", "calibration", "subgroups"}
    for head, metric in (("denoising", "psnr_gain"), ("disc", "dice"), ("size", "auroc")):
        told = found["tasks"][head]["metrics"][metric]
        row = _one(rows, head=head, metric=metric, group="shift", method=None)
        assert (row.value, row.interval, row.images, row.split) == (told["value"], (told["low"], told["high"]), told["n"], "elsewhere")
    classical = found["tasks"]["denoising"]["classical"]["gaussian"]
    row = _one(rows, head="denoising", metric="psnr_gain", method=classical["title"])
    assert (row.value, row.difference) == (classical["psnr_gain"]["value"], classical["difference"]["value"])
    assert _one(rows, head="size", metric="ece", note=None).value == found["tasks"]["size"]["metrics"]["ece"]["value"]
    groups = found["tasks"]["disc"]["subgroups"][0]["groups"]
    told = [row for row in rows if row.head == "disc" and row.split == "elsewhere, by label"]
    assert [row.value for row in told] == [some["metrics"]["dice"]["value"] for some in groups]
    assert [(row.note or "").split(";")[0] for row in told] == [some["value"] or "not given" for some in groups]


def test_reliability_holds_every_row_once(found: dict[str, Any]) -> None:
    (curve,) = card_rows.reliability_of_review(found, data="tiny")
    assert (curve.head, curve.data, curve.split) == ("size", "tiny", "train")
    assert sum(one.count for one in curve.bins) == found["tasks"]["size"]["n"]


def test_what_comes_out_is_a_results_file(found: dict[str, Any]) -> None:
    rows, curves = card_rows.rows_of_review(found, data="tiny"), card_rows.reliability_of_review(found, data="tiny")
    results = Results(measurements=tuple(rows), reliability=tuple(curves))
    assert Results.from_dict(json.loads(json.dumps(results.to_dict(), allow_nan=False))) == results


def test_shifts_give_their_mean_and_drop(trained: Report, tiny_data: Path) -> None:
    model = MultiTaskModel.from_pretrained(trained.model)
    found = evaluate_shifts(model, tiny_data, ["strong-noise"], split="train", resamples=20, title=None)
    rows = card_rows.rows_of_shifts(found, data="tiny")
    plain = _one(rows, head="disc", note="unchanged")
    (shifted,) = [row for row in rows if row.head == "disc" and row is not plain]
    assert plain.value == found["heads"]["disc"]["unshifted"]["dice"]
    by_severity = found["shifts"]["strong-noise"]["heads"]["disc"]["severity"]
    assert shifted.value == pytest.approx(sum(values["dice"] for values in by_severity.values()) / 5)
    assert plain.value is not None
    assert shifted.value is not None
    assert f"drop {plain.value - shifted.value:.3f}" in str(shifted.note)


def _benchmark(path: Path, variants: dict[str, dict[str, float]]) -> Path:
    table = [{"variant": v, "metrics": {k: {"mean": x, "sd": 0.1, "n": 3} for k, x in m.items()}} for v, m in variants.items()]
    path.write_text(json.dumps({"table": table}))
    return path


def test_interference_sets_joint_beside_alone(tmp_path: Path) -> None:
    both = {"lungs/dice": 0.9, "disease/accuracy": 0.6, "disease/auroc": 0.7}
    variants = {"fixed": both, "pcgrad": both, "single": {"lungs/dice": 0.8}, "other": {"disease/auroc": 0.6}}
    path = _benchmark(tmp_path / "results.json", variants)
    rows = card_rows.rows_of_interference(path, data="cxr", note="64 px", joint="fixed")
    assert [(row.method, row.value, row.sd, row.seeds) for row in rows[:2]] == [("joint", 0.9, 0.1, 3), ("alone", 0.8, 0.1, 3)]
    assert [(row.head, row.metric, row.value) for row in rows[2:]] == [("disease", "auroc", 0.7), ("disease", "auroc", 0.6)]
    with pytest.raises(InputError, match="'lungs' needs the variant 'joint' and one that trains it alone, not none"):
        card_rows.rows_of_interference(_benchmark(path, {"joint": both}), data="cxr", note="")


def test_transfer_rows_are_those_of_the_preset(tmp_path: Path) -> None:
    path = tmp_path / "transfer.json"
    row = {"group": "transfer", "head": "lungs", "metric": "dice", "data": "cxr", "value": 0.5, "interval": [0.4, 0.6], "labels": 0.1}
    path.write_text(json.dumps({"a": [row], "b": []}))
    (made,) = card_rows.rows_of_transfer(path, "a")
    assert (made.value, made.interval, made.labels) == (0.5, (0.4, 0.6), 0.1)
    assert card_rows.rows_of_transfer(path, "b") == []
    path.write_text(json.dumps({"a": [{**row, "colour": 1}]}))
    with pytest.raises(InputError, match="colour"):
        card_rows.rows_of_transfer(path, "a")


@pytest.mark.parametrize("text", [None, "{"])
def test_a_file_that_is_none_is_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "x.json"
    if text:
        path.write_text(text)
    with pytest.raises(InputError, match=r"x\.json"):
        card_rows.read_json(path)


def test_variants_fine_tuned_on_another_set(tmp_path: Path) -> None:
    def cell(variant: str, value: float) -> dict[str, Any]:
        return {"variant": variant, "test": {"disease": {"n": 9.0, "auroc": value, "accuracy": 0.5}}}

    path = tmp_path / "results.json"
    path.write_text(json.dumps({"cells": [cell("full", 0.5), cell("full", 0.7), cell("imagenet", 0.25)]}))
    rows = card_rows.rows_of_variants(path, data="mnist", split="official test", names={"full": None, "imagenet": "ImageNet"})
    assert [(m.head, m.metric, m.method, m.value, m.seeds, m.images) for m in rows] == [
        ("disease", "auroc", None, pytest.approx(0.6), 2, 9),
        ("disease", "auroc", "ImageNet", 0.25, 1, 9),
    ]
    assert [m.sd for m in rows] == [pytest.approx(0.02**0.5), None]
    assert {(m.group, m.mode, m.labels, m.split) for m in rows} == {("transfer", "fine-tuned", 1.0, "official test")}
    with pytest.raises(InputError, match="no variant 'strong'"):
        card_rows.rows_of_variants(path, data="mnist", split="test", names={"strong": None})
