"""The results file: everything a model card says that config.json does not, as one versioned JSON document (docs/cards.md)."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from umsrep.errors import InputError, nearest

RESULTS_VERSION = 1
Group = Literal["results", "transfer", "interference", "shift", "calibration", "subgroups"]
"""Where a measurement stands on the card."""
Row = TypeVar("Row")


@dataclasses.dataclass(frozen=True)
class Metric:
    """How a metric is written.

    Attributes:
        label: For people, with its unit.
        digits: After the point in tables; metadata keeps every digit.
        hub: Its name on the Hugging Face Hub.
    """

    label: str
    digits: int
    hub: str


METRICS: dict[str, Metric] = {
    "dice": Metric("Dice", 3, "dice"),
    "iou": Metric("IoU", 3, "mean_iou"),
    "hd95": Metric("HD95 (px)", 2, "hd95"),
    "auroc": Metric("AUROC", 3, "roc_auc"),
    "average_precision": Metric("average precision", 3, "average_precision"),
    "balanced_accuracy": Metric("balanced accuracy", 3, "balanced_accuracy"),
    "sensitivity_at_specificity": Metric("sensitivity at given specificity", 3, "sensitivity_at_specificity"),
    "f1": Metric("F1", 3, "f1"),
    "accuracy": Metric("accuracy", 3, "accuracy"),
    "psnr": Metric("PSNR (dB)", 2, "psnr"),
    "psnr_noisy": Metric("PSNR of the noisy input (dB)", 2, "psnr_noisy"),
    "psnr_gain": Metric("PSNR gain (dB)", 2, "psnr_gain"),
    "ssim": Metric("SSIM", 3, "ssim"),
    "ssim_noisy": Metric("SSIM of the noisy input", 3, "ssim_noisy"),
    "ece": Metric("expected calibration error", 3, "ece"),
    "brier": Metric("Brier score", 3, "brier"),
    "coverage": Metric("coverage", 3, "coverage"),
    "hd95_undefined": Metric("images without HD95", 0, "hd95_undefined"),
}
"""Known metrics; `metric` also takes one of a single class, as in ``dice/lung``."""


def metric(name: str) -> Metric:
    """Return how a metric is written; an unknown one keeps its name and gets four digits."""
    known, slash, part = name.partition("/")
    if known in METRICS:
        found = METRICS[known]
        return dataclasses.replace(found, label=f"{found.label}, {part}", hub=f"{found.hub}/{part}") if slash else found
    return Metric(name, 4, name)


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One measured number.

    Attributes:
        group: Where it stands on the card.
        head: Name of the head, or of the task that was transferred to.
        metric: As the tasks name them (`METRICS`).
        data: Data set.
        value: The number; None where it is undefined.
        split: Of the data set.
        method: None for this model, else what it is compared with ("Total variation", "single-task", "ImageNet", "scratch").
        interval: (low, high) of 95 %.
        sd: Standard deviation over ``seeds``.
        seeds: Runs the value is the mean of.
        images: Rows it was measured on.
        patients: Patients these belong to.
        difference: This model less ``method``, paired.
        difference_interval: (low, high) of 95 % of that.
        labels: Fraction of the labels used, 0-1 (transfer).
        mode: "frozen" or "fine-tuned" (transfer).
        note: A few words.
    """

    group: Group
    head: str
    metric: str
    data: str
    value: float | None
    split: str | None = None
    method: str | None = None
    interval: tuple[float, float] | None = None
    sd: float | None = None
    seeds: int | None = None
    images: int | None = None
    patients: int | None = None
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None
    labels: float | None = None
    mode: str | None = None
    note: str | None = None


@dataclasses.dataclass(frozen=True)
class Data:
    """One set the model was trained on. ``license`` and ``source`` are None where they are not known (a folder of one's own)."""

    name: str
    images: int | None = None
    patients: int | None = None
    sites: str | None = None
    license: str | None = None
    split: str | None = None
    source: str | None = None
    note: str | None = None


