"""Joint fine-tuning end to end: strategies, averages, stopping, resuming, several processes, and losses that turn NaN."""

from __future__ import annotations

import dataclasses
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
import yaml
from torch import Tensor

from tests.tasks.runs import ARCH, TASKS, changed, rewrite, run_config, run_values, stored, tiny_model, without
from tests.tiny import write_tiny_data
from umsrep.errors import InputError
from umsrep.tasks import checkpoint, pictures
from umsrep.tasks import trainer as trainer_module
from umsrep.tasks.config import FineTuneConfig
from umsrep.tasks.config_file import load_config
from umsrep.tasks.data.dataset import JointDataset
from umsrep.tasks.evaluate import evaluate
from umsrep.tasks.interruption import Interrupted
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.runfolder import plain
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.trainer import Report, Trainer, fit

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the pictures, which have their own tests, to save seconds."""
    monkeypatch.setattr(pictures, "draw_samples", lambda *_: None)
    monkeypatch.setattr(pictures, "draw_curves", lambda *_: None)


def entries(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def start(config: FineTuneConfig) -> dict[str, Tensor]:
    """The weights that a run starts from."""
    torch.manual_seed(config.seed)
    from umsrep.tasks.setup import build_model

    return {k: v.clone() for k, v in build_model(config).state_dict().items()}


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in trainer.model.state_dict().items()}


# ---- joint training ------------------------------------------------------------------------------------------------
def test_two_sets_with_different_annotations_train_together(tmp_path: Path) -> None:
    masks = rewrite(write_tiny_data(tmp_path / "masks"), without("label", "finding_left", "finding_large", "mask_file_name.disc"))
    labels = rewrite(write_tiny_data(tmp_path / "labels"), without("mask_file_name", "mask_file_name.disc"))
    tasks = TASKS | {"denoising": {"kind": "denoising", "level": 40, "width": 16}}
    config = run_config(
        [{"path": str(masks)}, {"path": str(labels)}], tmp_path / "run", epochs=8, ema=0, optimiser={"learning_rate": 0.01}, tasks=tasks
    )
    before = start(config)
    report = fit(config)
    log = entries(report.output)
    for name in TASKS:
        assert log[-1]["train"][name] < log[0]["train"][name], name
        assert all(math.isfinite(e["train"][name]) for e in log)
    assert [e["step"] for e in log] == [4 * n for n in range(1, 9)], "32 rows in batches of 8"
    state = last(report.output)["module"]
    after = {k.removeprefix("model."): v for k, v in state.items()}
    moved = changed(before, after)
    for part in ("encoder", "decoders.unet", *(f"heads.{n}" for n in TASKS)):
        trained = [k for k in before if k.startswith(f"{part}.") and before[k].is_floating_point()]
        assert {k for k in trained if k in moved} == set(trained), part


def test_a_run_leaves_a_whole_folder(trained: Report, tiny_data: Path) -> None:
    names = {p.relative_to(trained.output).as_posix() for p in trained.output.rglob("*") if p.is_file()}
    assert names == {
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "report.json",
        "results.json",
        "curves.png",
        "samples.png",
        "checkpoints/step-000000004.pt",
        "checkpoints/step-000000006.pt",
        *(f"model/{n}" for n in ("README.md", "config.json", "heads.safetensors", "model.safetensors")),
    }
    config = load_config(trained.output / "config.yaml")
    assert config.data[0].path == str(tiny_data)
    assert json.loads((trained.output / "environment.json").read_text())["world_size"] == 1
    assert json.loads((trained.model / "config.json").read_text())["umsrep"]["contract"]["size"] == [32, 32]
    assert len(entries(trained.output)) == 3


def test_the_saved_model_has_the_reported_numbers(trained: Report, tiny_data: Path) -> None:
    model = MultiTaskModel.from_pretrained(trained.model)
    for split, reported in (("validation", trained.validation), ("test", trained.test)):
        measured = evaluate(model, tiny_data, split=split, level=25.0, title=None)  # the middle of 10 to 40
        assert measured.keys() == reported.keys()
        for name in measured:
            assert measured[name] == pytest.approx(reported[name], abs=1e-5, nan_ok=True)


def test_the_chosen_threshold_is_saved(trained: Report) -> None:
    config = json.loads((trained.model / "config.json").read_text())
    (threshold,) = config["umsrep"]["heads"]["size"]["args"]["thresholds"]
    assert 0 <= threshold <= 1
    head = MultiTaskModel.from_pretrained(trained.model).heads["size"]
    assert head.thresholds == (threshold,)


def test_the_same_seed_gives_the_same_run_and_another_another(tiny_data: Path, tmp_path: Path) -> None:
    runs = [stored(fit(run_config(tiny_data, tmp_path / f"{n}", epochs=1, seed=s)).model) for n, s in enumerate((1, 1, 2))]
    assert not changed(runs[0], runs[1])
    assert changed(runs[0], runs[2])


@pytest.mark.parametrize("seed", [4295, 20261122, 2**32 - 1])
def test_any_usual_seed_works(seed: int, tiny_data: Path, tmp_path: Path) -> None:
    report = fit(run_config(tiny_data, tmp_path / "run", epochs=1, seed=seed))
    assert report.epoch == 1


def test_workers_do_not_change_the_result(tiny_data: Path, tmp_path: Path) -> None:
    runs = [stored(fit(run_config(tiny_data, tmp_path / f"{n}", epochs=1, workers=n)).model) for n in (0, 2)]
    assert not changed(*runs)


def test_uncertainty_learns_the_balance(tiny_data: Path, tmp_path: Path) -> None:
    config = run_config(tiny_data, tmp_path / "run", balancing="uncertainty", ema=0)
    trainer = Trainer(config)
    trainer.run()
    values = [float(p.detach()) for p in trainer.step_module.log_variances.values()]
    assert len(values) == 3
    assert all(v != 0 for v in values)
    fixed = Trainer(run_config(tiny_data, tmp_path / "fixed", ema=0))
    fixed.run()
    assert not list(fixed.step_module.log_variances.values())
    assert changed(weights(trainer), weights(fixed))


def test_gradients_are_compared_now_and_then(tiny_data: Path, tmp_path: Path) -> None:
    for entry in entries(fit(run_config(tiny_data, tmp_path / "run", gradients_every=2)).output):
        found = entry["gradients"]
        assert found["n"] == 1, "the second of an epoch's two batches"
        assert all(found[f"norm/{name}"] > 0 for name in TASKS)
        assert {k for k in found if k.startswith("cosine/")} == {"cosine/disc|size", "cosine/disc|denoising", "cosine/size|denoising"}
    assert "gradients" not in entries(fit(run_config(tiny_data, tmp_path / "off", gradients_every=0)).output)[0]
    frozen = entries(fit(run_config(tiny_data, tmp_path / "frozen", strategy="frozen", gradients_every=2)).output)
    assert frozen[0]["gradients"] == {"n": 1}, "nothing pulls at a frozen encoder"


def test_measuring_gradients_changes_nothing(tiny_data: Path, tmp_path: Path) -> None:
    runs = [fit(run_config(tiny_data, tmp_path / str(n), gradients_every=n)) for n in (0, 1)]
    assert not changed(stored(runs[0].model), stored(runs[1].model))


def test_task_weights_count(tiny_data: Path, tmp_path: Path) -> None:
    heavy = {n: t | ({"weight": 5.0} if n == "size" else {}) for n, t in TASKS.items()}
    runs = [stored(fit(run_config(tiny_data, tmp_path / str(n), epochs=1, tasks=t)).model) for n, t in enumerate((TASKS, heavy))]
    assert any(k.startswith("encoder.") for k in changed(*runs))


def test_batches_of_several_sizes(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    prepare = Trainer.prepare

    def noted(self: Trainer, batch: dict[str, Any], step: int) -> dict[str, Any]:
        seen.append(tuple(batch["image"].shape[-2:]))
        assert batch["noisy.denoising"].shape[-2:] == batch["target.disc"].shape[-2:] == batch["image"].shape[-2:]
        return prepare(self, batch, step)

    monkeypatch.setattr(Trainer, "prepare", noted)
    report = fit(run_config(tiny_data, tmp_path / "run", epochs=2, batch_size=4, image_size=64, size_factors=[0.5, 1.0]))
    assert sorted(seen[:4]) == sorted(seen[4:]) == [(32, 32)] * 2 + [(64, 64)] * 2
    assert MultiTaskModel.from_pretrained(report.model).encoder.contract.size == (64, 64)


@pytest.mark.parametrize("changes", [{"compile": True}, {"unlabelled": {}}])
def test_what_goes_not_with_batches_of_several_sizes(changes: dict[str, Any], tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="size_factors does not go with compile, unlabelled or adapt"):
        run_config(tiny_data, tmp_path / "run", size_factors=[0.5, 1.0], **changes)


def test_accumulation_makes_fewer_steps(tiny_data: Path, tmp_path: Path) -> None:
    report = fit(run_config(tiny_data, tmp_path / "run", batch_size=4, epochs=1, optimiser={"accumulate": 2}))
    assert entries(report.output)[-1]["step"] == 2


def test_accumulated_batches_are_one_batch(tiny_data: Path, tmp_path: Path) -> None:
    """All rows are annotated and no statistic depends on the batch: two batches of 4 must be one of 8."""
    tasks = {"denoising": TASKS["denoising"]}
    quiet = {"tasks": tasks, "strategy": "frozen", "epochs": 1, "ema": 0, "batch_norm": "frozen"}
    rates = {"learning_rate": 0.01, "clip_norm": 0}
    one, two = (
        Trainer(run_config(tiny_data, tmp_path / str(n), batch_size=8 // n, optimiser=rates | {"accumulate": n}, **quiet)) for n in (1, 2)
    )
    for trainer in (one, two):
        trainer.step_module.noisy_norm = False  # the decoder's norms at their stored statistics, as in a joint run
        trainer.run()
    for key, value in weights(one).items():
        torch.testing.assert_close(value, weights(two)[key], atol=2e-4, rtol=1e-3, msg=key)


def test_max_steps_ends_within_an_epoch(tiny_data: Path, tmp_path: Path) -> None:
    report = fit(run_config(tiny_data, tmp_path / "run", epochs=5, max_steps=3))
    log = entries(report.output)
    assert [e["step"] for e in log] == [2, 3]
    assert "validation" in log[-1]


# ---- strategies ----------------------------------------------------------------------------------------------------
def test_frozen_leaves_the_encoder_bitwise(tiny_data: Path, tmp_path: Path) -> None:
    config = run_config(tiny_data, tmp_path / "run", strategy="frozen", epochs=3)
    before = start(config)
    after = {k.replace("encoder.", "encoder.model.", 1) if k.startswith("encoder.") else k: v for k, v in stored(fit(config).model).items()}
    moved = changed(before, after)
    assert moved, "the heads train"
    assert not [k for k in moved if k.startswith("encoder.")], "weights and batch-norm buffers, also in the moving average"


def test_heads_then_all_thaws_after_a_fifth(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(run_config(tiny_data, tmp_path / "run", strategy="heads-then-all", epochs=5))
    assert trainer.total_steps == 10
    before = weights(trainer)
    moved: dict[int, set[str]] = {}
    optimise = trainer._optimise

    def watch() -> None:
        optimise()
        moved[trainer.step] = changed(before, weights(trainer))

    monkeypatch.setattr(trainer, "_optimise", watch)
    trainer.run()
    assert not [k for step in (1, 2) for k in moved[step] if k.startswith("encoder.")]
    assert [k for k in moved[2] if k.startswith("heads.")]
    assert [k for k in moved[3] if k.startswith("encoder.") and k.endswith("weight")], "joins in the third of ten steps"


def test_a_head_added_to_a_finished_model_trains_alone(tiny_data: Path, trained: Report, tmp_path: Path) -> None:
    tasks = {"left": {"kind": "classification", "classes": ["right", "left"], "target": "finding_left"}}
    data = [{"path": str(tiny_data), "targets": {"left": {"column": "finding_left", "map": {"0": "right", "1": "left"}}}}]
    config = run_config(
        data, tmp_path / "run", encoder={"name": str(trained.model)}, tasks=tasks, train_heads=["left"], image_size=None, epochs=3
    )
    first = start(config)
    report = fit(config)
    before, after = stored(trained.model), stored(report.model)
    assert {k for k in after if k not in before} == {"heads.left.layers.1.weight", "heads.left.layers.1.bias"}
    assert not changed(before, {k: after[k] for k in before})
    assert not torch.equal(after["heads.left.layers.1.weight"], first["heads.left.layers.1.weight"])
    assert list(MultiTaskModel.from_pretrained(report.model).heads) == [*TASKS, "left"]
    old, new = (json.loads((f / "config.json").read_text())["umsrep"]["heads"] for f in (trained.model, report.model))
    assert {n: new[n] for n in old} == old, "thresholds and all"


def test_one_of_the_tasks_can_train_alone(tiny_data: Path, trained: Report, tmp_path: Path) -> None:
    config = run_config(tiny_data, tmp_path / "run", encoder={"name": str(trained.model)}, train_heads=["disc"], epochs=2)
    report = fit(config)
    moved = changed(stored(trained.model), stored(report.model))
    assert moved
    assert all(k.startswith("heads.disc.") for k in moved)
    assert set(report.validation) == set(TASKS), "the others are still measured"


def test_a_decoder_that_comes_with_a_head_trains_with_it(tiny_data: Path, tmp_path: Path) -> None:
    first = fit(run_config(tiny_data, tmp_path / "first", tasks={"size": TASKS["size"]}, epochs=1))
    config = run_config(
        tiny_data, tmp_path / "second", encoder={"name": str(first.model)}, tasks={"disc": TASKS["disc"]}, train_heads=["disc"], epochs=2
    )
    before = start(config)
    report = fit(config)
    after = {k.replace("encoder.", "encoder.model.", 1) if k.startswith("encoder.") else k: v for k, v in stored(report.model).items()}
    moved = changed(before, after)
    assert not [k for k in moved if k.startswith(("encoder.", "heads.size."))]
    assert [k for k in moved if k.startswith("decoders.unet.")], "a decoder that no older head uses must not stay at its random start"


# ---- averages, best and last ---------------------------------------------------------------------------------------
def test_the_average_holds_weights_and_norm_buffers(tiny_data: Path, tmp_path: Path) -> None:
    trainer = Trainer(run_config(tiny_data, tmp_path / "run", ema=0.9, epochs=2, optimiser={"learning_rate": 0.01}))
    before = weights(trainer)
    seen = [before]
    optimise = trainer._optimise

    def watch() -> None:
        optimise()
        seen.append(weights(trainer))

    trainer._optimise = watch  # type: ignore[method-assign]
    ema = trainer.ema
    assert ema is not None
    trainer.run()
    average = ema.module.state_dict()
    for key in ("encoder.model.bn1.running_mean", "encoder.model.bn1.weight", "encoder.model.conv_stem.weight"):
        values = torch.stack([s[key] for s in seen])
        assert not torch.equal(average[key], seen[-1][key])
        assert bool(((average[key] >= values.amin(0) - 1e-6) & (average[key] <= values.amax(0) + 1e-6)).all()), "between first and last"
    assert not torch.equal(average["encoder.model.bn1.running_mean"], before["encoder.model.bn1.running_mean"])
    saved = stored(trainer.output / "model")
    if entries(trainer.output)[-1]["score"] > entries(trainer.output)[0]["score"]:
        assert torch.equal(saved["encoder.bn1.running_mean"], average["encoder.model.bn1.running_mean"]), "the average is what is saved"


def last(output: Path) -> dict[str, Any]:
    """The newest checkpoint of a run."""
    state = checkpoint.load(output)
    assert state is not None
    return state


def scores(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    """Let validation score these in turn."""
    iterator = iter(values)
    monkeypatch.setattr(trainer_module, "selection_score", lambda *_: next(iterator))


def test_best_is_kept_and_last_goes_on(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores(monkeypatch, [0.1, 0.5, 0.3])
    trainer = Trainer(run_config(tiny_data, tmp_path / "run", epochs=3, ema=0))
    report = trainer.run()
    assert (report.epoch, report.score) == (2, 0.5)
    newest = {k.removeprefix("model."): v for k, v in last(report.output)["module"].items()}
    best = {k.replace("encoder.", "encoder.model.", 1) if k.startswith("encoder.") else k: v for k, v in stored(report.model).items()}
    assert changed(newest, best), "the model folder is of the best epoch, the checkpoint of the last"


@pytest.mark.parametrize(("values", "epochs", "best"), [([0.5, 0.4, 0.3, 0.9, 0.9], 3, 1), ([0.1, 0.5, 0.4, 0.6, 0.5, 0.4, 0.9], 6, 4)])
def test_early_stopping(
    values: list[float], epochs: int, best: int, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores(monkeypatch, values)
    report = fit(run_config(tiny_data, tmp_path / "run", epochs=20, max_steps=None, early_stopping={"patience": 2}))
    assert len(entries(report.output)) == epochs
    assert report.epoch == best


def test_a_score_that_is_undefined_at_first_is_beaten_by_any_number(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores(monkeypatch, [math.nan, 0.2, 0.4])
    assert fit(run_config(tiny_data, tmp_path / "run", epochs=3)).epoch == 3


def test_the_metric_for_selection_is_a_choice(tiny_data: Path, tmp_path: Path) -> None:
    report = fit(run_config(tiny_data, tmp_path / "run", early_stopping={"metric": "disc/dice"}))
    log = entries(report.output)
    assert [e["score"] for e in log] == [e["validation"]["disc"]["dice"] for e in log]
    assert report.score == max(e["score"] for e in log)


def test_an_unknown_metric_is_refused(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"early_stopping\.metric 'disc/dise' is not measured; there is mean, .*disc/dice"):
        fit(run_config(tiny_data, tmp_path / "run", early_stopping={"metric": "disc/dise"}))
    assert not (tmp_path / "run" / "metrics.jsonl").exists(), "before an epoch is lost"


def test_validation_every_other_epoch(tiny_data: Path, tmp_path: Path) -> None:
    report = fit(run_config(tiny_data, tmp_path / "run", epochs=3, validate_every=2))
    assert ["validation" in e for e in entries(report.output)] == [False, True, True]


# ---- precision -------------------------------------------------------------------------------------------------------
def test_steps_skipped_by_the_scaler_leave_the_average_and_resume_bitwise(tiny_data: Path, tmp_path: Path) -> None:
    """A scale at which the first gradients overflow, as float16 begins; here in float32, which a CPU has."""

    def made(name: str, *, resume: bool = False) -> Trainer:
        trainer = Trainer(run_config(tiny_data, tmp_path / name, epochs=3, ema=0.9), resume=resume)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=2, backoff_factor=2.0**-60)
        trainer.accelerator.scaler = trainer.optimisation.scaler = scaler
        if trainer.state is not None:
            trainer.optimisation.load_state_dict(trainer.state)
        return trainer

    whole, averages = made("whole"), []
    ema = whole.ema
    assert ema is not None
    optimise = whole._optimise

    def watch() -> None:
        before = {k: v.clone() for k, v in ema.module.state_dict().items()}
        skipped = whole.optimisation.skipped
        optimise()
        averages.append((whole.optimisation.skipped > skipped, bool(changed(before, ema.module.state_dict()))))

    whole._optimise = watch  # type: ignore[method-assign]
    whole.run()
    assert averages[0] == (True, False), "skipped, and the average unmoved"
    assert (False, True) in averages
    assert entries(tmp_path / "whole")[-1]["skipped_steps"] == sum(skipped for skipped, _ in averages)
    broken = made("broken")
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            broken.run()
    made("broken", resume=True).run()
    states = [last(tmp_path / n) for n in ("whole", "broken")]
    assert states[0]["scaler"] == states[1]["scaler"]
    assert not changed(states[0]["module"], states[1]["module"])


def test_float16_on_a_cpu_is_refused(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="precision fp16 needs a GPU, not cpu"):
        fit(run_config(tiny_data, tmp_path / "run", precision="fp16"))
    assert fit(run_config(tiny_data, tmp_path / "run", epochs=1)).epoch == 1, "and spoils nothing for the next run"


def test_bfloat16_trains_after_a_run_in_float32(tiny_data: Path, tmp_path: Path) -> None:
    report = fit(run_config(tiny_data, tmp_path / "run", epochs=1, precision="bf16"))
    assert all(v.dtype != torch.bfloat16 for v in stored(report.model).values())
    assert json.loads((report.output / "environment.json").read_text())["precision"] == "bf16"


# ---- resuming ------------------------------------------------------------------------------------------------------
def interrupt(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Raise KeyboardInterrupt when this step would be made."""
    optimise = Trainer._optimise

    def stop(self: Trainer) -> None:
        if self.step == step:
            raise KeyboardInterrupt
        optimise(self)

    monkeypatch.setattr(Trainer, "_optimise", stop)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"strategy": "heads-then-all", "balancing": "uncertainty"},
        {"ema": 0, "strategy": "gradual", "balancing": "pcgrad", "sampling": 0.5},
    ],
)
def test_an_interrupted_run_ends_as_the_unbroken_one(changes: dict[str, Any], tiny_data: Path, tmp_path: Path) -> None:
    whole = fit(run_config(tiny_data, tmp_path / "whole", epochs=3, **changes))
    broken = run_config(tiny_data, tmp_path / "broken", epochs=3, **changes)
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, 3)  # in the middle of the second epoch
        with pytest.raises(KeyboardInterrupt):
            fit(broken)
    assert [e["epoch"] for e in entries(tmp_path / "broken")] == [1]
    torch.manual_seed(99)
    report = fit(broken, resume=True)
    states = [last(tmp_path / n) for n in ("whole", "broken")]
    assert not changed(states[0]["module"], states[1]["module"])
    if states[0]["ema"] is not None:
        assert not changed(states[0]["ema"], states[1]["ema"])
    assert not changed(stored(whole.model), stored(report.model))
    assert (report.epoch, report.score) == (whole.epoch, whole.score)
    times = ("seconds", "images_per_second")
    logs = [[{k: v for k, v in e.items() if k not in times} for e in entries(tmp_path / n)] for n in ("whole", "broken")]
    assert logs[0] == logs[1]


