"""The compiled step: the same numbers, names and files, one compilation for all numbers of rows, and a clear error without a compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from tests.tasks.runs import run_config, run_values, tiny_model
from umsrep.tasks.compiling import compile_step, mark_rows
from umsrep.tasks.data.dataset import collate
from umsrep.tasks.setup import build_sets, build_tasks
from umsrep.tasks.step import JointStep, annotated_rows

ROOT = Path(__file__).resolve().parents[2]
FULL = (0, 1, 3, 4, 6, 7, 10, 11)
PARTS = ((0, 2, 1, 9, 3, 14, 4, 7), (0, 5, 1, 8, 3, 14, 6, 4), (0, 2, 1, 4, 3, 14, 4, 7))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_numbers_of_rows_are_compiled_once_for_all(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, compile=torch.compile: compile(function, backend="aot_eager"))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    config, steps = run_config(tiny_data, Path("unused")), []
    for _ in range(2):
        model = tiny_model(tiny_data)
        train = build_sets(config, model.encoder.contract)[0]
        tasks = build_tasks(config, train)
        steps.append(JointStep(model, tasks, dict.fromkeys(tasks, 1.0), frozen_norm=True).train())
        for part in steps[-1].modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0
    plain, compiled = steps
    compile_step(compiled)
    assert list(plain.state_dict()) == list(compiled.state_dict())
    for number, rows in enumerate((FULL, *PARTS)):
        batch = collate([train[row] for row in rows])
        assert isinstance(batch, dict)
        mark_rows(batch)
        totals = dict(zip(tasks, annotated_rows(batch, list(tasks)).tolist(), strict=True))
        values = []
        for step in (plain, compiled):
            terms, _ = step(batch, totals)
            total = torch.stack(list(terms.values())).sum()
            total.backward()
            values.append(float(total.detach()))
        assert values[0] == pytest.approx(values[1], rel=1e-5)
        if number == 1:
            graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs, "other numbers of rows, the same graph"
    assert not torch._dynamo.utils.counters["graph_break"]
    for (name, one), other in zip(plain.named_parameters(), compiled.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None and other.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, atol=1e-4, rtol=1e-3, msg=name)


def finetune(data: Path, folder: Path, environment: dict[str, str], **changes: Any) -> subprocess.CompletedProcess[str]:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(run_values(data, folder / "run", compile=True, epochs=1, **changes)))
    program = f"""
        import sys, torch
        torch.set_num_threads(1)
        from umsrep.tasks import pictures
        from umsrep.tasks.cli import main
        pictures.draw_samples = pictures.draw_curves = lambda *_: None
        sys.exit(main(["finetune", "--config", {str(path)!r}]))
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


@pytest.mark.slow
def test_a_compiled_run_leaves_an_ordinary_model(tiny_data: Path, tmp_path: Path) -> None:
    if not shutil.which("g++"):
        pytest.skip("needs a C++ compiler")
    from umsrep.tasks.checkpoint import load
    from umsrep.tasks.model import MultiTaskModel

    done = finetune(tiny_data, tmp_path, {}, strategy="heads-then-all", gradients_every=1)
    assert done.returncode == 0, done.stderr[-3000:]
    assert MultiTaskModel.from_pretrained(tmp_path / "run" / "model").heads
    state = load(tmp_path / "run")
    assert state is not None
    assert not [name for name in state["module"] if "_orig_mod" in name]


@pytest.mark.slow
def test_a_missing_compiler_is_one_line(tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    nothing = {"PATH": str(tmp_path / "empty"), "CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = finetune(tiny_data, tmp_path, nothing)
    assert done.returncode == 2, done.stderr[-3000:]
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("umsrep: ")]
    assert "compile: torch.compile failed" in line
    assert "needs a C++ compiler" in line
    assert "set compile to false" in line
