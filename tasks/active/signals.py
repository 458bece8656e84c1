"""What an encoder and a model say of rows: embeddings, probabilities, the entropy of masks; kept in the cache, block by block."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umsrep.errors import InputError
from umsrep.heads import ClassificationHead, SegmentationHead
from umsrep.tasks.active.orb import KEYPOINTS, SIDE, OrbVectors, orb_vector
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.feature_cache import cache_key, encoder_digest, load_batches, read_arrays, write_arrays
from umsrep.tasks.features import extract
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.predict import evaluation_mode
from umsrep.tasks.progress import track
from umsrep.zoo import Encoder
from umsrep.zoo.input_contract import ContractError, LoadedImage

BLOCK = 512
"""Rows that are kept together: what an interrupted run has finished is not computed again, nor what stands before appended rows."""


@dataclasses.dataclass(frozen=True)
class Images:
    """The rows to be looked at, with what reading them needs.

    Attributes:
        manifest: The table.
        rows: Which of its rows.
        digests: sha256 of each image.
        cache: Folder, or None.
        workers: Threads.
        batch_size: Images in one pass.
        progress: Whether bars are shown.
    """

    manifest: Manifest
    rows: tuple[int, ...]
    digests: tuple[str, ...]
    cache: Path | None
    workers: int = 2
    batch_size: int = 32
    progress: bool = True

    def blocks(self, title: str) -> Any:
        """Give slices of the rows under one progress bar."""
        starts = range(0, len(self.rows), BLOCK)
        for start in track(starts, title if self.progress else None, total=len(starts)):
            yield slice(start, start + BLOCK)

    def kept(self, title: str, key: Callable[[list[str]], str], make: Callable[[tuple[int, ...]], NDArray[Any]]) -> NDArray[Any]:
        """Return an array of all rows, each block from the cache or made and kept."""
        parts = []
        for block in self.blocks(title):
            path = self.cache and self.cache / f"{key(list(self.digests[block]))}.safetensors"
            stored = read_arrays(path, len(self.rows[block])) if path else None
            values = stored["values"] if stored is not None and "values" in stored else make(self.rows[block])
            if path and stored is None:
                write_arrays(path, {"values": values})
            parts.append(values)
        return np.concatenate(parts)

    def open(self, row: int, read: Callable[..., Any]) -> Any:
        """Read one row's image; an error names the row."""
        try:
            return read(self.manifest.image(row), self.manifest.frame(row))
        except ContractError as error:
            raise ContractError(f"{self.manifest.where(row)}: {error}", error.rule) from error
        except InputError as error:
            raise InputError(f"{self.manifest.where(row)}: {error}") from error


def embeddings(encoder: Encoder, images: Images) -> NDArray[np.float32]:
    """Return the embedding of each row, float32 [N, D]. Errors as in `umsrep.tasks.features.extract`."""
    parts = []
    for block in images.blocks("embeddings"):
        settings: dict[str, Any] = {"cache": images.cache, "workers": images.workers, "batch_size": images.batch_size}
        parts.append(extract(encoder, images.manifest, images.rows[block], digests=images.digests[block], **settings).embedding)
    return np.concatenate(parts)


