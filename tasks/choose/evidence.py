"""What is known of an encoder besides its features here: what its card measured, and how far these pictures are from its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from umsrep.errors import InputError
from umsrep.tasks.choose.candidates import Candidate
from umsrep.tasks.data.inspect.modality import REFERENCE_FILE, load_reference, sample
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.features import extract
from umsrep.zoo import Encoder, hub
from umsrep.zoo.card import metadata_of, read_card
from umsrep.zoo.listing import rows_of
from umsrep.zoo.presets import PRESETS

_KINDS = {"dice": "segmentation", "iou": "segmentation", "hd95": "segmentation", "psnr": "denoising", "ssim": "denoising"}


@dataclasses.dataclass(frozen=True)
class Distance:
    """How far a data set's pictures lie from those that an encoder was trained on.

    Attributes:
        frechet: Fréchet distance of two Gaussians with diagonal covariance, by dimensions and in units of the reference's own standard
            deviations: sqrt(mean_d((m - m_ref)^2 + (s - s_ref)^2) / s_ref^2). 0 for the same pictures. The embedding is the mean and
            standard deviation of every channel of the pyramid, at the encoder's own contract; a reference holds no covariance and no
            picture, so neither the full distance nor MMD can be had.
        flagged: Share of the pictures that `umsrep inspect` would call unlike the encoder's.
        pictures: How many were compared.
        reference: What the reference was made from.
    """

    frechet: float
    flagged: float
    pictures: int
    reference: str


def modality_distance(
    candidate: Candidate, manifest: Manifest, rows: Sequence[int], *, cache: Path | None, workers: int = 2, title: str | None = None
) -> Distance | None:
    """Compare a sample of rows with the reference that an encoder brings; None where it brings none."""
    if candidate.folder is None or not (candidate.folder / REFERENCE_FILE).is_file():
        return None
    reference = load_reference(candidate.folder)
    own = Encoder.from_pretrained(candidate.folder)  # at its own size, whatever --image-size says
    if own.contract.size is None or len(reference.mean) != 2 * sum(own.channels):
        return None
    chosen = sample(manifest, rows)
    pyramid = extract(own, manifest, chosen, cache=cache, workers=workers, title=title).pyramid.astype(np.float64)
    shift = (pyramid.mean(axis=0) - reference.mean) / reference.scale
    spread = pyramid.std(axis=0) / reference.scale - 1
    scores = reference.scores(pyramid.astype(np.float32))
    return Distance(
        float(np.sqrt((shift**2 + spread**2).mean())), float((scores > reference.threshold).mean()), len(chosen), reference.source
    )


def card_rows(candidate: Candidate, data: str) -> list[dict[str, Any]]:
    """Return what an encoder's card measured nearest to a data set, one row a kind of task.

    Nearest is the set of the same name, else the card's first set; the row says which.

    Args:
        candidate: Only folders, presets and repositories have cards.
        data: Name of the data set, the last part of its path.

    Returns:
        For each kind: ``kind``, ``head``, ``metric``, ``value``, ``data``, ``split``, and ``same_data`` (whether it is this set).
    """
    if candidate.folder is None:
        return []
    place = candidate.spec if candidate.spec in PRESETS else str(candidate.folder)
    try:
        card = metadata_of(read_card(place))
    except InputError:  # a model folder needs no card
        return []
    heads = {name: str(head.get("kind")) for name, head in hub.read_config(candidate.folder)["umsrep"]["heads"].items()}
    found: dict[str, dict[str, Any]] = {}
    for row in rows_of(card.get("model-index")):
        kind = heads.get(row["head"]) or _KINDS.get(str(row["metric"]).partition("_")[0], "classification")
        same = str(row["data"]).casefold() == data.casefold()
        if kind not in found or (same and not found[kind]["same_data"]):
            found[kind] = {"kind": kind, **row, "same_data": same}
    return list(found.values())
