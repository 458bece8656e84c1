"""Drops under shift with intervals, and guarded relative errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.tasks.runs import ARCH, tiny_model
from umsrep.errors import InputError
from umsrep.tasks.evaluation.resample import Draws, Sampled
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.shift.robustness import balanced_error, evaluate_shifts, under_shift


def test_a_drop_is_the_difference_of_metrics_and_positive_is_worse(model: MultiTaskModel, tiny_data: Path) -> None:
    found = evaluate_shifts(model, tiny_data, ["strong-noise"], split="train", resamples=50, title=None)
    disc = found["shifts"]["strong-noise"]["heads"]["disc"]
    values = [disc["severity"][str(k)] for k in range(1, 6)]
    for metric, sign in (("dice", 1), ("hd95", -1)):
        mean = np.mean([v[metric] for v in values])
        unshifted = found["heads"]["disc"]["unshifted"][metric]
        assert disc["drop"][metric]["value"] == pytest.approx(sign * (unshifted - mean), nan_ok=True)
    drop = found["shifts"]["strong-noise"]["heads"]["denoising"]["drop"]["psnr_gain"]
    assert drop["low"] <= drop["value"] <= drop["high"]
    assert (drop["n"], drop["patients"]) == (16, 8)
    assert found["heads"]["denoising"]["overall"]["psnr_gain"]["value"] == pytest.approx(drop["value"])
    json.dumps(found, allow_nan=True)


def test_grey_images_in_three_channels_have_no_shifts_of_colour(tiny_data: Path) -> None:
    model = tiny_model(tiny_data, encoder={"arch": ARCH, "in_channels": 3}).eval()
    words = ["pathmnist-saturate"]
    with pytest.raises(InputError, match="'pathmnist-saturate' changes colours, but the images looked at are grey"):
        evaluate_shifts(model, tiny_data, words, title=None)
    found = evaluate_shifts(model, tiny_data, ["oct"], tasks=["size"], resamples=5, title=None)
    assert "those of colour are left out, as the images are grey" in found["chosen"]
    assert not any(s["colour"] for s in found["shifts"].values())


def sampled(accuracy: float) -> Sampled:
    return Sampled({"balanced_accuracy": accuracy}, {"balanced_accuracy": np.full(20, accuracy)})


def test_balanced_errors_are_those_of_medmnist_c() -> None:
    clean, at = sampled(0.9), [sampled(a) for a in (0.8, 0.7, 0.6, 0.5, 0.4)]
    found = balanced_error(clean, at, "pneumoniamnist-gaussian-noise", "pneumoniamnist")
    assert found["mean"] == pytest.approx(0.4)
    assert found["be"] == pytest.approx(0.4 / 0.44145)
    assert found["rbe"] == pytest.approx((0.4 - 0.1) / (0.44145 - 0.10085))
    guarded = balanced_error(clean, at, "pneumoniamnist-contrast-up", "pneumoniamnist")
    assert guarded["be"] == pytest.approx(0.4 / 0.09530)
    assert guarded["rbe"] is None  # AlexNet gains under it: a quotient would be negative
    assert guarded["difference"] == pytest.approx(0.3)
    assert "no rbe" in guarded["note"]
    for shift, data in (("exposure-under", "pneumoniamnist"), ("pneumoniamnist-jpeg", None), ("pneumoniamnist-shot-noise", "chestmnist")):
        assert balanced_error(clean, at, shift, data)["be"] is None
    assert balanced_error(clean, at, "pneumoniamnist-jpeg", "chestmnist")["be"] == pytest.approx(0.4 / 0.34576)


def test_the_interval_of_a_drop_is_paired() -> None:
    """Draws that move both sides alike leave the drop as it is."""
    wobble = np.linspace(-0.1, 0.1, 40)
    clean = Sampled({"auroc": 0.9}, {"auroc": 0.9 + wobble})
    at = [Sampled({"auroc": 0.8}, {"auroc": 0.8 + wobble})] * 5
    drop = under_shift(clean, at, Draws([None] * 40, resamples=40))["drop"]["auroc"]
    assert (drop["value"], drop["low"], drop["high"]) == pytest.approx((0.1, 0.1, 0.1))
