"""The loop of self-supervised pretraining under Accelerate, on one or many processes; it resumes exactly."""

from __future__ import annotations

import contextlib
import copy
import math
import signal
import time
import zlib
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from timm.layers.norm_act import convert_sync_batchnorm
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from umsrep.tasks import checkpoint, runfolder
from umsrep.tasks.agreement import agree
from umsrep.tasks.data.augment import Augment
from umsrep.tasks.data.sampler import TaskAwareBatchSampler
from umsrep.tasks.finite import check_losses, check_weights
from umsrep.tasks.interruption import Interrupted, Watch
from umsrep.tasks.launch import check_trackers, check_world_size
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.optimisation import Optimisation
from umsrep.tasks.pretrain.config import CONTRASTING, PretrainConfig
from umsrep.tasks.pretrain.config_file import dump_pretrain_config
from umsrep.tasks.pretrain.data import ViewSet, endless, make_loader, open_images
from umsrep.tasks.pretrain.monitor import Monitor, on_main
from umsrep.tasks.pretrain.outcome import PretrainReport, epoch_line, write_outcome
from umsrep.tasks.pretrain.resuming import check_same_run, identity
from umsrep.tasks.pretrain.setup import build_encoder, build_objective
from umsrep.tasks.progress import say, track
from umsrep.tasks.running import Running
from umsrep.tasks.strategies import stages_of

Knn = dict[str, dict[str, float]]
_PROGRESS = ("step", "epoch", "seconds", "knn_before", "knn", "losses")


def pretrain(config: PretrainConfig, *, resume: bool = False) -> PretrainReport:
    """Pretrain an encoder without labels; under ``accelerate launch`` every process calls it.

    Args:
        config: The run.
        resume: Continue the run in ``config.output`` from its last checkpoint; without one, start over.

    Returns:
        The report, the same on every process.

    Raises:
        InputError: for anything wrong in data or configuration, a non-empty output folder without ``resume``, or a loss that turns NaN.
        Interrupted: a `KeyboardInterrupt`, after Ctrl-C, SIGTERM or SIGUSR1: the step is finished and a checkpoint written first.
    """
    return _Pretrainer(config, resume=resume).run()


