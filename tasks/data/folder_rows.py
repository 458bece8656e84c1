"""Files found in folders become rows of a manifest: their split, and a row for each frame."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from umsrep.errors import InputError
from umsrep.tasks.progress import track
from umsrep.zoo.stored import MAX_FRAMES, read_stored

_SEVERAL_FRAMES = (".tif", ".tiff", ".gif", ".webp", ".dcm", ".dicom", ".ima", ".nii", ".nii.gz")


@dataclasses.dataclass(frozen=True)
class File:
    """An image or mask, by what its path says.

    Attributes:
        name: Path in the folder.
        is_mask: It lies in a folder of masks.
        split: ``train``, ``validation``, ``test`` or empty.
        rest: The folders that say neither, from the outermost: a class.
        stem: Name without folders and suffix.
        nnunet: It lies in a folder such as ``imagesTr``.
    """

    name: str
    is_mask: bool
    split: str
    rest: tuple[str, ...]
    stem: str
    nnunet: bool = False


def splits_of(images: list[File], labels: list[str], seed: int, fractions: Sequence[float], notes: list[str]) -> list[str]:
    """Give each image the split of its folder; where folders give none, divide them by a hash of their names, with notes."""
    splits = [image.split for image in images]
    if any(splits):
        outside = [image.name for image in images if not image.split]
        if outside:
            notes.append(f"{len(outside)} images lie in no split's folder and are in no split: {some(outside)}")
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
    return splits


def _divide(
    images: list[File], labels: list[str], rows: Iterable[int], seed: int, parts: Sequence[tuple[str, float]], splits: list[str]
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


def some(names: Sequence[str]) -> str:
    """Name the first three, and say how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def expand(folder: Path, columns: dict[str, list[str]], notes: list[str]) -> dict[str, list[str]]:
    """Give each frame of a file of several a row, in the file's split; column ``frame`` is added only where there are such files.

    Only the first frame of such a file is decoded. Masks of them are left out, as a mask is one image, and so are files of more than
    `MAX_FRAMES`; both with a note.

    Raises:
        InputError: if no row is left.
    """
    frames = [_frames(folder / name) for name in track(columns["file_name"], "counting frames")]
    if max(frames) == 1:
        return columns
    several = [name for name, n in zip(columns["file_name"], frames, strict=True) if 1 < n <= MAX_FRAMES]
    huge = [f"{name} ({n})" for name, n in zip(columns["file_name"], frames, strict=True) if n > MAX_FRAMES]
    if huge:
        notes.append(f"{len(huge)} files of more than {MAX_FRAMES} frames left out: {some(huge)}")
    if several:
        total = sum(n for n in frames if 1 < n <= MAX_FRAMES)
        notes.append(
            f"{len(several)} files of several frames: a row for each of {total} frames, those of a file in one split: {some(several)}"
        )
    masks = columns.get("mask_file_name", [""] * len(frames))
    unused = [mask for mask, n in zip(masks, frames, strict=True) if mask and n > 1]
    if unused:
        notes.append(f"{len(unused)} masks of files of several frames left out: save the frames as single files: {some(unused)}")
    rows = [(row, frame) for row, n in enumerate(frames) if n <= MAX_FRAMES for frame in range(n)]
    if not rows:
        raise InputError(f"{folder}: no file of at most {MAX_FRAMES} frames in it")
    wide = {name: [values[row] for row, _ in rows] for name, values in columns.items()}
    if "mask_file_name" in wide:
        wide["mask_file_name"] = ["" if frames[row] > 1 else masks[row] for row, _ in rows]
    return wide | {"frame": [str(frame) if frames[row] > 1 else "" for row, frame in rows]}


def _frames(path: Path) -> int:
    """Count the images of a file; one that cannot be read counts as one, and `umsrep inspect` names it with its row."""
    if not path.name.lower().endswith(_SEVERAL_FRAMES):
        return 1
    try:
        return read_stored(path, frame=0).frames
    except InputError:
        return 1
