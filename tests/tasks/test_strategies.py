"""Which parts train when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from tests.tasks.runs import run_config, tiny_model
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.strategies import HEADS_FIRST, Strategy, stages_of


def strategy(data: Path, model: MultiTaskModel, *, steps: int = 10, **changes: Any) -> Strategy:
    return Strategy(run_config(data, Path("unused"), **changes), model, steps)


def trains(module: nn.Module) -> bool | None:
    """True or False where parameters and modes agree, None where they are mixed."""
    states = {p.requires_grad for p in module.parameters()} | {m.training for m in module.modules() if not list(m.children())}
    return states.pop() if len(states) == 1 else None


def parts(model: MultiTaskModel) -> dict[str, bool | None]:
    return {"encoder": trains(model.encoder), "decoder": trains(model.decoders["unet"]), **{n: trains(h) for n, h in model.heads.items()}}


def every(value: bool, **others: bool) -> dict[str, bool]:
    return dict.fromkeys(("encoder", "decoder", "denoising", "disc", "size"), value) | others


def test_full(tiny_data: Path) -> None:
    model = tiny_model(tiny_data)
    plan = strategy(tiny_data, model)
    plan.apply(0, model)
    assert parts(model) == every(True)
    assert not any(plan.changes(step) for step in range(12))


def test_frozen(tiny_data: Path) -> None:
    model = tiny_model(tiny_data)
    plan = strategy(tiny_data, model, strategy="frozen")
    for step in (0, 5, 9):
        plan.apply(step, model)
        assert parts(model) == every(True, encoder=False)
    assert not any(plan.changes(step) for step in range(11))


def test_heads_then_all(tiny_data: Path) -> None:
    model = tiny_model(tiny_data)
    plan = strategy(tiny_data, model, steps=20, strategy="heads-then-all")
    assert HEADS_FIRST == 0.2
    plan.apply(3, model)
    assert parts(model) == every(True, encoder=False)
    assert [step for step in range(21) if plan.changes(step)] == [4]
    plan.apply(4, model)
    assert parts(model) == every(True)


@pytest.mark.parametrize("name", ["full", "frozen", "heads-then-all"])
def test_heads_alone(name: str, tiny_data: Path) -> None:
    model = tiny_model(tiny_data)
    plan = strategy(tiny_data, model, strategy=name, train_heads=["size"])
    for step in (0, 9):
        plan.apply(step, model)
        assert parts(model) == every(False, size=True)


def test_heads_that_are_no_task_stay(tiny_data: Path) -> None:
    model = tiny_model(tiny_data)
    config = run_config(tiny_data, Path("unused"))
    tasks = {"size": config.tasks["size"]}
    plan = Strategy(
        run_config(tiny_data, Path("unused"), tasks={"size": {"kind": "classification", "classes": ["small", "large"]}}), model, 10
    )
    assert list(tasks) == plan.tasks
    plan.apply(0, model)
    assert parts(model) == every(False, size=True, encoder=True), "the decoder serves no task of this run"


def training_stages(plan: Strategy, model: MultiTaskModel) -> list[bool | None]:
    parameters = dict(model.encoder.model.named_parameters())
    states = [{parameters[n].requires_grad for n in names} for names in plan.stages]
    return [s.pop() if len(s) == 1 else None for s in states]


@pytest.mark.parametrize("count", [1, 2, 99])
def test_partial_trains_the_last_stages(count: int, tiny_data: Path) -> None:
    model = tiny_model(tiny_data)
    plan = strategy(tiny_data, model, strategy="partial", trainable_stages=count)
    plan.apply(0, model)
    stages = len(plan.stages)
    assert training_stages(plan, model) == [k >= stages - count for k in range(stages)]
    assert not any(plan.changes(step) for step in range(12))
    stem, last = model.encoder.model.get_submodule("bn1"), model.encoder.model.get_submodule("blocks.4")
    assert last.training
    assert stem.training == (count == 99), "statistics of a frozen stage do not move"
    assert parts(model) | {"encoder": None} == every(True) | {"encoder": None}


def test_gradual_unfreezes_from_the_last_stage(tiny_data: Path) -> None:
    model = tiny_model(tiny_data)
    plan = strategy(tiny_data, model, steps=100, strategy="gradual")
    stages = len(plan.stages)
    starts = [step for step in range(101) if plan.changes(step)]
    assert len(starts) == stages
    assert (starts[0], starts[-1]) == (20, 50)
    for count, step in enumerate([0, *starts]):
        plan.apply(step, model)
        assert training_stages(plan, model) == [k >= stages - count for k in range(stages)]
    assert parts(model) == every(True)


def test_stages_hold_every_parameter_once(tiny_data: Path) -> None:
    backbone = tiny_model(tiny_data).encoder.model
    for coarse in (True, False):
        names = [n for stage in stages_of(backbone, coarse=coarse) for n in stage]
        assert sorted(names) == sorted(n for n, _ in backbone.named_parameters())
    assert stages_of(backbone, coarse=True)[0][0].startswith("conv_stem")
