"""The training loop: joint fine-tuning under Accelerate on one or many processes."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import signal
import time
import zlib
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, set_seed
from timm.utils.model_ema import ModelEmaV3
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from umsrep.errors import InputError
from umsrep.tasks import checkpoint, pictures, runfolder
from umsrep.tasks.agreement import agree
from umsrep.tasks.balancing import Balancer
from umsrep.tasks.config import FineTuneConfig
from umsrep.tasks.config_file import dump_config
from umsrep.tasks.data.dataset import collate
from umsrep.tasks.data.sampler import TaskAwareBatchSampler
from umsrep.tasks.evaluate import check_metric, move, selection_score
from umsrep.tasks.finite import check_losses, check_weights
from umsrep.tasks.interruption import Interrupted, Watch, ignore_signals
from umsrep.tasks.launch import check_trackers, check_world_size
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.optimisation import Optimisation
from umsrep.tasks.progress import say, track
from umsrep.tasks.running import Running
from umsrep.tasks.setup import build_model, build_sets, build_tasks, data_notes
from umsrep.tasks.step import JointStep
from umsrep.tasks.strategies import Strategy, stages_of
from umsrep.tasks.validation import Metrics, Validation, at_middle_level


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
        Interrupted: a `KeyboardInterrupt`, after Ctrl-C, SIGTERM or SIGUSR1: the step is finished and a checkpoint written first.
    """
    return Trainer(config, resume=resume).run()


_PROGRESS = ("step", "epoch", "seconds", "best", "best_epoch", "stale", "best_metrics")
"""The numbers of a run that a checkpoint holds beside the tensors."""

