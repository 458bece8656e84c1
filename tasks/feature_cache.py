"""A cache of arrays on disk, under names that are the hash of all they depend on: weights, contract, and the bytes of images."""

from __future__ import annotations

import collections
import concurrent.futures
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from umsrep.errors import InputError
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.data.npz_images import cache_folder
from umsrep.tasks.progress import track
from umsrep.zoo import Encoder
from umsrep.zoo.folder import write_whole

_FORMAT = 1  # of the stored files, and of how their numbers are made
T = TypeVar("T")


def default_cache() -> Path:
    """Return where features are kept: ``features`` in $UMSREP_CACHE or ~/.cache/umsrep; it can be removed at any time."""
    return cache_folder() / "features"


def load_batches(load: Callable[[int], T], keys: Sequence[int], size: int, workers: int, title: str | None) -> Iterator[list[T]]:
    """Load items in threads (decoding releases the interpreter), at most a batch and four a thread ahead, and join them to batches."""
    if size < 1 or workers < 1:
        raise InputError(f"batch_size and workers must be 1 or more, not {size} and {workers}")
    left = iter(keys)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        waiting = collections.deque(pool.submit(load, key) for key in itertools.islice(left, size + 4 * workers))
        try:
            batch: list[T] = []
            for _ in track(range(len(keys)), title, total=len(keys)):
                batch.append(waiting.popleft().result())
                waiting.extend(pool.submit(load, key) for key in itertools.islice(left, 1))
                if len(batch) == size:
                    yield batch
                    batch = []
            if batch:
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)


# ---- what features depend on ---------------------------------------------------------------------------------------
def encoder_digest(encoder: Encoder) -> str:
    """Return the sha256 of an encoder's architecture, its arguments and all its tensors."""
    digest = hashlib.sha256(json.dumps([encoder.arch, encoder.model_args], sort_keys=True, default=str).encode())
    for name, tensor in encoder.model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def digest_images(
    manifest: Manifest, rows: Sequence[int], *, columns: Sequence[str] = (), workers: int = 2, title: str | None = None
) -> list[str]:
    """Return the sha256 of each row's image (the file's bytes and the frame, or the array) and of its masks in ``columns``.

    Raises:
        InputError: for a file that is missing or cannot be read, naming the row.
    """

    def digest(row: int) -> str:
        found = hashlib.sha256(f"{manifest.frame(row)}".encode())
        for picture in (manifest.image(row), *(manifest.mask(column, row) for column in columns)):
            try:
                if isinstance(picture, Path):
                    with picture.open("rb") as file:
                        found.update(hashlib.file_digest(file, "sha256").digest())
                    continue
                array = np.asarray(picture)
            except OSError as error:
                raise InputError(f"{manifest.where(row)}: cannot be read ({error.strerror or error})") from error
            found.update(f"{array.dtype} {array.shape}".encode())
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()

    return [one for batch in load_batches(digest, rows, 256, workers, title) for one in batch]


def cache_key(kind: str, encoder: str, contract: Mapping[str, Any], rest: Sequence[Any]) -> str:
    """Return the name under which arrays are kept: the sha256 of all they depend on, and of the form of the files."""
    return hashlib.sha256(json.dumps([_FORMAT, kind, encoder, contract, rest], sort_keys=True).encode()).hexdigest()


# ---- files ---------------------------------------------------------------------------------------------------------
def read_arrays(path: Path, rows: int) -> dict[str, np.ndarray] | None:
    """Read stored arrays of this many rows; None where there are none, or not those that were written."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            wanted = (file.metadata() or {}).get("sha256")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError):
        return None
    sound = wanted == _sum(arrays) and all(len(array) == rows for array in arrays.values())
    return arrays if sound and arrays else None


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays whole or not at all, with a checksum that a later reading is held against."""
    metadata = {"sha256": _sum(arrays)}
    try:
        write_whole(path, lambda temporary: save_file(dict(arrays), temporary, metadata=metadata))
    except (OSError, SafetensorError) as error:
        raise InputError(f"cache {path.parent}: cannot be written ({error}); name another folder with --cache or UMSREP_CACHE") from error


def _sum(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()
