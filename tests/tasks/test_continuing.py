"""What may change when a run goes on, and what must not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.tasks.runs import run_config
from umsrep.errors import InputError
from umsrep.tasks.continuing import batches_done, check_same, fixed, kept

BEGAN = run_config(Path("data"), Path("run"), batch_size=8, optimiser={"accumulate": 2})


def resume(**changes: Any) -> None:
    values = {"batch_size": 8, "optimiser": {"accumulate": 2}, **changes}
    check_same(fixed(BEGAN), fixed(run_config(values.pop("data", Path("data")), Path("run"), **values)), Path("run"))


@pytest.mark.parametrize(
    "changes",
    [
        {"timeout_minutes": 3, "workers": 4, "epochs": 9, "prefetch": 5},
        {"gradient_checkpointing": True},
        {"batch_size": 4, "optimiser": {"accumulate": 4}},
        {"batch_size": 16, "optimiser": {"accumulate": 1}},
        {"data": [{"path": "elsewhere"}], "early_stopping": {"patience": 3}},
    ],
)
def test_where_how_long_and_how_it_is_computed_may_change(changes: dict[str, Any]) -> None:
    resume(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 4}, r"batch_size x optimiser\.accumulate = 16, not 8"),
        ({"seed": 3}, "seed = 0, not 3"),
        ({"precision": "bf16"}, "precision = no, not bf16"),
        ({"augment_on_device": True}, "augment_on_device = auto, not True"),
        ({"augment": {"rotate": 1}}, r"augment\.rotate = 10\.0, not 1\.0"),
        ({"data": [{"path": "data", "fraction": 0.5}]}, r"data\.0\.fraction = 1\.0, not 0\.5"),
        ({"data": [{"path": "data", "targets": {"size": {"column": "site"}}}]}, r"data\.0\.targets\.size\.column = None, not site"),
        ({"early_stopping": {"metric": "disc/dice"}}, r"early_stopping\.metric = mean, not disc/dice"),
    ],
)
def test_the_rest_must_be_kept(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"the run began with {message}; go on with its config.yaml"):
        resume(**changes)


def test_a_key_that_the_run_did_not_know_yet_has_its_default() -> None:
    older = {k: v for k, v in fixed(BEGAN).items() if k != "augment_on_device"}
    check_same(older, fixed(BEGAN), Path("run"))
    older = {k: v for k, v in fixed(BEGAN).items() if k not in ("augment_on_device", "size_factors")}
    check_same(older, fixed(BEGAN), Path("run"))
    with pytest.raises(InputError, match="augment_on_device = None, not True"):
        check_same(older, fixed(dataclasses.replace(BEGAN, augment_on_device=True)), Path("run"))


def test_checkpoints_of_before_told_nothing_of_data() -> None:
    older = {k: v for k, v in fixed(BEGAN).items() if not k.startswith(("data.", "early_stopping."))}
    check_same(older, fixed(dataclasses.replace(BEGAN, epochs=9)), Path("run"))


def test_batches_are_counted_in_todays_size() -> None:
    assert batches_done(6, fixed(BEGAN), dataclasses.replace(BEGAN, batch_size=4)) == 12
    assert batches_done(6, fixed(BEGAN), BEGAN) == 6


def test_the_newest_checkpoint_is_named(tmp_path: Path) -> None:
    assert "no checkpoint was written yet" in kept(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    for step in (7, 12):
        (tmp_path / "checkpoints" / f"step-{step:09d}.pt").touch()
    assert kept(tmp_path) == f"step-000000012.pt is kept in {tmp_path}, --resume goes on from there"