@dataclasses.dataclass(frozen=True)
class Features:
    """The encoder's pyramid, and which decoders fit it."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    embedding_dim: int
    decoders: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Part:
    """Parameters and multiply-accumulates of the encoder, or of the whole model."""

    parameters: int
    macs: int


@dataclasses.dataclass(frozen=True)
class Timing:
    """A measured time: what was done, milliseconds, on what."""

    what: str
    milliseconds: float
    hardware: str


@dataclasses.dataclass(frozen=True)
class Cost:
    """What the model costs at one input size [channels, height, width]; ``model`` is with heads."""

    size: tuple[int, ...]
    encoder: Part
    model: Part | None = None
    timings: tuple[Timing, ...] = ()


@dataclasses.dataclass(frozen=True)
class ReliabilityBin:
    """Rows of like confidence: its mean, the ``frequency`` of being right (both 0-1) and the ``count`` of rows, at least 1."""

    confidence: float
    frequency: float
    count: int

    def __post_init__(self) -> None:
        for name in ("confidence", "frequency"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name}: must be 0 to 1, not {getattr(self, name)!r}")
        if self.count < 1:
            raise InputError(f"count: must be at least 1, not {self.count!r}; leave empty bins out")


@dataclasses.dataclass(frozen=True)
class Reliability:
    """How often a head is right where it is so sure: what a reliability diagram shows.

    Attributes:
        head: Name of the head.
        data: Data set.
        bins: Those with rows, by rising confidence.
        split: Of the data set.
        class_: The class whose probability it is (``class`` in the file); None for all together.
    """

    head: str
    data: str
    bins: tuple[ReliabilityBin, ...]
    split: str | None = None
    class_: str | None = None

    def __post_init__(self) -> None:
        confidences = [one.confidence for one in self.bins]
        if not confidences or confidences != sorted(confidences):
            raise InputError("bins: must be at least one, by rising confidence")


@dataclasses.dataclass(frozen=True)
class GuardRate:
    """How many images of one set the out-of-distribution guard flags.

    Attributes:
        data: The set.
        kind: What its images are to the model ("like the training data", "other kind of picture" ...).
        images: How many were shown.
        flagged: How many of them were flagged.
        interval: (low, high) of 95 % of the fraction.
    """

    data: str
    kind: str
    images: int
    flagged: int
    interval: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class GuardResults:
    """The out-of-distribution guard in the model folder, and what it does.

    Attributes:
        score: In a few words.
        threshold: Largest score that is not flagged.
        false_alarms: Fraction of images like the held-out ones that may be flagged.
        calibrated: Held-out images that the threshold comes from.
        data: Their set.
        rates: What was measured.
    """

    score: str
    threshold: float
    false_alarms: float
    calibrated: int
    data: str
    rates: tuple[GuardRate, ...] = ()


@dataclasses.dataclass(frozen=True)
class Results:
    """The content of a results file.

    Attributes:
        license: Identifier of the Hub's list for the weights; "unknown" says that nobody has chosen one yet.
        verdict: One line: for whom, not for whom.
        base_model: Where the weights started, a Hub id.
        conditions: What holds for all measurements (size, precision, how intervals were made).
        features: The pyramid.
        training: How it was trained.
        data: On what.
        measurements: All that was measured, in the order of the card; the first of a head is what `umsrep list` shows.
        reliability: What reliability diagrams show; the catalog draws it (docs/catalog.md), the card does not.
        cost: Parameters and multiply-accumulates.
        guard: The out-of-distribution guard, if there is one.
        limits: What is known not to work or was not tested, one sentence each.
        reproduce: Commands that make the model and its numbers again.
        citation: How to cite it.
        name: Heading of the card; None for that of the preset or folder.
        location: What the snippets load; None for the name.
    """

    license: str = "unknown"
    verdict: str | None = None
    base_model: str | None = None
    conditions: str | None = None
    features: Features | None = None
    training: str | None = None
    data: tuple[Data, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    reliability: tuple[Reliability, ...] = ()
    cost: Cost | None = None
    guard: GuardResults | None = None
    limits: tuple[str, ...] = ()
    reproduce: tuple[str, ...] = ()
    citation: str | None = None
    name: str | None = None
    location: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, without what is empty; `from_dict` gives back equal results."""
        return {"schema_version": RESULTS_VERSION, **_plain(dataclasses.asdict(self))}

    @classmethod
    def from_dict(cls, values: Any, *, where: str = "results") -> Results:
        """Check and take over plain values.

        Raises:
            InputError: naming ``where`` and the entry, for an unknown key, a missing one, or a value of a wrong type.
        """
        if not isinstance(values, Mapping):
            raise InputError(f"{where}: must be a JSON object, not {type(values).__name__}")
        version = values.get("schema_version")
        if version != RESULTS_VERSION:
            newer = isinstance(version, int) and version > RESULTS_VERSION
            raise InputError(f"{where}: schema_version must be {RESULTS_VERSION}, not {version!r}{'; upgrade umsrep' if newer else ''}")
        given = {k: v for k, v in values.items() if k != "schema_version"}
        for key, kind in (("features", Features), ("cost", Cost)):
            if given.get(key) is not None:
                given[key] = _make(kind, given[key], f"{where}: {key}")
        for key, row in (("data", Data), ("measurements", Measurement), ("reliability", Reliability)):
            given[key] = tuple(_make(row, v, f"{where}: {key}[{i}]") for i, v in enumerate(_list(given.get(key, ()), f"{where}: {key}")))
        return _make(cls, given, where)


