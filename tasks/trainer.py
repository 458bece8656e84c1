"""The training loop: joint fine-tuning under Accelerate on one or many processes."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, set_seed
from timm.utils.model_ema import ModelEmaV3
from torch import nn
from torch.utils.data import DataLoader

from umsrep.errors import InputError
from umsrep.heads import ClassificationHead
from umsrep.tasks import checkpoint, pictures, runfolder
from umsrep.tasks.classification import Classification, choose_thresholds
from umsrep.tasks.config import FineTuneConfig, dump_config
from umsrep.tasks.data.dataset import JointDataset, collate
from umsrep.tasks.data.sampler import TaskAwareBatchSampler
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.evaluate import Rows, collect, move, selection_score, summarise
from umsrep.tasks.launch import check_trackers, check_world_size
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.noise import level_range
from umsrep.tasks.progress import say, track
from umsrep.tasks.setup import build_model, build_sets, build_tasks
from umsrep.tasks.step import JointStep, annotated_rows
from umsrep.tasks.strategies import Strategy
from umsrep.tasks.task import Task

Metrics = dict[str, dict[str, float]]


@dataclasses.dataclass(frozen=True)
class Report:
    """What a run ended with.

    Attributes:
        output: The run folder.
        model: The model folder in it (the best model).
        epoch: Epoch of the best model, counted from 1.
        score: Its selection score.
        validation: Task's name to its metrics on the validation rows.
        test: The same on the test rows, where there are any.
        seconds: Of training and validation, all sessions of the run together.
    """

    output: Path
    model: Path
    epoch: int
    score: float
    validation: Metrics
    test: Metrics
    seconds: float


def fit(config: FineTuneConfig, *, resume: bool = False) -> Report:
    """Fine-tune jointly as configured; under ``accelerate launch`` every process calls it.

    Args:
        config: The run.
        resume: Continue the run in ``config.output`` from its last checkpoint; without one, start over.

    Returns:
        The report, the same on every process.

    Raises:
        InputError: for anything wrong in data or configuration, a non-empty output folder without ``resume``, or a loss that turns
            NaN (the last checkpoint and the best model stay).
    """
    return Trainer(config, resume=resume).run()


class Trainer:
    """One run: set up in `__init__`, done by `run`."""

    def __init__(self, config: FineTuneConfig, *, resume: bool = False) -> None:
        """Check everything that can be checked before the first step, and build model, data and optimiser."""
        self.config = config
        check_trackers(config.trackers)
        self.accelerator = Accelerator(
            mixed_precision=config.precision, log_with=config.trackers or None, project_dir=config.output if config.trackers else None
        )
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        check_world_size(self.world, config.processes)
        self.output = Path(config.output)
        self.state = runfolder.open_folder(self.output, resume=resume, accelerator=self.accelerator)
        set_seed(config.seed)
        self.model = build_model(config).to(self.accelerator.device)
        sets = build_sets(config, self.model.encoder.contract)
        self.train_set, self.validation_set, self.test_set = sets
        self.tasks = build_tasks(config, self.train_set)
        for dataset in sets[1:]:
            if dataset is not None:
                dataset.tasks = {name: at_middle_level(task) for name, task in self.tasks.items() if name in dataset.tasks}
        trained = list(config.train_heads or self.tasks)
        self.trained_tasks = {name: self.tasks[name] for name in trained}
        self.train_set.tasks = self.trained_tasks
        self.sampler = TaskAwareBatchSampler(
            {name: self.train_set.annotated[name] for name in trained},
            config.batch_size,
            seed=config.seed,
            rank=self.rank,
            world_size=self.world,
        )
        self.steps_per_epoch = max(1, len(self.sampler) // config.optimiser.accumulate)
        self.total_steps = min(config.epochs * self.steps_per_epoch, config.max_steps or 10**12)
        weights = {name: config.tasks[name].factor for name in trained}
        self.step_module = JointStep(
            self.model,
            self.trained_tasks,
            weights,
            uncertainty=config.balancing == "uncertainty",
            frozen_norm=config.frozen_norm,
        ).to(self.accelerator.device)
        self.model.to(memory_format=torch.channels_last)
        if self.world > 1 and self.accelerator.device.type == "cuda" and not config.frozen_norm:
            self.step_module = cast(
                JointStep,
                nn.SyncBatchNorm.convert_sync_batchnorm(  # type: ignore[no-untyped-call]
                    self.step_module
                ),
            )
            self.model = self.step_module.model
        self.strategy = Strategy(config, self.model, self.total_steps)
        self.ema = ModelEmaV3(self.model, decay=config.ema, use_warmup=True) if config.ema else None
        self.optimiser = torch.optim.AdamW(self._groups())
        self.step, self.epoch, self.seconds = 0, 0, 0.0
        self.best = -math.inf
        self.best_epoch, self.stale = 0, 0
        self.best_metrics: Metrics = {}
        if self.state is not None:
            self._restore(self.state)

    # ---- set-up ----------------------------------------------------------------------------------------------------
    def _groups(self) -> list[dict[str, Any]]:
        settings = self.config.optimiser
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in self.step_module.named_parameters():
            groups.setdefault((name.startswith("model.encoder."), parameter.ndim > 1), []).append(parameter)
        return [
            {
                "params": parameters,
                "lr": 0.0,
                "peak": settings.learning_rate * (settings.encoder_factor if is_encoder else 1.0),
                "weight_decay": settings.weight_decay if decays else 0.0,
            }
            for (is_encoder, decays), parameters in groups.items()
        ]

    def _restore(self, state: dict[str, Any]) -> None:
        checkpoint.restore(state, self.step_module, self.ema, self.optimiser)
        self.step, self.epoch, self.seconds = state["step"], state["epoch"], state["seconds"]
        self.best, self.best_epoch, self.stale, self.best_metrics = (
            state["best"],
            state["best_epoch"],
            state["stale"],
            state["best_metrics"],
        )

    def learning_rate(self, step: int) -> float:
        """Return the factor on the peak rate at a step: linear warm-up, then a cosine."""
        settings = self.config.optimiser
        warm = max(1, round(settings.warmup * self.total_steps))
        if step < warm:
            return (step + 1) / warm
        progress = (step - warm) / max(1, self.total_steps - warm)
        return settings.final_fraction + (1 - settings.final_fraction) * (1 + math.cos(math.pi * min(1.0, progress))) / 2

    # ---- running ---------------------------------------------------------------------------------------------------
    def run(self) -> Report:
        """Train, keep the best model, test it, and write the run folder."""
        main = self.accelerator.is_main_process
        if main:
            (self.output / "config.yaml").write_text(dump_config(self.config), encoding="utf-8")
            runfolder.write_environment(self.output, self.world, self.accelerator)
            counts = ", ".join(f"{n} {int(self.train_set.annotated[n].sum())}" for n in self.trained_tasks)
            say(f"{len(self.sampler.rows)} training rows ({counts}), {len(self.validation_set)} validation rows, {self.total_steps} steps")
        if self.config.trackers:
            self.accelerator.init_trackers("umsrep")
        while self.step < self.total_steps and not self._stopped():
            started = time.monotonic()
            train = self._train_epoch()
            self._check_weights()
            self._same_everywhere()
            self.epoch += 1
            entry: dict[str, Any] = {"epoch": self.epoch, "step": self.step, **train}
            last = self.step >= self.total_steps
            if self.epoch % self.config.validate_every == 0 or last:
                entry["validation"] = self._validate()
                entry["score"] = selection_score(entry["validation"], self.tasks, self.config.early_stopping.metric)
                self._keep_best(entry["score"], entry["validation"])
            self.seconds += time.monotonic() - started
            entry["seconds"] = self.seconds
            if main:
                checkpoint.save(self.output, self._checkpoint())
                runfolder.append_metrics(self.output, entry)
                say(runfolder.epoch_line(entry, self.best_epoch == self.epoch))
            if self.config.trackers:
                self.accelerator.log(runfolder.flat(entry), step=self.step)
            self.accelerator.wait_for_everyone()
        return self._finish()

    def _stopped(self) -> bool:
        patience = self.config.early_stopping.patience
        return bool(patience) and self.stale >= patience

    def _train_epoch(self) -> dict[str, Any]:
        config, device = self.config, self.accelerator.device
        self.sampler.epoch = self.train_set.epoch = self.epoch
        set_seed(zlib.crc32(f"{config.seed}/{self.epoch}/{self.rank}".encode()))  # dropout; everything else has its own generators
        loader = DataLoader(
            self.train_set,
            batch_sampler=self.sampler,
            num_workers=config.workers,
            collate_fn=collate,
            pin_memory=device.type == "cuda",
        )
        names = list(self.trained_tasks)
        sums = dict.fromkeys(names, 0.0)
        rows = dict.fromkeys(names, 0.0)
        wrapped = self._wrap()
        accumulate = config.optimiser.accumulate
        images, started = 0, time.monotonic()
        bar = track(loader, f"epoch {self.epoch + 1}/{config.epochs}" if self.rank == 0 else None, total=len(self.sampler))
        for number, batch in enumerate(bar):
            batch = self._agree(batch)
            if number // accumulate >= self.steps_per_epoch or self.step >= self.total_steps:
                break
            if self.strategy.changes(self.step):
                wrapped = self._wrap()
            counts = annotated_rows(batch, names).to(device, torch.float32)
            if self.world > 1:
                counts = cast(torch.Tensor, self.accelerator.reduce(counts))
            totals = dict(zip(names, counts.tolist(), strict=True))
            on_device = move(batch, device)
            boundary = (number + 1) % accumulate == 0
            with contextlib.nullcontext() if boundary else self.accelerator.no_sync(wrapped):
                loss, losses = wrapped(on_device, totals, self.world)
                self._check_finite(losses, batch)
                self.accelerator.backward(loss / accumulate)
            for name, value in losses.items():
                sums[name] += float(value) * totals[name]
                rows[name] += totals[name]
            images += config.batch_size
            if boundary:
                self._optimise()
        if self.world > 1:
            gathered = self.accelerator.reduce(torch.tensor([sums[n] for n in names], device=device))
            sums = dict(zip(names, cast(torch.Tensor, gathered).tolist(), strict=True))
        seconds = time.monotonic() - started
        return {
            "train": {name: sums[name] / rows[name] if rows[name] else math.nan for name in names},
            "learning_rate": config.optimiser.learning_rate * self.learning_rate(self.step),
            "images_per_second": images / seconds,
        }

    def _wrap(self) -> nn.Module:
        """Return the step module in training mode, wrapped anew: which parameters train may have changed."""
        self.strategy.apply(self.step, self.step_module)
        return cast(nn.Module, self.accelerator.prepare_model(self.step_module))

    def _optimise(self) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * self.learning_rate(self.step)
        scaler = self.accelerator.scaler
        if scaler is not None:
            scaler.unscale_(self.optimiser)
        if self.config.optimiser.clip_norm:
            nn.utils.clip_grad_norm_(self.step_module.parameters(), self.config.optimiser.clip_norm)
        if scaler is not None:
            scaler.step(self.optimiser)
            scaler.update()
        else:
            self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        if self.ema is not None:
            self.ema.update(self.model, step=self.step)

    def _agree(self, batch: dict[str, Any] | InputError) -> dict[str, Any]:
        """Return the batch, or stop all processes when one of them met an unreadable row."""
        failed = isinstance(batch, InputError)
        if self.world > 1:
            flag = torch.tensor([float(failed)], device=self.accelerator.device)
            anywhere = bool(cast(torch.Tensor, self.accelerator.reduce(flag)).item())
        else:
            anywhere = failed
        if isinstance(batch, InputError):
            raise batch
        if anywhere:
            raise InputError("another process met an unreadable row; see its message")
        return batch

    def _check_finite(self, losses: Mapping[str, torch.Tensor], batch: Mapping[str, Any]) -> None:
        values = torch.stack([v.reshape(()).float() for v in losses.values()])
        if self.world > 1:
            values = cast(torch.Tensor, self.accelerator.reduce(values))
        if torch.isfinite(values).all():
            return
        name = list(losses)[int((~torch.isfinite(values)).nonzero()[0])]
        items = [self.train_set.items[i] for i in batch["index"].tolist()[:4]]
        files = ", ".join(self.train_set.sources[s].manifest.columns["file_name"][row] for s, row in items)
        kept = f"the checkpoint of epoch {self.epoch} is kept in {self.output}" if self.epoch else "no checkpoint was written yet"
        raise InputError(
            f"the loss of '{name}' is not finite in epoch {self.epoch + 1}, step {self.step + 1} (batch with {files} ...); {kept}; "
            "lower optimiser.learning_rate or check these images"
        )

    # ---- validating ------------------------------------------------------------------------------------------------
    @property
    def evaluated(self) -> MultiTaskModel:
        """The model that is evaluated and saved: the moving average, if there is one."""
        return cast(MultiTaskModel, self.ema.module) if self.ema is not None else self.model

    def _collect(self, dataset: JointDataset, title: str) -> Rows:
        return collect(
            self.evaluated,
            dataset,
            batch_size=max(1, self.config.batch_size // self.world),
            workers=self.config.workers,
            rank=self.rank,
            world_size=self.world,
            title=title if self.rank == 0 else None,
        )

    def _same_everywhere(self) -> None:
        """Give every process the first one's batch-norm statistics, which drift apart where they are not synchronised."""
        if self.world == 1:
            return
        for module in (self.model, *((self.ema.module,) if self.ema is not None else ())):
            for buffer in module.buffers():
                broadcast(buffer)

    def _check_weights(self) -> None:
        """Stop before weights that are not finite replace the last good checkpoint and the best model."""
        tensors = {**self.step_module.state_dict(), **(self.evaluated.state_dict() if self.ema is not None else {})}
        wrong = [name for name, value in tensors.items() if value.is_floating_point() and not torch.isfinite(value).all()]
        if wrong:
            kept = f"the checkpoint of epoch {self.epoch} is kept in {self.output}" if self.epoch else "no checkpoint was written yet"
            raise InputError(
                f"weights are not finite after epoch {self.epoch + 1} (first: {wrong[0]}); {kept}; lower optimiser.learning_rate"
            )

    def _validate(self) -> Metrics:
        rows = self._collect(self.validation_set, "validating")
        for name, task in self.tasks.items():
            head = self.evaluated.heads[name]
            if isinstance(task, Classification) and isinstance(head, ClassificationHead) and name in rows and name in self.trained_tasks:
                head.set_thresholds(choose_thresholds(rows[name]["probabilities"], rows[name]["target"]))
        return summarise(rows, self.tasks, self._thresholds())

    def _thresholds(self) -> dict[str, tuple[float, ...] | None]:
        return {name: head.thresholds for name, head in self.evaluated.heads.items() if isinstance(head, ClassificationHead)}

    def _keep_best(self, score: float, metrics: Metrics) -> None:
        if score > self.best or math.isnan(self.best) or not self.best_metrics:
            self.best, self.best_epoch, self.stale, self.best_metrics = score, self.epoch, 0, metrics
            if self.accelerator.is_main_process:
                self.evaluated.save_pretrained(self.output / "model")
        else:
            self.stale += 1

    def _checkpoint(self) -> dict[str, Any]:
        own = {n: getattr(self, n) for n in ("step", "epoch", "seconds", "best", "best_epoch", "stale", "best_metrics")}
        return {**own, **checkpoint.state_of(self.step_module, self.ema, self.optimiser)}

    def _finish(self) -> Report:
        """Test the best model and write card, curves and samples."""
        self.accelerator.wait_for_everyone()
        folder = self.output / "model"
        best = MultiTaskModel.from_pretrained(folder).to(self.accelerator.device)
        test: Metrics = {}
        if self.test_set is not None:
            self.ema = None
            self.model = best
            rows = self._collect(self.test_set, "testing")
            test = summarise(rows, self.tasks, self._thresholds())
        report = Report(self.output, folder, self.best_epoch, self.best, self.best_metrics, test, self.seconds)
        if self.accelerator.is_main_process:
            runfolder.write_report(report, self.config, best)
            pictures.draw_curves(self.output / "metrics.jsonl", self.output / "curves.png")
            pictures.draw_samples(best, self.validation_set, self.output / "samples.png")
        if self.config.trackers:
            self.accelerator.end_training()
        self.accelerator.wait_for_everyone()
        return report


def at_middle_level(task: Task) -> Task:
    """Return a denoising task with its level fixed at the middle of its range, for comparable validations; others as they are."""
    if not isinstance(task, Denoising):
        return task
    low, high = level_range(task.level)
    return Denoising(task.noise, (low + high) / 2, task.loss_name, task.ssim_weight)
