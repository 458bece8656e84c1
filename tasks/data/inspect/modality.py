"""Whether pictures are of the kind that an encoder was trained on: the distance of their embeddings from a stored reference.

The embedding here is the mean and standard deviation over the image of every channel of the frozen feature pyramid. (The encoder's
own pre-logits do not serve: after joint fine-tuning they hold little more than the classes, docs/inspect.md.)

The reference travels with the weights as ``reference.safetensors`` and holds statistics only, no picture: of the embeddings of real
training pictures, each dimension brought to mean 0 and sd 1, the leading principal directions and the mean squared length of what
these leave.
The score of a picture is the squared length that they leave of its own embedding, over that mean: the residual of PCA as a
detector of novelty (Hoffmann, Kernel PCA for novelty detection, Pattern Recognition 40:863, 2007; here linear). Above the stored
threshold, which was chosen on held-out pictures, it is flagged.
"""

from __future__ import annotations

import dataclasses
import json
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from umsrep.errors import InputError
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.progress import track
from umsrep.zoo import Encoder, hub
from umsrep.zoo.presets import PRESETS

REFERENCE_FILE = "reference.safetensors"
SAMPLE = 200
"""Most pictures of a set that are embedded, chosen by a hash of their names."""
WRONG = 0.5
"""A set of which a larger fraction is flagged is of another kind."""
_BATCH = 16


@dataclasses.dataclass(frozen=True)
class Reference:
    """Statistics of the embeddings of one encoder's kind of picture.

    Attributes:
        mean: [D] of the embeddings.
        scale: [D] their standard deviations, above 0.
        directions: [K, D] orthonormal rows, the leading principal directions.
        residual: Mean squared length that the directions leave, above 0.
        threshold: Largest score of a picture of this kind.
        source: What it was made from, and the licence of that.
        weights: sha256 of the model.safetensors whose embeddings they are.
    """

    mean: np.ndarray
    scale: np.ndarray
    directions: np.ndarray
    residual: float
    threshold: float
    source: str
    weights: str

    @classmethod
    def fit(cls, embeddings: np.ndarray, *, directions: int, source: str, weights: str) -> Reference:
        """Make a reference from the embeddings [N, D] of training pictures, N > ``directions``; without a threshold yet."""
        mean, scale = embeddings.mean(axis=0), embeddings.std(axis=0)
        scale = np.maximum(scale, 1e-6 + 0.01 * float(np.median(scale)))  # a channel that is always silent must not decide all
        _, lengths, rows = np.linalg.svd((embeddings - mean) / scale, full_matrices=False)
        left = float((lengths[directions:] ** 2).sum()) / len(embeddings)
        # stored in half precision: fit what will be read
        kept = rows[:directions].astype(np.float16).astype(np.float32)
        return cls(mean.astype(np.float32), scale.astype(np.float32), kept, left, math.inf, source, weights)

    def scores(self, embeddings: np.ndarray) -> np.ndarray:
        """Return the score of each embedding [N, D]; about 1 for pictures of the training set."""
        centred = (embeddings - self.mean) / self.scale
        inside = centred @ self.directions.T
        return np.asarray(((centred**2).sum(axis=1) - (inside**2).sum(axis=1)) / self.residual)

    def save(self, path: Path) -> None:
        """Write the file, the directions in half precision."""
        tensors = {name: torch.from_numpy(getattr(self, name)) for name in ("mean", "scale")}
        tensors["directions"] = torch.from_numpy(self.directions).half()
        numbers = {name: getattr(self, name) for name in ("residual", "threshold", "source", "weights")}
        save_file(tensors, path, metadata={"reference": json.dumps(numbers)})

    @classmethod
    def load(cls, path: Path) -> Reference:
        """Read the file.

        Raises:
            InputError: if it is missing, damaged or of another form.
        """
        if not path.is_file():
            raise InputError(f"{path}: no such file; this encoder brings no reference to compare pictures with (scripts/make_reference.py)")
        try:
            with safe_open(path, framework="pt") as file:
                numbers = json.loads((file.metadata() or {})["reference"])
                mean, scale, directions = (file.get_tensor(name).float().numpy() for name in ("mean", "scale", "directions"))
            residual, threshold = float(numbers["residual"]), float(numbers["threshold"])
            made = cls(mean, scale, directions, residual, threshold, str(numbers["source"]), str(numbers["weights"]))
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: damaged reference ({' '.join(str(error).split()) or type(error).__name__})") from error
        sound = mean.ndim == 1 and scale.shape == mean.shape and directions.ndim == 2 and directions.shape[1:] == mean.shape
        numbers_are_finite = all(np.isfinite(v).all() for v in (mean, scale, directions, residual, threshold))
        if not sound or not numbers_are_finite or residual <= 0 or (scale <= 0).any():
            raise InputError(f"{path}: damaged reference (mean {mean.shape}, directions {directions.shape}, residual {residual})")
        return made


def load_reference(folder: Path) -> Reference:
    """Read the reference of a model folder.

    Raises:
        InputError: if it is missing, damaged, not the file whose sha256 config.json gives (where it gives one), or made for other weights.
    """
    path = folder / REFERENCE_FILE
    reference = Reference.load(path)
    sums = hub.read_config(folder)["umsrep"]["sha256"]
    if REFERENCE_FILE in sums and hub.sha256(path) != sums[REFERENCE_FILE]:
        raise InputError(f"{path}: damaged: its sha256 is not the one in config.json; download or save it again")
    if reference.weights != sums.get(hub.ENCODER_FILE):
        raise InputError(f"{path}: made for other weights than {hub.ENCODER_FILE}; make it anew (scripts/make_reference.py)")
    return reference


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
        maps = encoder(torch.stack(waiting))
        parts = [m.mean(dim=(2, 3)) for m in maps] + [m.std(dim=(2, 3), correction=0) for m in maps]
        blocks.append(torch.cat(parts, dim=1).float().numpy())
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
