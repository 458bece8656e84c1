"""What of a run's rows is unlabelled, and training with it: end to end, resumed, and without any look at the target's labels."""

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
from safetensors.torch import load_file
from torch import Tensor

from tests.tasks.runs import TASKS, changed, rewrite, run_config, stored, without
from tests.tasks.steady_run import apply
from tests.tasks.test_trainer import interrupt
from tests.tasks.unlabelled.two_processes import RUNS, curves
from tests.tiny import WITHOUT_LABEL, write_tiny_data
from umsrep.errors import InputError
from umsrep.tasks import checkpoint, pictures
from umsrep.tasks.config import FineTuneConfig
from umsrep.tasks.setup import build_model, build_sets, build_tasks
from umsrep.tasks.strategies import Strategy
from umsrep.tasks.trainer import Trainer, fit
from umsrep.tasks.unlabelled.build import Unlabelled, build_unlabelled

ROOT = Path(__file__).resolve().parents[3]
LABELS = ("label", "finding_left", "finding_large", "mask_file_name", "mask_file_name.disc", "site", "patient_id")
DENOISING, DISC, SIZE = ({name: TASKS[name]} for name in TASKS)
STILL = {"rotate": 0, "shift": 0, "scale": 0, "brightness": 0, "contrast": 0, "gamma": 0}


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "draw_samples", lambda *_: None)
    monkeypatch.setattr(pictures, "draw_curves", lambda *_: None)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images with other grey levels, and no annotation at all."""
    import numpy as np
    from PIL import Image

    folder = rewrite(write_tiny_data(tmp_path_factory.mktemp("target") / "data"), without(*LABELS))
    for path in (folder / "images").iterdir():
        Image.fromarray((255 * (np.asarray(Image.open(path)) / 255.0) ** 0.4).astype(np.uint8)).save(path)
    return folder


def entries(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def last(output: Path) -> dict[str, Any]:
    state = checkpoint.load(output)
    assert state is not None
    return state


def quick(data: Any, output: Path, **changes: Any) -> Any:
    """A run of one small task."""
    return run_config(data, output, **({"tasks": SIZE, "guard": False} | changes))


def adapting(target: Path, method: str, **settings: Any) -> dict[str, Any]:
    return {"adapt": {"path": str(target), "method": method, **settings}}


def built(config: FineTuneConfig) -> Unlabelled:
    """What a run would have, without the run."""
    model = build_model(config)
    train = build_sets(config, model.encoder.contract)[0]
    made = build_unlabelled(config, model, train, build_tasks(config, train))
    assert made is not None
    return made


def numbers(config: FineTuneConfig) -> list[int]:
    return [row for _, row in built(config).dataset.items]


# ---- which rows ----------------------------------------------------------------------------------------------------
def test_rows_without_any_annotation_are_unlabelled(tiny_data: Path, tmp_path: Path) -> None:
    assert numbers(quick(tiny_data, tmp_path, unlabelled={})) == sorted(WITHOUT_LABEL)
    assert numbers(quick(tiny_data, tmp_path, tasks=TASKS, unlabelled={})) == [14], "denoising needs no annotation"
    assert numbers(quick(tiny_data, tmp_path, tasks=SIZE | DISC, unlabelled={"partly": True})) == [2, 5, 8, 9, 14]


def test_a_set_can_be_unlabelled_as_a_whole(tiny_data: Path, target: Path, tmp_path: Path) -> None:
    sets: list[dict[str, Any]] = [{"path": str(tiny_data)}, {"path": str(target), "unlabelled": True}]
    assert numbers(quick(sets, tmp_path, unlabelled={})) == [*sorted(WITHOUT_LABEL), *range(16)], "training rows alone"
    bare = rewrite(write_tiny_data(tmp_path / "bare"), without(*LABELS, "split"))
    sets[1]["path"] = str(bare)
    assert len(numbers(quick(sets, tmp_path, unlabelled={}))) == 3 + 24


def test_rows_left_out_are_counted(tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(quick(tiny_data, tmp_path / "a", epochs=1))
    assert "3 training rows are annotated for no task and left out; with the block unlabelled they train too" in capsys.readouterr().err
    fit(quick(tiny_data, tmp_path / "b", epochs=1, unlabelled={}))
    assert "consistency on 3 unlabelled training rows" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unlabelled": {}, "tasks": DENOISING}, "every training row is annotated for denoising"),
        ({"unlabelled": {}, "ema": 0}, "needs ema above 0"),
        ({"unlabelled": {"pair_column": "site"}}, "pair_column is for denoising"),
        ({"unlabelled": {"pair_column": "nowhere"}, "tasks": DENOISING}, "every training row is annotated"),
        ({"unlabelled": {"align": True, "partly": True}, "tasks": DISC}, "align is for classification"),
        ({"unlabelled": {"threshold": 1.5}}, r"unlabelled.threshold must be from 0 to 1"),
        ({"unlabelled": {"wieght": 1}}, "unknown key 'unlabelled.wieght'.*weight"),
        ({"adapt": {"path": "T"}, "tasks": DENOISING}, "coral aligns what segmentation or classification sees"),
        ({"adapt": {"path": "T"}, "strategy": "frozen"}, "coral trains the encoder, which stays frozen"),
        ({"adapt": {"path": "T", "split": "test", "split_column": "splt"}}, "no column 'splt'.*split"),
        ({"adapt": {"path": "T", "beta": 0.1}}, "adapt.beta has no effect with method coral"),
        ({"adapt": {"path": "T", "method": "mmd", "bandwidths": []}}, "adapt.bandwidths must be one or more"),
        ({"adapt": {"path": "T", "method": "fda"}, "unlabelled": {}}, "do not train together"),
        ({"adapt": {"path": "nowhere"}}, "nowhere"),
        ({"adapt": {"method": "coral"}}, "adapt.path|missing key"),
        ({"encoder": {"arch": "test_vit"}, "adapt": {"path": "T", "method": "adabn"}, "image_size": 160}, "no batch norm"),
    ],
)
def test_what_cannot_be_is_refused_before_the_run(
    changes: dict[str, Any], message: str, tiny_data: Path, target: Path, tmp_path: Path
) -> None:
    if changes.get("adapt", {}).get("path") == "T":
        changes = changes | {"adapt": changes["adapt"] | {"path": str(target)}}
    with pytest.raises(InputError, match=message):
        built(quick(tiny_data, tmp_path, **changes))


def test_an_unlabelled_set_without_the_block_is_refused(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is unlabelled: add the block unlabelled"):
        quick([{"path": str(tiny_data)}, {"path": "other", "unlabelled": True}], tmp_path / "run")
    with pytest.raises(InputError, match="every data set is unlabelled"):
        quick([{"path": "other", "unlabelled": True}], tmp_path / "run", unlabelled={})


# ---- training ------------------------------------------------------------------------------------------------------
def test_runs_without_the_keys_are_what_they_were(tiny_data: Path, tmp_path: Path) -> None:
    """Losses of commit 9d3c7e5, which knew neither key; there, on one machine, all weights agreed to the bit (docs/LOG.md)."""
    trainer = Trainer(run_config(tiny_data, tmp_path / "run", guard=False))
    assert trainer.unlabelled is None
    assert not any("extra" in name for name in trainer.step_module.state_dict())
    trainer.run()
    expected = ((0.0737414434, 1.4979479680, 0.6478798802), (0.0786955170, 1.1310303028, 0.5634757555))
    for entry, values in zip(entries(tmp_path / "run"), expected, strict=True):
        assert entry["train"] == pytest.approx(dict(zip(TASKS, values, strict=True)), rel=2e-4)


def test_without_weight_it_is_ordinary_training(tiny_data: Path, tmp_path: Path) -> None:
    """With norms that keep their statistics, images that count nothing change nothing."""
    options: dict[str, Any] = {"tasks": SIZE | DISC, "batch_norm": "frozen", "optimiser": {"warmup": 0.0}}
    plain = fit(quick(tiny_data, tmp_path / "plain", **options, augment=STILL, train_heads=["size"]))
    with_it = fit(quick(tiny_data, tmp_path / "with", **options, augment=STILL, train_heads=["size"], unlabelled={"weight": 0.0}))
    for one, two in zip(entries(plain.output), entries(with_it.output), strict=True):
        assert two["train"]["size"] == pytest.approx(one["train"]["size"], abs=1e-5)
        assert two["train"]["unlabelled/consistency"] >= 0


@pytest.mark.parametrize("method", ["coral", "mmd"])
def test_a_loss_on_features_brings_the_domains_together(method: str, tiny_data: Path, target: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": 4, "augment": STILL, "optimiser": {"learning_rate": 5e-3, "encoder_factor": 1.0}}
    heavy, light = (
        entries(fit(quick(tiny_data, tmp_path / f"{w}", **options, **adapting(target, method, weight=w))).output) for w in (30.0, 0.0)
    )
    name = f"adapt/{method}"
    assert heavy[0]["train"][name] == pytest.approx(light[0]["train"][name], rel=0.5)
    assert heavy[-1]["train"][name] < 0.7 * light[-1]["train"][name]


def test_dann_moves_encoder_and_discriminator(tiny_data: Path, target: Path, tmp_path: Path) -> None:
    report = fit(quick(tiny_data, tmp_path / "run", tasks=DISC, **adapting(target, "dann")))
    state = last(report.output)
    assert any("extra.discriminator" in name for name in state["module"])
    assert not any("extra" in name for name in stored(report.model)), "the model that is saved has no part of it"
    values = [entry["train"]["adapt/dann"] for entry in entries(report.output)]
    assert all(math.isfinite(value) for value in values)
    assert values[0] == pytest.approx(math.log(2), abs=0.1)
    assert len(set(values)) == 2


@pytest.mark.slow
def test_students_become_consistent(tiny_data: Path, target: Path, tmp_path: Path) -> None:
    """With the weight, the loss is smaller than without it; for all three kinds of task."""
    options: dict[str, Any] = {"tasks": TASKS, "epochs": 5, "ema": 0.5, "optimiser": {"learning_rate": 3e-3}}
    sets = [{"path": str(tiny_data)}, {"path": str(target), "unlabelled": True}]
    settings = {"ramp_up": 0.0, "noise": 30, "intensity": 4}
    heavy, none = (entries(fit(quick(sets, tmp_path / str(w), **options, unlabelled=settings | {"weight": w})).output) for w in (3.0, 0.0))
    assert heavy[-1]["train"]["unlabelled/consistency"] < 0.8 * none[-1]["train"]["unlabelled/consistency"]


def test_adabn_gives_the_norms_the_targets_statistics(tiny_data: Path, target: Path, tmp_path: Path) -> None:
    report = fit(quick(tiny_data, tmp_path / "run", **adapting(target, "adabn")))
    plain = fit(quick(tiny_data, tmp_path / "plain"))
    before, after = stored(report.output / "model_source"), stored(report.model)
    assert not changed(before, stored(plain.model)), "training is what it is without"
    moved = changed(before, after)
    assert moved
    assert all("running_" in name for name in moved), "and no weight changes"
    shift = "encoder.bn1.running_mean" if "encoder.bn1.running_mean" in moved else sorted(moved)[0]
    assert not torch.allclose(before[shift], after[shift], rtol=1e-2)


def test_fda_trains_on_images_in_the_targets_style(tiny_data: Path, target: Path, tmp_path: Path) -> None:
    trainer = Trainer(quick(tiny_data, tmp_path / "run", augment=STILL, **adapting(target, "fda")))
    plain = Trainer(quick(tiny_data, tmp_path / "plain", augment=STILL))
    item, before = trainer.train_set[0], plain.train_set[0]
    assert isinstance(item, dict)
    assert isinstance(before, dict)
    assert float(item["image"].mean()) > float(before["image"].mean()) + 0.2, "the target is brighter"
    other = trainer.validation_set[0]
    assert isinstance(other, dict)
    assert other["image"].equal(plain.validation_set[0]["image"]), "only training images change"  # type: ignore[index]


def weights_of(output: Path) -> dict[str, Tensor]:
    model = {f"model.{k}": v for k, v in stored(output / "model").items()}
    return {k: v for k, v in last(output)["module"].items() if isinstance(v, Tensor)} | model


@pytest.mark.parametrize("method", ["mean-teacher", *(pytest.param(m, marks=pytest.mark.slow) for m in ("coral", "adabn", "fda"))])
def test_the_targets_labels_are_never_read(method: str, tiny_data: Path, target: Path, tmp_path: Path) -> None:
    """Absent, right, wrong or damaged: the weights are the same to the bit."""
    damaged = write_tiny_data(tmp_path / "damaged")
    for path in (target / "images").iterdir():
        (damaged / "images" / path.name).write_bytes(path.read_bytes())
    rewrite(damaged, lambda rs: [{**r, "label": "no such class", "finding_left": "seven"} for r in rs])
    for path in (damaged / "masks").iterdir():
        path.unlink()
    tasks = {"tasks": SIZE | DISC, "epochs": 1}
    for folder, name in ((target, "a"), (damaged, "b")):
        fit(quick(tiny_data, tmp_path / name, **tasks, **adapting(folder, method)))
    assert not changed(weights_of(tmp_path / "a"), weights_of(tmp_path / "b"))


# ---- going on ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "changes",
    [
        {"adapt": {"method": "dann"}, "tasks": SIZE | DENOISING},
        pytest.param(
            {"adapt": {"method": "coral", "batch_size": 5}, "balancing": "pcgrad", "strategy": "heads-then-all"}, marks=pytest.mark.slow
        ),
        pytest.param({"adapt": {"method": "fda"}}, marks=pytest.mark.slow),
        {"adapt": {"method": "mean-teacher"}, "unlabelled": {"align": True, "threshold": 0.4, "noise": 20}, "tasks": TASKS},
    ],
    ids=["dann", "coral", "fda", "mean-teacher"],
)
def test_an_interrupted_run_ends_as_the_unbroken_one(changes: dict[str, Any], tiny_data: Path, target: Path, tmp_path: Path) -> None:
    changes = {**changes, "adapt": {"path": str(target), **changes["adapt"]}}
    whole = fit(quick(tiny_data, tmp_path / "whole", **changes))
    broken = quick(tiny_data, tmp_path / "broken", checkpoint_minutes=1e-9, **changes)
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, last(whole.output)["step"] - 1)  # between two steps of the last epoch, or before the last of one-step epochs
        with pytest.raises(KeyboardInterrupt):
            fit(broken)
    report = fit(broken, resume=True)
    one, two = last(whole.output), last(report.output)
    for key in ("module", "ema"):
        assert not changed(one[key], two[key]), key
    assert [e["train"] for e in entries(whole.output)] == [e["train"] for e in entries(report.output)]
    assert not changed(load_file(whole.model / "heads.safetensors"), load_file(report.model / "heads.safetensors"))


# ---- processes -----------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_two_processes_have_the_curves_of_one(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses on unlabelled rows do not depend on the number of processes."""
    command = [sys.executable, "-m", "tests.tasks.unlabelled.two_processes", str(tiny_data), str(tmp_path / "two")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    monkeypatch.setattr(Strategy, "apply", apply)
    curves(tiny_data, tmp_path / "one")
    for name in RUNS:
        one, two = (entries(tmp_path / folder / name) for folder in ("one", "two"))
        assert len(one) == len(two) == 2
        for first, second in zip(one, two, strict=True):
            assert second["train"] == pytest.approx(first["train"], abs=2e-5, rel=1e-4), name
            assert second["score"] == pytest.approx(first["score"], abs=1e-5), name
        assert all(one[1]["train"][key] != one[0]["train"][key] for key in one[0]["train"] if key != "unlabelled/confident")
