"""The schedule, the groups, clipping and the state of the optimiser."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.tasks.runs import run_config
from umsrep.tasks.config import OptimiserConfig
from umsrep.tasks.optimisation import Optimisation
from umsrep.tasks.trainer import Trainer


def test_warm_up_and_cosine() -> None:
    config = OptimiserConfig(warmup=0.1, final_fraction=0.1)
    rates = [Optimisation(config, nn.Linear(2, 2), 100).factor(s) for s in range(101)]
    assert rates[:10] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert rates[10] == pytest.approx(1)
    assert rates[55] == pytest.approx(0.1 + 0.9 / 2)
    assert rates[100] == pytest.approx(0.1)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


def test_groups_of_a_run(tiny_data: Path, tmp_path: Path) -> None:
    optimiser = {"learning_rate": 1.0, "encoder_factor": 0.25, "weight_decay": 0.3}
    trainer = Trainer(run_config(tiny_data, tmp_path / "run", optimiser=optimiser))
    names = {id(p): n for n, p in trainer.step_module.named_parameters()}
    seen = set()
    for group in trainer.optimisation.optimiser.param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            seen.add(name)
            assert group["peak"] == (0.25 if name.startswith("model.encoder.") else 1.0)
            assert group["weight_decay"] == (0.3 if parameter.ndim > 1 else 0.0), "no decay on biases and norms"
    assert seen == set(names.values())


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_step_clips_and_clears(clip: float) -> None:
    """AdamW's first step is the rate times the sign of the gradient, so look at its first moment: (1 - 0.9) times the clipped one."""
    module = nn.Linear(3, 1, bias=False)
    optimisation = Optimisation(OptimiserConfig(learning_rate=0.5, warmup=0.0, clip_norm=clip), module, 10)
    module.weight.grad = torch.tensor([[3.0, 0.0, 4.0]])
    optimisation.step(0)
    assert module.weight.grad is None
    moment = optimisation.optimiser.state[module.weight]["exp_avg"]
    scale = 1 / 5 if clip else 1.0
    torch.testing.assert_close(moment, 0.1 * scale * torch.tensor([[3.0, 0.0, 4.0]]))
    assert optimisation.optimiser.param_groups[0]["lr"] == pytest.approx(0.5)


def test_scaled_gradients_are_clipped_at_their_true_norm_and_the_scale_is_saved() -> None:
    module = nn.Linear(2, 1, bias=False)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1)
    optimisation = Optimisation(OptimiserConfig(warmup=0.0, clip_norm=10.0), module, 10, scaler)
    scaler.scale(module(torch.tensor([[3.0, 4.0]]))).sum().backward()  # true norm 5: must not be clipped
    assert module.weight.grad is not None
    assert module.weight.grad.tolist() == [[12.0, 16.0]]
    assert optimisation.step(0)
    torch.testing.assert_close(optimisation.optimiser.state[module.weight]["exp_avg"], 0.1 * torch.tensor([[3.0, 4.0]]))
    other = Optimisation(OptimiserConfig(), nn.Linear(2, 1, bias=False), 10, torch.amp.GradScaler("cpu"))
    other.load_state_dict(optimisation.state_dict())
    assert other.scaler.get_scale() == 8.0


def test_a_skipped_step_changes_nothing_and_does_not_advance_the_schedule() -> None:
    module = nn.Linear(2, 1, bias=False)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    optimisation = Optimisation(OptimiserConfig(learning_rate=1.0, warmup=0.5), module, 8, scaler)
    before = module.weight.detach().clone()
    scaler.scale(module(torch.tensor([[1e36, 1.0]]))).sum().backward()  # beyond float32 at this scale
    assert not optimisation.step(0)
    assert torch.equal(module.weight.detach(), before)
    assert (optimisation.skipped, scaler.get_scale()) == (1, 2.0**15)
    scaler.scale(module(torch.ones(1, 2))).sum().backward()
    assert optimisation.step(1)
    assert optimisation.optimiser.param_groups[0]["lr"] == optimisation.factor(0), "the first step of the warm-up"
    other = Optimisation(OptimiserConfig(), nn.Linear(2, 1, bias=False), 8, torch.amp.GradScaler("cpu"))
    other.load_state_dict(optimisation.state_dict())
    assert other.skipped == 1
    assert not math.isnan(other.optimiser.param_groups[0]["lr"])