def load_results(path: Path) -> Results:
    """Read a results file.

    Raises:
        InputError: naming the file, if it is missing, no JSON, or not in the form of `Results`.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not valid JSON ({error})") from error
    except RecursionError as error:
        raise InputError(f"{path}: nested too deeply") from error
    return Results.from_dict(values, where=str(path))


def _make(kind: type[Row], values: Any, where: str) -> Row:
    """Build a dataclass from plain values, checking names and types against its annotations."""
    if not isinstance(values, Mapping):
        raise InputError(f"{where}: must be an object, not {values!r}")
    fields: dict[str, Any] = {_key(f.name): f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise InputError(f"{where}: unknown key '{key}'{nearest(str(key), fields)}")
    taken = {}
    for name, field in fields.items():
        if name in values:
            taken[field.name] = _value(str(field.type), values[name], f"{where}: {name}")
        elif field.default is dataclasses.MISSING:
            raise InputError(f"{where}: '{name}' is missing")
    try:
        return kind(**taken)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


_PARTS = (Part, Timing, Data, Measurement, Features, Cost, GuardRate, GuardResults, Reliability, ReliabilityBin)
_NESTED: dict[str, Any] = {kind.__name__: kind for kind in _PARTS}


def _value(wanted: str, value: Any, where: str) -> Any:
    """Check one value against an annotation as this module writes them."""
    kind = wanted.removesuffix(" | None")
    if value is None and kind != wanted:
        return None
    if kind in _NESTED:
        return value if isinstance(value, _NESTED[kind]) else _make(_NESTED[kind], value, where)
    if kind.startswith("tuple["):
        inner = kind.removeprefix("tuple[").removesuffix("]").removesuffix(", ...").split(", ")[0]
        items = tuple(_value(inner, v, f"{where}[{i}]") for i, v in enumerate(_list(value, where)))
        if not kind.endswith(", ...]") and len(items) != 2:
            raise InputError(f"{where}: must be [low, high], not {value!r}")
        return items
    if kind == "Group":
        if value not in get_args(Group):
            raise InputError(f"{where}: unknown group {value!r}{nearest(str(value), get_args(Group))}")
        return value
    types: dict[str, Any] = {"str": str, "int": int, "float": (int, float)}
    if not isinstance(value, types[kind]) or isinstance(value, bool) or (kind == "float" and not math.isfinite(value)):
        word = {"str": "a text", "int": "a whole number", "float": "a finite number"}[kind]
        raise InputError(f"{where}: must be {word}, not {value!r}")
    return float(value) if kind == "float" else value


def _key(name: str) -> str:
    """Return a field's key in the file: ``class_`` is ``class``, which Python keeps for itself."""
    return name.removesuffix("_")


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise InputError(f"{where}: must be a list, not {value!r}")
    return list(value)


def _plain(value: Any) -> Any:
    """Return JSON values without None and empty lists, except a measurement's undefined value."""
    if isinstance(value, Mapping):
        return {_key(k): _plain(v) for k, v in value.items() if k == "value" or (v is not None and v != ())}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
