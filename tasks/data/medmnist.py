"""MedMNIST npz files (Yang et al. 2023) as manifests."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from umsrep.errors import InputError
from umsrep.tasks.data.manifest import Manifest

_PARTS = {"train": "train", "val": "validation", "test": "test"}


def load_medmnist(path: str | Path) -> Manifest:
    """Open a MedMNIST ``.npz`` of any 2-D set and size.

    Args:
        path: File with ``train_images`` [N, H, W] or [N, H, W, 3] uint8, ``train_labels`` [N, L], and so for val and test.

    Returns:
        A manifest whose images are in memory; ``label`` is the class number as text, several labels are columns ``label.0`` ....

    Raises:
        InputError: if the file is missing, damaged, or not in this form.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    columns: dict[str, list[str]] = {"file_name": [], "split": [], "patient_id": []}
    images, labels = [], []
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for part, split in _PARTS.items():
                pixels, targets = archive[f"{part}_images"], archive[f"{part}_labels"]
                if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or targets.ndim != 2 or len(pixels) != len(targets):
                    raise InputError(
                        f"{path}: {part}_images {pixels.dtype} {pixels.shape} and {part}_labels {targets.shape} are not a 2-D MedMNIST set"
                    )
                images.append(pixels)
                labels.append(targets)
                columns["file_name"] += [f"{part}/{i}" for i in range(len(pixels))]
                columns["split"] += [split] * len(pixels)
    except KeyError as error:
        raise InputError(f"{path}: no array {error} in it; a MedMNIST file has train, val and test images and labels") from error
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: damaged npz ({str(error).splitlines()[0] if str(error) else type(error).__name__})") from error
    targets = np.concatenate(labels)
    columns["patient_id"] = [""] * len(targets)
    if targets.shape[1] == 1:
        columns["label"] = [str(int(v)) for v in targets[:, 0]]
    else:
        for k in range(targets.shape[1]):
            columns[f"label.{k}"] = [str(int(v)) for v in targets[:, k]]
    return Manifest(path, path, columns, list(range(len(targets))), np.concatenate(images))
