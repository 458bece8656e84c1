"""Gradients of the tasks: measured, and projected where they conflict."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.tasks.runs import run_config, tiny_model
from umsrep.tasks.balancing import Balancer, project_conflicts
from umsrep.tasks.data.dataset import collate
from umsrep.tasks.setup import build_sets, build_tasks
from umsrep.tasks.step import JointStep, annotated_rows


def order(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_two_conflicting_gradients_by_hand() -> None:
    """(1, 0) and (-1, 1): each loses its part along the other, (1/2, 1/2) and (0, 1)."""
    result = project_conflicts([torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])], order())
    torch.testing.assert_close(result, torch.tensor([0.5, 1.5]))


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 5), st.integers(1, 12), st.integers(0, 10**6))
def test_projection_properties(tasks: int, size: int, seed: int) -> None:
    vectors = list(torch.randn(tasks, size, generator=order(seed), dtype=torch.float64))
    before = [v.clone() for v in vectors]
    result = project_conflicts(vectors, order(seed))
    assert all(torch.equal(a, b) for a, b in zip(before, vectors, strict=True)), "inputs stay"
    if all(float(a @ b) >= 0 for a, b in itertools.combinations(vectors, 2)):
        torch.testing.assert_close(result, torch.stack(vectors).sum(0))
    if tasks == 2:
        assert all(float(result @ v) >= -1e-9 for v in vectors), "with two tasks the step hurts neither to first order"


@pytest.fixture
def made(tiny_data: Path) -> Any:
    """A joint step, its terms on one batch, and the gradients of the plain sum."""
    config = run_config(tiny_data, Path("unused"))
    model = tiny_model(tiny_data)
    train, _, _ = build_sets(config, model.encoder.contract)
    tasks = build_tasks(config, train)
    step = JointStep(model, tasks, {"denoising": 3.0, "disc": 0.5, "size": 2.0}).eval()
    batch = collate([train[row] for row in (0, 1, 3, 4)])
    assert isinstance(batch, dict)
    names = list(tasks)
    totals = dict(zip(names, annotated_rows(batch, names).tolist(), strict=True))

    def terms() -> dict[str, Tensor]:
        result: dict[str, Tensor] = step(batch, totals)[0]
        return result

    return step, terms


def grads(step: JointStep) -> dict[str, Tensor]:
    found = {n: p.grad.clone() for n, p in step.named_parameters() if p.grad is not None}
    step.zero_grad(set_to_none=True)
    return found


def test_without_projection_it_is_the_plain_gradient(made: Any) -> None:
    step, terms = made
    sum(terms().values()).backward()
    plain = grads(step)
    Balancer(Accelerator(), step, project=False, seed=0).backward(terms(), 0)
    for name, value in grads(step).items():
        torch.testing.assert_close(value, plain[name], msg=name)


def test_projection_touches_shared_weights_alone(made: Any) -> None:
    step, terms = made
    sum(terms().values()).backward()
    plain = grads(step)
    balancer = Balancer(Accelerator(), step, project=True, seed=0)
    balancer.backward(terms(), 0)
    projected = grads(step)
    assert projected.keys() == plain.keys()
    for name, value in projected.items():
        if ".heads." in name:
            torch.testing.assert_close(value, plain[name], msg=name)
    shared = [n for n in plain if ".heads." not in n]
    each = []
    for task in terms():
        step.zero_grad(set_to_none=True)
        terms()[task].backward()
        own = grads(step)
        each.append(torch.cat([own[n].flatten() if n in own else torch.zeros_like(plain[n]).flatten() for n in shared]))
    conflicts = [float(a @ b) < 0 for a, b in itertools.combinations(each, 2)]
    differs = any(not torch.allclose(projected[n], plain[n], atol=1e-7) for n in shared)
    assert differs == any(conflicts)
    balancer.backward(terms(), 0)
    balancer.backward(terms(), 0)
    for name, value in grads(step).items():
        torch.testing.assert_close(value, 2 * projected[name], atol=1e-6, rtol=1e-4, msg="gradients of batches add up")


def test_norms_and_cosines(made: Any) -> None:
    step, terms = made
    found = Balancer(Accelerator(), step, project=False, seed=0).compare(terms())
    parameters = list(step.model.encoder.parameters())
    flat = {}
    for name in terms():
        parts = torch.autograd.grad(terms()[name], parameters, allow_unused=True)
        flat[name] = torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(parameters, parts, strict=True)])
    for name, gradient in flat.items():
        assert found[f"norm/{name}"] == pytest.approx(float(gradient.norm()), rel=1e-4)
    for one, two in itertools.combinations(flat, 2):
        cosine = torch.nn.functional.cosine_similarity(flat[one], flat[two], dim=0)
        assert found[f"cosine/{one}|{two}"] == pytest.approx(float(cosine), abs=1e-4)
    assert len(found) == 3 + 3


def test_a_frozen_encoder_has_nothing_to_compare(made: Any) -> None:
    step, terms = made
    step.model.encoder.freeze()
    assert Balancer(Accelerator(), step, project=False, seed=0).compare(terms()) == {}


def test_a_task_without_rows_has_no_direction(made: Any) -> None:
    step, terms = made
    values = terms()
    values["size"] = values["size"] * 0
    found = Balancer(Accelerator(), step, project=False, seed=0).compare(values)
    assert found["norm/size"] == 0
    assert found["cosine/disc|size"] == 0
    assert not any(math.isnan(v) for v in found.values())
