"""Cut the data sets of the transfer grid down: whole patients, at most so many rows a split, the same on every machine.

    python benchmarks/transfer_sets.py DATA OUT

Makes OUT/encoders/PRESET, each preset without its heads (or those would go on training where a task bears their name), and OUT/SET for
every set of `SETS`: metadata.csv with the chosen rows, and copies of the images and masks of DATA/SET. Patients are drawn at random
(seed 0); a row without patient is one of its own.
"""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path

from umsrep.errors import InputError
from umsrep.tasks.data.manifest import load_manifest
from umsrep.tasks.data.subset import take_fraction
from umsrep.zoo import PRESETS, Encoder

LIMITS = {"train": 600, "validation": 100, "test": 300}
FEW = {"train": 100, "validation": 20, "test": 40}
SETS = {  # name here: (name there, limits); few rows where a denoising filter is fitted at every pixel
    "cxr_guangzhou": ("cxr_guangzhou", LIMITS),
    "cxr_nih": ("cxr_nih", LIMITS),
    "cxr_denoising": ("cxr_guangzhou", FEW),
    "us_nerve": ("us_nerve", LIMITS),
    "us_lung": ("us_lung", LIMITS),
    "us_denoising": ("us_lung", FEW),
    "doppler": ("doppler_other", LIMITS),
    "doppler_denoising": ("doppler_other", FEW),
    "cxr_shifts": ("cxr_guangzhou", {"test": 100}),  # for the cards' shifts, each at five severities
    "doppler_shifts": ("doppler_other", {"test": 100}),
    "nuclei": ("nuclei", LIMITS),
    "modality6": ("modality6", LIMITS),
}


def cut(source: Path, target: Path, limits: dict[str, int]) -> dict[str, int]:
    """Write one set; returns the rows of each split."""
    manifest = load_manifest(source)
    splits = manifest.column("split")
    chosen: set[int] = set()
    for split, limit in limits.items():
        rows = [row for row, value in enumerate(splits) if value == split]
        kept = rows if len(rows) <= limit else take_fraction(manifest, rows, limit / len(rows), seed=0)
        chosen.update(kept[:limit])
    target.mkdir(parents=True)
    for folder in ("images", "masks"):
        if (source / folder).is_dir():
            (target / folder).mkdir()
    for column in ("file_name", "mask_file_name"):
        for row in chosen:
            name = manifest.columns.get(column, [""] * len(manifest))[row]
            if name:
                shutil.copyfile(source / name, target / name)
    with (target / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(manifest.columns)
        writer.writerows([values[row] for values in manifest.columns.values()] for row in sorted(chosen))
    return {split: sum(splits[row] == split for row in chosen) for split in limits}


def main() -> None:
    """Cut all sets."""
    if len(sys.argv) != 3:
        raise InputError(f"usage: {sys.argv[0]} DATA OUT")
    data, out = map(Path, sys.argv[1:])
    for preset in PRESETS:
        Encoder.from_pretrained(preset).save_pretrained(out / "encoders" / preset)
    for name, (source, limits) in SETS.items():
        if (out / name).exists():
            raise InputError(f"{out / name} is there already; delete it, or choose another folder")
        print(name, cut(data / source, out / name, limits))


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
