"""What a review keeps of every row."""

from __future__ import annotations

import math

import numpy as np
import pytest

from umsrep.tasks.classification import Classification
from umsrep.tasks.evaluation.records import records
from umsrep.tasks.evaluation.sides import Side
from umsrep.tasks.evaluation.tables import read_grouping


def test_a_classified_row(side: Side) -> None:
    task, rows = side.dataset.tasks["size"], side.rows["size"]
    grouping = read_grouping(side.manifest, side.manifest_rows("size"), "finding_left")
    found = records(task, rows, side.dataset, [grouping])
    assert [one["row"] for one in found] == sorted(one["row"] for one in found)
    assert len(found) == 13
    one = found[0]
    assert (one["file"], one["line"], one["patient"], one["site"]) == ("images/00.png", 2, "000", "B")
    assert one["groups"] == {"finding_left": side.manifest.columns["finding_left"][0]}
    assert one["truth"] == "small"
    assert sum(one["probabilities"].values()) == pytest.approx(1)
    assert all(r["correct"] == (r["truth"] == r["predicted"]) for r in found)
    assert all(r["set"] is None for r in found)


def test_the_threshold_decides_and_sets_are_named(side: Side) -> None:
    task, rows = side.dataset.tasks["size"], side.rows["size"]
    for threshold, predicted in ((0.0, "large"), (1.0, "small")):
        held = np.tile([True, False], (13, 1))
        found = records(task, rows, side.dataset, [], thresholds=(threshold,), sets=held)
        assert {one["predicted"] for one in found} == {predicted}
        assert {tuple(one["set"]) for one in found} == {("small",)}


def test_a_label_that_is_not_annotated_is_neither_right_nor_wrong(side: Side) -> None:
    task = Classification(["a", "b"], multi_label=True)
    rows = {
        "index": np.array([0, 1]), "loss": np.array([0.5, 2.0]),
        "probabilities": np.array([[0.9, 0.8], [0.9, 0.1]]), "target": np.array([[1.0, math.nan], [0.0, 0.0]]),
    }  # fmt: skip
    one, two = records(task, rows, side.dataset, [])
    assert (one["truth"], one["predicted"], one["correct"]) == ({"a": 1, "b": None}, {"a": 1, "b": 1}, True)
    assert (two["truth"], two["predicted"], two["correct"]) == ({"a": 0, "b": 0}, {"a": 1, "b": 0}, False)
    assert two["loss"] == 2


def test_scores_of_masks_and_restored_images(side: Side) -> None:
    rows = side.rows["disc"]
    found = records(side.dataset.tasks["disc"], rows, side.dataset, [])
    assert [one["score"] for one in found] == pytest.approx(rows["dice"][:, 0].tolist(), nan_ok=True)
    assert found[0]["dice"] == pytest.approx({"disc": rows["dice"][0, 0]}, nan_ok=True)
    unknown = records(side.dataset.tasks["disc"], {**rows, "dice": np.full_like(rows["dice"], math.nan)}, side.dataset, [])
    assert all(math.isnan(one["score"]) for one in unknown)
    for one in records(side.dataset.tasks["denoising"], side.rows["denoising"], side.dataset, []):
        assert one["score"] == one["psnr_gain"] == pytest.approx(one["psnr"] - one["psnr_noisy"])
