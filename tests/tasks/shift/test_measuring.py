"""Runs under shift: the rows of an ordinary evaluation, moved masks, and what a written set gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from umsrep.tasks.data.dataset import collate
from umsrep.tasks.evaluate import collect, evaluation_set
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.shift import SHIFTS
from umsrep.tasks.shift.measuring import UNSHIFTED, collect_shifted, has_colour, shifted
from umsrep.tasks.shift.writing import write_shifted


def test_unshifted_rows_are_those_of_an_evaluation(model: MultiTaskModel, tiny_data: Path) -> None:
    dataset = evaluation_set(model, tiny_data, split="test", tasks=["disc", "size"])
    own, plain = collect_shifted(model, dataset, [], batch_size=3)[UNSHIFTED], collect(model, dataset, batch_size=3)
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


def test_every_severity_is_measured_and_the_mode_is_left(model: MultiTaskModel, tiny_data: Path) -> None:
    model.train()
    try:
        found = collect_shifted(model, evaluation_set(model, tiny_data, tasks=["size"]), [SHIFTS["scatter"]])
        assert model.training
    finally:
        model.eval()
    assert list(found) == [UNSHIFTED, *(("scatter", severity) for severity in range(1, 6))]
    assert all(rows["size"]["index"].tolist() == [0, 1, 2, 3] for rows in found.values())


def test_grey_images_have_no_colour(model: MultiTaskModel, tiny_data: Path) -> None:
    assert not has_colour(evaluation_set(model, tiny_data))
