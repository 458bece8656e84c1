"""What is measured for the gallery, and the arrays that are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.tasks.showcase.conftest import Tiny
from tests.tiny import WITHOUT_MASK
from umsrep.errors import InputError
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.showcase.measuring import arrays, best_filter, cleaned_style, filtered, look, measure, noisy_style, threshold_of


def test_rows_without_annotation_are_left_out_and_scores_are_per_row(tiny: Tiny) -> None:
    measured = tiny.measure("disc")
    assert measured.rows == [row for row in tiny.rows if row not in WITHOUT_MASK]
    assert measured.scores.shape == (21,)
    assert np.allclose(measured.scores, measured.values["dice"][:, 0], equal_nan=True)
    gains = tiny.measure("denoising")
    assert np.allclose(gains.scores, gains.values["psnr"] - gains.values["psnr_noisy"], atol=1e-5)
    with pytest.raises(InputError, match="none of 2 rows is annotated for 'disc'"):
        measure(tiny.model, "disc", tiny.tasks["disc"], "doppler", tiny.manifest, [2, 9])


def test_arrays_are_what_the_score_was_made_of(tiny: Tiny) -> None:
    measured = tiny.measure("disc")
    (drawn,) = arrays(tiny.model, "disc", measured, [3])
    truth, said = drawn["truth"] == 1, drawn["predicted"] == 1
    assert 2 * (truth & said).sum() / (truth.sum() + said.sum()) == pytest.approx(measured.scores[3], abs=1e-6)
    assert set(arrays(tiny.model, "size", tiny.measure("size"), [0])[0]) == {"image"}
    noisy = tiny.measure("denoising")
    (one,) = arrays(tiny.model, "denoising", noisy, [2])
    psnr = -10 * np.log10(np.mean((one["denoised"].astype(np.float64) - one["image"]) ** 2))
    assert psnr == pytest.approx(noisy.values["psnr"][2], abs=1e-3)


def test_noise_is_of_the_sigma_and_the_same_for_the_same_item() -> None:
    grey = torch.full((1, 64, 64), 0.5)
    style = noisy_style(0.04)
    assert torch.equal(style(grey, "a"), style(grey, "a"))
    assert not torch.equal(style(grey, "a"), style(grey, "b"))
    assert float((style(grey, "a") - grey).std()) == pytest.approx(0.04, rel=0.05)
    assert float(style(torch.ones(1, 8, 8), "a").max()) <= 1


def test_denoising_first_is_what_predict_does(tiny: Tiny) -> None:
    dirty = noisy_style(0.1)
    style = cleaned_style(tiny.model, dirty)
    assert style is not None
    measured = measure(tiny.model, "disc", tiny.tasks["disc"], "doppler", tiny.manifest, [0, 1], style=style)
    (drawn, _) = arrays(tiny.model, "disc", measured, [0, 1])
    loaded = tiny.model.encoder.contract.open(tiny.manifest.image(0))
    noisy = dirty(tiny.model.encoder.contract.fit(loaded.unit_CHW), "0/0/0")
    (said,) = tiny.model.predict([noisy[0].numpy()], tasks=["disc"], denoise_first=True)
    mask = said["disc"].mask
    assert mask is not None
    assert (mask == drawn["predicted"]).mean() > 0.99
    del tiny.model.heads["denoising"]
    assert cleaned_style(tiny.model, dirty) is None


def test_looking_gives_the_picture_and_every_answer_but_the_denoisers(tiny: Tiny) -> None:
    ((image, said),) = look(tiny.model, tiny.manifest, [4])
    assert image.shape == (32, 32)
    assert set(said) == {"disc", "size"}
    assert said["disc"].mask is not None
    assert said["disc"].mask.shape == (32, 32)
    assert threshold_of(tiny.model, "size") == 0.5


def test_the_best_filter_is_the_best_on_its_pairs(tiny: Tiny) -> None:
    measured = tiny.measure("denoising")
    task = tiny.tasks["denoising"]
    assert isinstance(task, Denoising)
    tuned, sigma = best_filter("denoising", task, measured.dataset, 2)
    assert sigma == pytest.approx(25 / 255)
    (one,) = arrays(tiny.model, "denoising", measured, [0])
    out, psnr = filtered(tuned, sigma, one["noisy"], one["image"])
    assert out.shape == one["image"].shape
    assert psnr > measured.values["psnr_noisy"][0]
    speckle = Denoising(noise="speckle", level=50.0)
    other = measure(tiny.model, "denoising", speckle, "doppler", tiny.manifest, tiny.rows)
    _, told = best_filter("denoising", speckle, other.dataset, 2)
    assert 0 < told < 50 / 255  # speckle of level 50 on pixels below white
