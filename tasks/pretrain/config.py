"""The pretraining configuration: frozen dataclasses in the words of the fine-tuning configuration."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from umsrep.errors import InputError
from umsrep.tasks.config import EncoderConfig, OptimiserConfig
from umsrep.tasks.config_data import check_encoder
from umsrep.tasks.data.augment import Augment

SCHEMA_VERSION = 1
Method = Literal["denoising", "masked", "moco", "dino"]
CONTRASTING = ("moco", "dino")
"""Methods that compare views of an image, and keep a slowly moving copy of the network."""


@dataclasses.dataclass(frozen=True)
class PretrainData:
    """One set of images; its training rows are used, its test rows never.

    Attributes:
        path: As in `umsrep.tasks.config.DataConfig`, or a folder of images without a table.
        split_column: Column with train, validation, test; null takes all rows for training.
        label: Column of classes by which k-NN accuracy is monitored, from training rows to validation rows; null takes ``label`` where
            there is such a column, "" monitors nothing. Labels never reach the training.
        fraction: Of its training rows, by patient, chosen by the run's seed.
        licenses: Use only rows under these licences, as in `umsrep.tasks.config.DataConfig`.
        license_column: Where the licence stands.
    """

    path: str
    split_column: str | None = "split"
    label: str | None = None
    fraction: float = 1.0
    licenses: list[str] | None = None
    license_column: str = "license"


@dataclasses.dataclass(frozen=True)
class DenoisingConfig:
    """Denoising autoencoder (Vincent et al. 2008) with a full decoder.

    Attributes:
        noise: gaussian, speckle, poisson or mixed.
        level: Strength in 8-bit grey levels, one number or [low, high].
        loss: See `umsrep.tasks.Denoising`.
        decoder: One of `umsrep.heads.DECODERS`.
    """

    noise: str = "gaussian"
    level: float | list[float] = dataclasses.field(default_factory=lambda: [10.0, 80.0])
    loss: str = "l1"
    decoder: str = "unet"


@dataclasses.dataclass(frozen=True)
class MaskedConfig:
    """Masked autoencoding after SimMIM (Xie et al. 2022): hidden patches, a light decoder, L1 on hidden pixels alone.

    Attributes:
        patch: Side of the squares that are hidden, in pixels; null is an eighth of the image.
        ratio: Fraction of the squares that is hidden, the same in every image.
    """

    patch: int | None = None
    ratio: float = 0.6


@dataclasses.dataclass(frozen=True)
class MocoConfig:
    """MoCo v2 (He et al. 2020; Chen et al. 2020).

    Attributes:
        queue: Keys of former batches that serve as negatives.
        temperature: Of InfoNCE.
        momentum: Of the key encoder; 0.999 for long runs, and lower than 0.99 fails (He et al. 2020, section 4.1).
        hidden: Width of the projection head.
        dim: Its outputs.
        crop: Smallest and largest area of a view, as fractions of the image.
    """

    queue: int = 4096
    temperature: float = 0.2
    momentum: float = 0.99
    hidden: int = 1024
    dim: int = 128
    crop: list[float] = dataclasses.field(default_factory=lambda: [0.5, 1.0])


@dataclasses.dataclass(frozen=True)
class DinoConfig:
    """DINO (Caron et al. 2021).

    Attributes:
        outputs: Prototypes of the head; 65,536 in the paper, for a million images.
        hidden: Width of the head.
        bottleneck: Width before the prototypes.
        momentum: Of the teacher at the start; rises to 1 by a cosine.
        student_temperature: Of the student's softmax.
        teacher_temperature: Of the teacher's.
        centre_momentum: Of the mean that is taken off the teacher's outputs.
        freeze_prototypes: Epochs in which the last layer stays as it is.
        crop: Smallest and largest area of the two large views.
        local_crops: Number of small views, which only the student sees.
        local_crop: Their area.
        local_size: Their side in pixels; null is half of the image.
    """

    outputs: int = 4096
    hidden: int = 1024
    bottleneck: int = 256
    momentum: float = 0.99
    student_temperature: float = 0.1
    teacher_temperature: float = 0.04
    centre_momentum: float = 0.9
    freeze_prototypes: int = 1
    crop: list[float] = dataclasses.field(default_factory=lambda: [0.5, 1.0])
    local_crops: int = 4
    local_crop: list[float] = dataclasses.field(default_factory=lambda: [0.15, 0.5])
    local_size: int | None = None


BLOCKS: dict[Method, type[DenoisingConfig | MaskedConfig | MocoConfig | DinoConfig]] = {
    "denoising": DenoisingConfig,
    "masked": MaskedConfig,
    "moco": MocoConfig,
    "dino": DinoConfig,
}
# mild where pixels are predicted; strong changes of intensity where views must not be told apart by their brightness
_MILD = Augment(flip=0.5)
_STRONG = Augment(rotate=10.0, shift=0.0, scale=0.0, brightness=0.4, contrast=0.4, gamma=0.5, flip=0.5)


@dataclasses.dataclass(frozen=True)
class PretrainConfig:
    """A self-supervised pretraining run. Keys that `umsrep.tasks.FineTuneConfig` also has mean the same.

    Attributes:
        method: What is learned from: denoising, masked, moco or dino (and ``supervised``, which is a `FineTuneConfig`).
        data: Sets of images.
        output: Run folder.
        encoder: What to start from.
        schema_version: Of this file.
        seed: Of weights, order, views and noise.
        image_size: Side in pixels, or [height, width]; null keeps the encoder's.
        batch_size: Images of a step over all processes.
        epochs: Passes over the training images.
        max_steps: Stop after this many optimiser steps, or null.
        denoising: Settings of this method; null for its defaults.
        masked: Likewise.
        moco: Likewise.
        dino: Likewise.
        batch_norm: ``batch``, statistics of the batch; ``frozen``, the stored ones; ``auto``, frozen for denoising where the encoder starts
            from weights; else batch. (Frozen statistics cannot follow what hidden patches do to them: docs/pretraining.md.)
        optimiser: See `OptimiserConfig`; encoder_factor 1 and weight_decay 0.05 unless given.
        ema: Denoising and masked: decay of the weights' moving average, which is what is monitored and saved; null is 0.998, 0 is off.
            (moco saves the encoder that is trained, dino the teacher.)
        augment: See `Augment`; null takes the method's (docs/pretraining.md). Views of moco and dino are cropped before.
        monitor_rows: Most training rows, and most validation rows, that a k-NN accuracy is measured with.
        workers: Loader processes.
        lenient: As in `FineTuneConfig`.
        precision: no, bf16 or fp16.
        processes: How many processes must run; null takes what was launched.
        trackers: Besides metrics.jsonl.
        validate_every: Epochs between measurements of k-NN accuracy.
        checkpoint_minutes: Minutes between checkpoints within an epoch; 0 is never.
    """

    method: Method
    data: list[PretrainData]
    output: str
    encoder: EncoderConfig
    schema_version: int = SCHEMA_VERSION
    seed: int = 0
    image_size: int | list[int] | None = None
    batch_size: int = 64
    epochs: int = 100
    max_steps: int | None = None
    denoising: DenoisingConfig | None = None
    masked: MaskedConfig | None = None
    moco: MocoConfig | None = None
    dino: DinoConfig | None = None
    batch_norm: Literal["auto", "batch", "frozen"] = "auto"
    optimiser: OptimiserConfig = dataclasses.field(default_factory=lambda: OptimiserConfig(encoder_factor=1.0, weight_decay=0.05))
    ema: float | None = None
    augment: Augment | None = None
    monitor_rows: int = 2000
    workers: int = 2
    lenient: bool = False
    precision: Literal["no", "bf16", "fp16"] = "no"
    processes: int | None = None
    trackers: list[str] = dataclasses.field(default_factory=list)
    validate_every: int = 10
    checkpoint_minutes: float = 10.0

    @property
    def started(self) -> bool:
        """Whether the encoder starts from weights."""
        encoder = self.encoder
        return bool(encoder.weights or encoder.name or (encoder.arch or "").startswith(("hf-hub:", "local-dir:")))

    @property
    def frozen_norm(self) -> bool:
        """Whether batch norms keep their stored statistics."""
        return self.batch_norm == "frozen" or (self.batch_norm == "auto" and self.started and self.method == "denoising")

    def __post_init__(self) -> None:
        """Put the method's own defaults in, and check what types cannot say."""
        if getattr(self, self.method) is None:
            object.__setattr__(self, self.method, BLOCKS[self.method]())
        if self.augment is None:
            object.__setattr__(self, "augment", _STRONG if self.method in CONTRASTING else _MILD)
        if self.augment is not None and self.augment.noise:
            raise InputError("config: augment.noise is for segmentation and classification (umsrep finetune); leave it out")
        if self.ema is None and self.method not in CONTRASTING:
            object.__setattr__(self, "ema", 0.998)
        if self.schema_version > SCHEMA_VERSION:
            raise InputError(f"config: schema_version {self.schema_version} is newer than this umsrep reads ({SCHEMA_VERSION}); upgrade")
        if not self.data:
            raise InputError("config: no data")
        if (self.encoder.name is None) == (self.encoder.arch is None):
            raise InputError("config: encoder needs either name (preset, org/repo, folder) or arch")
        check_encoder(self.encoder)
        least = {"batch_size": 1, "epochs": 1, "workers": 0, "validate_every": 1, "seed": 0, "monitor_rows": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise InputError(f"config: {name} must be {low} or more, not {getattr(self, name)}")
        for name in ("max_steps", "processes"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InputError(f"config: {name} must be 1 or more, or null, not {getattr(self, name)}")
        if self.seed >= 2**32:
            raise InputError(f"config: seed must be below 2**32, not {self.seed}")
        if not 0 <= self.checkpoint_minutes < math.inf:
            raise InputError(f"config: checkpoint_minutes must be 0 or more, not {self.checkpoint_minutes}")
        if isinstance(self.image_size, list) and len(self.image_size) != 2:
            raise InputError(f"config: image_size must be one side or [height, width], not {self.image_size}")
        for name in BLOCKS:
            if name != self.method and getattr(self, name) is not None:
                raise InputError(f"config: {name}: the method is {self.method}; leave the settings of others out")
        if self.ema is not None and self.method in CONTRASTING:
            raise InputError(f"config: ema: {self.method} has a moving copy of its own ({self.method}.momentum)")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise InputError(f"config: ema must be 0 or more and below 1, not {self.ema}")
        for data in self.data:
            if not 0 < data.fraction <= 1:
                raise InputError(f"config: data '{data.path}': fraction must be above 0 and at most 1, not {data.fraction}")
            if data.licenses == []:
                raise InputError(f"config: data '{data.path}': licenses is empty; leave it out to use all rows")
        _check_optimiser(self.optimiser)
        _check_blocks(self)


def _check_optimiser(optimiser: OptimiserConfig) -> None:
    if not 0 < optimiser.learning_rate < math.inf or optimiser.accumulate < 1 or not 0 <= optimiser.warmup < 1:
        raise InputError("config: optimiser needs learning_rate above 0, accumulate 1 or more, and warmup from 0 to below 1")
    if not 0 < optimiser.layer_decay <= 1:
        raise InputError(f"config: optimiser.layer_decay must be above 0 and at most 1, not {optimiser.layer_decay}")
    for key in ("encoder_factor", "weight_decay", "clip_norm", "final_fraction"):
        if not 0 <= getattr(optimiser, key) < math.inf:
            raise InputError(f"config: optimiser.{key} must be 0 or more and finite, not {getattr(optimiser, key)}")


def _check_blocks(config: PretrainConfig) -> None:
    if config.masked and not (0 < config.masked.ratio < 1 and (config.masked.patch is None or config.masked.patch >= 1)):
        raise InputError("config: masked needs a ratio between 0 and 1 and a patch of 1 or more pixels")
    for name in CONTRASTING:
        block = getattr(config, name)
        for field in dataclasses.fields(block) if block is not None else ():
            value = getattr(block, field.name)
            where = f"config: {name}.{field.name}"
            if field.name in ("crop", "local_crop"):
                if len(value) != 2 or not 0 < value[0] <= value[1] <= 1:
                    raise InputError(f"{where} must be [smallest, largest] area, above 0 and at most 1, not {value}")
            elif field.name in ("momentum", "centre_momentum"):
                if not 0 <= value <= 1:
                    raise InputError(f"{where} must be from 0 to 1, not {value}")
            elif value is not None and not value > (-1 if field.name in ("local_crops", "freeze_prototypes") else 0):
                raise InputError(f"{where} must be above 0, not {value}")
