"""One head's part of a review: its keys, tables, calibration of pixels, and what the temperature adds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.tasks.evaluation.sides import settings
from umsrep.errors import InputError
from umsrep.tasks.evaluation.blocks import task_block
from umsrep.tasks.evaluation.sides import Calibrated, Side
from umsrep.tasks.evaluation.temperature import Temperature


def test_a_classification_block(side: Side) -> None:
    block = task_block("size", side, settings(groups=("label",)), calibrated=None, second=None)
    assert (block["kind"], block["positive"], block["main"], block["n"], block["patients"]) == ("classification", "large", "auroc", 13, 8)
    assert list(block["per_class"]) == ["large"]
    assert block["per_class"]["large"]["auroc"] == block["metrics"]["auroc"]
    assert [g["value"] for g in block["subgroups"][0]["groups"]] == ["large", "small"]
    assert [g["value"] for g in block["sites"]["groups"]] == ["A", "B"]
    assert {"brier", "nll", "ece"} <= set(block["lower_is_better"])
    assert "auroc" not in block["lower_is_better"]
    assert block["temperature"] is None
    assert len(block["records"]) == 13


def test_one_site_makes_no_table(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(side.manifest.columns, "site", ["A"] * 24)
    assert task_block("size", side, settings(), calibrated=None, second=None)["sites"] is None


def test_pixels_of_a_segmentation_block_are_all_annotated_ones(side: Side) -> None:
    block = task_block("disc", side, settings(), calibrated=None, second=None)
    before = block["calibration"]["before"]
    bins = before["reliability"]
    pixels = side.rows["disc"]["pixels"]
    assert sum(one["n"] for one in bins) == int(pixels[:, -1, 0].sum())
    assert [one["low"] for one in bins[1:]] == [one["high"] for one in bins[:-1]]
    assert all(one["accuracy"] is None for one in bins if not one["n"])
    gaps = sum(one["n"] * abs(one["confidence"] - one["accuracy"]) for one in bins if one["n"])
    assert before["ece"]["value"] == pytest.approx(gaps / pixels[:, -1, 0].sum(), abs=1e-6)
    assert block["calibration"]["after"] is None
    assert 0 <= sum(block["empty"]["disc"].values()) <= block["n"] == 13


def test_a_temperature_adds_the_numbers_at_it(side: Side) -> None:
    found = Temperature(2.0, 0.7, 0.6, 13, "")
    calibrated = Calibrated(side, "elsewhere", "validation", False, {"size": found})
    block = task_block("size", side, settings(), calibrated=calibrated, second=None)
    rows = side.rows["size"]
    scaled = F.cross_entropy(torch.from_numpy(rows["logits"]).double() / 2, torch.from_numpy(rows["target"]).long())
    assert block["metrics"]["nll_scaled"]["value"] == pytest.approx(float(scaled), abs=1e-5)
    assert block["metrics"]["nll_scaled"]["value"] != block["metrics"]["nll"]["value"]
    assert (block["temperature"]["value"], block["temperature"]["patients"], block["temperature"]["split"]) == (2.0, 8, "validation")
    assert block["conformal"]["methods"]["lac"]["shift"], "calibrated on other data"


def test_a_model_beside_itself_has_no_difference(side: Side) -> None:
    block = task_block("denoising", side, settings(), calibrated=None, second=side)
    assert {one["metric"] for one in block["comparisons"]} == {"psnr_gain", "ssim"}
    assert {one["difference"] for one in block["comparisons"]} == {0}
    assert block["classical"] is None
    assert "temperature" not in block
    noisy, clean = side.rows["denoising"]["psnr_noisy"], side.rows["denoising"]["psnr"]
    assert block["metrics"]["psnr_gain"]["value"] == pytest.approx(float(np.mean(clean - noisy)), abs=1e-5)


def test_filters_need_rows_to_be_tuned_on(side: Side) -> None:
    with pytest.raises(InputError, match="classical filters are tuned on validation rows, and there are none"):
        task_block("denoising", side, settings(split="validation", filters=("gaussian",)), calibrated=None, second=None)
