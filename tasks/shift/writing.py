"""Write a shifted copy of a data set as a data folder: images at their own size and depth, masks moved along."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from umsrep.errors import InputError, nearest
from umsrep.tasks.data.manifest import Manifest, load_manifest
from umsrep.tasks.data.masks import read_mask
from umsrep.tasks.progress import track
from umsrep.tasks.shift.apply import shift_batch
from umsrep.tasks.shift.draws import row_seed
from umsrep.tasks.shift.filters import clear_caches
from umsrep.tasks.shift.registry import find_shift
from umsrep.tasks.shift.shift import SEVERITIES, Shift
from umsrep.zoo import InputContract
from umsrep.zoo.contract_fields import Unit
from umsrep.zoo.scaling import match_channels, scale
from umsrep.zoo.stored import Stored, read_stored

_MASK = "mask_file_name"
_ADDED = ("source_file_name", "shift", "severity", "seed")
_UNITS = ("8-bit", "12-bit", "16-bit")
_LARGE = 1 << 20
"""Pixels of an image whose filter matrices are not kept for the next one."""


def write_shifted(
    data: str | Path,
    out: str | Path,
    name: str,
    severity: int,
    *,
    seed: int = 0,
    split: str | None = None,
    split_column: str = "split",
    unit: str | None = None,
    title: str | None = "shifting",
) -> dict[str, Any]:
    """Write a data set under one shift.

    8-bit images become 8-bit PNG, floats (.npy) stay floats, deeper values become 16-bit PNG in the same unit, to be opened with a contract
    of that unit. Each row gets the seed ``row_seed(seed, file_name, frame)``, as in `umsrep evaluate --shifts`; but at its own size, where
    noise of each pixel is finer. The folder appears when it is whole, or not at all.

    Args:
        data: What `load_manifest` opens.
        out: A new or empty folder.
        name: Of the shift.
        severity: 1 to 5.
        seed: Of noise, places and directions.
        split: Only its rows, or None for all.
        split_column: Column that says so.
        unit: What integers of undeclared depth mean: 12-bit or 16-bit.
        title: Of the progress bar, or None.

    Returns:
        ``rows``, and ``notes``: what could not be kept, one line each.

    Raises:
        InputError: for an unknown shift or severity, a folder that is not empty, or a set that is shifted already; and, naming file and
            row, for an image or mask that cannot be read, an image of undeclared unit, in HU, or with a display window (DICOM), and a
            grey image under a shift of colour.
    """
    shift = find_shift(name)
    if severity not in SEVERITIES:
        raise InputError(f"severity must be a whole number from 1 to 5, not {severity!r}")
    if unit is not None and unit not in _UNITS:
        raise InputError(f"unit '{unit}' is none of {', '.join(_UNITS)}{nearest(unit, _UNITS)}")
    manifest = load_manifest(data)
    taken = [column for column in _ADDED if column in manifest.columns]
    if taken:
        raise InputError(f"{manifest.table}: has a column '{taken[0]}' already, as a shifted set has; shift the set that it was made from")
    rows = manifest.rows(split, split_column) if split is not None else list(range(len(manifest)))
    target = Path(out).expanduser()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target}: exists already and is not empty; name another folder")
    columns, notes = _columns(manifest, shift)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror})") from error
    try:
        records = _write_rows(manifest, rows, partial, columns, shift, severity, seed, unit, title)
        with (partial / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [*columns, *(c for c in records[0] if c not in columns)])
            writer.writeheader()
            writer.writerows(records)
        partial.chmod(0o777 & ~_umask())
        if target.exists():
            target.rmdir()
        partial.rename(target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return {"rows": len(rows), "notes": notes}


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _columns(manifest: Manifest, shift: Shift) -> tuple[list[str], list[str]]:
    """Return the columns to keep, in order, and notes on those whose cells are emptied or no longer hold."""
    notes = []
    for column in manifest.columns:
        if column.endswith("file_name") and column != "file_name" and not column.startswith(_MASK):
            notes.append(f"column '{column}' names files that are not shifted: its cells are empty in the new table")
        if shift.geometric and "bbox" in column.lower():
            notes.append(f"column '{column}' still tells where things were before '{shift.name}' moved them")
    if shift.geometric and any(manifest.columns.get("pixel_spacing", ())):
        notes.append(f"pixel_spacing is emptied: '{shift.name}' changes it")
    return list(manifest.columns), notes


def _write_rows(
    manifest: Manifest, rows: list[int], folder: Path, columns: list[str], shift: Shift, severity: int, seed: int, unit: str | None,
    title: str | None,
) -> list[dict[str, str]]:  # fmt: skip
    records: list[dict[str, str]] = []
    used: set[str] = set()
    for row in track(rows, title, total=len(rows)):
        where, frame = manifest.where(row), manifest.frame(row)
        cells = {column: manifest.columns[column][row] for column in columns}
        own = row_seed(seed, cells["file_name"], frame)
        image, full, spacing = _image(manifest, row, unit)
        masks = {c: _mask(manifest, c, row, image) for c in columns if c.startswith(_MASK) and cells[c]}
        together = torch.from_numpy(np.stack(list(masks.values()))[None]) if masks else None
        try:
            shifted, moved = shift_batch(image[None], together, shift.name, severity, [own])
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        stem = _stem(cells["file_name"], frame, used)
        name = _write_image(folder, stem, shifted[0], full)
        cells |= {column: "" for column in columns if column.endswith("file_name")}
        cells |= {"file_name": name, "source_file_name": manifest.columns["file_name"][row]}
        cells |= {"shift": shift.name, "severity": str(severity), "seed": str(own)}
        for number, column in enumerate(masks):
            assert moved is not None
            path = folder / f"masks{column.removeprefix(_MASK)}" / f"{stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(moved[0, number].numpy()).save(path)
            cells[column] = path.relative_to(folder).as_posix()
        if "frame" in cells:
            cells["frame"] = ""  # each file holds one image now
        if shift.geometric:
            cells |= {"pixel_spacing": ""} if "pixel_spacing" in cells else {}
        elif spacing is not None and not cells.get("pixel_spacing"):
            cells["pixel_spacing"] = "{:g}\\{:g}".format(*spacing)  # a PNG cannot say it
        records.append(cells)
        if image.shape[-2] * image.shape[-1] > _LARGE:
            clear_caches()
    spaced = any("pixel_spacing" in record for record in records)
    return [({"pixel_spacing": ""} | record) if spaced and "pixel_spacing" not in record else record for record in records]


def _image(manifest: Manifest, row: int, unit: str | None) -> tuple[Tensor, int | None, tuple[float, float] | None]:
    """Read a row's image: float32 [C, H, W] in 0-1, bright values high; its largest stored value, None for floats; its spacing."""
    where = manifest.where(row)
    try:
        stored = read_stored(manifest.image(row), frame=manifest.frame(row))
        if stored.unit == "HU":
            raise InputError("is in HU, which a PNG cannot hold without a window; shift it in Python with a contract that has one")
        if stored.voi is not None:
            raise InputError("has a display window (DICOM VOI) that a PNG cannot say; write the set with the window applied first")
        if stored.unit is None and unit is None:
            raise InputError("does not say what its values mean; give --unit 12-bit or 16-bit")
        channels = 1 if stored.pixels.ndim == 2 else stored.pixels.shape[2]
        contract = InputContract(channels=channels, unit=cast(Unit, unit if stored.unit is None else "auto"), colour="exact")
        values, _ = scale(stored, contract, "it")
        full = None if stored.unit == "unit-interval" else _full_scale(stored, unit)
        if (full is not None and channels not in (1, 3)) or (full not in (None, 255) and channels != 1):
            raise InputError(f"has {channels} channels of up to {full}, which a PNG cannot hold; save it as .npy floats in 0-1")
        return torch.from_numpy(np.ascontiguousarray(match_channels(values, contract, "it"))), full, stored.spacing
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _full_scale(stored: Stored, unit: str | None) -> int:
    """Return the largest value of the unit, which a PNG holds from 0 on."""
    bits = int((stored.unit or unit or "").removesuffix("-bit"))
    low, high = stored.range or (0.0, 2.0**bits - 1)
    if low != 0 or high != 2**bits - 1:
        raise InputError(f"has values from {low:g} to {high:g}, which a PNG of {bits} bits cannot hold as they are; save it as .npy floats")
    return int(high)