_MAY_CHANGE = (
    *("output", "data", "workers", "trackers", "processes", "checkpoint_minutes"),  # the data are compared by their fingerprints
    *("epochs", "max_steps", "early_stopping", "validate_every", "schema_version"),
)


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
        self.sets = build_sets(config, self.model.encoder.contract)
        self.train_set, self.validation_set, self.test_set = self.sets
        manifests = {str(source.manifest.root): source.manifest for some in self.sets if some is not None for source in some.sources}
        self.data = {path: runfolder.fingerprint(manifest) for path, manifest in manifests.items()}
        self.tasks = build_tasks(config, self.train_set)
        for dataset in self.sets[1:]:
            if dataset is not None:
                dataset.tasks = {name: at_middle_level(task) for name, task in self.tasks.items() if name in dataset.tasks}
        check_metric(config.early_stopping.metric, self.tasks)
        trained = list(config.train_heads or self.tasks)
        self.trained_tasks = {name: self.tasks[name] for name in trained}
        self.validation = Validation(config, self.accelerator, self.tasks, trained)
        self.train_set.tasks = self.trained_tasks
        self.sampler = TaskAwareBatchSampler(
            {name: self.train_set.annotated[name] for name in trained},
            config.batch_size,
            seed=config.seed,
            rank=self.rank,
            world_size=self.world,
            exponent=config.sampling,
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
        self.optimisation = Optimisation(
            config.optimiser,
            self.step_module,
            self.total_steps,
            self.accelerator.scaler,
            blocks=stages_of(self.model.encoder.model, coarse=False),
        )
        self.step, self.epoch, self.seconds = 0, 0, 0.0
        self.balancer = Balancer(self.accelerator, self.step_module, project=config.balancing == "pcgrad", seed=config.seed)
        self.running = Running()
        self.watch = Watch()
        self.saved, self.saved_step = time.monotonic(), 0
        self.best = -math.inf
        self.best_epoch, self.stale = 0, 0
        self.best_metrics: Metrics = {}
        if self.state is not None:
            self._restore(self.state)

    def _restore(self, state: dict[str, Any]) -> None:
        if sorted(state["data"].values()) != sorted(self.data.values()):  # the folders may have moved
            raise InputError(
                f"output {self.output}: the data sets ({', '.join(self.data)}) are not what this run began with; go on with the same "
                "tables, or start a new output"
            )
        now = self._fixed()
        for key in sorted({*now, *state["config"]}):
            began, wanted = state["config"].get(key), now.get(key)
            if began != wanted:
                raise InputError(
                    f"output {self.output}: the run began with {key} = {began}, not {wanted}; go on with its config.yaml, or start a new "
                    "output"
                )
        checkpoint.restore(state, self.step_module, self.ema, self.optimisation)
        for name in _PROGRESS:
            setattr(self, name, state[name])
        self.saved_step = self.step
        self.running = Running.restore(state["running"], self.accelerator)

    def _fixed(self) -> dict[str, Any]:
        """What a run that goes on must have kept: all of its configuration but where it is, how long it lasts, and how it is watched."""
        kept = {k: v for k, v in dataclasses.asdict(self.config).items() if k not in _MAY_CHANGE}
        return runfolder.leaves(kept)

    # ---- running ---------------------------------------------------------------------------------------------------
    def run(self) -> Report:
        """Train, keep the best model, test it, and write the run folder."""
        main = self.accelerator.is_main_process
        if main:
            (self.output / "config.yaml").write_text(dump_config(self.config), encoding="utf-8")
            notes = data_notes(self.sets)
            runfolder.write_environment(self.output, self.world, self.accelerator, data=self.data, notes=notes, seed=self.config.seed)
            for note in notes:
                say(note)
            counts = ", ".join(f"{n} {int(self.train_set.annotated[n].sum())}" for n in self.trained_tasks)
            say(f"{len(self.sampler.rows)} training rows ({counts}), {len(self.validation_set)} validation rows, {self.total_steps} steps")
        if self.config.trackers:
            self.accelerator.init_trackers("umsrep")
        with self.watch:
            while self.step < self.total_steps and not self._stopped():
                self._epoch()
        return self._finish()

    def _epoch(self) -> None:
        """Train, validate and save one epoch, or what is left of it."""
        train = self._train_epoch()
        started = time.monotonic()
        self._check_weights()
        self._same_everywhere()
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
            say(runfolder.epoch_line(entry, self.best_epoch == self.epoch))
        self._save()
        if self.config.trackers:
            self.accelerator.log(runfolder.flat(entry), step=self.step)

    def _stopped(self) -> bool:
        patience = self.config.early_stopping.patience
        return bool(patience) and self.stale >= patience

    def _train_epoch(self) -> dict[str, Any]:
        config, device, running = self.config, self.accelerator.device, self.running
        self.sampler.epoch = self.train_set.epoch = self.epoch
        self.sampler.start = running.batches
        loader = DataLoader(
            self.train_set,
            batch_sampler=self.sampler,
            num_workers=config.workers,
            collate_fn=collate,
            pin_memory=device.type == "cuda",
            worker_init_fn=ignore_signals,
        )
        names = list(self.trained_tasks)
        wrapped = self._wrap()
        accumulate = config.optimiser.accumulate
        due, received, mark = False, 0, time.monotonic()
        title = f"epoch {self.epoch + 1}/{config.epochs}" if self.rank == 0 else None
        for item in track(loader, title, total=len(self.sampler) - running.batches):
            if running.batches // accumulate >= self.steps_per_epoch or self.step >= self.total_steps:
                break
            late = 0 < config.checkpoint_minutes * 60 <= time.monotonic() - self.saved
            agreed = agree(self.accelerator, item, names, due=late, received=self.watch.received)
            due, received = due or agreed.due, received or agreed.received
            if self.strategy.changes(self.step):
                wrapped = self._wrap()
            # seeded for each batch, so that a run that goes on in the middle of an epoch draws the same dropout
            torch.manual_seed(zlib.crc32(f"{config.seed}/{self.epoch}/{running.batches}/{self.rank}".encode()))
            boundary = (running.batches + 1) % accumulate == 0
            with contextlib.nullcontext() if boundary and self.balancer.synchronised else self.accelerator.no_sync(wrapped):
                with self.accelerator.autocast():
                    terms, losses = wrapped(move(agreed.batch, device), agreed.totals, self.world)
                check_losses(self.accelerator, losses, agreed.batch, self.train_set, self._where)
                draw = self.epoch * len(self.sampler) + running.batches
                if config.gradients_every and (draw + 1) % config.gradients_every == 0 and len(terms) > 1:
                    running.add_gradients(self.balancer.compare(terms))
                self.balancer.backward({name: term / accumulate for name, term in terms.items()}, draw)
            running.add(losses, agreed.totals, config.batch_size)
            if not boundary:
                continue
            self._optimise()
            if due or received:
                mark, due = self._count(mark), False
                self._check_weights()
                self._save()
                self._obey(received)
        self._count(mark)
        means = running.means(self.accelerator)
        return {
            "train": {name: means[name] for name in names},
            **({"gradients": running.mean_gradients()} if running.gradients else {}),
            "learning_rate": config.optimiser.learning_rate * self.optimisation.factor(self.step),
            "images_per_second": running.images / running.seconds,
        }

    def _optimise(self) -> None:
        self.optimisation.step(self.step)
        self.step += 1
        if not self.balancer.synchronised:
            self._same_everywhere()  # without DDP's own exchange the norms' statistics would drift apart
        if self.ema is not None:
            self.ema.update(self.model, step=self.step)

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
        """Return the step module in training mode, wrapped anew: which parameters train may have changed."""
        self.strategy.apply(self.step, self.step_module)
        if self.world == 1:
            return self.step_module
        # Accelerate's prepare_model would nest its autocast once more around the same module in every epoch
        device = self.accelerator.device
        return DistributedDataParallel(self.step_module, device_ids=[device.index] if device.type == "cuda" else None)

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
                "config": self._fixed(),
            }
            checkpoint.save(self.output, self.step, state | checkpoint.state_of(self.step_module, self.ema, self.optimisation))
        self.saved, self.saved_step = time.monotonic(), self.step
        self.accelerator.wait_for_everyone()

    # ---- validating ------------------------------------------------------------------------------------------------
    @property
    def evaluated(self) -> MultiTaskModel:
        """The model that is evaluated and saved: the moving average, if there is one."""
        return cast(MultiTaskModel, self.ema.module) if self.ema is not None else self.model

    def _same_everywhere(self) -> None:
        """Give every process the first one's batch-norm statistics, which drift apart where they are not synchronised."""
        if self.world == 1:
            return
        for module in (self.model, *((self.ema.module,) if self.ema is not None else ())):
            for buffer in module.buffers():
                broadcast(buffer)

    def _check_weights(self) -> None:
        """Stop before weights that are not finite replace the last good checkpoint and the best model."""
        check_weights({**self.step_module.state_dict(), **(self.evaluated.state_dict() if self.ema is not None else {})}, self._where)

    def _keep_best(self, score: float, metrics: Metrics) -> None:
        if score > self.best or math.isnan(self.best) or not self.best_metrics:
            self.best, self.best_epoch, self.stale, self.best_metrics = score, self.epoch, 0, metrics
            if self.accelerator.is_main_process:
                self.evaluated.save_pretrained(self.output / "model")
        else:
            self.stale += 1

    def _finish(self) -> Report:
        """Test the best model and write card, curves and samples."""
        self.accelerator.wait_for_everyone()
        folder = self.output / "model"
        best = MultiTaskModel.from_pretrained(folder).to(self.accelerator.device)
        test: Metrics = {}
        if self.test_set is not None:
            test = self.validation.test(best, self.test_set)
        report = Report(self.output, folder, self.best_epoch, self.best, self.best_metrics, test, self.seconds)
        if self.accelerator.is_main_process:
            runfolder.write_report(report, self.config, best)
            pictures.draw_curves(self.output / "metrics.jsonl", self.output / "curves.png")
            pictures.draw_samples(best, self.validation_set, self.output / "samples.png")
        if self.config.trackers:
            self.accelerator.end_training()
        self.accelerator.wait_for_everyone()
        return report
