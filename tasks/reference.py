"""What an encoder's kind of picture looks like to it: statistics that travel with the weights.

The embedding here is the mean and standard deviation over the image of every channel of the frozen feature pyramid. (The encoder's
own pre-logits do not serve: after joint fine-tuning they hold little more than the classes, docs/inspect.md, docs/guard.md.)

The reference travels with the weights as ``reference.safetensors`` and holds statistics only, no picture: of the embeddings of real
training pictures, each dimension brought to mean 0 and sd 1, the leading principal directions and the mean squared length of what
these leave. `umsrep inspect` compares data sets with it, `umsrep.tasks.guard` single pictures.
The score of a picture is the squared length that they leave of its own embedding, over that mean: the residual of PCA as a
detector of novelty (Hoffmann, Kernel PCA for novelty detection, Pattern Recognition 40:863, 2007; here linear). Above the stored
threshold, which was chosen on held-out pictures, it is flagged.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from umsrep.errors import InputError
from umsrep.zoo import hub

REFERENCE_FILE = hub.REFERENCE_FILE


def pyramid_statistics(maps: Sequence[Tensor]) -> Tensor:
    """Return over the image the mean of every channel of a feature pyramid, then the sd of every channel: [B, twice the channels]."""
    return torch.cat([m.mean(dim=(2, 3)) for m in maps] + [m.std(dim=(2, 3), correction=0) for m in maps], dim=1).float()


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

    def coordinates(self, embeddings: np.ndarray) -> np.ndarray:
        """Return what each embedding [N, D] is along the directions, and the length of what they leave of it: [N, K + 1]."""
        centred = (embeddings - self.mean) / self.scale
        inside = centred @ self.directions.T
        left = np.sqrt(np.maximum((centred**2).sum(axis=1) - (inside**2).sum(axis=1), 0))
        return np.asarray(np.column_stack([inside, left]))

    def tensors(self) -> dict[str, Tensor]:
        """Return what the file holds, the directions in half precision."""
        tensors = {name: torch.from_numpy(getattr(self, name)) for name in ("mean", "scale")}
        return tensors | {"directions": torch.from_numpy(self.directions).half()}

    def numbers(self) -> str:
        """Return the file's metadata of the reference, as JSON."""
        return json.dumps({name: getattr(self, name) for name in ("residual", "threshold", "source", "weights")})

    def save(self, path: Path) -> None:
        """Write the file."""
        save_file(self.tensors(), path, metadata={"reference": self.numbers()})

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
