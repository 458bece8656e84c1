"""Evaluation under shift: the same rows as an ordinary evaluation, drops with intervals, and guarded relative errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tasks.runs import ARCH, tiny_model
from umsrep.errors import InputError
from umsrep.tasks.cli import main
from umsrep.tasks.data.dataset import collate
from umsrep.tasks.evaluate import collect, evaluation_set
from umsrep.tasks.evaluation.resample import Draws, Sampled
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.shift import SHIFTS, choose_shifts
from umsrep.tasks.shift.measuring import UNSHIFTED, collect_shifted, shifted
from umsrep.tasks.shift.robustness import balanced_error, evaluate_shifts, under_shift
from umsrep.tasks.shift.writing import write_shifted


@pytest.fixture(scope="module")
def model(tiny_data: Path) -> MultiTaskModel:
    """An untrained model that takes the images of `tiny_data` at their own size."""
    made = tiny_model(tiny_data)
    made.encoder.contract = made.encoder.contract.replace(size=(40, 48))
    return made.eval()


def test_unshifted_rows_are_those_of_an_evaluation(model: MultiTaskModel, tiny_data: Path) -> None:
    dataset = evaluation_set(model, tiny_data, split="train")
    own, plain = collect_shifted(model, dataset, [], batch_size=5)[UNSHIFTED], collect(model, dataset, batch_size=5)
    assert own.keys() == plain.keys()
    for name, rows in plain.items():
        for key, values in rows.items():
            np.testing.assert_array_equal(own[name][key], values)


@pytest.mark.parametrize("name", ["exposure-under", "collimation", "magnification-down"])
def test_a_written_set_evaluates_as_its_shift_does(name: str, model: MultiTaskModel, tiny_data: Path, tmp_path: Path) -> None:
    """At the images' own size the two differ only by the 8 bits of the written files."""
    write_shifted(tiny_data, tmp_path / "shifted", name, 4, seed=7, split="test", title=None)
    written = collect(model, evaluation_set(model, tmp_path / "shifted"))
    found = collect_shifted(model, evaluation_set(model, tiny_data), [SHIFTS[name]], seed=7)
    direct, plain = found[name, 4], found[UNSHIFTED]
    probabilities = [rows["size"]["probabilities"] for rows in (direct, written, plain)]
    change = np.abs(probabilities[0] - probabilities[2]).max()
    assert change > 0
    assert np.abs(probabilities[0] - probabilities[1]).max() < 0.2 * change
    np.testing.assert_allclose(direct["denoising"]["psnr_noisy"], written["denoising"]["psnr_noisy"], atol=0.1)
    np.testing.assert_allclose(direct["disc"]["dice"], written["disc"]["dice"], atol=0.02)


def test_the_batch_has_moved_masks_and_the_shifted_image_as_clean_target(model: MultiTaskModel, tiny_data: Path) -> None:
    dataset = evaluation_set(model, tiny_data)
    batch = collate([dataset[i] for i in range(len(dataset))])
    assert isinstance(batch, dict)
    contract = model.encoder.contract
    unit = contract.denormalise(batch["image"]).clamp(0, 1)
    moved = shifted(batch, unit, dataset, SHIFTS["collimation"], 5, [0, 1, 2, 3])
    hidden = moved["target.disc"] == 255
    assert bool(hidden.flatten(1).any(1).all())
    assert torch.equal(moved["target.disc"][~hidden], batch["target.disc"][~hidden])
    dark = contract.denormalise(moved["image"])[:, 0] == 0
    assert torch.equal(dark[batch["rows.disc"]], hidden)
    assert torch.equal(moved["target.denoising"], contract.denormalise(moved["image"]))
    noise = [contract.denormalise(b["noisy.denoising"]) - b["target.denoising"] for b in (batch, moved)]
    torch.testing.assert_close(noise[0], noise[1], atol=1e-5, rtol=0)  # the same noise as on the unshifted image


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
    found = evaluate_shifts(model, tiny_data, ["histology"], tasks=["size"], resamples=5, title=None)
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


def test_choice_of_shifts() -> None:
    grey = choose_shifts([], modality="cxr", channels=1)
    assert {"scatter", "strong-gamma-up", "pneumoniamnist-jpeg"} <= {s.name for s in grey}
    assert not any(s.colour or not s.suits("cxr") for s in grey)
    assert all(not s.modalities for s in choose_shifts([], modality=None))
    assert len(choose_shifts(["all"], channels=3)) == len(SHIFTS)
    assert [s.name for s in choose_shifts(["scatter", "dose"])] == ["dose", "scatter"]
    with pytest.raises(InputError, match="'pathmnist-saturate' changes colours"):
        choose_shifts(["pathmnist-saturate"], channels=1)
    with pytest.raises(InputError, match="no shift, family or modality is called 'x-ray'"):
        choose_shifts(["x-ray"])


def test_the_command_prints_draws_and_refuses(
    model: MultiTaskModel, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.save_pretrained(tmp_path / "model")
    words = ["evaluate", str(tmp_path / "model"), str(tiny_data), "--split", "train", "--workers", "0", "--resamples", "20"]
    out = tmp_path / "out"
    assert main([*words, "--shifts", "collimation", "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["chosen"] == "1 shifts of collimation"
    assert sorted(p.name for p in out.iterdir()) == ["drops.png", "shift-collimation.png", "shifts.json"]
    assert main([*words, "--shifts", "scatter", "--tasks", "size"]) == 0
    assert "size: balanced_accuracy, unshifted" in capsys.readouterr().out
    for more, message in (
        (["--shifts", "collimation", "--out", str(out)], "not empty"),
        (["--shifts", "colimation"], "did you mean 'collimation'"),
        (["--shifts", "strong-hue-up"], "changes colours"),
        (["--out", str(tmp_path / "other")], "--out needs --shifts"),
        (["--shifts", "scatter", "--resamples", "0"], "resamples"),
        (["--shifts", "scatter", "--review", str(tmp_path / "review")], "--shifts or --review"),
    ):
        assert main([*words, *more]) == 2
        assert message in capsys.readouterr().err
