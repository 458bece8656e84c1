"""Losses on unlabelled rows do not depend on the number of processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tasks.steady_run import apply
from tests.tasks.unlabelled.two_processes import RUNS, curves
from umsrep.tasks import pictures
from umsrep.tasks.strategies import Strategy

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_two_processes_have_the_curves_of_one(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "tests.tasks.unlabelled.two_processes", str(tiny_data), str(tmp_path / "two")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    monkeypatch.setattr(Strategy, "apply", apply)
    for name in ("draw_samples", "draw_curves"):
        monkeypatch.setattr(pictures, name, lambda *_: None)
    curves(tiny_data, tmp_path / "one")
    for name in RUNS:
        files = [tmp_path / folder / name / "metrics.jsonl" for folder in ("one", "two")]
        one, two = ([json.loads(line) for line in file.read_text().splitlines()] for file in files)
        assert len(one) == len(two) == 2
        for first, second in zip(one, two, strict=True):
            assert second["train"] == pytest.approx(first["train"], abs=2e-5, rel=1e-4), name
            assert second["score"] == pytest.approx(first["score"], abs=1e-5), name
        assert all(one[1]["train"][key] != one[0]["train"][key] for key in one[0]["train"] if key != "unlabelled/confident")