def class_probabilities(model: MultiTaskModel, name: str, embedding: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return what a classification head says of embeddings of its own encoder: softmax or sigmoids, float64 [N, K]."""
    head = model.heads[name]
    assert isinstance(head, ClassificationHead)
    device = next(model.parameters()).device
    parts = []
    with torch.inference_mode(), evaluation_mode(model):
        for start in range(0, len(embedding), 4096):
            logits = head(torch.from_numpy(embedding[start : start + 4096]).to(device)).double()
            sigmoid = head.multi_label or len(head.classes) == 1
            parts.append((logits.sigmoid() if sigmoid else logits.softmax(dim=1)).cpu().numpy())
    return np.concatenate(parts)


def pixel_entropy(model: MultiTaskModel, name: str, images: Images) -> NDArray[np.float64]:
    """Return the mean over an image's pixels of their entropy in nats, float64 [N], at the size of the model's contract.

    Classes that exclude each other: -sum_k p ln p of a pixel. Overlapping classes, or one class: the sum over classes of the binary
    entropies. Pixels that only pad the image to the contract's size do not count.
    """
    head, contract = model.heads[name], model.encoder.contract
    assert isinstance(head, SegmentationHead)
    digest = hashlib.sha256(encoder_digest(model.encoder).encode())
    for key, tensor in sorted(model.head_tensors().items()):
        digest.update(f"{key} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    weights = digest.hexdigest()
    device = next(model.parameters()).device

    def load(row: int) -> LoadedImage:
        loaded: LoadedImage = images.open(row, lambda source, frame: contract.open(source, frame=frame))
        return loaded

    def make(rows: tuple[int, ...]) -> NDArray[np.float64]:
        found = []
        for batch in load_batches(load, rows, images.batch_size, images.workers, None):
            x = torch.stack([contract.normalise(contract.fit(one.unit_CHW)) for one in batch])
            contract.check_range(x)
            with torch.inference_mode(), evaluation_mode(model):
                logits = model(x.to(device), [name])[name].double()
            each = _binary(logits) if head.multi_label or len(head.classes) == 1 else _categorical(logits)
            for one, entropy in zip(batch, each, strict=True):
                height, width = contract.inner_size(*one.unit_CHW.shape[-2:])
                found.append(float(entropy[:height, :width].mean()))
        return np.array(found)

    return images.kept(
        f"entropy of {name}", lambda digests: cache_key("pixel-entropy", weights, contract.to_dict(), [name, *digests]), make
    )


def _categorical(logits_BKHW: Tensor) -> Tensor:
    logs = logits_BKHW.log_softmax(dim=1)
    return -(logs.exp() * logs).sum(dim=1)


def _binary(logits_BKHW: Tensor) -> Tensor:
    yes, no = torch.nn.functional.logsigmoid(logits_BKHW), torch.nn.functional.logsigmoid(-logits_BKHW)
    return -(yes.exp() * yes + no.exp() * no).sum(dim=1)


def orb_vectors(images: Images) -> OrbVectors:
    """Return `umsrep.tasks.active.orb.orb_vector` of each row; NaN marks no keypoints in the cache."""

    def make(rows: tuple[int, ...]) -> NDArray[np.float32]:
        found = []
        for batch in load_batches(lambda row: images.open(row, _orb_of), rows, images.batch_size, images.workers, None):
            found += [np.full(256, np.nan, dtype=np.float32) if one is None else one for one in batch]
        return np.stack(found)

    values = images.kept("ORB descriptors", lambda digests: cache_key("orb", "", {}, [SIDE, KEYPOINTS, *digests]), make)
    empty = np.isnan(values).all(axis=1)
    return OrbVectors(np.where(empty[:, None], 0, values).astype(np.float32), ~empty)


def _orb_of(source: Any, frame: int | None) -> NDArray[np.float32] | None:
    from umsrep.zoo.stored import read_stored

    return orb_vector(read_stored(source, frame=frame).pixels)


def probe_probabilities(
    embedding: NDArray[np.float32], labelled: NDArray[np.bool_], cells: Sequence[str], columns: Sequence[str]
) -> NDArray[np.float64]:
    """Return the probabilities of a linear probe: logistic regression (L2, C = 1) on standardised embeddings of the labelled rows.

    Args:
        embedding: float32 [N, D].
        labelled: bool [N].
        cells: Each row's class.
        columns: Named in the error.

    Returns:
        float64 [N, K], classes in alphabetical order.

    Raises:
        InputError: if the labelled rows are of one class.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes = np.array([cells[i] for i in np.flatnonzero(labelled).tolist()])
    if len(set(classes.tolist())) < 2:
        raise InputError(
            f"column '{columns[0]}': all {len(classes)} labelled training row(s) are '{classes[0]}', so nothing can be uncertain; "
            "take further rows with --strategy core-set or random"
        )
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    probe.fit(embedding[labelled].astype(np.float64), classes)
    found: NDArray[np.float64] = probe.predict_proba(embedding.astype(np.float64))
    return found
