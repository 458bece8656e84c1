"""A training run under ours, MONAI's SupervisedTrainer and Lightning's Trainer: the same model, images, order of batches and optimiser.

Every run is a process of its own, on one thread; all engines take turns in every round, in the opposite order every second round. The
model is `umsrep.tasks.step.JointStep` (lite0, three heads; then a small resnet10t with a classification head alone, in which an engine's
own work weighs more), which all of them call as a plain module that returns its losses. The loader is the same `DataLoader` over the same
`JointDataset` and sampler (224 px PNGs made here, no workers), so that a step also loads its batch. A step is the time from one batch being
asked for to the next, the first three left out; the whole run reaches from the start of the interpreter to its end. What each does:

- plain: forward, backward, AdamW at a fixed rate; no clipping, no moving average, no logs, bars, checkpoints. MONAI sets gradients to None
  and does not decollate, as it can. The mean losses of all engines must agree, and are printed. Ours cannot leave out some of its work:
  it checks every loss, and ends with validation (32 images), a saved model, its card, curves and samples. The others write nothing.
- features: the same, with gradients clipped to norm 1 and a moving average of weights and buffers on all sides (MONAI: ignite's EMAHandler
  and a handler that clips; Lightning: EMAWeightAveraging and gradient_clip_val).
- defaults: what each does when told nothing, over two epochs. Ours: clipping, moving average, warm-up and cosine, validation, checkpoint
  and metrics.jsonl in each epoch, then the above. Lightning: bar, CSV logger (the default where tensorboard is not installed),
  checkpoint in each epoch, and its validation loop, as its documentation shows; it logs the loss of each step. MONAI: its constructor's
  defaults, which decollate every batch, and nothing else: it validates, logs and saves only what one adds.

"bare" is a loop of ten lines, as the floor. umsrep does not need the peers: put them into an environment of their own that also sees
umsrep, and run this script with it: pip install monai pytorch-ignite lightning
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from timing import Row, arguments, finish, spread
from torch import Tensor, nn
from torch.utils.data import DataLoader
from workload import AUGMENT_OFF, TASKS, write_images

from umsrep.tasks.config import FineTuneConfig
from umsrep.tasks.config_file import config_from_dict
from umsrep.tasks.data.dataset import JointDataset, collate
from umsrep.tasks.data.sampler import TaskAwareBatchSampler
from umsrep.tasks.setup import build_model, build_sets, build_tasks
from umsrep.tasks.step import JointStep

ENGINES = ("umsrep", "monai", "lightning", "bare")
WARM_UP = 3
MODELS = {
    "joint": {"encoder": {"arch": "tf_efficientnet_lite0"}, "tasks": TASKS, "image_size": 64},
    "small": {"encoder": {"arch": "resnet10t"}, "tasks": {"pneumonia": TASKS["pneumonia"]}, "image_size": 32},
}
SHOWN = {
    "step": "a step",
    "step cpu": "a step, processor's time",
    "start": "start to the first batch",
    "whole": "whole run",
    "cpu": "whole run, processor's time",
    "peak": "peak memory",
}
MARKS: list[tuple[float, float]] = []
"""When each batch was asked for, on the wall's and on the processor's clock, by `mark_batches`."""


def mark_batches() -> None:
    """Note the time whenever any engine asks for a batch of the training sampler."""
    plain = TaskAwareBatchSampler.__iter__

    def marked(self: TaskAwareBatchSampler) -> Iterator[list[int]]:
        for rows in plain(self):
            MARKS.append((time.perf_counter(), time.process_time()))
            yield rows

    TaskAwareBatchSampler.__iter__ = marked  # type: ignore[method-assign]


def settings(model: str, mode: str, folder: Path) -> FineTuneConfig:
    """Return the run as ours is told of it; the others read the same."""
    values: dict[str, Any] = {**MODELS[model], "data": [{"path": str(folder / "data")}], "batch_size": 8, "workers": 0}
    values |= {"output": str(folder / "run"), "epochs": 2 if mode == "defaults" else 1}
    if mode != "defaults":
        clip = 1.0 if mode == "features" else 0.0
        optimiser = {"encoder_factor": 1.0, "weight_decay": 0.0, "warmup": 0.0, "final_fraction": 1.0, "clip_norm": clip}
        values |= {"optimiser": optimiser, "augment": AUGMENT_OFF, "gradients_every": 0, "ema": 0.998 if mode == "features" else 0.0}
    return config_from_dict(values)


class Losses(nn.Module):
    """`JointStep` as any engine can take it: a batch in, the sum of the weighted losses out."""

    def __init__(self, config: FineTuneConfig) -> None:
        super().__init__()
        torch.manual_seed(config.seed)
        model = build_model(config)
        self.sets = build_sets(config, model.encoder.contract)
        tasks = build_tasks(config, self.sets[0])
        self.step = JointStep(model, tasks, {name: task.factor for name, task in config.tasks.items()})
        model.to(memory_format=torch.channels_last)  # as the trainer does
        self.sums: dict[str, Tensor] = {}
        self.batches = 0

    def forward(self, batch: dict[str, Any]) -> Tensor:
        names = list(self.step.tasks)
        terms, losses = self.step(batch, {name: float(len(batch[f"target.{name}"])) for name in names})
        if self.training:
            self.batches += 1
            self.sums = {name: self.sums.get(name, torch.zeros(())) + losses[name] for name in names}
        return torch.stack(list(terms.values())).sum()

    def optimiser(self, config: FineTuneConfig) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=config.optimiser.learning_rate, weight_decay=config.optimiser.weight_decay)

    def loader(self, config: FineTuneConfig) -> DataLoader[Any]:
        train = self.sets[0]
        sampler = TaskAwareBatchSampler({name: train.annotated[name] for name in train.tasks}, config.batch_size, seed=config.seed)
        return DataLoader(train, batch_sampler=sampler, collate_fn=collate)

    def validation(self, config: FineTuneConfig) -> DataLoader[Any]:
        rows: JointDataset = self.sets[1]
        return DataLoader(rows, batch_size=config.batch_size, collate_fn=collate)


def umsrep(config: FineTuneConfig, mode: str) -> dict[str, float]:
    from umsrep.tasks.trainer import fit

    fit(config)
    line = (Path(config.output) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0]
    losses: dict[str, float] = json.loads(line)["train"]
    return losses


def bare(config: FineTuneConfig, mode: str) -> dict[str, float]:
    module = Losses(config).train()
    optimiser, loader = module.optimiser(config), module.loader(config)
    for batch in loader:
        module(batch).backward()
        optimiser.step()
        optimiser.zero_grad()
    return means(module)


def means(module: Losses) -> dict[str, float]:
    return {name: float(total) / module.batches for name, total in module.sums.items()}


def monai(config: FineTuneConfig, mode: str) -> dict[str, float]:
    from ignite.handlers import EMAHandler
    from monai.engines import SupervisedTrainer
    from monai.engines.utils import IterationEvents

    module = Losses(config)
    loader, chosen = module.loader(config), {} if mode == "defaults" else {"decollate": False, "optim_set_to_none": True}
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=config.epochs,
        train_data_loader=loader,
        network=module,
        optimizer=module.optimiser(config),
        loss_function=lambda loss, _: loss,
        prepare_batch=lambda batch, device, non_blocking: ({k: v.to(device) for k, v in batch.items()}, None),
        **chosen,
    )
    if mode == "features":
        EMAHandler(module, momentum=1 - config.ema, handle_buffers="update").attach(trainer)
        trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, lambda _: nn.utils.clip_grad_norm_(module.parameters(), 1.0))
    trainer.run()
    return means(module)


def lightning(config: FineTuneConfig, mode: str) -> dict[str, float]:
    import lightning.pytorch as pl
    from lightning.pytorch.callbacks import EMAWeightAveraging

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.losses = Losses(config)

        def training_step(self, batch: dict[str, Any], _: int) -> Tensor:
            loss: Tensor = self.losses(batch)
            if mode == "defaults":
                self.log("train_loss", loss, batch_size=len(batch["index"]))
            return loss

        def validation_step(self, batch: dict[str, Any], _: int) -> None:
            self.log("val_loss", self.losses(batch), batch_size=len(batch["index"]))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return self.losses.optimiser(config)

    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    chosen: dict[str, Any] = {} if mode == "defaults" else quiet
    if mode == "features":
        chosen |= {"gradient_clip_val": 1.0, "callbacks": [EMAWeightAveraging(decay=config.ema)]}
    module = Module()
    loader = module.losses.loader(config)
    trainer = pl.Trainer(accelerator="cpu", max_epochs=config.epochs, default_root_dir=config.output, **chosen)
    trainer.fit(module, loader, module.losses.validation(config) if mode == "defaults" else None)
    return means(module.losses)


def child(engine: str, model: str, mode: str, folder: Path) -> None:
    """Run one engine and print what was measured as a line of JSON."""
    warnings.simplefilter("ignore")  # the peers' own deprecations
    logging.disable(logging.INFO)
    torch.set_num_threads(1)
    mark_batches()
    engines: dict[str, Callable[[FineTuneConfig, str], dict[str, float]]] = {f.__name__: f for f in (umsrep, monai, lightning, bare)}
    losses = engines[engine](settings(model, mode, folder), mode)
    with open("/proc/self/status", encoding="ascii") as status:
        peak = int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024
    print(json.dumps({"marks": MARKS, "losses": losses, "peak": peak, "cpu": time.process_time()}))


def measure(engine: str, model: str, mode: str, data: Path, steps: int) -> dict[str, Any]:
    """Run one engine in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name, "data").symlink_to(data)
        started = time.perf_counter()
        command = [sys.executable, __file__, "--child", engine, model, mode, name]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        whole = time.perf_counter() - started
    if done.returncode:
        sys.exit(print(f"error: {engine}, {mode}: {done.stderr[-2000:]}", file=sys.stderr) or 1)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    marks = found.pop("marks")
    times = [[b - a for a, b in itertools.pairwise(one[WARM_UP:steps])] for one in zip(*marks, strict=True)]  # of the first epoch
    return found | {"step": spread(times[0])[0], "step cpu": spread(times[1])[0], "start": marks[0][0] - started, "whole": whole}


