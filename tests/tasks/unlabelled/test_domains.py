"""Losses on the features of two domains, as a step has them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from umsrep.tasks.adapt import deep_coral_loss, mmd_loss
from umsrep.tasks.config_unlabelled import AdaptConfig
from umsrep.tasks.unlabelled.domains import DomainLoss


def features(shift: float = 1.0) -> Tensor:
    own = torch.randn(14, 5, generator=torch.Generator().manual_seed(0))
    return torch.cat([own[:8], own[8:] * 2 + shift]).requires_grad_()


def run(loss: DomainLoss, x: Tensor, world_size: int = 1) -> tuple[Tensor, dict[str, Tensor]]:
    term, losses = loss({}, x, {"image": torch.zeros(8, 1)}, world_size)
    return term, losses


def made(method: Any, **settings: Any) -> DomainLoss:
    torch.manual_seed(0)
    return DomainLoss(AdaptConfig("target", method=method, **settings), 5)


@pytest.mark.parametrize("method", ["coral", "mmd"])
def test_it_is_the_distance_of_the_labelled_rows_from_the_others(method: str) -> None:
    x = features()
    expected = {"coral": deep_coral_loss, "mmd": mmd_loss}[method](x[:8], x[8:])
    term, losses = run(made(method, weight=3.0), x)
    assert float(term.detach()) == pytest.approx(3 * float(expected.detach()))
    assert float(losses[f"adapt/{method}"]) == pytest.approx(float(expected.detach()))


@pytest.mark.parametrize("method", ["coral", "mmd"])
def test_steps_down_its_gradient_bring_the_domains_together(method: str) -> None:
    x = features().detach().requires_grad_()
    loss = made(method)
    optimiser = torch.optim.Adam([x], 0.05)
    values = []
    for _ in range(60):
        optimiser.zero_grad()
        term, _ = run(loss, x)
        term.backward()
        optimiser.step()
        values.append(float(term.detach()))
    assert values[-1] < 0.3 * values[0]


def test_dann_trains_the_discriminator_one_way_and_the_features_the_other() -> None:
    x, loss = features(3.0), made("dann")
    loss.progress = 1.0
    term, _ = run(loss, x)
    term.backward()
    assert x.grad is not None
    with torch.no_grad():
        before = float(term)
        x -= 0.5 * x.grad  # what a step does to features: the discriminator gets worse
        assert float(run(loss, x)[0]) > before
        x += 0.5 * x.grad
        for parameter in loss.discriminator.parameters():
            assert parameter.grad is not None
            parameter.sub_(0.05 * parameter.grad)
        assert float(run(loss, x)[0]) < before
    for progress, factor in ((0.0, 0.0), (0.1, 2 / (1 + math.exp(-1)) - 1)):
        x.grad = None
        loss.progress = progress
        run(loss, x)[0].backward()
        assert loss.reversal.weight == pytest.approx(factor)
        assert bool(x.grad is not None and x.grad.any()) == (factor > 0), "lambda 0 leaves the features alone"
