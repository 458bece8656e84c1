"""AdaBN on a data set: the images of its rows go through a copy of the model; no annotation is read."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from umsrep.errors import InputError
from umsrep.heads import DenoisingHead
from umsrep.tasks.adapt.adabn import adabn
from umsrep.tasks.data.dataset import JointDataset, Source, collate
from umsrep.tasks.data.manifest import load_manifest
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.interruption import ignore_signals
from umsrep.tasks.model import MultiTaskModel
from umsrep.zoo import Encoder

IN_MEMORY = 2**30
"""Bytes of images that are kept for all passes; more are read anew for each."""


@dataclasses.dataclass(frozen=True)
class TargetImages:
    """The unlabelled images of a target; iterating gives dicts with a batch ``image``, always the same ones.

    Attributes:
        dataset: The rows.
        what: For people: how many, of which split of which set.
        noisy: The denoising task whose noisy images are meant, or None for the images as they are.
        batch_size: Images of a batch.
        workers: Loader processes.
    """

    dataset: JointDataset
    what: str
    noisy: str | None = None
    batch_size: int = 16
    workers: int = 0

    def __iter__(self) -> Iterator[dict[str, Any] | InputError]:
        """Load the images."""
        loader: DataLoader[Any] = DataLoader(
            self.dataset, self.batch_size, num_workers=self.workers, collate_fn=collate, worker_init_fn=ignore_signals
        )
        for batch in loader:
            yield batch if self.noisy is None or isinstance(batch, InputError) else {"image": batch[f"noisy.{self.noisy}"]}


def target_images(
    model: MultiTaskModel | Encoder,
    data: str | Path,
    *,
    split: str = "train",
    split_column: str = "split",
    limit: int | None = None,
    noise: str = "gaussian",
    level: float = 25.0,
    seed: int = 0,
    lenient: bool = False,
    batch_size: int = 16,
    workers: int = 0,
) -> TargetImages:
    """Return the images of a target as a model wants them for `adabn`.

    Args:
        model: Whose contract they follow. One that only denoises sees them with noise, as in training; every other as they are.
        data: What `load_manifest` opens. Only paths and the split are read.
        split: train, validation, test, or all; a table without a column ``split`` is taken whole.
        split_column: Column that says so.
        limit: At most so many images, evenly spaced over the table; None takes all.
        noise: For a model that only denoises, see `Denoising`.
        level: Likewise, in 8-bit grey levels.
        seed: Of the noise.
        lenient: See `InputContract.load`.
        batch_size: Images of a batch.
        workers: Loader processes.

    Raises:
        InputError: for data that cannot be read, an unknown or empty split, or numbers out of range.
    """
    if batch_size < 1 or workers < 0:
        raise InputError(f"batch_size must be 1 or more and workers 0 or more, not {batch_size} and {workers}")
    manifest = load_manifest(data)
    whole = split == "all" or (split_column == "split" and split_column not in manifest.columns)
    rows = list(range(len(manifest))) if whole else manifest.rows(split, split_column)
    if not rows:
        raise InputError(f"{manifest.table}: no images to adapt to")
    if limit is not None and limit < 1:
        raise InputError(f"limit must be 1 or more images, not {limit}")
    every = len(rows)
    if limit is not None and limit < every:
        rows = [rows[i * every // limit] for i in range(limit)]
    heads = dict(model.heads.items()) if isinstance(model, MultiTaskModel) else {}
    denoising = [name for name, head in heads.items() if isinstance(head, DenoisingHead)]
    noisy = denoising[0] if denoising and len(denoising) == len(heads) else None
    tasks = {noisy: Denoising(noise=noise, level=level)} if noisy is not None else {}
    contract = model.contract if isinstance(model, Encoder) else model.encoder.contract
    dataset = JointDataset([Source(manifest, rows, list(tasks), {})], tasks, contract, seed=seed, lenient=lenient)
    count = f"{len(rows)}" if len(rows) == every else f"{len(rows)} of {every}"
    what = f"{count} image(s) of {Path(str(data)).name} ({'all rows' if whole else f'{split_column} = {split}'})"
    return TargetImages(dataset, what, noisy, batch_size, workers)


def adapted_copy(model: MultiTaskModel, images: TargetImages, *, title: str | None = None) -> MultiTaskModel:
    """Return a copy of a model whose batch norms have the target's statistics; see `adabn`.

    The copy has no out-of-distribution guard: it was made for the features of the model before.

    Raises:
        InputError: as `adabn`, and for an image that cannot be read, naming its row.
    """
    adapted = copy.deepcopy(model)
    adapted.guard = None
    batches: Any = images
    first = next(iter(images))
    if isinstance(first, InputError):
        raise first
    size = first["image"][0].numel() * first["image"].element_size() * len(images.dataset)
    if size <= IN_MEMORY:
        batches = list(images)
    return adabn(adapted, batches, title=title)
