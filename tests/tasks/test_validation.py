"""Measuring in the course of a run: thresholds are chosen on validation, for trained heads, and used on test."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate import Accelerator

from tests.tasks.runs import run_config, tiny_model
from umsrep.heads import ClassificationHead
from umsrep.tasks.classification import Classification
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.evaluate import evaluate
from umsrep.tasks.setup import build_sets, build_tasks
from umsrep.tasks.validation import Validation, at_middle_level


@pytest.mark.parametrize("trained", [["size"], ["disc"]])
def test_thresholds_are_chosen_for_trained_heads(trained: list[str], tiny_data: Path, tmp_path: Path) -> None:
    config = run_config(tiny_data, tmp_path)
    model = tiny_model(tiny_data)
    train, held_out, test = build_sets(config, model.encoder.contract)
    assert test is not None
    tasks = {name: at_middle_level(task) for name, task in build_tasks(config, train).items()}
    for some in (held_out, test):
        some.tasks = tasks
    validation = Validation(config, Accelerator(), tasks, trained)
    head = model.heads["size"]
    assert isinstance(head, ClassificationHead)
    assert head.thresholds is None
    metrics = validation.choose(model, held_out)
    assert (head.thresholds is not None) == ("size" in trained)
    assert set(metrics) == set(tasks)
    chosen = head.thresholds
    measured = validation.test(model, test)
    assert head.thresholds == chosen, "the test rows choose nothing"
    alone = evaluate(model, tiny_data, split="test", level=25.0, title=None)
    for name, every in measured.items():
        for key, value in every.items():
            assert alone[name][key] == pytest.approx(value, abs=1e-5, nan_ok=True), f"{name}/{key}"


def test_levels_of_validations_are_comparable() -> None:
    fixed = at_middle_level(Denoising("poisson", (10.0, 40.0)))
    assert isinstance(fixed, Denoising)
    assert (fixed.noise, fixed.level) == ("poisson", 25.0)
    task = Classification(["a", "b"])
    assert at_middle_level(task) is task
