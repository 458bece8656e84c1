"""Pretraining runs: they learn, stop, resume exactly, and agree on one and two processes."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from tests.tasks.runs import ARCH, put, rewrite
from tests.tiny import write_tiny_data
from umsrep.errors import InputError
from umsrep.tasks import checkpoint
from umsrep.tasks.interruption import Interrupted
from umsrep.tasks.optimisation import Optimisation
from umsrep.tasks.pretrain.config import PretrainConfig
from umsrep.tasks.pretrain.config_file import pretrain_config_from_dict
from umsrep.tasks.pretrain.loop import pretrain
from umsrep.zoo import Encoder

ROOT = Path(__file__).resolve().parents[3]
SMALL: dict[str, dict[str, Any]] = {
    "denoising": {},
    "masked": {},
    "moco": {"queue": 24, "hidden": 16, "dim": 8},
    "dino": {"outputs": 32, "hidden": 16, "bottleneck": 8, "local_crops": 1, "local_size": 32},
}


def config(method: str, folder: Path, output: Path, **changes: Any) -> PretrainConfig:
    """Sixteen images of 32 px in four steps of two epochs."""
    if method in ("moco", "dino"):
        pytest.importorskip("lightly")
    base: dict[str, Any] = {
        "method": method,
        method: SMALL[method],
        "output": str(output),
        "encoder": {"arch": ARCH},
        "data": [{"path": str(folder)}],
        "image_size": 32,
        "batch_size": 8,
        "epochs": 2,
        "workers": 0,
        "validate_every": 1,
        "checkpoint_minutes": 1e-9,  # after every step
    }
    made = pretrain_config_from_dict(base | changes)
    assert isinstance(made, PretrainConfig)
    return made


def entries(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let a signal arrive while this step runs."""
    real = Optimisation.step

    def counted(self: Any, number: int) -> None:
        real(self, number)
        if number + 1 == step:
            os.kill(os.getpid(), signal.SIGUSR1)

    monkeypatch.setattr(Optimisation, "step", counted)