@pytest.mark.parametrize(
    "changes", [{"batch_size": 4, "image_size": 64, "size_factors": [0.5, 1.0]}, {"optimiser": {"accumulate": 2}, "batch_size": 2}]
)
def test_a_run_stopped_by_a_signal_goes_on_in_the_middle_of_an_epoch(
    changes: dict[str, Any], tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(run_config(tiny_data, tmp_path / "whole", epochs=2, **changes))
    config = run_config(tiny_data, tmp_path / "broken", epochs=2, **changes)
    trainer = Trainer(config)
    optimise = trainer._optimise

    def warned() -> None:
        optimise()
        if trainer.step == 1:  # SLURM's warning arrives between two of the four steps of an epoch
            os.kill(os.getpid(), signal.SIGUSR1)

    trainer._optimise = warned  # type: ignore[method-assign]
    before = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(Interrupted, match=r"stopped by SIGUSR1 after step 2 of 8; a checkpoint is saved .* with --resume") as caught:
        trainer.run()
    assert caught.value.code == 128 + signal.SIGUSR1
    assert signal.getsignal(signal.SIGUSR1) is before
    resumed = Trainer(config, resume=True)
    read: list[int] = []
    item = JointDataset._item

    def counted(self: JointDataset, index: int) -> dict[str, Any]:
        if self.augment is not None:  # a training row, also of another size
            read.append(index)
        return item(self, index)

    monkeypatch.setattr(JointDataset, "_item", counted)
    report = resumed.run()
    assert len(read) == 8 + 16, "images of steps that are done are not read again"
    assert not changed(stored(whole.model), stored(report.model))
    assert not changed(last(whole.output)["module"], last(report.output)["module"])


def test_a_run_stopped_at_its_last_step_still_validates_that_epoch(tiny_data: Path, tmp_path: Path) -> None:
    whole = fit(run_config(tiny_data, tmp_path / "whole"))
    config = run_config(tiny_data, tmp_path / "broken")
    trainer = Trainer(config)
    optimise = trainer._optimise

    def warned() -> None:
        optimise()
        if trainer.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    trainer._optimise = warned  # type: ignore[method-assign]
    with pytest.raises(Interrupted, match="after step 4 of 4"):
        trainer.run()
    report = fit(config, resume=True)
    assert (report.epoch, report.score) == (whole.epoch, whole.score)
    assert [e["epoch"] for e in entries(report.output)] == [1, 2]
    assert not changed(stored(whole.model), stored(report.model))


def test_checkpoints_within_an_epoch_change_nothing(tiny_data: Path, tmp_path: Path) -> None:
    often = fit(run_config(tiny_data, tmp_path / "often", checkpoint_minutes=1e-9))
    never = fit(run_config(tiny_data, tmp_path / "never", checkpoint_minutes=0))
    assert not changed(stored(often.model), stored(never.model))
    assert [p.name for p in sorted((often.output / "checkpoints").iterdir())] == ["step-000000003.pt", "step-000000004.pt"]
    assert [p.name for p in sorted((never.output / "checkpoints").iterdir())] == ["step-000000002.pt", "step-000000004.pt"]


@pytest.mark.parametrize(
    ("processes", "kills"), [(1, 2), pytest.param(1, 20, marks=pytest.mark.slow), pytest.param(2, 20, marks=pytest.mark.slow)]
)
def test_kill_9_at_any_moment(processes: int, kills: int, tiny_data: Path, tmp_path: Path) -> None:
    """Killed at random moments, also while a checkpoint is written; resumed until it ends: bitwise the unbroken run."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.tasks.killed_runs", str(tiny_data), str(tmp_path), str(processes), str(kills)],
        cwd=Path(__file__).resolve().parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    survived = json.loads(done.stdout.splitlines()[-1])
    assert survived["kills"] == kills
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert not changed(last(whole)["module"], last(broken)["module"])
    assert not changed(last(whole)["ema"], last(broken)["ema"])
    assert not changed(stored(whole / "model"), stored(broken / "model"))
    times = ("seconds", "images_per_second")
    logs = [[{k: v for k, v in e.items() if k not in times} for e in entries(folder)] for folder in (whole, broken)]
    assert logs[0] == logs[1]
    assert not list((broken / "checkpoints").glob("*.tmp"))


def test_a_filled_output_needs_resume(tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    config = run_config(tiny_data, tmp_path / "run", epochs=1)
    with pytest.raises(InputError, match="holds a run already; pass --resume"):
        fit(config)
    assert os.listdir(tmp_path / "run") == ["notes.txt"]
    report = fit(config, resume=True)
    assert report.epoch == 1, "without a checkpoint it starts over"
    assert len(entries(report.output)) == 1
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_resuming_a_finished_run_trains_no_more(tiny_data: Path, tmp_path: Path) -> None:
    config = run_config(tiny_data, tmp_path / "run", epochs=1)
    first = fit(config)
    before = stored(first.model)
    again = fit(config, resume=True)
    assert plain(dataclasses.asdict(again)) == plain(dataclasses.asdict(first))
    assert not changed(before, stored(again.model))
    assert len(entries(first.output)) == 1


@pytest.mark.parametrize("changes", [{"seed": 7}, {"batch_size": 4}, {"optimiser": {"learning_rate": 0.1}}, {"balancing": "pcgrad"}])
def test_resuming_with_other_settings_is_refused(changes: dict[str, Any], tiny_data: Path, tmp_path: Path) -> None:
    fit(run_config(tiny_data, tmp_path / "run", epochs=1))
    with pytest.raises(InputError, match=f"the run began with {next(iter(changes))}.* = .*; go on with its config.yaml"):
        fit(run_config(tiny_data, tmp_path / "run", epochs=2, **changes), resume=True)


def test_a_run_may_go_on_for_longer_and_with_other_workers(tiny_data: Path, tmp_path: Path) -> None:
    fit(run_config(tiny_data, tmp_path / "run", epochs=1))
    assert len(entries(fit(run_config(tiny_data, tmp_path / "run", epochs=2, workers=1), resume=True).output)) == 2


def test_one_process_needs_no_wrapper(tiny_data: Path, tmp_path: Path) -> None:
    trainer = Trainer(
        run_config(
            tiny_data,
            tmp_path / "run",
        )
    )
    before = trainer.step_module.forward
    for _ in range(3):
        assert trainer.wrap(0) is trainer.step_module
    assert trainer.step_module.forward == before, "nothing is nested epoch by epoch"


def test_resuming_on_other_data_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    fit(run_config(folder, tmp_path / "run", epochs=1))
    moved = folder.rename(tmp_path / "moved")
    assert fit(run_config(moved, tmp_path / "run", epochs=1), resume=True).epoch == 1
    rewrite(moved, lambda records: records[:-1])
    with pytest.raises(InputError, match=r"the data sets \(.*moved\) are not what this run began with"):
        fit(run_config(moved, tmp_path / "run", epochs=2), resume=True)


def test_what_a_licence_left_out_is_said_and_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_tiny_data(tmp_path / "data")
    rewrite(folder, lambda records: [{**r, "license": "CC BY" if k % 3 else "CC BY-NC"} for k, r in enumerate(records)])
    report = fit(run_config([{"path": str(folder), "licenses": ["CC BY"]}], tmp_path / "run", epochs=1))
    environment = json.loads((report.output / "environment.json").read_text())
    (note,) = environment["data_notes"]
    assert "8" in note
    assert note in capsys.readouterr().err
    assert environment["seed"] == 0
    assert list(environment["data"]) == [str(folder)]


def test_resuming_with_other_heads_is_refused(tiny_data: Path, tmp_path: Path) -> None:
    fit(run_config(tiny_data, tmp_path / "run", epochs=1))
    with pytest.raises(InputError, match=r"the run began with tasks\.denoising\.kind = denoising, not None"):
        fit(run_config(tiny_data, tmp_path / "run", epochs=2, tasks={"size": TASKS["size"]}), resume=True)


# ---- losses that turn NaN ------------------------------------------------------------------------------------------
def test_a_loss_that_turns_nan_stops_and_names_the_batch(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = Segmentation.loss

    def poisoned(self: Segmentation, output: Tensor, target: Tensor) -> Tensor:
        calls.append(1)
        return real(self, output, target) * (math.nan if len(calls) == 4 else 1.0)

    monkeypatch.setattr(Segmentation, "loss", poisoned)
    with pytest.raises(
        InputError, match=r"loss of 'disc' is not finite .*images/\d\d\.png.* in epoch 2, step 4; the checkpoint of step 2 is kept"
    ) as caught:
        fit(run_config(tiny_data, tmp_path / "run", epochs=5))
    assert "\n" not in str(caught.value)
    state = last(tmp_path / "run")
    assert state["epoch"] == 1
    assert all(bool(torch.isfinite(v).all()) for v in state["module"].values())
    assert MultiTaskModel.from_pretrained(tmp_path / "run" / "model").heads


def test_a_huge_learning_rate_never_reaches_a_checkpoint(tiny_data: Path, tmp_path: Path) -> None:
    optimiser = {"learning_rate": 1e30, "warmup": 0.0, "clip_norm": 0}
    with pytest.raises(InputError, match="not finite"):
        fit(run_config(tiny_data, tmp_path / "run", epochs=5, optimiser=optimiser))
    if state := checkpoint.load(tmp_path / "run"):
        assert all(bool(torch.isfinite(v).all()) for v in state["module"].values())


def test_weights_that_turn_nan_in_the_last_step_of_an_epoch_are_not_kept(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Trainer._optimise

    def poison(self: Trainer) -> None:
        real(self)
        if self.step == 4:  # the last of the second epoch: no loss of it will show this
            with torch.no_grad():
                next(self.model.heads["size"].parameters()).fill_(math.nan)
                if self.ema is not None:
                    next(self.ema.module.heads["size"].parameters()).fill_(math.nan)

    monkeypatch.setattr(Trainer, "_optimise", poison)
    with pytest.raises(InputError, match="not finite"):
        fit(run_config(tiny_data, tmp_path / "run", epochs=3))
    state = last(tmp_path / "run")
    assert all(bool(torch.isfinite(v).all()) for v in state["module"].values()), "the last good checkpoint is kept"


def test_an_unreadable_row_stops_the_run_with_its_name(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    data = (folder / "images" / "03.png").read_bytes()
    (folder / "images" / "03.png").write_bytes(data[:-200])
    with pytest.raises(InputError, match=r"row 5 \(images/03\.png\)"):
        fit(run_config(folder, tmp_path / "run"))


# ---- processes ----------------------------------------------------------------------------------------
def test_the_processes_asked_for_must_run(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 processes were asked for"):
        fit(run_config(tiny_data, tmp_path / "run", processes=2))
    assert not (tmp_path / "run").exists()


def launch(words: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("accelerate")
    env = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "MPLBACKEND": "Agg"} | environment
    return subprocess.run([str(program), "launch", *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture
def config_file(tmp_path: Path) -> Callable[..., Path]:
    def write(data: Path, **changes: Any) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(run_values(data, tmp_path / "run", **changes)))
        return path

    return write


TWO = [
    "--multi_gpu",
    "--num_processes",
    "2",
    "--num_machines",
    "1",
    "--mixed_precision",
    "no",
    "--dynamo_backend",
    "no",
    "-m",
    "umsrep.tasks.finetune",
]


@pytest.mark.slow
def test_the_documented_command_runs_on_two_processes(tiny_data: Path, tmp_path: Path, config_file: Callable[..., Path]) -> None:
    path = config_file(tiny_data, epochs=2, ema=0.9, optimiser={"learning_rate": 0.005})
    done = launch([*TWO, "--config", str(path)], ACCELERATE_USE_CPU="true")
    assert done.returncode == 0, done.stderr[-3000:]
    output = tmp_path / "run"
    assert json.loads((output / "environment.json").read_text())["world_size"] == 2
    assert len(entries(output)) == 2, "one process writes"
    assert done.stdout.count("Run folder") == 1
    report = json.loads((output / "report.json").read_text())
    measured = evaluate(MultiTaskModel.from_pretrained(output / "model"), tiny_data, split="validation", level=25.0, title=None)
    for name, metrics in report["validation"].items():
        for key, value in metrics.items():
            assert measured[name][key] == pytest.approx(math.nan if value is None else value, abs=1e-4, nan_ok=True), (
                f"{name}/{key}: all ranks must validate the model that is saved"
            )


@pytest.mark.slow
def test_two_processes_stop_together_at_an_unreadable_row(tmp_path: Path, config_file: Callable[..., Path]) -> None:
    folder = write_tiny_data(tmp_path / "data")
    (folder / "images" / "03.png").write_bytes((folder / "images" / "03.png").read_bytes()[:-200])
    done = launch([*TWO, "--config", str(config_file(folder))], ACCELERATE_USE_CPU="true")
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("umsrep: ") and "images/03.png" in line]
    assert lines, done.stderr[-3000:]


@pytest.mark.slow
def test_the_launch_that_silently_runs_one_process_is_refused(tiny_data: Path, tmp_path: Path, config_file: Callable[..., Path]) -> None:
    done = launch(["--cpu", "--num_processes", "2", "-m", "umsrep.tasks.finetune", "--config", str(config_file(tiny_data))])
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("umsrep: ")]
    assert "2 processes were asked for, but 1 run" in line
    assert "--multi_gpu --num_processes 2" in line
    assert not (tmp_path / "run").exists()


def test_the_model_of_the_helpers_is_the_model_of_a_run(tiny_data: Path, tmp_path: Path) -> None:
    assert not changed(start(run_config(tiny_data, tmp_path / "run")), tiny_model(tiny_data).state_dict())
    assert ARCH in (ROOT / "tests" / "tasks" / "runs.py").read_text()
