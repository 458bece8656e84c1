"""The fine-tuning configuration: frozen dataclasses, read from YAML with command-line overrides."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from umsrep.errors import InputError, nearest
from umsrep.tasks.config_data import DataConfig, EncoderConfig, TargetConfig, check_encoder
from umsrep.tasks.config_task import TaskConfig, check_task
from umsrep.tasks.config_unlabelled import AdaptConfig, UnlabelledConfig, check_adapt, check_unlabelled
from umsrep.tasks.data.augment import Augment

__all__ = [
    "AdaptConfig",
    "DataConfig",
    "EarlyStoppingConfig",
    "EncoderConfig",
    "FineTuneConfig",
    "OptimiserConfig",
    "TargetConfig",
    "TaskConfig",
    "UnlabelledConfig",
]
SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class OptimiserConfig:
    """AdamW with linear warm-up and a cosine to ``final_fraction``.

    Attributes:
        learning_rate: Peak, of heads and decoders.
        encoder_factor: The encoder's rate is this times the heads'.
        layer_decay: Each block of the encoder has this times the rate of the block after it (Clark et al. 2020); 1 is off.
        weight_decay: On matrices and kernels; not on biases and norms.
        warmup: Fraction of all steps.
        final_fraction: The last rate as a fraction of the peak.
        clip_norm: Largest norm of the gradient; 0 is off.
        accumulate: Batches per step.
    """

    learning_rate: float = 1e-3
    encoder_factor: float = 0.5
    layer_decay: float = 1.0
    weight_decay: float = 0.01
    warmup: float = 0.05
    final_fraction: float = 0.01
    clip_norm: float = 1.0
    accumulate: int = 1


@dataclasses.dataclass(frozen=True)
class EarlyStoppingConfig:
    """When to stop, and which model is best.

    Attributes:
        metric: ``task/metric`` (such as ``lungs/dice``), or "mean": the mean over tasks of each task's own metric
            (Dice, AUROC, PSNR gain / 20 dB).
        patience: Validations without improvement before stopping; 0 never stops.
    """

    metric: str = "mean"
    patience: int = 0


@dataclasses.dataclass(frozen=True)
class FineTuneConfig:
    """A joint fine-tuning run.

    Attributes:
        tasks: Head's name to its task.
        data: Data sets; rows annotated for only some tasks train together.
        output: Run folder.
        encoder: What to start from.
        schema_version: Of this file.
        seed: Of weights, order, augmentation and noise.
        image_size: Side in pixels, or [height, width]; written into the model's contract. Null keeps the encoder's.
        size_factors: Each training batch has ``image_size`` times one of these (rounded to whole multiples of 32), taking turns in a drawn
            order, so that the encoder also serves at smaller sizes (Touvron et al. 2019 on what one size costs); empty is ``image_size``
            always. Validation, test and the model's contract keep ``image_size``.
        batch_size: Rows of a step over all processes.
        epochs: Passes over the training rows.
        max_steps: Stop after this many optimiser steps, or null.
        strategy: What of the encoder trains: frozen (nothing), partial (its last ``trainable_stages`` stages), gradual (stages join one
            by one from the last), heads-then-all (nothing in the first fifth of the steps), or full. See `umsrep.tasks.strategies`.
        trainable_stages: Of strategy partial.
        train_heads: Only these heads (and no shared decoder, no encoder) train; default all of ``tasks``.
        balancing: Task weights: fixed, learned by homoscedastic uncertainty (Kendall et al. 2018), or fixed with conflicting
            gradients projected (pcgrad: Yu et al. 2020).
        gradients_every: Batches between measurements of the tasks' gradients (norms and cosines, in metrics.jsonl); 0 is never.
        sampling: Exponent on the number of rows of each kind of annotation: 1 takes every row once an epoch, 0.5 draws by the square
            root, 1 / T by temperature T; below 1, rare annotations come more often, and common ones not all in every epoch.
        batch_norm: The encoder's: ``clean``, statistics of the batch's clean images; ``frozen``, the stored ones; ``auto``, frozen
            where the encoder starts from weights (which held up better under a shift of acquisition, docs/LOG.md), else clean.
        optimiser: See `OptimiserConfig`.
        early_stopping: See `EarlyStoppingConfig`.
        ema: Decay of the weights' moving average (with batch-norm buffers), which is what is evaluated and saved; 0 is off.
        augment: See `Augment`.
        unlabelled: Consistency on rows without annotation, see `UnlabelledConfig`; null leaves them out.
        adapt: Adaptation to the images of a target, see `AdaptConfig`; null is none.
        workers: Loader processes.
        lenient: Bend the input contract's rules that can be bent, with a warning, instead of refusing an image (docs/input_contract.md).
        precision: no (float32), bf16, or fp16 (with a scaled loss; GPUs only).
        tf32: On CUDA, let float32 matrix products and convolutions round their inputs to 10 bits (TF32).
        channels_last: Keep images and weights in channels-last order, which most CNNs compute faster.
        compile: Compile the step with torch.compile; it needs a C++ compiler, and a minute at the start.
        gradient_checkpointing: Keep only the inputs of the encoder's blocks and compute the rest again for the gradients: less memory
            for about a third more time, the same gradients.
        augment_on_device: Augment and add noise on the device, a batch at a time, instead of in the loader processes; auto does so on
            CUDA. The draws are the same (docs/training.md). Only augment.policy default without augment.noise; auto
            leaves the others to the loader.
        prefetch: Batches that each loader process prepares ahead.
        processes: How many processes must run; null takes what was launched.
        trackers: Besides metrics.jsonl: names that Accelerate knows (tensorboard, trackio, wandb, mlflow).
        guard: Make the model's out-of-distribution guard at the end, from training and validation rows (docs/guard.md).
        validate_every: Epochs between validations.
        timeout_minutes: How long a process waits for the others before it ends the run (NCCL, gloo).
        checkpoint_minutes: Minutes between checkpoints within an epoch (one is written after each epoch in any case); 0 is never.
    """

    tasks: dict[str, TaskConfig]
    data: list[DataConfig]
    output: str
    encoder: EncoderConfig
    schema_version: int = SCHEMA_VERSION
    seed: int = 0
    image_size: int | list[int] | None = None
    size_factors: list[float] = dataclasses.field(default_factory=list)
    batch_size: int = 16
    epochs: int = 20
    max_steps: int | None = None
    strategy: Literal["frozen", "partial", "gradual", "heads-then-all", "full"] = "full"
    trainable_stages: int = 2
    train_heads: list[str] | None = None
    balancing: Literal["fixed", "uncertainty", "pcgrad"] = "fixed"
    gradients_every: int = 200
    sampling: float = 1.0
    batch_norm: Literal["auto", "clean", "frozen"] = "auto"
    optimiser: OptimiserConfig = dataclasses.field(default_factory=OptimiserConfig)
    early_stopping: EarlyStoppingConfig = dataclasses.field(default_factory=EarlyStoppingConfig)
    ema: float = 0.998
    augment: Augment = dataclasses.field(default_factory=Augment)
    unlabelled: UnlabelledConfig | None = None
    adapt: AdaptConfig | None = None
    workers: int = 2
    lenient: bool = False
    precision: Literal["no", "bf16", "fp16"] = "no"
    tf32: bool = True
    channels_last: bool = True
    compile: bool = False
    gradient_checkpointing: bool = False
    augment_on_device: bool | Literal["auto"] = "auto"
    prefetch: int = 2
    processes: int | None = None
    trackers: list[str] = dataclasses.field(default_factory=list)
    guard: bool = True
    validate_every: int = 1
    timeout_minutes: float = 10.0
    checkpoint_minutes: float = 10.0

    @property
    def frozen_norm(self) -> bool:
        """Whether the encoder's batch norms keep their stored statistics."""
        started = (
            self.encoder.weights is not None
            or self.encoder.name is not None
            or (self.encoder.arch or "").startswith(("hf-hub:", "local-dir:"))
        )
        return self.batch_norm == "frozen" or (self.batch_norm == "auto" and started)

    def __post_init__(self) -> None:
        """Check what types cannot say."""
        if self.schema_version > SCHEMA_VERSION:
            raise InputError(
                f"config: schema_version {self.schema_version} is newer than this umsrep reads ({SCHEMA_VERSION}); upgrade umsrep"
            )
        if not self.tasks:
            raise InputError("config: no tasks")
        if not self.data:
            raise InputError("config: no data")
        if (self.encoder.name is None) == (self.encoder.arch is None):
            raise InputError("config: encoder needs either name (preset, org/repo, folder) or arch")
        check_encoder(self.encoder)
        for name, low in (("batch_size", 1), ("epochs", 1), ("workers", 0), ("validate_every", 1), ("prefetch", 1), ("seed", 0)):
            if getattr(self, name) < low:
                raise InputError(f"config: {name} must be {low} or more, not {getattr(self, name)}")
        if self.seed >= 2**32:
            raise InputError(f"config: seed must be below 2**32, not {self.seed}")
        if not 0 <= self.checkpoint_minutes < math.inf:
            raise InputError(f"config: checkpoint_minutes must be 0 or more, not {self.checkpoint_minutes}")
        if not 0 < self.timeout_minutes < math.inf:
            raise InputError(f"config: timeout_minutes must be above 0, not {self.timeout_minutes}")
        if self.augment_on_device is True and not self.augment.on_device:
            what = f"augment.policy {self.augment.policy}" if self.augment.policy != "default" else "augment.noise"
            raise InputError(
                f"config: augment_on_device: true is for augment.policy default without augment.noise; {what} runs in the loader "
                "(augment_on_device: auto or false)"
            )
        if self.compile and self.gradient_checkpointing:
            raise InputError(
                "config: compile and gradient_checkpointing exclude each other: the compiler decides itself what to compute anew"
            )
        if self.trainable_stages < 1 or self.gradients_every < 0:
            raise InputError("config: trainable_stages must be 1 or more, gradients_every 0 or more")
        if not 0 <= self.sampling <= 1:
            raise InputError(f"config: sampling must be from 0 to 1, not {self.sampling}")
        if not 0 <= self.ema < 1:
            raise InputError(f"config: ema must be 0 or more and below 1, not {self.ema}")
        optimiser = self.optimiser
        if not 0 < optimiser.layer_decay <= 1:
            raise InputError(f"config: optimiser.layer_decay must be above 0 and at most 1, not {optimiser.layer_decay}")
        for key in ("learning_rate", "encoder_factor", "weight_decay", "clip_norm", "final_fraction"):
            if not 0 <= getattr(optimiser, key) < math.inf:
                raise InputError(f"config: optimiser.{key} must be 0 or more and finite, not {getattr(optimiser, key)}")
        for key in ("max_steps", "processes"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise InputError(f"config: {key} must be 1 or more, or null, not {value}")
        if self.early_stopping.patience < 0 or self.train_heads == []:
            raise InputError("config: early_stopping.patience must be 0 or more; leave train_heads out to train all heads")
        if isinstance(self.image_size, list) and len(self.image_size) != 2:
            raise InputError(f"config: image_size must be one side or [height, width], not {self.image_size}")
        if not all(0 < factor <= 1 for factor in self.size_factors):
            raise InputError(f"config: size_factors must be above 0 and at most 1, not {self.size_factors}")
        if self.size_factors and (self.compile or self.unlabelled is not None or self.adapt is not None):
            raise InputError("config: size_factors does not go with compile, unlabelled or adapt: leave one of them out")
        if optimiser.learning_rate <= 0 or optimiser.accumulate < 1 or not 0 <= optimiser.warmup < 1:
            raise InputError("config: optimiser needs learning_rate above 0, accumulate 1 or more, and warmup from 0 to below 1")
        for data in self.data:
            if not 0 < data.fraction <= 1:
                raise InputError(f"config: data '{data.path}': fraction must be above 0 and at most 1, not {data.fraction}")
            for name in [*(data.tasks or ()), *data.targets]:
                if name not in self.tasks:
                    raise InputError(f"config: data '{data.path}' names task '{name}'{nearest(name, self.tasks)}")
            if data.licenses == []:
                raise InputError(f"config: data '{data.path}': licenses is empty; leave it out to use all rows")
            if data.unlabelled and (data.tasks or data.targets or data.fraction != 1 or data.licenses or data.leave_out):
                raise InputError(f"config: data '{data.path}': unlabelled: true goes with path and split_column alone")
            if data.unlabelled and self.unlabelled is None:
                raise InputError(f"config: data '{data.path}' is unlabelled: add the block unlabelled, or leave the set out")
        if all(data.unlabelled for data in self.data):
            raise InputError("config: every data set is unlabelled; training needs one with annotations")
        if self.unlabelled is not None:
            check_unlabelled(self.unlabelled)
        if self.adapt is not None:
            check_adapt(self.adapt, unlabelled=self.unlabelled is not None)
        for name in self.train_heads or ():
            if name not in self.tasks:
                raise InputError(f"config: train_heads names '{name}'{nearest(name, self.tasks)}")
        for name, task in self.tasks.items():
            check_task(name, task)
            if task.weight is not None and self.balancing == "uncertainty":
                raise InputError(f"config: tasks.{name}.weight: balancing uncertainty learns the weights; leave it out")
