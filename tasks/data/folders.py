"""Folders without a table (images/ and masks/, or a folder for each class) made into a manifest, with every guess stated."""

from __future__ import annotations

import collections
import csv
import dataclasses
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from umsrep.errors import InputError
from umsrep.tasks.data.folder_rows import File, expand, some, splits_of
from umsrep.tasks.data.tables import TABLES

IMAGE_FOLDERS = ("images", "image", "imgs", "img")
MASK_FOLDERS = ("masks", "mask", "segmentations", "segmentation", "labels", "annotations")
NNUNET_FOLDERS = {
    f"{role}{part}": (role == "labels", split)
    for role in ("images", "labels")
    for part, split in (("tr", "train"), ("va", "validation"), ("val", "validation"), ("ts", "test"))
}
"""Folders of nnU-Net (Isensee et al. 2021) and its like, in lower case, to whether they hold masks, and their split."""
SPLIT_FOLDERS = {"train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation"} | {
    "test": "test",
    "testing": "test",
}
MASK_ENDINGS = ("_mask", "-mask", "_segmentation", "_seg", "-seg")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".npy", ".dcm", ".dicom", ".ima", ".nii", ".nii.gz")
_NO_MASKS = (".npy", ".dcm", ".dicom", ".ima", ".nii", ".nii.gz")
_MASKS_LOOKED_AT = 50
_ROLE = re.compile(
    r"(^|[^a-z])(images?|imgs?|labels?|masks?|seg|segs|segmentations?|gt|annotations?)([^a-z]|$)|^(images?|labels?|masks?)[A-Z]"
)
"""Names of folders that say what a picture is for rather than what it shows."""


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A manifest for a folder that has none.

    Attributes:
        columns: ``file_name``, ``split``, ``patient_id`` (empty), and ``mask_file_name``, ``label`` and ``frame`` where folders and files
            tell; one text a row, sorted by file name and frame.
        notes: What was taken for what, what was left out, and what the user must fill in; one line each.
    """

    columns: dict[str, list[str]]
    notes: list[str]


def propose(folder: str | Path, *, seed: int = 0, fractions: Sequence[float] = (0.7, 0.1, 0.2)) -> Proposal:
    """Read a manifest off the names of folders and files.

    Known are ``images/`` beside ``masks/`` (or ``labels/``, ``annotations/``) with files of equal stems (a mask may also end in ``_mask``
    or ``_seg``), a folder for each class (``normal/``, ``pneumonia/``), either of them inside or around ``train/``, ``val/`` and
    ``test/``, and nnU-Net's ``imagesTr/`` and ``labelsTr/``. Where folders give no split, images are ordered by a hash of seed, class and
    name and divided within each class; the same files always give the same split. A file of several frames (DICOM, TIFF, slices of
    NIfTI) gets a row for each, all in one split. Nothing is left out without a note.

    Args:
        folder: With no metadata.csv, .jsonl or .parquet.
        seed: Of the hash.
        fractions: Train, validation and test; 0 leaves a split empty.

    Raises:
        InputError: if there are no images, folders of another form, two masks for one image, or names no table can hold.
    """
    folder = Path(folder).expanduser()
    if folder.is_file():
        raise InputError(f"{folder}: a file; a folder of pictures is expected")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such data folder")
    if len(fractions) != 3 or not all(math.isfinite(f) and f >= 0 for f in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(f"fractions {tuple(fractions)}: train, validation and test, from 0 to 1, must sum to 1")
    files, notes = _walk(folder)
    images, masks = _further_channels([f for f in files if not f.is_mask], notes), _readable_masks(files, notes)
    if not images:
        raise InputError(f"{folder}: no images in it ({', '.join(SUFFIXES)})")
    for file in images:
        if len(file.rest) > 1:
            raise InputError(
                f"{folder}: '{file.name}' lies {len(file.rest)} folders deep beside split and images/; one is read as its class. "
                "Write a metadata.csv by hand"
            )
    _refuse_roles(folder, images)
    columns = {"file_name": [f.name for f in images]}
    if masks:
        columns["mask_file_name"] = _pair(folder, images, masks, notes)
    labels = ["".join(f.rest) for f in images]
    if any(labels):
        columns["label"] = labels
        counts = collections.Counter(label or "(none)" for label in labels)
        notes.append("classes by folder: " + ", ".join(f"{name} ({count})" for name, count in sorted(counts.items())))
    columns["split"] = splits_of(images, labels, seed, fractions, notes)
    columns["patient_id"] = [""] * len(images)
    columns = expand(folder, columns, notes)
    notes.append("splits: " + ", ".join(f"{name} {columns['split'].count(name)}" for name in ("train", "validation", "test")))
    notes.append(
        "patients are unknown (patient_id is empty): if one patient has several images, fill it in and divide by patient, "
        "or test results will be too good"
    )
    return Proposal(columns, notes)


def _further_channels(images: list[File], notes: list[str]) -> list[File]:
    """Leave out the second and further channels of nnU-Net's images (``case_0001`` beside ``case_0000``)."""
    stems = {(f.split, f.rest, f.stem) for f in images}
    further = [f for f in images if f.nnunet and re.search(r"_(?!0000)\d{4}$", f.stem) and (f.split, f.rest, f.stem[:-4] + "0000") in stems]
    if further:
        notes.append(f"{len(further)} further channels of nnU-Net's images left out, a row is one image: {some([f.name for f in further])}")
    return [f for f in images if f not in set(further)]