class _Pretrainer:
    """One run: set up in `__init__`, done by `run`."""

    def __init__(self, config: PretrainConfig, *, resume: bool) -> None:
        self.config = config
        check_trackers(config.trackers)
        self.accelerator = Accelerator(
            mixed_precision=config.precision, log_with=config.trackers or None, project_dir=config.output if config.trackers else None
        )
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        check_world_size(self.world, config.processes)
        self.output = Path(config.output)
        state = runfolder.open_folder(self.output, resume=resume, accelerator=self.accelerator)
        set_seed(config.seed)
        encoder = build_encoder(config)
        self.objective = build_objective(config, encoder).to(self.accelerator.device).to(memory_format=torch.channels_last)
        if self.world > 1 and self.accelerator.device.type == "cuda" and not config.frozen_norm:
            self.objective = convert_sync_batchnorm(self.objective)  # type: ignore[no-untyped-call]  # timm's: torch's drops activations
        self.sources = [open_images(data, seed=config.seed) for data in config.data]
        self.data = {str(source.manifest.root): runfolder.fingerprint(source.manifest) for source in self.sources}
        items = [(s, row) for s, source in enumerate(self.sources) for row in source.rows]
        self.set = ViewSet(
            self.sources,
            items,
            encoder.contract,
            self.objective.views(config.augment or Augment()),
            seed=config.seed,
            lenient=config.lenient,
        )
        self.monitor = Monitor(
            self.sources,
            rows=config.monitor_rows,
            batch_size=config.batch_size,
            workers=config.workers,
            lenient=config.lenient,
            seed=config.seed,
        )
        self.sampler = TaskAwareBatchSampler(
            {config.method: np.ones(len(items), dtype=bool)}, config.batch_size, seed=config.seed, rank=self.rank, world_size=self.world
        )
        self.steps_per_epoch = max(1, len(self.sampler) // config.optimiser.accumulate)
        self.total_steps = min(config.epochs * self.steps_per_epoch, config.max_steps or 10**12)
        self.ema = ModelEmaV3(self.objective.model, decay=config.ema, use_warmup=True) if config.ema else None
        blocks = stages_of(self.objective.model.encoder.model, coarse=False)
        self.optimisation = Optimisation(config.optimiser, self.objective, self.total_steps, self.accelerator.scaler, blocks=blocks)
        self.identity = identity(config, self.data)
        self.step, self.epoch, self.seconds = 0, 0, 0.0
        self.knn_before: Knn = {}
        self.knn: Knn = {}
        self.losses: list[float] = []
        self.running = Running()
        self.watch = Watch()
        self.saved, self.saved_step = time.monotonic(), 0
        if state is not None:
            self._restore(state)

    def _restore(self, state: dict[str, Any]) -> None:
        check_same_run(state, self.identity, str(self.output))
        checkpoint.restore(state, self.objective, self.ema, self.optimisation)
        for name in _PROGRESS:
            setattr(self, name, state[name])
        self.saved_step = self.step
        self.running = Running.restore(state["running"], self.accelerator)

    # ---- running ---------------------------------------------------------------------------------------------------
    def run(self) -> PretrainReport:
        """Train, monitor, save the encoder, and write the run folder."""
        main = self.accelerator.is_main_process
        if main:
            (self.output / "config.yaml").write_text(dump_pretrain_config(self.config), encoding="utf-8")
            notes = list(dict.fromkeys(note for source in self.sources for note in source.manifest.notes))
            runfolder.write_environment(self.output, self.world, self.accelerator, data=self.data, notes=notes, seed=self.config.seed)
            counts = ", ".join(f"{source.name} {len(source.rows)}" for source in self.sources)
            for line in (*notes, f"{self.config.method}: {len(self.set)} images ({counts}), {self.total_steps} steps"):
                say(line)
        if self.config.trackers:
            self.accelerator.init_trackers("umsrep")
        if self.step == 0 and not self.running.batches:
            self.objective.prepare(endless(self.accelerator, self.set, self.sampler, self.config.workers))
            self.knn_before = self.knn = self._measure()
            self._log({"epoch": 0, "step": 0, **({"knn": self.knn} if self.knn else {})})
        with self.watch:
            while self.step < self.total_steps:
                self._epoch()
        return self._finish()

    def _epoch(self) -> None:
        """Train and save one epoch, or what is left of it, and monitor where that is due."""
        train = self._train_epoch()
        started = time.monotonic()
        self._check_weights()
        self.epoch += 1
        self.losses.append(train["train"][self.config.method])
        entry: dict[str, Any] = {"epoch": self.epoch, "step": self.step, **train}
        if self.epoch % self.config.validate_every == 0 or self.step >= self.total_steps:
            self.knn = self._measure()
            entry |= {"knn": self.knn} if self.knn else {}
        self.seconds += self.running.seconds + time.monotonic() - started
        entry["seconds"] = self.seconds
        self.running = Running()
        self._log(entry)  # before the checkpoint: resuming drops lines that are newer than it
        self._save()

    def _log(self, entry: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            runfolder.append_metrics(self.output, entry)
            say(epoch_line(entry))
        if self.config.trackers:
            self.accelerator.log(runfolder.flat(entry), step=self.step)

    def _train_epoch(self) -> dict[str, Any]:
        config, device, running = self.config, self.accelerator.device, self.running
        self.sampler.epoch = self.set.epoch = self.epoch
        self.sampler.start = running.batches
        loader = make_loader(self.set, self.sampler, workers=config.workers, pinned=device.type == "cuda")
        accumulate = config.optimiser.accumulate
        rows = float(self.sampler.batch_size)
        wrapped = self._wrap()
        due, received, mark = False, 0, time.monotonic()
        title = f"epoch {self.epoch + 1}/{config.epochs}" if self.rank == 0 else None
        for item in track(loader, title, total=len(self.sampler) - running.batches):
            if running.batches // accumulate >= self.steps_per_epoch or self.step >= self.total_steps:
                break
            late = 0 < config.checkpoint_minutes * 60 <= time.monotonic() - self.saved
            agreed = agree(self.accelerator, item, [], due=late, received=self.watch.received)
            due, received = due or agreed.due, received or agreed.received
            # seeded for each batch, so that a run that goes on in the middle of an epoch draws the same dropout
            torch.manual_seed(zlib.crc32(f"{config.seed}/{self.epoch}/{running.batches}/{self.rank}".encode()))
            batch = {name: value.to(device, non_blocking=True) for name, value in agreed.batch.items()}
            boundary = (running.batches + 1) % accumulate == 0
            with contextlib.nullcontext() if boundary else self.accelerator.no_sync(wrapped):
                with self.accelerator.autocast():
                    loss: Tensor = wrapped(batch)
                losses: dict[str, Tensor] = {config.method: loss.detach() / self.world}
                check_losses(self.accelerator, losses, agreed.batch, cast(Any, self.set), self._where)
                self.accelerator.backward(loss / accumulate)
            running.add(losses, {config.method: rows}, int(rows))
            if not boundary:
                continue
            self.objective.before_step(self.epoch)
            self.optimisation.step(self.step)
            self.step += 1
            self.objective.after_step(self.step, self.total_steps)
            if self.ema is not None:
                self.ema.update(self.objective.model, step=self.step)
            if due or received:
                mark, due = self._count(mark), False
                self._check_weights()
                self._save()
                self._obey(received)
        self._count(mark)
        return {
            "train": running.means(self.accelerator),
            "learning_rate": config.optimiser.learning_rate * self.optimisation.factor(self.step),
            "images_per_second": running.images / running.seconds,
        }

    def _count(self, mark: float) -> float:
        """Add the seconds since ``mark`` to the epoch's, and return the new mark."""
        now = time.monotonic()
        self.running.seconds += now - mark
        return now

    @property
    def _where(self) -> str:
        kept = f"the checkpoint of step {self.saved_step} is kept in {self.output}" if self.saved_step else "no checkpoint was written yet"
        return f"epoch {self.epoch + 1}, step {self.step + 1}; {kept}"

    def _wrap(self) -> nn.Module:
        self.objective.train()
        if self.world == 1:
            return self.objective
        device = self.accelerator.device
        return DistributedDataParallel(self.objective, device_ids=[device.index] if device.type == "cuda" else None)

    def _obey(self, received: int) -> None:
        if received:
            raise Interrupted(
                received,
                f"stopped by {signal.Signals(received).name} after step {self.step} of {self.total_steps}; a checkpoint is saved in "
                f"{self.output}: the same command with --resume goes on from there",
            )

    def _save(self) -> None:
        running = self.running.state(self.accelerator)
        if self.accelerator.is_main_process:
            state = {name: getattr(self, name) for name in _PROGRESS} | {"running": running, **self.identity}
            checkpoint.save(self.output, self.step, state | checkpoint.state_of(self.objective, self.ema, self.optimisation))
        self.saved, self.saved_step = time.monotonic(), self.step
        self.accelerator.wait_for_everyone()

    def _check_weights(self) -> None:
        """Stop before weights that are not finite replace the last good checkpoint."""
        check_weights({name: v for name, v in self.objective.state_dict().items() if isinstance(v, Tensor)}, self._where)

    # ---- monitoring ------------------------------------------------------------------------------------------------
    def result(self) -> MultiTaskModel:
        """Return the model that is monitored and saved.

        Statistics that batch norms took of noisy or masked images are replaced, in a copy, by those of whole, clean ones.
        """
        model = cast(MultiTaskModel, self.ema.module) if self.ema is not None else self.objective.result
        if self.config.frozen_norm or self.config.method in CONTRASTING or self.step == 0:
            return model
        copied = copy.deepcopy(model).eval()
        copied.encoder = self.monitor.clean_statistics(model.encoder, self.set.items[: self.config.monitor_rows])
        return copied

    def _measure(self) -> Knn:
        return on_main(self.accelerator, lambda: self.monitor.measure(self.result().encoder) if self.monitor.sets else {}) or {}

    def _finish(self) -> PretrainReport:
        self.accelerator.wait_for_everyone()
        first, last = (self.losses[0], self.losses[-1]) if self.losses else (math.nan, math.nan)
        report = PretrainReport(
            self.output,
            self.output / "model",
            self.config.method,
            self.epoch,
            self.step,
            first,
            last,
            self.knn_before,
            self.knn,
            self.seconds,
        )
        columns = {name: entry[-1] for name, entry in self.monitor.sets.items()}
        on_main(self.accelerator, lambda: write_outcome(report, self.config, self.result(), self.sources, columns))
        if self.config.trackers:
            self.accelerator.end_training()
        self.accelerator.wait_for_everyone()
        return report
