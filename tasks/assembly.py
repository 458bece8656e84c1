"""All that a run trains, made from its configuration: data, model, step, optimiser, and how they lie on processes and device."""

from __future__ import annotations

from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, set_seed
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from umsrep.errors import InputError
from umsrep.tasks import runfolder
from umsrep.tasks.averaging import MovingAverage
from umsrep.tasks.balancing import Balancer
from umsrep.tasks.classification import Classification
from umsrep.tasks.compiling import compile_step, mark_rows
from umsrep.tasks.config import FineTuneConfig
from umsrep.tasks.data.on_device import OnDevice
from umsrep.tasks.data.sampler import TaskAwareBatchSampler
from umsrep.tasks.evaluate import check_metric
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.optimisation import Optimisation
from umsrep.tasks.parallel import synchronise_norms
from umsrep.tasks.setup import build_model, build_sets, build_tasks, training_sizes
from umsrep.tasks.step import JointStep
from umsrep.tasks.strategies import Strategy, stages_of
from umsrep.tasks.unlabelled.build import build_unlabelled
from umsrep.tasks.unlabelled.consistency import Consistency
from umsrep.tasks.validation import at_middle_level


class Assembly:
    """What a run trains. Setting it up checks everything that can be checked before the first step.

    Attributes:
        train_set: Training rows; ``validation_set`` and ``test_set`` (or None) likewise.
        sizes: (Height, width) of training batches in turn, with ``size_factors``.
        data: Each data set's path to the fingerprint of its table.
        tasks: All tasks; ``trained_tasks`` are those that train.
        unlabelled: Rows without annotation and what they are for, or None.
        sampler: This process's share of the batches.
        total_steps: Optimiser steps of the run.
        model: The model; ``step_module`` holds it with its losses, ``ema`` its moving average, if any.
    """

    def __init__(self, config: FineTuneConfig, accelerator: Accelerator, *, alone: bool = False) -> None:
        """Make everything; the seed decides all that is random. ``alone`` leaves out what would wait for the other processes in a step."""
        self.config, self.accelerator, self.alone = config, accelerator, alone
        self.rank, self.world, self.device = accelerator.process_index, accelerator.num_processes, accelerator.device
        set_seed(config.seed)
        self.model = build_model(config).to(self.device)
        self.sizes = training_sizes(config, self.model.encoder.contract)
        self._try_sizes()
        self.sets = build_sets(config, self.model.encoder.contract)
        self.train_set, self.validation_set, self.test_set = self.sets
        self.tasks = build_tasks(config, self.train_set)
        for dataset in self.sets[1:]:
            if dataset is not None:
                dataset.tasks = {name: at_middle_level(task) for name, task in self.tasks.items() if name in dataset.tasks}
        check_metric(config.early_stopping.metric, self.tasks)
        self.trained_tasks = {name: self.tasks[name] for name in config.train_heads or self.tasks}
        self.train_set.tasks = self.trained_tasks
        self.unlabelled = build_unlabelled(config, self.model, self.train_set, self.trained_tasks)
        opened = [*self.sets, *([self.unlabelled.dataset] if self.unlabelled is not None else [])]
        manifests = {str(source.manifest.root): source.manifest for some in opened if some is not None for source in some.sources}
        self.data = {path: runfolder.fingerprint(manifest) for path, manifest in manifests.items()}
        automatic = config.augment_on_device == "auto" and self.device.type == "cuda" and config.augment.on_device
        self.train_set.on_device = config.augment_on_device is True or automatic
        self._count_steps()
        self._make_step()

    def _try_sizes(self) -> None:
        """Refuse ``size_factors`` for an encoder that is made for one size, before the run meets the first such batch."""
        encoder, config, training = self.model.encoder, self.config, self.model.encoder.training
        encoder.eval()
        for height, width in self.sizes:
            try:
                with torch.no_grad():
                    encoder(self.model.pad(torch.zeros(1, encoder.contract.channels, height, width, device=self.device))[0])
            except (AssertionError, RuntimeError, ValueError) as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise InputError(f"config: size_factors: {encoder.arch} does not take {height} x {width} pixels: {reason}") from error
            if max(height, width) <= 32 and config.batch_size // self.world < 2:
                raise InputError("config: size_factors: batches of 32 pixels need two rows or more on each process (their norms do)")
        encoder.train(training)

    def _count_steps(self) -> None:
        config = self.config
        annotated = {name: self.train_set.annotated[name] for name in self.trained_tasks}
        self.sampler = TaskAwareBatchSampler(
            annotated, config.batch_size, seed=config.seed, rank=self.rank, world_size=self.world, exponent=config.sampling
        )
        accumulate = config.optimiser.accumulate
        if accumulate > len(self.sampler):
            raise InputError(
                f"config: optimiser.accumulate is {accumulate}, but an epoch has only {len(self.sampler)} batch(es) of "
                f"{self.sampler.batch_size} of {len(self.sampler.rows)} training rows"
            )
        self.steps_per_epoch = len(self.sampler) // accumulate
        self.total_steps = min(config.epochs * self.steps_per_epoch, config.max_steps or 10**12)

    def _make_step(self) -> None:
        config = self.config
        weights = {name: config.tasks[name].factor for name in self.trained_tasks}
        frozen = config.frozen_norm
        self.step_module = JointStep(
            self.model,
            self.trained_tasks,
            weights,
            uncertainty=config.balancing == "uncertainty",
            frozen_norm=frozen,
            recompute=config.gradient_checkpointing,
            extra=self.unlabelled.loss if self.unlabelled is not None else None,
        ).to(self.device)
        if config.channels_last:
            self.model.to(memory_format=torch.channels_last)
        if self.world > 1 and self.device.type == "cuda" and not self.alone:
            synchronise_norms(self.model, encoder=not frozen)
        if config.compile:
            compile_step(self.step_module)
        self.strategy = Strategy(config, self.model, self.total_steps)
        self.ema = MovingAverage(self.model, decay=config.ema, use_warmup=True) if config.ema else None
        blocks = stages_of(self.model.encoder.model, coarse=False)
        self.optimisation = Optimisation(config.optimiser, self.step_module, self.total_steps, self.accelerator.scaler, blocks=blocks)
        self.balancer = Balancer(self.accelerator, self.step_module, project=config.balancing == "pcgrad", seed=config.seed)

    def finish(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Do what remains to be done to a loader's batch on the device: augmentation and noise, if left to it; memory order."""
        if self.train_set.on_device and self.train_set.augment is not None:
            batch = OnDevice(self.train_set.augment, self.model.encoder.contract, self.trained_tasks)(batch)
        order = torch.channels_last if self.config.channels_last else torch.contiguous_format
        images = {
            key: value.contiguous(memory_format=order)
            for key, value in batch.items()
            if key == "image" or key.startswith("noisy.") or (key.startswith("extra") and value.ndim == 4)
        }
        batch = batch | images
        if self.config.compile:
            mark_rows(batch)
        return batch

    def prepare(self, batch: dict[str, Any], step: int) -> dict[str, Any]:
        """Get a batch ready for a step: with unlabelled rows, the place in their schedule and the teacher's answers."""
        loss = self.unlabelled.loss if self.unlabelled is not None else None
        if loss is None:
            return batch
        loss.progress = step / max(1, self.total_steps - 1)
        if not isinstance(loss, Consistency):
            return batch
        assert self.ema is not None
        return loss.teach(self.evaluated, batch, None if self.alone else self.accelerator)

    @property
    def evaluated(self) -> MultiTaskModel:
        """The model that is evaluated and saved: the moving average, if there is one."""
        return cast(MultiTaskModel, self.ema.module) if self.ema is not None else self.model

    def wrap(self, step: int) -> nn.Module:
        """Return the step module in training mode as of a step, wrapped anew: which parameters train may have changed."""
        self.strategy.apply(step, self.step_module)
        if self.world == 1:
            return self.step_module
        # without a classification nothing uses what the encoder has after its last features (EfficientNet's conv_head)
        unused = not any(isinstance(task, Classification) for task in self.trained_tasks.values())
        devices = [self.device.index] if self.device.type == "cuda" else None
        # Accelerate's prepare_model would nest its autocast once more around the same module in every epoch
        return DistributedDataParallel(self.step_module, device_ids=devices, find_unused_parameters=unused)

    def same_everywhere(self) -> None:
        """Give every process the first one's batch-norm statistics, which drift apart where they are not synchronised."""
        if self.world == 1:
            return
        for module in (self.model, *((self.ema.module,) if self.ema is not None else ())):
            for buffer in module.buffers():
                broadcast(buffer)