def _readable_masks(files: list[File], notes: list[str]) -> list[File]:
    """Leave out the masks of formats that no mask is read of."""
    masks = [f for f in files if f.is_mask]
    unread = [f.name for f in masks if f.name.lower().endswith(_NO_MASKS)]
    if unread:
        notes.append(f"{len(unread)} masks left out, as masks are read from grey or palette PNG, TIFF or BMP only; convert: {some(unread)}")
    return [f for f in masks if f.name not in set(unread)]


def _refuse_roles(folder: Path, images: list[File]) -> None:
    """Refuse twin folders under names that are not known, which would be read as classes."""
    homes: dict[str, set[str]] = collections.defaultdict(set)
    for file in images:
        stem = next((file.stem.removesuffix(ending) for ending in MASK_ENDINGS if file.stem.endswith(ending)), file.stem)
        homes[stem].add("".join(file.rest))
    for stem, names in homes.items():
        for name in sorted(names) if len(names) > 1 else ():
            if _ROLE.search(name) or _ROLE.search(name.lower()):
                raise InputError(
                    f"{folder}: '{name}' looks like a folder of images or masks and no class ('{stem}' is also in "
                    f"{', '.join(repr(n) for n in sorted(names - {name}))}): name them images/ and masks/, or write a metadata.csv by hand"
                )


