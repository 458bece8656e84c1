"""Whether the pictures of a data set are of the kind that an encoder was trained on: see `umsrep.tasks.reference`."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from umsrep.errors import InputError
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.progress import track
from umsrep.tasks.reference import REFERENCE_FILE, Reference, load_reference, pyramid_statistics
from umsrep.zoo import Encoder, hub
from umsrep.zoo.presets import PRESETS

__all__ = ["REFERENCE_FILE", "Reference", "check_modality", "embed_rows", "load_reference", "presets_with_reference", "sample"]
SAMPLE = 200
"""Most pictures of a set that are embedded, chosen by a hash of their names."""
WRONG = 0.5
"""A set of which a larger fraction is flagged is of another kind."""
_BATCH = 16


def sample(manifest: Manifest, readable: Sequence[int], count: int = SAMPLE) -> list[int]:
    """Choose rows by a hash of their file names and frames, so that the same pictures are chosen in every run and table order."""

    def key(row: int) -> int:
        return zlib.crc32(f"{manifest.columns['file_name'][row]} {manifest.frame(row)}".encode())

    return sorted(sorted(readable, key=key)[:count])


@torch.inference_mode()
def embed_rows(encoder: Encoder, manifest: Manifest, rows: Sequence[int], title: str | None) -> tuple[list[int], np.ndarray]:
    """Embed rows with a frozen encoder.

    Returns:
        The rows that its contract takes, and their embeddings: float32 [N, twice the sum of `Encoder.channels`].
    """
    encoder.freeze()
    taken: list[int] = []
    waiting: list[torch.Tensor] = []
    blocks = [np.zeros((0, 2 * sum(encoder.channels)), dtype=np.float32)]

    def flush() -> None:
        blocks.append(pyramid_statistics(encoder(torch.stack(waiting))).numpy())
        waiting.clear()

    for row in track(rows, title, total=len(rows)):
        try:
            waiting.append(encoder.contract.load(manifest.image(row), frame=manifest.frame(row)))
        except InputError:  # the contract's own rules (unit, channels): counted as refused
            continue
        taken.append(row)
        if len(waiting) == _BATCH:
            flush()
    if waiting:
        flush()
    return taken, np.concatenate(blocks)


def check_modality(manifest: Manifest, readable: Sequence[int], name: str) -> dict[str, Any]:
    """Compare a sample of a set's pictures with the reference of an encoder.

    Args:
        manifest: The set.
        readable: Rows whose pictures can be read.
        name: Preset, org/repo or folder.

    Returns:
        JSON values: ``encoder``, ``modality``, ``threshold``, ``compared`` (pictures), ``refused`` (pictures that the encoder's contract
        does not take), ``median`` (score; None without pictures), ``flagged`` ([row number from 0, score], the farthest first) and
        ``fits`` (at most half are flagged).

    Raises:
        InputError: for an unknown encoder, or one without a reference.
    """
    folder = hub.resolve(name)
    reference = load_reference(folder)
    encoder = Encoder.from_pretrained(folder)
    if encoder.contract.size is None:
        raise InputError(f"{folder}: the encoder's contract has no size, so that its pictures cannot be compared")
    if len(reference.mean) != 2 * sum(encoder.channels):
        raise InputError(f"{folder / REFERENCE_FILE}: made for {len(reference.mean)} numbers a picture, not {2 * sum(encoder.channels)}")
    chosen = sample(manifest, readable)
    rows, embeddings = embed_rows(encoder, manifest, chosen, f"comparing with {name}")
    scores = reference.scores(embeddings)
    flagged = sorted(((r, float(s)) for r, s in zip(rows, scores, strict=True) if s > reference.threshold), key=lambda f: -f[1])
    return {
        "encoder": name,
        "modality": encoder.modality,
        "threshold": reference.threshold,
        "compared": len(rows),
        "refused": len(chosen) - len(rows),
        "median": float(np.median(scores)) if len(rows) else None,
        "flagged": [[row, round(score, 3)] for row, score in flagged],
        "fits": bool(rows) and len(flagged) <= WRONG * len(rows),
    }


def presets_with_reference() -> list[str]:
    """Return the shipped presets that bring a reference."""
    return [name for name in PRESETS if (hub.WEIGHTS / name / REFERENCE_FILE).is_file()]
