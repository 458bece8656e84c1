"""What a run starts from: the configuration of its encoder, its data sets and where targets stand in them."""

from __future__ import annotations

import dataclasses

from umsrep.errors import InputError
from umsrep.zoo.blending import check_share


@dataclasses.dataclass(frozen=True)
class BlendConfig:
    """Average a fine-tuned encoder with the weights that it was fine-tuned from, see `umsrep.zoo.blending.blend`.

    Attributes:
        weights: safetensors file of those weights.
        share: Of the fine-tuned ones.
    """

    weights: str
    share: float = 0.5


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Which encoder to start from: ``name`` alone (or with ``blend``), or ``arch`` with the rest.

    Attributes:
        name: Preset, org/repo or folder; a folder with heads keeps those whose names are not among the tasks.
        revision: Of a repository on the Hub.
        blend: Of an encoder by name: average it with the weights it came from. Of its heads, those that are among the tasks are trained
            again, the others, which no longer fit, left out.
        arch: timm architecture.
        weights: safetensors file for it, or null for random weights.
        in_channels: Of the image.
        modality: Recorded in a model made from ``arch``.
        unit: Stored unit, see `InputContract`; with ``name`` only where the stored contract leaves it open ("auto").
        mean: See `InputContract`.
        std: See `InputContract`.
        resize: See `InputContract`.
        window: See `InputContract`.
        percentiles: See `InputContract`.
        voi: See `InputContract`.
        photometric: See `InputContract`.
        colour: See `InputContract`.
        antialias: See `InputContract`.
        expected_range: See `InputContract`.
    """

    name: str | None = None
    revision: str | None = None
    blend: BlendConfig | None = None
    arch: str | None = None
    weights: str | None = None
    in_channels: int = 1
    modality: str | None = None
    unit: str = "auto"
    mean: float | list[float] = 0.5
    std: float | list[float] = 0.5
    resize: str = "stretch"
    window: list[float] | None = None
    percentiles: list[float] | None = None
    voi: bool = True
    photometric: str = "monochrome2"
    colour: str = "convert"
    antialias: bool = True
    expected_range: list[float] | None = None


def check_encoder(encoder: EncoderConfig) -> None:
    """Refuse keys that would be ignored: a stored model has its own contract (modality is a mere label), an architecture no revisions.

    Raises:
        InputError: naming the first of them.
    """
    given = [f.name for f in dataclasses.fields(encoder) if getattr(encoder, f.name) != f.default]
    own = ("name", "revision", "blend")  # unit: of the files, where a stored contract leaves it open
    for key in given:
        if encoder.name is not None and key not in (*own, "modality", "unit"):
            raise InputError(f"config: encoder.{key}: a model opened by name has its own; leave it out, or give arch instead of name")
        if encoder.name is None and key in own:
            raise InputError(f"config: encoder.{key} goes with encoder.name")
    if encoder.blend is not None:
        check_share(encoder.blend.share, "config: encoder.blend.")
        if not encoder.blend.weights:
            raise InputError("config: encoder.blend.weights must name a safetensors file")


@dataclasses.dataclass(frozen=True)
class TargetConfig:
    """Where a task's target stands in one data set.

    Attributes:
        column: Column name, or several for labels that occur together.
        map: Stored value to class name; null leaves rows with that value out of the task.
    """

    column: str | list[str] | None = None
    map: dict[str, str | None] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """One data set.

    Attributes:
        path: Folder with metadata.csv, .jsonl or .parquet; MedMNIST npz or ``medmnist:NAME[@SIZE]``; Hub data set ``hf:ORG/NAME``.
        tasks: Heads that it trains; default all that it is annotated for.
        targets: Task's name to where its target stands here.
        split_column: Column with train, validation, test.
        fraction: Of its training rows, by patient, chosen by the run's seed; validation and test rows stay as they are.
        licenses: Use only rows under these licences, named as in the table (case, spaces and hyphens aside; "" is "none given").
        license_column: Where the licence stands.
        leave_out: Column to values whose rows are in none of the splits: a site, a device.
        unlabelled: Its training rows (all, without split column) only serve the block ``unlabelled``; annotations are not read.
    """

    path: str
    tasks: list[str] | None = None
    targets: dict[str, TargetConfig] = dataclasses.field(default_factory=dict)
    split_column: str = "split"
    fraction: float = 1.0
    licenses: list[str] | None = None
    license_column: str = "license"
    leave_out: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    unlabelled: bool = False