def write_manifest(folder: str | Path, columns: Mapping[str, Sequence[str]]) -> Path:
    """Write the columns of a proposal as metadata.csv (UTF-8).

    Returns:
        The table.

    Raises:
        InputError: if the folder has a table already, or cannot be written to.
    """
    folder = Path(folder).expanduser()
    _refuse_table(folder)
    table = folder / TABLES[0]
    try:
        with table.open("x", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
    except FileExistsError as error:
        raise InputError(f"{table}: exists already") from error
    except OSError as error:
        table.unlink(missing_ok=True)
        raise InputError(f"{table}: cannot be written ({error.strerror or error})") from error
    return table


def _refuse_table(folder: Path) -> None:
    for name in TABLES:
        if (folder / name).exists():
            raise InputError(f"{folder / name}: exists already and is not replaced; remove it to have one made from the folders")


def _walk(folder: Path) -> tuple[list[File], list[str]]:
    """Find the image files, sorted by name, and note what else there is."""
    _refuse_table(folder)
    root = folder.resolve()
    files, others, links = [], collections.Counter[str](), []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        for name in sorted(names):
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            suffix = next((s for s in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(s)), None)
            if name.startswith("."):
                continue
            if suffix is None:
                others[path.suffix.lower() or "no suffix"] += 1
            elif not path.resolve().is_relative_to(root):
                links.append(relative)
            else:
                _check_name(folder, relative)
                files.append(_place(relative, suffix))
    notes = []
    if others:
        kinds = ", ".join(f"{suffix} ({count})" for suffix, count in sorted(others.items()))
        notes.append(f"{sum(others.values())} files left out, as they are no images: {kinds}")
    if links:
        notes.append(f"{len(links)} links left out, as they lead out of the folder: {some(links)}")
    return sorted(files, key=lambda f: f.name), notes


def _check_name(folder: Path, name: str) -> None:
    if name != name.strip() or any(c == "\\" or ord(c) < 32 or "\ud800" <= c <= "\udfff" for c in name):
        raise InputError(f"{folder}: rename {name!r}: a table cannot hold a backslash, control characters, or spaces at its ends")


def _place(name: str, suffix: str) -> File:
    """Read split, class and role off the folders of a file."""
    *parents, base = name.split("/")
    split, is_mask, nnunet, rest = "", False, False, []
    for part in parents:
        low = part.lower()
        if low in NNUNET_FOLDERS and not split:
            is_mask, split = NNUNET_FOLDERS[low]
            nnunet = True
        elif low in SPLIT_FOLDERS and not split:
            split = SPLIT_FOLDERS[low]
        elif low in MASK_FOLDERS:
            is_mask = True
        elif low not in IMAGE_FOLDERS:
            rest.append(part)
    return File(name, is_mask, split, tuple(rest), base[: -len(suffix)], nnunet)


def _pair(folder: Path, images: list[File], masks: list[File], notes: list[str]) -> list[str]:
    """Find each image's mask by split, class folder and stem."""
    by_stem: dict[tuple[str, tuple[str, ...], str], str] = {}
    for image in images:
        key = (image.split, image.rest, image.stem)
        if key in by_stem:
            raise InputError(f"{folder}: '{by_stem[key]}' and '{image.name}' have the same stem, so that a mask cannot tell them apart")
        by_stem[key] = image.name
    found: dict[str, str] = {}
    lone = []
    for mask in masks:
        stems = [mask.stem, *(mask.stem.removesuffix(ending) for ending in MASK_ENDINGS if mask.stem.endswith(ending))]
        if mask.nnunet:
            stems.append(f"{mask.stem}_0000")  # an image's name ends in the number of its channel
        target = next((by_stem[key] for stem in stems if (key := (mask.split, mask.rest, stem)) in by_stem), None)
        if target is None:
            lone.append(mask.name)
        elif target in found:
            raise InputError(f"{folder}: '{found[target]}' and '{mask.name}' could both be the mask of '{target}'")
        else:
            found[target] = mask.name
    bare = [image.name for image in images if image.name not in found]
    notes.append(f"{len(found)} of {len(images)} images have a mask of the same name")
    if bare:
        notes.append(f"{len(bare)} images without a mask, kept as not annotated: {some(bare)}")
    if lone:
        notes.append(f"{len(lone)} masks without an image, left out: {some(lone)}")
    _look_at_values(folder, sorted(found.values()), notes)
    return [found.get(image.name, "") for image in images]


def _look_at_values(folder: Path, masks: list[str], notes: list[str]) -> None:
    """Warn of masks of 0 and 255, the commonest form, in which 255 would be read as "ignore"."""
    looked = masks[:: max(1, math.ceil(len(masks) / _MASKS_LOOKED_AT))]
    values: set[int] = set()
    for name in looked:
        try:
            with Image.open(folder / name) as image:
                if image.mode in ("1", "L", "P"):
                    values |= {int(v) for v in np.unique(np.asarray(image))}
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            continue  # no picture Pillow reads, or a damaged one: `umsrep inspect` reports it with its row
    if 255 in values and values <= {0, 255}:
        notes.append(f"the masks hold 0 and 255 ({len(looked)} looked at), but 255 means 'ignore' here: rewrite 255 as 1 before training")
