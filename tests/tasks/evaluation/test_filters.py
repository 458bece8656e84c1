"""Classical denoisers on the pixels that the model saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.tasks.evaluation.sides import settings
from umsrep.errors import InputError
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.evaluation.filters import classical_block
from umsrep.tasks.evaluation.sides import Side, items_of


def test_a_filter_is_tuned_elsewhere_and_measured_on_the_same_pixels(side: Side, tiny_data: Path) -> None:
    task = side.dataset.tasks["denoising"]
    assert isinstance(task, Denoising)
    tuning = items_of(side.model, tiny_data, settings(), split="validation", targets={}, tasks=["denoising"])
    rows, draws = side.rows["denoising"], settings().draws(side.patients("denoising"))
    found = classical_block("denoising", task, side.dataset, rows, tuning, draws, filters=["gaussian"])["gaussian"]
    assert found["tuned_on"] == 4
    assert set(found["parameters"]) == {"width"}
    assert (found["psnr"]["n"], found["psnr"]["patients"]) == (16, 8)
    assert found["psnr_gain"]["value"] > 1, "a Gaussian filter helps on discs in noise"
    assert found["psnr_gain"]["value"] == pytest.approx(found["psnr"]["value"] - float(np.mean(rows["psnr_noisy"])), abs=1e-5)
    assert found["difference"]["value"] == pytest.approx(float(np.mean(rows["psnr"])) - found["psnr"]["value"], abs=1e-5)


@pytest.mark.parametrize(
    ("task", "filters", "message"),
    [
        (Denoising("speckle", 25.0), ["gaussian"], "need gaussian noise of one level above 0, not speckle of 25"),
        (Denoising("gaussian", (10, 40)), ["gaussian"], "need gaussian noise of one level above 0"),
        (Denoising("gaussian", 25.0), ["median3"], "no classical filter 'median3'; there is"),
    ],
)
def test_what_filters_do_not_know_is_refused(side: Side, task: Denoising, filters: list[str], message: str) -> None:
    draws = settings().draws(side.patients("denoising"))
    with pytest.raises(InputError, match=message):
        classical_block("denoising", task, side.dataset, side.rows["denoising"], side.dataset, draws, filters=filters)
