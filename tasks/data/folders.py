"""Folders without a table (images/ and masks/, or a folder for each class) made into a manifest, with every guess stated."""

from __future__ import annotations

import collections
import csv
import dataclasses
import hashlib
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from umsrep.errors import InputError
from umsrep.tasks.data.tables import TABLES

IMAGE_FOLDERS = ("images", "image", "imgs", "img")
MASK_FOLDERS = ("masks", "mask", "segmentations", "segmentation")
SPLIT_FOLDERS = {"train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation"} | {
    "test": "test",
    "testing": "test",
}
MASK_ENDINGS = ("_mask", "-mask", "_segmentation", "_seg", "-seg")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".npy", ".dcm", ".dicom", ".ima", ".nii", ".nii.gz")
_MASKS_LOOKED_AT = 50


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A manifest for a folder that has none.

    Attributes:
        columns: ``file_name``, ``split``, ``patient_id`` (empty), and ``mask_file_name`` and ``label`` where the folders tell; one text a
            row, sorted by file name.
        notes: What was taken for what, what was left out, and what the user must fill in; one line each.
    """

    columns: dict[str, list[str]]
    notes: list[str]


@dataclasses.dataclass(frozen=True)
class _File:
    name: str
    is_mask: bool
    split: str
    rest: tuple[str, ...]
    stem: str


def propose(folder: str | Path, *, seed: int = 0, fractions: Sequence[float] = (0.7, 0.1, 0.2)) -> Proposal:
    """Read a manifest off the names of folders and files.

    Known are ``images/`` beside ``masks/`` with files of equal stems (a mask may also end in ``_mask`` or ``_seg``), a folder for each
    class (``normal/``, ``pneumonia/``), and either of them inside or around ``train/``, ``val/`` and ``test/``. Where folders give no
    split, images are ordered by a hash of seed, class and name and divided within each class; the same files always give the same
    split. Nothing is left out without a note.

    Args:
        folder: With no metadata.csv, .jsonl or .parquet.
        seed: Of the hash.
        fractions: Train, validation and test; 0 leaves a split empty.

    Raises:
        InputError: if there are no images, folders of another form, two masks for one image, or names no table can hold.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(f"{folder}: no such data folder")
    if len(fractions) != 3 or not all(math.isfinite(f) and f >= 0 for f in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(f"fractions {tuple(fractions)}: train, validation and test, from 0 to 1, must sum to 1")
    files, notes = _walk(folder)
    images, masks = [f for f in files if not f.is_mask], [f for f in files if f.is_mask]
    if not images:
        raise InputError(f"{folder}: no images in it ({', '.join(SUFFIXES)})")
    for file in images:
        if len(file.rest) > 1:
            raise InputError(
                f"{folder}: '{file.name}' lies {len(file.rest)} folders deep beside split and images/; one is read as its class. "
                "Write a metadata.csv by hand"
            )
    columns = {"file_name": [f.name for f in images]}
    if masks:
        columns["mask_file_name"] = _pair(folder, images, masks, notes)
    labels = ["".join(f.rest) for f in images]
    if any(labels):
        columns["label"] = labels
        counts = collections.Counter(label or "(none)" for label in labels)
        notes.append("classes by folder: " + ", ".join(f"{name} ({count})" for name, count in sorted(counts.items())))
    columns["split"] = _splits(images, labels, seed, fractions, notes)
    columns["patient_id"] = [""] * len(images)
    notes.append(
        "patients are unknown (patient_id is empty): if one patient has several images, fill it in and divide by patient, "
        "or test results will be too good"
    )
    return Proposal(columns, notes)


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


def _walk(folder: Path) -> tuple[list[_File], list[str]]:
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
        notes.append(f"{len(links)} links left out, as they lead out of the folder: {_some(links)}")
    return sorted(files, key=lambda f: f.name), notes


def _check_name(folder: Path, name: str) -> None:
    if name != name.strip() or any(c == "\\" or ord(c) < 32 or "\ud800" <= c <= "\udfff" for c in name):
        raise InputError(f"{folder}: rename {name!r}: a table cannot hold a backslash, control characters, or spaces at its ends")


def _place(name: str, suffix: str) -> _File:
    """Read split, class and role off the folders of a file."""
    *parents, base = name.split("/")
    split, is_mask, rest = "", False, []
    for part in parents:
        low = part.lower()
        if low in SPLIT_FOLDERS and not split:
            split = SPLIT_FOLDERS[low]
        elif low in MASK_FOLDERS:
            is_mask = True
        elif low not in IMAGE_FOLDERS:
            rest.append(part)
    return _File(name, is_mask, split, tuple(rest), base[: -len(suffix)])


def _pair(folder: Path, images: list[_File], masks: list[_File], notes: list[str]) -> list[str]:
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
        notes.append(f"{len(bare)} images without a mask, kept as not annotated: {_some(bare)}")
    if lone:
        notes.append(f"{len(lone)} masks without an image, left out: {_some(lone)}")
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


def _splits(images: list[_File], labels: list[str], seed: int, fractions: Sequence[float], notes: list[str]) -> list[str]:
    splits = [image.split for image in images]
    names = ("train", "validation", "test")
    if any(splits):
        outside = [image.name for image in images if not image.split]
        if outside:
            notes.append(f"{len(outside)} images lie in no split's folder and are in no split: {_some(outside)}")
        if "train" in splits and "validation" not in splits and fractions[1] > 0:
            chosen = [row for row, split in enumerate(splits) if split == "train"]
            share = fractions[1] / (fractions[0] + fractions[1])
            _divide(images, labels, chosen, seed, (("validation", share), ("train", 1 - share)), splits)
            taken = splits.count("validation")
            notes.append(
                f"no folder for validation: {taken} of {len(chosen)} training images taken for it by a hash of their names, seed {seed}"
            )
    else:
        parts = (("test", fractions[2]), ("validation", fractions[1]), ("train", fractions[0]))
        _divide(images, labels, range(len(images)), seed, parts, splits)
        within = " within each class" if any(labels) else ""
        notes.append(f"no split folders: divided by a hash of the names{within}, seed {seed}")
    notes.append("splits: " + ", ".join(f"{name} {splits.count(name)}" for name in names))
    return splits


def _divide(
    images: list[_File], labels: list[str], rows: Iterable[int], seed: int, parts: Sequence[tuple[str, float]], splits: list[str]
) -> None:
    """Give rows their splits: within each class the first by hash to the first part, and so on; the last part takes the rest."""
    parts = [part for part in parts if part[1] > 0]
    classes: dict[str, list[int]] = collections.defaultdict(list)
    for row in rows:
        classes[labels[row]].append(row)
    for label, members in classes.items():
        members.sort(key=lambda row: (hashlib.sha256(f"{seed}/{label}/{images[row].stem}".encode()).digest(), images[row].name))
        start = 0
        for name, share in parts[:-1]:
            end = start + round(share * len(members))
            for row in members[start:end]:
                splits[row] = name
            start = end
        for row in members[start:]:
            splits[row] = parts[-1][0]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