@pytest.mark.parametrize("method", [pytest.param(m, marks=[] if m == "moco" else [pytest.mark.slow]) for m in SMALL])
def test_a_stopped_run_goes_on_bit_by_bit(method: str, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pretrain(config(method, tiny_data, tmp_path / "whole"))
    log = entries(whole.output)
    assert [(e["epoch"], e["step"]) for e in log] == [(0, 0), (1, 2), (2, 4)]
    assert set(log[0]["knn"]) == set(log[2]["knn"]) == {"discs"}
    broken = config(method, tiny_data, tmp_path / "broken")
    with monkeypatch.context() as patch:
        stop_after(patch, 2)  # found out with the next batch
        with pytest.raises(Interrupted, match=r"after step 3 of 4.*--resume"):
            pretrain(broken)
    assert not (tmp_path / "broken" / "model").exists()
    again = pretrain(broken, resume=True)
    states = [checkpoint.load(output) for output in (whole.output, again.output)]
    for part in ("module", "ema", "optimiser"):
        flat = [dict(_flatten(state[part])) for state in states if state is not None]
        assert flat[0].keys() == flat[1].keys()
        assert [k for k, v in flat[0].items() if not _same(v, flat[1][k])] == [], part
    one, two = (load_file(report.model / "model.safetensors") for report in (whole, again))
    assert all(torch.equal(one[k], two[k]) for k in one)
    times = ("seconds", "images_per_second")
    assert [{k: v for k, v in e.items() if k not in times} for e in entries(again.output)] == [
        {k: v for k, v in e.items() if k not in times} for e in log
    ]
    assert (again.first_loss, again.knn_before, again.knn) == (whole.first_loss, whole.knn_before, whole.knn)


def _flatten(value: Any, name: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [pair for k, v in value.items() for pair in _flatten(v, f"{name}.{k}")]
    return [(name, value)]


def _same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) else bool(a == b)


def test_what_is_saved_is_what_was_monitored(tiny_data: Path, tmp_path: Path) -> None:
    report = pretrain(config("masked", tiny_data, tmp_path / "run", optimiser={"accumulate": 2}, epochs=1))
    assert (report.step, report.epoch) == (1, 1), "two batches are one step"
    encoder = Encoder.from_pretrained(report.model)
    state = checkpoint.load(report.output)
    assert state is not None
    name = "conv_stem.weight"
    assert torch.equal(encoder.model.state_dict()[name], state["ema"][f"encoder.model.{name}"]), "the moving average"
    norm = "bn1.running_mean"
    assert not torch.equal(encoder.model.state_dict()[norm], state["ema"][f"encoder.model.{norm}"]), "statistics of whole images"


def test_wrong_runs_are_refused(tmp_path: Path) -> None:
    data = write_tiny_data(tmp_path / "d")
    pretrain(config("masked", data, tmp_path / "run", epochs=1))
    with pytest.raises(InputError, match="holds a run already"):
        pretrain(config("masked", data, tmp_path / "run"))
    with pytest.raises(InputError, match="the run began with seed = 0, not 3"):
        pretrain(config("masked", data, tmp_path / "run", seed=3), resume=True)
    rewrite(data, put(3, "site", "C"))
    with pytest.raises(InputError, match="are not what this run began with"):
        pretrain(config("masked", data, tmp_path / "run"), resume=True)


def test_a_loss_that_is_no_number_stops_the_run(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"(the loss of 'masked' is|weights are) not finite.*optimiser.learning_rate"):
        pretrain(config("masked", tiny_data, tmp_path / "run", epochs=20, optimiser={"learning_rate": 1e30, "warmup": 0.0, "clip_norm": 0}))
    assert not (tmp_path / "run" / "model").exists()


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    data = write_tiny_data(tmp_path / "d")
    (data / "images" / "16.png").write_bytes(b"nothing")  # of the validation rows
    with pytest.raises(InputError, match=r"row 18 \(images/16.png\)"):
        pretrain(config("masked", data, tmp_path / "run"))


# ---- processes -----------------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("method", ["denoising", "masked", "moco"])
def test_two_processes_train_as_one(method: str, tiny_data: Path, tmp_path: Path) -> None:
    changes = {"batch_norm": "frozen", "augment": {"rotate": 5}}
    command = [
        sys.executable,
        "-m",
        "tests.tasks.pretrain.two_processes",
        method,
        str(tiny_data),
        str(tmp_path / "two"),
        json.dumps(changes),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    subprocess.run(command, cwd=ROOT, check=True, env=environment, timeout=300)
    one = pretrain(config(method, tiny_data, tmp_path / "one", **changes))
    both = entries(tmp_path / "two")
    assert json.loads((tmp_path / "two" / "environment.json").read_text())["world_size"] == 2
    for a, b in zip(entries(one.output), both, strict=True):
        if "train" in a:
            assert b["train"][method] == pytest.approx(a["train"][method], rel=1e-4)
    weights, others = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    for name, value in weights.items():
        torch.testing.assert_close(others[name], value, rtol=1e-3, atol=1e-4)
    state = checkpoint.load(tmp_path / "two")
    if method == "moco":
        assert state is not None
        queue, place = state["module"]["_extra_state"]["queue"], int(state["module"]["_extra_state"]["place"])
        assert (queue.shape, place) == ((24, 8), (32 + 24) % 24), "keys of both processes"


# ---- learning ------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def small_cxr(unpacked: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every sixth training image of cxr_guangzhou and all of validation, at 48 px, so that decoding takes no time."""
    source, folder = unpacked("cxr_guangzhou"), tmp_path_factory.mktemp("cxr48")
    with (source / "metadata.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kept = [r for r in rows if r["split"] == "train"][::6] + [r for r in rows if r["split"] == "validation"]
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "label", "split", "patient_id"])
        for number, row in enumerate(kept):
            with Image.open(source / row["file_name"]) as image:
                image.convert("L").resize((48, 48), Image.Resampling.BILINEAR, reducing_gap=3).save(folder / f"{number}.png")
            writer.writerow([f"{number}.png", row["label_binary"], row["split"], row["patient_id"]])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("method", SMALL)
def test_it_learns_from_real_images(method: str, small_cxr: Path, tmp_path: Path) -> None:
    """From random weights: the loss falls, and the frozen embedding tells children's pneumonia better than the initialisation did."""
    settings: dict[str, dict[str, Any]] = {
        "moco": {"queue": 256, "hidden": 128, "dim": 32},
        "dino": {"outputs": 256, "hidden": 128, "bottleneck": 32, "local_crops": 1, "local_size": 32},
    }
    run = {
        "encoder": {"arch": "resnet10t", "modality": "cxr"},
        "batch_size": 32,
        "epochs": 16,
        "monitor_rows": 500,
        "validate_every": 16,
        "checkpoint_minutes": 0,
        "optimiser": {"learning_rate": 1e-3 if method == "dino" else 2e-3},
        method: settings.get(method, {}),
    }
    report = pretrain(config(method, small_cxr, tmp_path / "run", **run))
    ((before,), (after,)) = (list(found.values()) for found in (report.knn_before, report.knn))
    assert all(math.isfinite(e["train"][method]) for e in entries(report.output)[1:])
    assert report.last_loss < report.first_loss
    assert after["balanced_accuracy"] > before["balanced_accuracy"], f"{before} -> {after}"