def _mask(manifest: Manifest, column: str, row: int, image: Tensor) -> np.ndarray:
    where = f"{manifest.where(row)}: {column}"
    found = manifest.mask(column, row)
    mask = read_mask(found, where, manifest.frame(row)) if isinstance(found, Path) else found
    if mask.shape != tuple(image.shape[-2:]):
        raise InputError(f"{where} is {mask.shape[1]}x{mask.shape[0]} pixels, the image {image.shape[2]}x{image.shape[1]}")
    if mask.size and (mask.min() < 0 or mask.max() > 255):
        raise InputError(f"{where} holds {mask.min()} to {mask.max()}; class indices are 0 to 254, and 255 is ignore")
    return mask.astype(np.uint8)


def _stem(file_name: str, frame: int | None, used: set[str]) -> str:
    """Return a path without suffix that no other row has."""
    path = PurePosixPath(file_name)
    parts = path.parts[1:] if len(path.parts) > 1 and path.parts[0] == "images" else path.parts
    stem = str(PurePosixPath(*parts[:-1], path.name.removesuffix(".gz").rpartition(".")[0] or path.name))
    stem += "" if frame is None else f"_f{frame}"
    unique, number = stem, 1
    while unique in used:
        number += 1
        unique = f"{stem}_{number}"
    used.add(unique)
    return unique


def _write_image(folder: Path, stem: str, image: Tensor, full: int | None) -> str:
    """Write an image in 0-1 with ``full`` for 1, or as floats; returns its name in the folder."""
    array = image[0].numpy() if len(image) == 1 else np.moveaxis(image.numpy(), 0, 2)
    path = folder / "images" / f"{stem}{'.npy' if full is None else '.png'}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if full is None:
        np.save(path, array)
    else:
        Image.fromarray(np.rint(array * full).astype(np.uint8 if full <= 255 else np.uint16)).save(path)
    return path.relative_to(folder).as_posix()
