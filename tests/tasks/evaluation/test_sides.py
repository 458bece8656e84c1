"""What a review measures: settings that mean nothing, the calibration rows, and a second model on the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tasks.evaluation.sides import settings
from tests.tasks.runs import put, rewrite
from tests.tiny import write_tiny_data
from umsrep.errors import InputError
from umsrep.tasks.evaluation.sides import Side, calibrate, items_of, open_model, second_side
from umsrep.tasks.model import MultiTaskModel


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 1.5}, "alpha must be above 0 and below 1"),
        ({"prevalences": (5,)}, "prevalence 5 must be above 0 and below 1; write 5 % as 0.05"),
        ({"tolerance": -1}, "tolerance must be 0 or more"),
        ({"tolerance_mm": float("nan")}, "tolerance_mm must be 0 or more"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"workers": -1}, "workers 0 or more"),
        ({"edges": {"age": [40]}}, "cut points for 'age', which is not among the groups"),
        ({"groups": ("site", "site")}, "a column twice"),
        ({"resamples": 0}, "resamples must be 1 or more"),
        ({"interval_level": 95}, "level of intervals"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(changes: dict[str, Any], message: str) -> None:
    settings().check()
    with pytest.raises(InputError, match=message):
        settings(**changes).check()


def test_a_side_knows_its_rows(side: Side) -> None:
    assert side.manifest_rows("size") == [i for i in range(16) if i not in (5, 8, 14)]
    assert side.patients("denoising") == [f"{i // 2:03d}" for i in range(16)]


def called(side: Side, data: Path, notes: list[str], split: str | None, **options: Any) -> Any:
    wanted: dict[str, Any] = {"other_data": None, "other_targets": None} | options
    return calibrate("untrained", side.model, data, side.dataset, settings(), split=split, notes=notes, **wanted)


def test_calibration_reads_only_what_the_heads_under_review_need(side: Side, tmp_path: Path) -> None:
    folder = rewrite(write_tiny_data(tmp_path / "data"), put(16, "label", "giant"))
    reviewed = items_of(side.model, folder, settings(), split="train", targets={}, tasks=["disc"])
    found = calibrate("x", side.model, folder, reviewed, settings(), split="validation", other_data=None, other_targets=None, notes=[])
    assert found is not None
    assert set(found.side.rows) == {"disc"}


def test_calibration_on_the_validation_rows(side: Side, tiny_data: Path) -> None:
    notes: list[str] = []
    found = called(side, tiny_data, notes, "validation")
    assert set(found.side.rows) == set(found.temperatures) == {"disc", "size"}, "nothing is calibrated of an image"
    assert found.same_data
    assert found.side.dataset.items[0][1] == 16
    for temperature in found.temperatures.values():
        assert temperature.nll_after <= temperature.nll_before
    assert found.temperatures["size"].n == 4
    assert found.temperature("denoising") is None
    assert not notes


def test_where_nothing_is_calibrated_a_note_says_why(side: Side, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    assert called(side, tiny_data, notes, None) is None
    assert notes.pop() == "no temperature and no conformal sets: calibration was switched off"
    assert called(side, tiny_data, notes, "held-out") is None
    assert notes.pop() == "no temperature and no conformal sets: metadata.csv has no row with split = held-out"
    with pytest.raises(InputError, match="calibrating on 'train', the split under review, would flatter the model"):
        called(side, tiny_data, notes, "train")
    monkeypatch.setattr(side.dataset, "tasks", {"denoising": side.dataset.tasks["denoising"]})
    assert called(side, tiny_data, notes, "validation") is None
    assert not notes


def test_a_second_model_is_measured_on_the_same_rows_with_the_heads_of_both(side: Side, tiny_data: Path) -> None:
    heads: Any = side.model.heads
    notes: list[str] = []
    other = second_side("other", MultiTaskModel(side.model.encoder, {"size": heads["size"]}), tiny_data, side, settings(), notes)
    assert list(other.rows) == ["size"]
    assert other.rows["size"]["index"].tolist() != []
    assert other.manifest_rows("size") == side.manifest_rows("size")
    torch.testing.assert_close(torch.from_numpy(other.rows["size"]["logits"]), torch.from_numpy(side.rows["size"]["logits"]))
    assert [note.partition(":")[0] for note in notes] == ["denoising", "disc"]


def test_models_without_a_common_head_are_refused(side: Side, tiny_data: Path) -> None:
    only = items_of(side.model, tiny_data, settings(), split="test", targets={}, tasks=["size"])
    first = Side("first", side.model, only, {})
    heads: Any = side.model.heads
    other = MultiTaskModel(side.model.encoder, {"denoising": heads["denoising"]})
    with pytest.raises(InputError, match="'other' has none of the heads under review"):
        second_side("other", other, tiny_data, first, settings(), [])


def test_a_model_is_called_by_its_encoder_or_its_folder(untrained: MultiTaskModel, tmp_path: Path) -> None:
    assert open_model(untrained) == (untrained.encoder.arch, untrained)
    untrained.save_pretrained(tmp_path / "model")
    name, opened = open_model(tmp_path / "model")
    assert name == str(tmp_path / "model")
    assert set(opened.heads) == {"denoising", "disc", "size"}
