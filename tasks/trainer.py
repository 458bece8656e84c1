"""The training loop: joint fine-tuning under Accelerate on one or many processes."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import signal
import time
import zlib
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from umsrep.errors import InputError
from umsrep.tasks import checkpoint, compiling, continuing, guarding, memory, parallel, pictures, runfolder
from umsrep.tasks.agreement import agree
from umsrep.tasks.assembly import Assembly
from umsrep.tasks.config import FineTuneConfig
from umsrep.tasks.config_file import dump_config
from umsrep.tasks.data.dataset import collate
from umsrep.tasks.data.sampler import SizedBatches
from umsrep.tasks.evaluate import selection_score
from umsrep.tasks.finite import check_losses, check_weights
from umsrep.tasks.guard import attach
from umsrep.tasks.interruption import Interrupted, Watch, ignore_signals
from umsrep.tasks.launch import check_trackers, check_world_size
from umsrep.tasks.live import Live
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.prefetch import ahead, loader_options
from umsrep.tasks.progress import say
from umsrep.tasks.report import Report
from umsrep.tasks.running import Running
from umsrep.tasks.setup import data_notes
from umsrep.tasks.trackers import Trackers
from umsrep.tasks.unlabelled.build import adapt_norms, notes_of
from umsrep.tasks.unlabelled.rows import collate_joined
from umsrep.tasks.validation import Metrics, Validation

__all__ = ["Report", "Trainer", "fit"]


def fit(config: FineTuneConfig, *, resume: bool = False) -> Report:
    """Fine-tune jointly as configured; under ``accelerate launch`` every process calls it.

    Args:
        config: The run.
        resume: Continue the run in ``config.output`` from its last checkpoint; without one, start over.

    Returns:
        The report, the same on every process.

    Raises:
        InputError: for anything wrong in data or configuration, a non-empty output folder without ``resume``, or a loss that turns
            NaN, memory that runs out, a loader or another process that died (the last checkpoint and the best model stay).
        Interrupted: a `KeyboardInterrupt`, after Ctrl-C, SIGTERM or SIGUSR1: the step is finished and a checkpoint written first.
    """
    with memory.explained(config), parallel.explained(config), compiling.explained():
        return Trainer(config, resume=resume).run()


_PROGRESS = ("step", "epoch", "seconds", "best", "best_epoch", "stale", "best_metrics")
"""The numbers of a run that a checkpoint holds beside the tensors."""


class Trainer(Assembly):
    """One run: set up in `__init__`, done by `run`."""

    def __init__(self, config: FineTuneConfig, *, resume: bool = False) -> None:
        """Check everything that can be checked before the first step, and build model, data and optimiser."""
        check_trackers(config.trackers)
        accelerator = parallel.make_accelerator(config)
        check_world_size(accelerator.num_processes, config.processes)
        self.output = Path(config.output)
        self.state = runfolder.open_folder(self.output, resume=resume, accelerator=accelerator)
        super().__init__(config, accelerator)
        self.validation = Validation(config, accelerator, self.tasks, list(self.trained_tasks))
        self.step, self.epoch, self.seconds = 0, 0, 0.0
        self.running = Running()
        self.watch = Watch()
        self.loader: DataLoader[Any] | None = None
        self.saved, self.saved_step = time.monotonic(), 0
        self.best = -math.inf
        self.best_epoch, self.stale = 0, 0
        self.best_metrics: Metrics = {}
        if self.state is not None:
            self._restore(self.state)
        self.trackers = Trackers(config.trackers, self.output, accelerator, dataclasses.asdict(config), resumed=self.state is not None)
        self.live = Live(
            str(self.output),
            accelerator,
            total_steps=self.total_steps,
            steps_per_epoch=self.steps_per_epoch,
            validate_every=config.validate_every,
            images_per_step=self._images * config.optimiser.accumulate,
            step=self.step,
            seconds=self.seconds + self.running.seconds,
            past=runfolder.read_metrics(self.output),
        )

    def _restore(self, state: dict[str, Any]) -> None:
        if list(state["data"].values()) != list(self.data.values()):  # the folders may have moved
            raise InputError(
                f"output {self.output}: the data sets ({', '.join(self.data)}) are not what this run began with; go on with the same "
                "tables, or start a new output"
            )
        continuing.check_same(state["config"], continuing.fixed(self.config), self.output)
        checkpoint.restore(state, self.step_module, self.ema, self.optimisation)
        for name in _PROGRESS:
            setattr(self, name, state[name])
        self.saved_step = self.step
        self.running = Running.restore(state["running"], self.accelerator)
        self.running.batches = continuing.batches_done(self.running.batches, state["config"], self.config)

    # ---- running ---------------------------------------------------------------------------------------------------
    def run(self) -> Report:
        """Train, keep the best model, test it, and write the run folder."""
        with self.trackers:  # first: where one cannot be started, the output is still free
            if self.accelerator.is_main_process:
                (self.output / "config.yaml").write_text(dump_config(self.config), encoding="utf-8")
                notes = data_notes(self.sets)
                runfolder.write_environment(self.output, self.world, self.accelerator, data=self.data, notes=notes, seed=self.config.seed)
                for note in notes:
                    say(note)
                counts = ", ".join(f"{n} {int(self.train_set.annotated[n].sum())}" for n in self.trained_tasks)
                rows = f"{len(self.sampler.rows)} training rows ({counts}), {len(self.validation_set)} validation rows"
                say(f"{rows}, {self.total_steps} steps")
                if self.sizes:
                    say(f"batches of {', '.join(f'{height} x {width}' for height, width in self.sizes)} pixels in turn")
                for note in notes_of(self.unlabelled, len(self.train_set) - len(self.sampler.rows)):
                    say(note)
            with self.watch, self.live:
                # the last epoch is not over with its last step: a run may have been stopped before its validation
                while (self.step < self.total_steps or self.running.batches) and not self._stopped():
                    self._epoch()
            return self._finish()

    def _epoch(self) -> None:
        """Train, validate and save one epoch, or what is left of it."""
        train = self._train_epoch()
        started = time.monotonic()
        self._check_weights()
        self.same_everywhere()
        self.epoch += 1
        entry: dict[str, Any] = {"epoch": self.epoch, "step": self.step, **train}
        last = self.step >= self.total_steps
        if self.epoch % self.config.validate_every == 0 or last:
            entry["validation"] = self.validation.choose(self.evaluated, self.validation_set)
            entry["score"] = selection_score(entry["validation"], self.tasks, self.config.early_stopping.metric)
            self._keep_best(entry["score"], entry["validation"])
        self.seconds += self.running.seconds + time.monotonic() - started
        entry["seconds"] = self.seconds
        self.running = Running()
        if self.accelerator.is_main_process:
            runfolder.append_metrics(self.output, entry)  # before the checkpoint: resuming drops lines that are newer than it
        self.live.validated(entry, best=self.best_epoch == self.epoch)
        self._save()
        self.trackers.log(runfolder.flat(entry | {"memory_gib": self.live.gib}), self.step)

    def _stopped(self) -> bool:
        patience = self.config.early_stopping.patience
        return bool(patience) and self.stale >= patience

    def _train_epoch(self) -> dict[str, Any]:
        config, device, running = self.config, self.accelerator.device, self.running
        self.sampler.epoch = self.train_set.epoch = self.epoch
        self.sampler.start = running.batches
        options = loader_options(config.workers, config.prefetch, device)
        if self.loader is None or not options.get("persistent_workers"):
            self.loader = self._loader(options)
        names = list(self.trained_tasks)
        extra = self.step_module.extra.names if self.step_module.extra is not None else []
        wrapped = self.wrap(self.step)
        accumulate = config.optimiser.accumulate
        due, received, mark = False, 0, time.monotonic()
        for item in ahead(self.loader, device, self.finish):
            if running.batches // accumulate >= self.steps_per_epoch or self.step >= self.total_steps:
                break
            late = 0 < config.checkpoint_minutes * 60 <= time.monotonic() - self.saved
            agreed = agree(self.accelerator, item, names, due=late, received=self.watch.received)
            due, received = due or agreed.due, received or agreed.received
            if self.strategy.changes(self.step):
                wrapped = self.wrap(self.step)
            # seeded for each batch, so that a run that goes on in the middle of an epoch draws the same dropout
            torch.manual_seed(zlib.crc32(f"{config.seed}/{self.epoch}/{running.batches}/{self.rank}".encode()))
            boundary = (running.batches + 1) % accumulate == 0
            with contextlib.nullcontext() if boundary and self.balancer.synchronised else self.accelerator.no_sync(wrapped):
                with self.accelerator.autocast():
                    terms, losses = wrapped(self.prepare(agreed.batch, self.step), agreed.totals, self.world)
                draw = self.epoch * len(self.sampler) + running.batches
                if config.gradients_every and (draw + 1) % config.gradients_every == 0 and len(terms) > 1:
                    running.add_gradients(self.balancer.compare(terms))
                self.balancer.backward({name: term / accumulate for name, term in terms.items()}, draw)
            # reading the losses waits for a GPU: only once the backward pass is queued too
            check_losses(self.accelerator, losses, agreed.batch, self.train_set, self._where)
            running.add(losses, agreed.totals | dict.fromkeys(extra, 1.0), self._images)
            if not boundary:
                continue
            self._optimise()
            self.live.update(self.step, self.epoch, running, self._rate, self.saved_step)
            if due or received:
                mark, due = self._count(mark), False
                self._check_weights()
                self._save()
                self._obey(received)
        self._count(mark)
        means = running.means(self.accelerator)
        return {
            "train": {name: means[name] for name in (*names, *extra)},
            **({"gradients": running.mean_gradients()} if running.gradients else {}),
            "learning_rate": self._rate,
            **({"skipped_steps": self.optimisation.skipped} if self.optimisation.scaler is not None else {}),
            "images_per_second": running.images / running.seconds,
        }

    def _loader(self, options: dict[str, Any]) -> DataLoader[Any]:
        """Return the loader of the training rows, with unlabelled ones in each batch where some join them."""
        if self.unlabelled is None or not self.unlabelled.batch_size:
            order = SizedBatches(self.sampler, self.sizes) if self.sizes else self.sampler
            return DataLoader(self.train_set, batch_sampler=order, collate_fn=collate, worker_init_fn=ignore_signals, **options)
        dataset, batches = self.unlabelled.join(self.train_set, self.sampler)
        return DataLoader(dataset, batch_sampler=batches, collate_fn=collate_joined, worker_init_fn=ignore_signals, **options)

    @property
    def _images(self) -> int:
        """Images of a batch over all processes."""
        return self.sampler.batch_size + (self.unlabelled.batch_size if self.unlabelled is not None else 0)

    @property
    def _rate(self) -> float:
        return self.config.optimiser.learning_rate * self.optimisation.factor(self.step - self.optimisation.skipped)

    def _optimise(self) -> None:
        changed = self.optimisation.step(self.step)
        self.step += 1
        if not self.balancer.synchronised:
            self.same_everywhere()  # without DDP's own exchange the norms' statistics would drift apart
        if self.ema is not None and changed:
            self.ema.update(self.model, step=self.step - self.optimisation.skipped)

    def _count(self, mark: float) -> float:
        """Add the seconds since ``mark`` to the epoch's, and return the new mark."""
        now = time.monotonic()
        self.running.seconds += now - mark
        return now

    @property
    def _where(self) -> str:
        kept = f"the checkpoint of step {self.saved_step} is kept in {self.output}" if self.saved_step else "no checkpoint was written yet"
        return f"epoch {self.epoch + 1}, step {self.step + 1}; {kept}"

    def _obey(self, received: int) -> None:
        """End the run, if a signal asked for it; a checkpoint has just been written."""
        if received:
            raise Interrupted(
                received,
                f"stopped by {signal.Signals(received).name} after step {self.step} of {self.total_steps}; a checkpoint is saved in "
                f"{self.output}: the same command with --resume goes on from there",
            )

    def _save(self) -> None:
        running = self.running.state(self.accelerator)
        if self.accelerator.is_main_process:
            state = {name: getattr(self, name) for name in _PROGRESS} | {
                "running": running,
                "data": self.data,
                "config": continuing.fixed(self.config),
            }
            checkpoint.save(self.output, self.step, state | checkpoint.state_of(self.step_module, self.ema, self.optimisation))
        self.saved, self.saved_step = time.monotonic(), self.step
        self.accelerator.wait_for_everyone()

    # ---- validating ------------------------------------------------------------------------------------------------
    def _check_weights(self) -> None:
        """Stop before weights that are not finite replace the last good checkpoint and the best model."""
        check_weights({**self.step_module.state_dict(), **(self.evaluated.state_dict() if self.ema is not None else {})}, self._where)

    def _keep_best(self, score: float, metrics: Metrics) -> None:
        if score > self.best or math.isnan(self.best) or not self.best_metrics:
            self.best, self.best_epoch, self.stale, self.best_metrics = score, self.epoch, 0, metrics
            if self.accelerator.is_main_process:
                self.evaluated.save_pretrained(self._best_folder)
        else:
            self.stale += 1

    @property
    def _best_folder(self) -> Path:
        """Where the best model is kept: with adabn aside, as ``model`` is made from it in the end."""
        adapt = self.config.adapt
        return self.output / ("model_source" if adapt is not None and adapt.method == "adabn" else "model")

    def _finish(self) -> Report:
        """Test the best model and write card, curves and samples."""
        self.accelerator.wait_for_everyone()
        folder = self.output / "model"
        if self._best_folder != folder and self.accelerator.is_main_process:
            assert self.unlabelled is not None
            adapted = MultiTaskModel.from_pretrained(self._best_folder).to(self.device)
            adapt_norms(adapted, self.unlabelled.dataset, self.config).save_pretrained(folder)
        self.accelerator.wait_for_everyone()
        best = MultiTaskModel.from_pretrained(folder).to(self.accelerator.device)
        test: Metrics = {}
        if self.test_set is not None:
            test = self.validation.test(best, self.test_set)
        report = Report(self.output, folder, self.best_epoch, self.best, self.best_metrics, test, self.seconds)
        if self.accelerator.is_main_process:
            made = guarding.guard_of_run(best, *self.sets, say=say) if self.config.guard else None
            if made is not None:
                attach(folder, made[0])
            runfolder.write_report(report, self.config, best, guard=made and made[1])
            pictures.draw_curves(self.output / "metrics.jsonl", self.output / "curves.png")
            pictures.draw_samples(best, self.validation_set, self.output / "samples.png")
        self.trackers.log(runfolder.flat({"test": test}), self.step)
        self.accelerator.wait_for_everyone()
        return report