def compare(model: str, mode: str, data: Path, steps: int, rounds: int) -> list[Row]:
    """Let the engines take turns; prints their losses."""
    engines: Sequence[str] = ENGINES if mode == "plain" else ENGINES[:3]
    found: dict[str, list[dict[str, Any]]] = {engine: [] for engine in engines}
    for number in range(rounds):
        for engine in engines if number % 2 else reversed(engines):
            found[engine].append(measure(engine, model, mode, data, steps))
    print(f"{model}, {mode}: mean losses" + (" (not comparable: other rates and augmentation)" if mode == "defaults" else ""))
    for engine in engines:
        print(f"  {engine:<10}" + "".join(f"{task} {loss:.5f}  " for task, loss in found[engine][0]["losses"].items()))
    rows = []
    for key, what in SHOWN.items():
        for engine in engines[1:]:
            ours, theirs = ([run[key] for run in found[who]] for who in ("umsrep", engine))
            limit = 1.0 if key.startswith("step") and engine != "bare" else None
            rows.append(Row(f"{model}, {mode}, {what}: ours | {engine}", ours, theirs, "ratio", limit, "MB" if key == "peak" else "ms"))
    return rows


def main() -> None:
    options = arguments(__doc__)
    missing = [name for name in ("monai", "ignite", "lightning") if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(
            print(f"error: no {', '.join(missing)}; pip install monai pytorch-ignite lightning (see {__file__})", file=sys.stderr) or 2
        )
    steps, rounds, main_model = (7, 1, "small") if options.quick else (28, 3, "joint")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        data = write_images(Path(name, "data"), steps * 64 // 7)  # seven eighths of them train, eight a step
        for model, mode in dict.fromkeys(((main_model, "plain"), ("small", "plain"), (main_model, "features"), (main_model, "defaults"))):
            rows += compare(model, mode, data, steps, rounds)
    finish("training_peers", rows, options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:5], Path(sys.argv[5]))
    else:
        main()
