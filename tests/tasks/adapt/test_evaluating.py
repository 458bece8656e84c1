"""Evaluation before and after adaptation: the same rows, a copy of the model, no label used to adapt."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tasks.runs import tiny_model
from umsrep.errors import InputError
from umsrep.tasks.adapt.evaluating import batches, evaluate_adapted
from umsrep.tasks.adapt.target import adapted_copy, target_images
from umsrep.tasks.evaluate import evaluate
from umsrep.tasks.evaluation.evaluating import evaluate_with_intervals
from umsrep.tasks.model import MultiTaskModel


@pytest.fixture(scope="module")
def model(tiny_data: Path) -> MultiTaskModel:
    return tiny_model(tiny_data)


def test_adabn_is_measured_as_evaluate_does(model: MultiTaskModel, tiny_data: Path) -> None:
    before = copy.deepcopy(model.state_dict())
    found = evaluate_adapted(model, tiny_data, "adabn", adapt_split="train", resamples=20, title=None)
    assert found["images"] == "16 image(s) of discs (split = train)"
    assert not found["transductive"]
    adapted = adapted_copy(model, target_images(model, tiny_data))
    for side, one in (("unadapted", model), ("adapted", adapted)):
        for head, metrics in evaluate(one, tiny_data, title=None).items():
            for name, value in metrics.items():
                np.testing.assert_allclose(found[side][head][name], value, rtol=1e-4, atol=1e-4)
    assert found["adapted"].keys() == {"denoising", "disc", "size"}
    assert found["unadapted"]["disc"]["dice"] != found["adapted"]["disc"]["dice"]
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_adapting_to_the_rows_that_are_measured_is_said(model: MultiTaskModel, tiny_data: Path) -> None:
    for adapt_split, images in ((None, "4 image(s) of discs (split = test)"), ("all", "24 image(s) of discs (all rows)")):
        found = evaluate_adapted(model, tiny_data, "adabn", adapt_split=adapt_split, resamples=20, tasks=["size"], title=None)
        assert found["transductive"]
        assert found["images"] == images


def test_tent_predicts_each_row_once_and_leaves_denoising(model: MultiTaskModel, tiny_data: Path) -> None:
    before = copy.deepcopy(model.state_dict())
    found = evaluate_adapted(model, tiny_data, "tent", split="train", batch_size=5, resamples=20, title=None)
    assert found["transductive"]
    assert found["note"] == "tent makes no predictions for heads that denoise: denoising"
    assert found["adapted"].keys() == {"disc", "size"}
    expected = evaluate_with_intervals(model, tiny_data, split="train", resamples=20, title=None)
    for head in ("disc", "size"):
        assert found["unadapted"][head]["n"] == found["adapted"][head]["n"] == expected[head]["n"] == 13
        assert found["unadapted"][head]["intervals"].keys() == expected[head]["intervals"].keys()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_tent_of_one_batch_without_a_step_is_batch_norm_in_training_mode(model: MultiTaskModel, tiny_data: Path) -> None:
    """One batch of all rows with learning rate 0: AdaBN on these rows, but for the variance's 1 / n."""
    options = {"split": "train", "tasks": ["disc"], "resamples": 20, "title": None, "batch_size": 16}
    tent = evaluate_adapted(model, tiny_data, "tent", learning_rate=0.0, **options)["adapted"]["disc"]  # type: ignore[arg-type]
    adabn = evaluate_adapted(model, tiny_data, "adabn", **options)["adapted"]["disc"]  # type: ignore[arg-type]
    assert tent["dice"] == pytest.approx(adabn["dice"], abs=0.02)


def test_batches_hold_every_row_once_and_never_one_alone() -> None:
    for count, size in ((9, 4), (8, 4), (17, 16), (3, 64), (5, 2)):
        found = list(batches(count, size, seed=0))
        assert sorted(row for batch in found for row in batch) == list(range(count))
        assert min(map(len, found)) >= 2
        assert max(map(len, found)) <= size + 1
    assert list(batches(20, 5, 0)) == list(batches(20, 5, 0)) != list(batches(20, 5, 1))
    for count, size in ((1, 4), (4, 1)):
        with pytest.raises(InputError, match="2 images or more at once"):
            list(batches(count, size, 0))


def test_wrong_words_are_refused(model: MultiTaskModel, tiny_data: Path) -> None:
    with pytest.raises(InputError, match="unknown method 'adabm' of adaptation; did you mean 'adabn'"):
        evaluate_adapted(model, tiny_data, "adabm")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="tent adapts on the rows that it predicts"):
        evaluate_adapted(model, tiny_data, "tent", adapt_split="train")
    with pytest.raises(InputError, match="only denoises"):
        evaluate_adapted(model, tiny_data, "tent", tasks=["denoising"], title=None)
