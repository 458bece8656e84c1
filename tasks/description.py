"""What a card says about a model and the run that made it: pyramid, cost, training data, metrics."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from umsrep.errors import InputError
from umsrep.heads.decoder import DECODERS, Decoder
from umsrep.tasks.setup import training_sizes
from umsrep.zoo import Encoder
from umsrep.zoo.cost import DEFAULT_SIZE, cost_of
from umsrep.zoo.results import Cost, Data, Features, Measurement, Results

if TYPE_CHECKING:
    from umsrep.tasks.config import FineTuneConfig
    from umsrep.tasks.model import MultiTaskModel
    from umsrep.tasks.trainer import Report


def fitting_decoders(encoder: Encoder) -> tuple[str, ...]:
    """Return the names of the decoders that can work on this encoder; each is built without memory to find out."""
    found = []
    for name in DECODERS:
        try:
            with torch.device("meta"):
                Decoder(name, channels=encoder.channels, strides=encoder.strides, in_channels=encoder.contract.channels)
        except InputError:
            continue
        found.append(name)
    return tuple(found)


def features_of(encoder: Encoder, *, decoders: bool = False) -> Features:
    """Return the pyramid; with ``decoders`` (seconds) also those that fit."""
    fitting = fitting_decoders(encoder) if decoders else None
    return Features(tuple(encoder.channels), tuple(encoder.strides), encoder.embedding_dim, fitting)


def cost_of_model(model: MultiTaskModel) -> Cost:
    """Return parameters and multiply-accumulates at the contract's size, or `DEFAULT_SIZE` where it keeps that of the file."""
    contract = model.encoder.contract
    size = (contract.channels, *(contract.size if isinstance(contract.size, tuple) else DEFAULT_SIZE))
    return Cost(size=size, encoder=cost_of(model.encoder, size, method="forward_both"), model=cost_of(model, size))


def run_results(report: Report, config: FineTuneConfig, model: MultiTaskModel) -> Results:
    """Return what a finished run knows about its model.

    Data is named by its folder alone, nothing from inside it, so that the card can be published.
    """
    names = [Path(str(data.path)).name for data in config.data]
    together = " + ".join(dict.fromkeys(names))
    measurements = [
        Measurement("results", head, name, together, _finite(value), split=split, images=_images(metrics))
        for split, every in (("test", report.test), ("validation", report.validation))
        for head, metrics in every.items()
        for name, value in metrics.items()
        if name != "n"
    ]
    encoder = config.encoder
    name = Path(encoder.name).name if encoder.name and Path(encoder.name).is_dir() else encoder.name  # no folder of the user's on a card
    start = f"`{name}`" if name else f"`{Path(encoder.weights).name}`" if encoder.weights else "random weights"
    if encoder.blend is not None:
        start += f" averaged with `{Path(encoder.blend.weights).name}` (WiSE-FT, share {encoder.blend.share:g})"
    sides = [f"{h}" if h == w else f"{h} x {w}" for h, w in training_sizes(config, model.encoder.contract)]
    size = model.encoder.contract.size
    side = " x ".join(map(str, size)) if isinstance(size, tuple) else "the files' own"
    return Results(
        conditions=f"As the run measured its best epoch, chosen on validation, at {side} px; one seed.",
        features=features_of(model.encoder),
        training=(
            f"Fine-tuned jointly by umsrep from {start}: strategy {config.strategy}, "
            f"epoch {report.epoch} of {config.epochs} chosen on validation, seed {config.seed}, "
            + (f"batches of {', '.join(sides)} px in turn, " if sides else "")
            + "on "
            + ", ".join(f"`{name}`" for name in dict.fromkeys(names))
            + "."
        ),
        data=tuple(Data(name) for name in dict.fromkeys(names)),
        measurements=tuple(measurements),
        cost=cost_of_model(model),
        reproduce=(f"umsrep finetune --config {report.output.name}/config.yaml",),
        name=report.output.name,
        location=_location(report.model),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _images(metrics: dict[str, float]) -> int | None:
    return int(metrics["n"]) if "n" in metrics else None


def _location(folder: Path) -> str:
    """Write a relative folder so that nobody takes it for org/repo."""
    return folder.as_posix() if folder.is_absolute() else f"./{folder.as_posix()}"
