"""The joint step: one pass, exact sums, the same gradients on one and on two processes."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.conformance import perturb
from tests.tasks.runs import changed, run_config, tiny_model
from tests.tasks.steady_run import apply
from tests.tasks.two_processes import BATCHES, RUNS, curves, results
from umsrep.tasks import pictures
from umsrep.tasks.data.dataset import JointDataset, collate
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.setup import build_sets, build_tasks
from umsrep.tasks.step import JointStep, annotated_rows, joint_outputs
from umsrep.tasks.strategies import Strategy
from umsrep.tasks.task import Task

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["denoising", "disc", "size"]
WEIGHTS = {"denoising": 1.0, "disc": 0.5, "size": 2.0}


@pytest.fixture
def made(tiny_data: Path) -> tuple[MultiTaskModel, JointDataset, dict[str, Task]]:
    config = run_config(tiny_data, Path("unused"))
    model = tiny_model(tiny_data)
    perturb(model)
    train = build_sets(config, model.encoder.contract)[0]
    return model, train, build_tasks(config, train)


def batch_of(data: JointDataset, *rows: int) -> dict[str, Any]:
    batch = collate([data[row] for row in rows])
    assert isinstance(batch, dict)
    return batch


def totals(batch: dict[str, Any]) -> dict[str, float]:
    return dict(zip(NAMES, annotated_rows(batch, NAMES).tolist(), strict=True))


def gradients(step: JointStep, batch: dict[str, Any]) -> dict[str, Tensor]:
    step.zero_grad(set_to_none=True)
    terms, _ = step(batch, totals(batch))
    torch.stack(list(terms.values())).sum().backward()
    return {n: p.grad.clone() for n, p in step.named_parameters() if p.grad is not None}


# ---- one process ---------------------------------------------------------------------------------------------------
def test_clean_images_pass_the_encoder_once(made: Any) -> None:
    model, data, tasks = made
    batch = batch_of(data, 0, 1, 2, 3)
    seen: list[int] = []
    model.encoder.model.conv_stem.register_forward_hook(lambda module, inputs, out: seen.append(len(inputs[0])))
    joint_outputs(model.train(), batch, tasks)
    assert seen == [4, 4], "segmentation and classification together, and the noisy twins"
    seen.clear()
    joint_outputs(model, batch, {n: tasks[n] for n in ("disc", "size")})
    assert seen == [4]


def test_outputs_are_those_of_the_annotated_rows(made: Any) -> None:
    model, data, tasks = made
    model.eval()
    batch = batch_of(data, 14, 0, 2, 5)
    with torch.no_grad():
        outputs = joint_outputs(model, batch, tasks)
        whole = model(batch["image"], ["disc", "size"])
        clean = model(batch["noisy.denoising"], ["denoising"])["denoising"]
    torch.testing.assert_close(outputs["disc"][0], whole["disc"][[1, 3]])
    torch.testing.assert_close(outputs["size"][0], whole["size"][[1, 2]])
    torch.testing.assert_close(outputs["denoising"][0], model.encoder.contract.denormalise(clean))
    assert [n for _, n in outputs.values()] == [None] * 3
    alone = joint_outputs(model, batch_of(data, 14, 2), tasks)
    assert set(alone) == {"denoising", "size"}, "no row, no output"


def test_the_joint_gradient_is_the_weighted_sum_of_the_tasks(made: Any) -> None:
    model, data, tasks = made
    batch = batch_of(data, 0, 1, 2, 5, 14)
    joint = gradients(JointStep(model, tasks, WEIGHTS).eval(), batch)
    total: dict[str, Tensor] = {n: torch.zeros_like(g) for n, g in joint.items()}
    for name in NAMES:
        for key, value in gradients(JointStep(model, {name: tasks[name]}, {name: 1.0}).eval(), batch).items():
            total[key] += WEIGHTS[name] * value
    for key, value in joint.items():
        torch.testing.assert_close(value, total[key], atol=1e-5, rtol=1e-4, msg=key)


def test_the_loss_is_the_mean_over_annotated_rows(made: Any) -> None:
    model, data, tasks = made
    batch = batch_of(data, 0, 1, 2, 5, 14)
    step = JointStep(model, tasks, WEIGHTS).eval()
    terms, losses = step(batch, totals(batch))
    loss = torch.stack(list(terms.values())).sum()
    with torch.no_grad():
        outputs = joint_outputs(model, batch, tasks)
        expected = {n: float(tasks[n].loss(o, batch[f"target.{n}"]).mean()) for n, (o, _) in outputs.items()}
    assert {n: float(v) for n, v in losses.items()} == pytest.approx(expected, rel=1e-5)
    assert float(loss.detach()) == pytest.approx(sum(WEIGHTS[n] * expected[n] for n in NAMES), rel=1e-5)


@pytest.mark.parametrize("rows", [(2, 9), (14, 14), (0, 2), (2, 0), (5, 5)])
def test_every_head_has_a_gradient_and_stand_ins_add_nothing(rows: tuple[int, ...], made: Any) -> None:
    model, data, tasks = made
    batch = batch_of(data, *rows)
    step = JointStep(model, tasks, WEIGHTS).train()
    found = gradients(step, batch)
    assert found.keys() == dict(step.named_parameters()).keys(), "a parameter without gradient hangs a distributed run"
    for name, count in totals(batch).items():
        own = [g for k, g in found.items() if f".heads.{name}." in k]
        assert own
        assert any(bool(g.any()) for g in own) == (count > 0), name
        assert all(bool(torch.isfinite(g).all()) for g in own)


def test_where_denoising_trains_alone_the_norms_follow_the_noisy_images(made: Any) -> None:
    """Else nothing would ever set them: a network from scratch would keep mean 0 and variance 1."""
    model, data, tasks = made
    batch = batch_of(data, 0, 1, 3, 4)
    for frozen in (False, True):
        before = {k: v.clone() for k, v in model.state_dict().items()}
        gradients(JointStep(model, {"denoising": tasks["denoising"]}, WEIGHTS, frozen_norm=frozen).train(), batch)
        moved = changed(before, model.state_dict())
        assert any("decoders" in k and "running_mean" in k for k in moved)
        assert any("encoder" in k and "running_mean" in k for k in moved) != frozen


def test_noisy_images_leave_the_shared_statistics_alone(made: Any) -> None:
    model, data, tasks = made
    model.train()
    batch = batch_of(data, 0, 1, 3, 4)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    joint_outputs(model, batch, {"denoising": tasks["denoising"]})
    assert not changed(before, model.state_dict())
    joint_outputs(model, batch, tasks)
    moved = changed(before, model.state_dict())
    assert any("encoder" in k and "running_mean" in k for k in moved)
    assert any("decoders" in k and "running_mean" in k for k in moved)


def test_frozen_norms_keep_the_stored_statistics(made: Any) -> None:
    model, data, tasks = made
    model.train()
    before = {k: v.clone() for k, v in model.encoder.state_dict().items()}
    joint_outputs(model, batch_of(data, 0, 1, 3, 4), tasks, frozen_norm=True)
    assert not changed(before, model.encoder.state_dict())


def test_uncertainty_is_that_of_the_paper(made: Any) -> None:
    model, data, tasks = made
    step = JointStep(model, tasks, WEIGHTS, uncertainty=True).eval()
    with torch.no_grad():
        for number, name in enumerate(NAMES):
            step.log_variances[name].fill_(0.5 * number - 0.3)
    batch = batch_of(data, 0, 1, 3, 4)
    terms, losses = step(batch, totals(batch))
    loss = torch.stack(list(terms.values())).sum()
    s = {n: float(step.log_variances[n].detach()) for n in NAMES}
    assert float(loss.detach()) == pytest.approx(sum(math.exp(-s[n]) * float(losses[n]) + s[n] / 2 for n in NAMES), rel=1e-5)
    loss.backward()
    for name in NAMES:
        gradient = step.log_variances[name].grad
        assert gradient is not None
        assert float(gradient) == pytest.approx(-math.exp(-s[name]) * float(losses[name]) + 0.5, abs=1e-5)


def test_uncertainty_of_an_absent_task_stays(made: Any) -> None:
    model, data, tasks = made
    step = JointStep(model, tasks, WEIGHTS, uncertainty=True).eval()
    found = gradients(step, batch_of(data, 2, 9, 14))
    assert float(found["log_variances.disc"]) == 0
    assert float(found["log_variances.size"]) != 0


def test_annotated_rows_counts(made: Any) -> None:
    _, data, _ = made
    counts = annotated_rows(batch_of(data, 0, 2, 5, 14), NAMES)
    assert counts.tolist() == [4, 2, 2]
    assert counts.dtype == torch.float64


# ---- two processes -------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two") / "result"


@pytest.fixture(scope="module")
def both(tiny_data: Path, out: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The results of one process, and those of each of two."""
    command = [sys.executable, "-m", "tests.tasks.two_processes", str(tiny_data), str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    torch.manual_seed(0)
    return results(tiny_data), [torch.load(f"{out}.{rank}", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", BATCHES)
def test_two_processes_give_the_gradients_of_one(name: str, both: Any) -> None:
    one, two = both
    for rank in two:
        assert rank["losses"][name] == pytest.approx(one["losses"][name], abs=1e-5)
        assert rank["gradients"][name].keys() == one["gradients"][name].keys()
        for key, gradient in one["gradients"][name].items():
            other = rank["gradients"][name][key]
            assert float((other - gradient).abs().max()) <= 1e-5 * max(1.0, float(gradient.abs().max())), key
    assert any(float(g.abs().max()) > 1e-3 for g in one["gradients"][name].values()), "not all zero"


def test_two_processes_give_the_metrics_of_one(both: Any) -> None:
    one, two = both
    assert one["metrics"]["denoising"]["n"] == 4
    for rank in two:
        assert rank["metrics"].keys() == one["metrics"].keys()
        for name, metrics in one["metrics"].items():
            assert rank["metrics"][name] == pytest.approx(metrics, abs=1e-5, nan_ok=True)


def test_two_processes_have_the_curves_of_one(
    both: Any, out: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole runs; the second steps of an epoch would fail where a process waits for gradients that do not come."""
    monkeypatch.setattr(Strategy, "apply", apply)
    for name in ("draw_samples", "draw_curves"):
        monkeypatch.setattr(pictures, name, lambda *_: None)
    curves(tiny_data, tmp_path)
    for name in RUNS:
        one, two = (
            [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]
            for folder in (tmp_path, Path(f"{out}.runs"))
        )
        assert [entry["step"] for entry in one] == [2, 4]
        for first, second in zip(one, two, strict=True):
            assert second["train"] == pytest.approx(first["train"], abs=1e-5)
            assert second["score"] == pytest.approx(first["score"], abs=1e-5)
        assert one[1]["train"]["denoising"] != one[0]["train"]["denoising"]


def test_parameters_cover_all_modules(made: Any) -> None:
    model, _, tasks = made
    names = {n.removeprefix("model.") for n, _ in JointStep(model, tasks, WEIGHTS).named_parameters()}
    assert names == {n for n, _ in model.named_parameters()}
    assert isinstance(model, nn.Module)
