"""MedMNIST npz files (Yang et al. 2023) as manifests, opened without reading their pixels into memory."""

from __future__ import annotations

import hashlib
import http.client
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from umsrep.errors import InputError, nearest
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.data.npz_images import NpzImages, cache_folder, write_whole
from umsrep.tasks.progress import track

_PARTS = {"train": "train", "val": "validation", "test": "test"}
_SIZES = (28, 64, 128, 224)
_SECONDS = 30


def load_medmnist(path: str | Path) -> Manifest:
    """Open a MedMNIST ``.npz`` of any 2-D set and size.

    Images stay in the file: stored ones are mapped where they lie, compressed ones of 64 MiB or more are unpacked once below
    ``$UMSREP_CACHE`` (default ``~/.cache/umsrep``) and mapped there; smaller ones are held in memory.

    Args:
        path: File with ``train_images`` [N, H, W] or [N, H, W, 3] uint8, ``train_labels`` [N, L], and so for val and test.

    Returns:
        A manifest with ``label``, the class number (or ordinal grade) as text; several labels are columns ``label.0`` ... of 0 and 1.

    Raises:
        InputError: if the file is missing, damaged, not in this form (3-D sets are not), or would unpack to more than any such set.
    """
    path = Path(path)
    archive = NpzImages(path, tuple(_PARTS))
    columns: dict[str, list[str]] = {"file_name": [], "split": [], "patient_id": []}
    several = archive.labels["train"].shape[1] > 1
    names = [f"label.{k}" for k in range(archive.labels["train"].shape[1])] if several else ["label"]
    columns |= {name: [] for name in names}
    for part, split in _PARTS.items():
        labels = archive.labels[part]
        if labels.shape[1] != len(names):
            raise InputError(f"{path}: {part}_labels has {labels.shape[1]} labels a row, train_labels {len(names)}")
        columns["file_name"] += [f"{part}/{i}" for i in range(len(labels))]
        columns["split"] += [split] * len(labels)
        for k, name in enumerate(names):
            columns[name] += [str(v) for v in labels[:, k].tolist()]
    count = len(columns["file_name"])
    if not count:
        raise InputError(f"{path}: no images in it")
    columns["patient_id"] = [""] * count
    return Manifest(path, path, columns, list(range(count)), archive)


def fetch_medmnist(name: str) -> Manifest:
    """Open a set by its name, fetching its file once through the ``medmnist`` package's index.

    Args:
        name: ``medmnist:NAME`` (28 px) or ``medmnist:NAME@SIZE`` with 28, 64, 128 or 224.

    Returns:
        As `load_medmnist`, with the index's words beside the numbers: ``label_name`` (or ``label.NAME`` for each of several labels)
        and ``license``.

    Raises:
        InputError: for an unknown name or size, without the package, without a network, or if the file is not the one published.
    """
    try:
        from medmnist import INFO
    except ImportError as error:
        raise InputError(f"{name}: needs the medmnist package: pip install 'umsrep[medmnist]', or give the .npz itself") from error
    flag, _, size = name.removeprefix("medmnist:").partition("@")
    plane = [key for key in INFO if not key.endswith("3d")]
    if flag not in plane:
        if flag in INFO:
            raise InputError(f"{name}: a 3-D set; umsrep reads images, not volumes")
        raise InputError(f"{name}: no MedMNIST set '{flag}'{nearest(flag, plane)}")
    if (size or "28") not in map(str, _SIZES):
        raise InputError(f"{name}: size '{size}' is none of {', '.join(map(str, _SIZES))}")
    ending = "" if size in ("", "28") else f"_{size}"
    path = cache_folder() / "medmnist" / f"{flag}{ending}.npz"
    info = INFO[flag]
    if not path.is_file():
        _fetch(info[f"url{ending}"], info[f"MD5{ending}"], path, name)
    return _with_words(load_medmnist(path), info)


def _with_words(manifest: Manifest, info: dict[str, Any]) -> Manifest:
    words = {number: re.sub(r"\s+", " ", word) for number, word in info["label"].items()}
    if "label" in manifest.columns:
        manifest.columns["label_name"] = [words.get(number, "") for number in manifest.columns["label"]]
    else:
        manifest.columns.update({f"label.{word}": manifest.columns[f"label.{number}"] for number, word in words.items()})
    manifest.columns["license"] = [info["license"]] * len(manifest)
    return manifest


def _fetch(url: str, md5: str, path: Path, name: str) -> None:
    """Fetch a file whole or not at all."""
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer, write_whole(path) as file:
            digest = hashlib.md5(usedforsecurity=False)
            length = answer.headers.get("Content-Length")
            blocks = iter(lambda: answer.read(1 << 20), b"")
            for block in track(blocks, f"fetching {path.name}", total=-(-int(length) // (1 << 20)) if length else None):
                digest.update(block)
                file.write(block)
            if digest.hexdigest() != md5:
                raise InputError(f"{name}: what {url} gave is not the published file (MD5 {digest.hexdigest()}, not {md5}); try again")
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(f"{name}: cannot be fetched from {url} ({reason}); without a network, give the path of the .npz") from error
