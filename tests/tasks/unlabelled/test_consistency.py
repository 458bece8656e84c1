"""The consistency loss: zero where student and teacher agree, masks, ramp, alignment."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from umsrep.tasks.classification import Classification
from umsrep.tasks.config_unlabelled import UnlabelledConfig
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.task import Task
from umsrep.tasks.unlabelled.consistency import CONFIDENT, CONSISTENCY, Consistency

ONE = Classification(["a", "b", "c"])
SEVERAL = Classification(["a", "b"], multi_label=True)
MASKS = Segmentation(["background", "disc"])
BINARY = Segmentation(["disc"])


def made(task: Task, *, rows: int = 4, prior: Tensor | None = None, **settings: Any) -> Consistency:
    loss = Consistency(UnlabelledConfig(ramp_up=0.0, **settings), {"x": task}, {"x": 2.0}, rows, {} if prior is None else {"x": prior})
    loss.progress = 0.5
    return loss


def value(loss: Consistency, output: Tensor, answer: Tensor, **batch: Tensor) -> tuple[float, dict[str, Tensor]]:
    batch = {"extra": torch.zeros(len(output), 1, 4, 4), "extra_inside": torch.ones(len(output), 4, 4, dtype=torch.bool)} | batch
    term, losses = loss({"x": output}, None, {**batch, "teacher.x": answer}, 1)
    return float(term.detach()), losses


@pytest.mark.parametrize("kind", ["kl", "mse"])
@pytest.mark.parametrize(
    ("task", "shape"),
    [(ONE, (4, 3)), (SEVERAL, (4, 2)), (MASKS, (4, 2, 4, 4)), (BINARY, (4, 1, 4, 4))],
    ids=["one", "several", "masks", "binary"],
)
def test_it_is_zero_exactly_where_both_agree(kind: Any, task: Task, shape: tuple[int, ...]) -> None:
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 2
    same = logits.softmax(1) if task in (ONE, MASKS) else logits.sigmoid()
    term, losses = value(made(task, loss=kind), logits, same)
    assert abs(term) < 1e-6
    other, _ = value(made(task, loss=kind), logits + torch.tensor([1.0, -1.0, 0.0])[: shape[1]].reshape(-1, *[1] * (len(shape) - 2)), same)
    assert other > 0.01
    assert float(losses[CONSISTENCY]) == pytest.approx(term, abs=1e-6)


def test_known_values() -> None:
    """KL of (1/2, 1/4, 1/4) from uniform is ln 3 - 1.5 ln 2; the mean square over three classes is 1/72; times the task's weight 2."""
    answer = torch.tensor([[0.5, 0.25, 0.25]]).expand(4, 3)
    assert value(made(ONE), torch.zeros(4, 3), answer)[0] == pytest.approx(2 * (math.log(3) - 1.5 * math.log(2)), rel=1e-5)
    squares = ((1 / 6) ** 2 + 2 * (1 / 12) ** 2) / 3
    assert value(made(ONE, loss="mse", weight=3.0), torch.zeros(4, 3), answer)[0] == pytest.approx(6 * squares, rel=1e-5)


def test_a_certain_teacher_gives_finite_gradients() -> None:
    for task, answer in ((ONE, torch.eye(3)), (SEVERAL, torch.tensor([[0.0, 1.0], [1.0, 1.0]]))):
        output = torch.full_like(answer, 50.0).requires_grad_()
        term, _ = made(task)({"x": output}, None, {"extra": torch.zeros(len(answer), 1), "teacher.x": answer}, 1)
        term.backward()
        assert output.grad is not None
        assert bool(torch.isfinite(output.grad).all() and torch.isfinite(term))


def test_rows_below_the_threshold_count_as_zero() -> None:
    answer = torch.tensor([[0.9, 0.05, 0.05], [0.4, 0.3, 0.3]])
    sure, losses = value(made(ONE, rows=2, threshold=0.8), torch.zeros(2, 3), answer)
    alone, _ = value(made(ONE, rows=2), torch.zeros(1, 3), answer[:1])
    assert sure == pytest.approx(alone)
    assert float(losses[CONFIDENT]) == 0.5
    label_by_label = torch.tensor([[0.99, 0.5]])
    _, losses = value(made(SEVERAL, rows=1, threshold=0.9), torch.zeros(1, 2), label_by_label)
    assert float(losses[CONFIDENT]) == 0.5, "a label that is surely absent is sure too, 0.5 is not"


def test_pixels_from_outside_do_not_count() -> None:
    answer = torch.zeros(1, 2, 4, 4)
    answer[:, 0] = 1
    inside = torch.ones(1, 4, 4, dtype=torch.bool)
    inside[:, :, :2] = False
    output = torch.zeros(1, 2, 4, 4)
    whole, _ = value(made(MASKS, rows=1), output, answer)
    changed = output.clone()
    changed[..., :2] = torch.tensor([-9.0, 9.0]).reshape(1, 2, 1, 1)
    assert value(made(MASKS, rows=1), changed, answer, extra_inside=inside)[0] == pytest.approx(whole)
    assert value(made(MASKS, rows=1), changed, answer)[0] > whole + 1


def test_pairs_have_squares_and_two_versions_the_tasks_loss() -> None:
    """The mean of many noisy targets is what least squares tend to; least absolute values would tend to their median."""
    output, answer = torch.full((2, 1, 4, 4), 0.5), torch.full((2, 1, 4, 4), 0.1)
    paired = torch.tensor([True, False])
    term, _ = value(made(Denoising(loss="l1"), rows=2), output, answer, **{"extra_paired/x": paired})
    assert term == pytest.approx(2 * (0.16 + 0.4) / 2, rel=1e-5)


def test_the_ramp_is_that_of_the_paper() -> None:
    loss = Consistency(UnlabelledConfig(ramp_up=0.4), {}, {}, 1, {})
    for progress, factor in ((0.0, math.exp(-5)), (0.2, math.exp(-1.25)), (0.4, 1.0), (1.0, 1.0)):
        loss.progress = progress
        assert loss.ramp == pytest.approx(factor)


@pytest.mark.parametrize(("task", "prior"), [(ONE, (0.2, 0.3, 0.5)), (SEVERAL, (0.1, 0.6))])
def test_aligned_predictions_have_the_labelled_shares(task: Task, prior: tuple[float, ...]) -> None:
    """A teacher that answers the same for all images tells nothing: alignment makes that the prior."""
    shares = torch.tensor(prior)
    loss = made(task, prior=shares, align=True)
    answers = torch.tensor([[0.7, 0.2, 0.1], [0.8, 0.3]][task is SEVERAL]).expand(5, -1)
    accelerator = Accelerator()
    for _ in range(3):
        torch.testing.assert_close(loss._align("x", answers, accelerator), shares.expand(5, -1))
    assert "mean_x" in loss.state_dict(), "a checkpoint holds it"
    mixed = torch.rand(64, len(prior), generator=torch.Generator().manual_seed(1))
    mixed = mixed / mixed.sum(1, keepdim=True) if task is ONE else mixed
    aligned = made(task, prior=shares, align=True)._align("x", mixed, accelerator)
    assert float((aligned.mean(0) - shares).abs().max()) < 0.5 * float((mixed.mean(0) - shares).abs().max())
