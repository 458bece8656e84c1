"""What pretraining leaves: the encoder folder with its card, report.json and results.json."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umsrep.tasks import runfolder
from umsrep.tasks.description import cost_of_model, features_of
from umsrep.zoo import hub
from umsrep.zoo.card import build_card
from umsrep.zoo.results import Data, Measurement, Results

if TYPE_CHECKING:
    from umsrep.tasks.model import MultiTaskModel
    from umsrep.tasks.pretrain.config import PretrainConfig
    from umsrep.tasks.pretrain.data import Images

_LEARNT = {
    "denoising": "a denoising autoencoder",
    "masked": "masked autoencoding (SimMIM)",
    "moco": "MoCo v2",
    "dino": "DINO",
}


@dataclasses.dataclass(frozen=True)
class PretrainReport:
    """What a run ended with.

    Attributes:
        output: The run folder.
        model: The encoder folder in it.
        method: How it was trained.
        epoch: Epochs done, the last one perhaps in part.
        step: Optimiser steps done.
        first_loss: Mean of the first epoch.
        last_loss: Mean of the last one.
        knn_before: k-NN metrics of the initialisation, for each labelled set.
        knn: Those of the model.
        seconds: Of training and monitoring, all sessions of the run together.
    """

    output: Path
    model: Path
    method: str
    epoch: int
    step: int
    first_loss: float
    last_loss: float
    knn_before: dict[str, dict[str, float]]
    knn: dict[str, dict[str, float]]
    seconds: float


def epoch_line(entry: Mapping[str, Any]) -> str:
    """Return one line for people about an entry of metrics.jsonl."""
    parts = [f"epoch {entry['epoch']:3d}"]
    parts += [f"{entry['images_per_second']:.1f} img/s"] if "train" in entry else []
    parts += [f"loss {loss:.4f}" for loss in entry.get("train", {}).values()]
    parts += [f"{name} k-NN {values['accuracy']:.3f}" for name, values in entry.get("knn", {}).items()]
    return "  ".join(parts)


def write_outcome(
    report: PretrainReport, config: PretrainConfig, model: MultiTaskModel, sources: Sequence[Images], columns: Mapping[str, str]
) -> None:
    """Write model folder, report.json, results.json and the card made from it; ``columns`` are the labels that were monitored."""
    (model if len(model.heads) else model.encoder).save_pretrained(report.model)
    results = outcome_results(report, config, model, sources, columns)
    for name, values in (("report.json", runfolder.plain(dataclasses.asdict(report))), ("results.json", results.to_dict())):
        (report.output / name).write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    card = build_card(report.output.name, hub.read_config(report.model), results)
    (report.model / hub.CARD_FILE).write_text(card, encoding="utf-8")


def outcome_results(
    report: PretrainReport, config: PretrainConfig, model: MultiTaskModel, sources: Sequence[Images], columns: Mapping[str, str]
) -> Results:
    """Return what the card says. Data is named by its folder alone, so that the card can be published."""
    measurements = [
        Measurement(
            "results", f"{columns[name]} (k-NN)", metric, name, found[metric], split="validation", method=method, images=int(found["n"])
        )
        for method, every in ((None, report.knn), ("initialisation", report.knn_before))
        for name, found in every.items()
        for metric in ("balanced_accuracy", "accuracy")
    ]
    given = config.encoder
    name = Path(given.name).name if given.name and Path(given.name).is_dir() else given.name  # no folder of the user's on a card
    start = f"`{name}`" if name else f"`{Path(given.weights).name}`" if given.weights else "random weights"
    if given.arch and given.arch.startswith(("hf-hub:", "local-dir:")):
        start = f"`{given.arch if given.arch.startswith('hf-hub:') else Path(given.arch).name}`"
    size = model.encoder.contract.size
    side = " x ".join(map(str, size)) if isinstance(size, tuple) else "the files' own"
    heads = " Its denoising head was trained with it." if len(model.heads) else ""
    return Results(
        base_model=name if name and "/" in name else None,
        conditions=f"Frozen embedding, 20 nearest training images by cosine, at {side} px; one seed. The last model, none was chosen.",
        features=features_of(model.encoder),
        training=(
            f"Pretrained by umsrep without labels, from {start}: {_LEARNT[report.method]}, {report.step:,} steps of "
            f"{config.batch_size} images ({report.epoch:,} epochs), seed {config.seed}; mean loss {report.first_loss:.4g} in the first "
            f"epoch and {report.last_loss:.4g} in the last.{heads}"
        ),
        data=tuple(_describe(source) for source in sources),
        measurements=tuple(measurements),
        cost=cost_of_model(model),
        limits=("The k-NN numbers tell whether training helped this embedding; they are no accuracy of a tuned model.",),
        reproduce=(f"umsrep pretrain --config {report.output.name}/config.yaml",),
        name=report.output.name,
        location=report.model.as_posix() if report.model.is_absolute() else f"./{report.model.as_posix()}",
    )


def _describe(source: Images) -> Data:
    """Count images, patients and sites, and name the licences that the rows carry."""

    def values(column: str) -> list[str]:
        cells = source.manifest.columns.get(column)
        return [cells[row] for row in source.rows] if cells else []

    patients, sites = set(values("patient_id")) - {""}, set(values("site")) - {""}
    licences = collections.Counter(values("license"))
    return Data(
        source.name,
        images=len(source.rows),
        patients=len(patients) if patients and all(values("patient_id")) else None,
        sites=", ".join(sorted(sites)) if 0 < len(sites) <= 5 else f"{len(sites)}" if sites else None,
        license=", ".join(f"{name or 'none given'} ({count})" for name, count in sorted(licences.items())) or None,
        split="train",
    )
