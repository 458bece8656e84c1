"""What an encoder makes of a data set's images, computed once and kept on disk under a name that is the hash of all it depends on."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from umsrep.errors import InputError
from umsrep.tasks.data.dataset import MASK_COLUMN, JointDataset, Target
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.feature_cache import cache_key, digest_images, encoder_digest, load_batches, read_arrays, write_arrays
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.reference import pyramid_statistics
from umsrep.tasks.segmentation import Segmentation
from umsrep.zoo import Encoder, InputContract
from umsrep.zoo.input_contract import ContractError


@dataclasses.dataclass(frozen=True)
class Features:
    """One encoder's features of some rows.

    Attributes:
        rows: Rows of the manifest, in order.
        embedding: float32 [N, D], what `Encoder.embed` gives (timm's pre-logits).
        pyramid: float32 [N, 2 sum C], over the image the mean of every channel of the feature pyramid, then the standard deviation of
            every channel; what an encoder's ``reference.safetensors`` describes.
        cached: Whether they were read from the cache.
    """

    rows: tuple[int, ...]
    embedding: np.ndarray
    pyramid: np.ndarray
    cached: bool = False


@dataclasses.dataclass(frozen=True)
class DenseFeatures:
    """One encoder's feature maps of some rows, beside what a dense task wants of each pixel.

    Attributes:
        rows: Rows of the manifest, in order.
        levels: The pyramid, finest first: float32 [N, C, h, w] each.
        masks: Segmentation: uint8 [N, H, W], the class of each pixel. None for denoising.
        clean: Denoising: float32 [N, C, H, W], unit range 0-1. None for segmentation.
        noisy: Denoising: the images that the encoder saw, in the same unit.
        cached: Whether the levels were read from the cache.
    """

    rows: tuple[int, ...]
    levels: tuple[np.ndarray, ...]
    masks: np.ndarray | None = None
    clean: np.ndarray | None = None
    noisy: np.ndarray | None = None
    cached: bool = False


def extract(
    encoder: Encoder,
    manifest: Manifest,
    rows: Sequence[int],
    *,
    contract: InputContract | None = None,
    batch_size: int = 32,
    cache: Path | None = None,
    workers: int = 2,
    digests: Sequence[str] | None = None,
    title: str | None = None,
) -> Features:
    """Embed rows with an encoder in evaluation mode, on the device it is on.

    Args:
        encoder: Left in the mode it was in.
        manifest: The set.
        rows: Which of its rows; features come in this order.
        contract: How images are loaded; default the encoder's own. It needs a size, and the encoder's channels.
        batch_size: Images at once; no part of the cache's key, though the last bits of the numbers may depend on it.
        cache: Folder to keep the features in (`umsrep.tasks.feature_cache.default_cache`), or None to keep nothing. A damaged file in
            it is made anew.
        workers: Threads that read images.
        digests: Of the rows' images, where the caller has them from `umsrep.tasks.feature_cache.digest_images` already.
        title: Of the progress bar, or None.

    Raises:
        InputError: for an image that cannot be read or breaks the contract, naming row and file; for a contract without a size.
    """
    contract = _checked(encoder, contract)
    path = None
    if cache is not None:
        content = digest_images(manifest, rows, workers=workers, title=title and f"{title}: hashing") if digests is None else digests
        path = cache / f"{cache_key('images', encoder_digest(encoder), contract.to_dict(), list(content))}.safetensors"
        if (stored := read_arrays(path, len(rows))) is not None:
            return Features(tuple(rows), stored["embedding"], stored["pyramid"], cached=True)

    def load(row: int) -> Tensor:
        try:
            return contract.load(manifest.image(row), frame=manifest.frame(row))
        except ContractError as error:
            raise ContractError(f"{manifest.where(row)}: {error}", error.rule) from error
        except InputError as error:
            raise InputError(f"{manifest.where(row)}: {error}") from error

    embeddings = [np.zeros((0, encoder.embedding_dim), dtype=np.float32)]
    pyramids = [np.zeros((0, 2 * sum(encoder.channels)), dtype=np.float32)]
    for images in load_batches(load, rows, batch_size, workers, title):
        maps, embedding, _ = _forward(encoder, torch.stack(images))
        embeddings.append(embedding.float().cpu().numpy())
        pyramids.append(pyramid_statistics(maps).cpu().numpy())
    made = {"embedding": np.concatenate(embeddings), "pyramid": np.concatenate(pyramids)}
    if path is not None:
        write_arrays(path, made)
    return Features(tuple(rows), made["embedding"], made["pyramid"])


def extract_maps(
    encoder: Encoder,
    dataset: JointDataset,
    name: str,
    *,
    batch_size: int = 16,
    cache: Path | None = None,
    workers: int = 2,
    title: str | None = None,
) -> DenseFeatures:
    """Take the whole feature maps of the annotated rows of one dense task, the encoder in evaluation mode on the device it is on.

    All maps are held in memory (and in the cache): a tf_efficientnet_lite0 makes 0.45 MB of an image of 128 pixels, a ResNet-50 9 MB of
    one of 224. Choose few rows.

    Args:
        encoder: Left in the mode it was in.
        dataset: Of one source and without augmentation; its contract loads the images, its seed draws the noise.
        name: Of its segmentation task (classes that exclude each other), or of its denoising task: then the encoder sees noisy images.
        batch_size: Images at once.
        cache: As in `extract`.
        workers: As in `extract`.
        title: Of the progress bar, or None.

    Raises:
        InputError: as `extract`; for a mask without an annotated pixel; for a task of another kind.
    """
    task, contract = dataset.tasks[name], _checked(encoder, dataset.contract)
    noisy = isinstance(task, Denoising)
    if not (noisy or (isinstance(task, Segmentation) and not task.multi_label)):
        raise InputError(f"'{name}': maps are for denoising and for segmentation with classes that exclude each other")
    if len(dataset.sources) != 1 or dataset.augment is not None:
        raise InputError("maps are taken of one source without augmentation")
    source = dataset.sources[0]
    places = [int(i) for i in np.flatnonzero(dataset.annotated[name])]
    rows = tuple(dataset.items[i][1] for i in places)
    if not rows:
        raise InputError(f"{source.manifest.table}: no row is annotated for '{name}'")
    path = None
    if cache is not None:
        column = source.targets.get(name, Target()).column or MASK_COLUMN
        columns = () if noisy else (str(column),)
        content = digest_images(source.manifest, rows, columns=columns, workers=workers, title=title and f"{title}: hashing")
        drawn = [dataset.seed, dataset.epoch, places] if noisy else []
        key = cache_key("maps", encoder_digest(encoder), contract.to_dict(), [repr(task), drawn, list(content)])
        path = cache / f"{key}.safetensors"
        if (stored := read_arrays(path, len(rows))) is not None:
            return _dense(rows, stored, cached=True)

    def load(place: int) -> dict[str, Any]:
        item = dataset[place]
        if isinstance(item, InputError):
            raise item
        return item

    blocks: dict[str, list[np.ndarray]] = collections.defaultdict(list)
    for items in load_batches(load, places, batch_size, workers, title):
        images = torch.stack([item[f"noisy.{name}" if noisy else "image"] for item in items])
        targets = torch.stack([item[f"target.{name}"] for item in items])
        maps, _, (height, width) = _forward(encoder, images)
        for level, one in enumerate(maps):
            blocks[f"level{level}"].append(one.float().cpu().numpy())
        padding = (0, width - images.shape[-1], 0, height - images.shape[-2])
        if isinstance(task, Segmentation):
            for item, mask in zip(items, targets, strict=True):
                if (mask == task.ignore_index).all():
                    where = source.manifest.where(dataset.items[item["index"]][1])
                    raise InputError(f"{where}: every pixel of the mask is {task.ignore_index} (ignore); empty the cell of such a row")
            blocks["masks"].append(F.pad(targets, padding, value=task.ignore_index).to(torch.uint8).numpy())
        else:
            for key, values in (("noisy", contract.denormalise(images)), ("clean", targets)):
                blocks[key].append(F.pad(values, padding, mode="replicate").numpy())
    made = {key: np.concatenate(some) for key, some in blocks.items()}
    if path is not None:
        write_arrays(path, made)
    return _dense(rows, made, cached=False)


def _dense(rows: tuple[int, ...], made: Mapping[str, np.ndarray], *, cached: bool) -> DenseFeatures:
    levels = tuple(made[f"level{level}"] for level in range(sum(key.startswith("level") for key in made)))
    return DenseFeatures(rows, levels, made.get("masks"), made.get("clean"), made.get("noisy"), cached)


def _checked(encoder: Encoder, contract: InputContract | None) -> InputContract:
    contract = encoder.contract if contract is None else contract
    if contract.size is None:
        raise InputError(f"the input contract of {encoder.arch} has no size, which features need: give an image size")
    if contract.channels != encoder.contract.channels:
        raise InputError(f"the contract has {contract.channels} channel(s), but {encoder.arch} takes {encoder.contract.channels}")
    return contract


@torch.inference_mode()
def _forward(encoder: Encoder, images_BCHW: Tensor) -> tuple[list[Tensor], Tensor, tuple[int, int]]:
    """Run one pass in evaluation mode, padded as `MultiTaskModel` pads; also returns the padded height and width."""
    was = encoder.training
    encoder.eval()
    try:
        device = next(encoder.parameters()).device
        padded, _ = MultiTaskModel(encoder, {}).pad(images_BCHW.to(device))
        maps, embedding = encoder.forward_both(padded)
    finally:
        encoder.train(was)
    return maps, embedding, (padded.shape[-2], padded.shape[-1])
