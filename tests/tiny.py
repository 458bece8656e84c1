"""A tiny data folder in the project's form, written in milliseconds: discs on grey noise, annotated for every kind of task."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 40, 48
PATIENTS = 12
"""Patients in the folder; each has two images, the first with a small disc and the second with a large one."""
COLUMNS = ("file_name", "mask_file_name", "label", "split", "patient_id", "site", "finding_left", "finding_large", "mask_file_name.disc")
WITHOUT_MASK = frozenset({2, 9, 14})
WITHOUT_LABEL = frozenset({5, 8, 14})
"""Row 14 is annotated for denoising only: it has neither mask nor label. All these rows are in the training split."""


def write_tiny_data(folder: Path) -> Path:
    """Write 24 grey 8-bit PNGs of 40 x 48 pixels (height x width), their masks and metadata.csv.

    Patients 0-7 are training (16 rows), 8-9 validation, 10-11 test (4 rows each); every split holds both labels. The disc has
    grey level about 190 on a background of about 70, sd 8. Masks are 0 background, 1 disc, and 255 (ignore) on the first column
    of pixels of image 0. `finding_left` and `finding_large` (0 or 1, empty where the label is) serve multi-label classification,
    `mask_file_name.disc` repeats the mask for multi-label segmentation.

    Args:
        folder: where to write; made if absent.

    Returns:
        The folder.
    """
    generator = np.random.default_rng(7)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    records = []
    for index in range(2 * PATIENTS):
        patient, large = index // 2, index % 2
        radius = 11 if large else 5
        left = int(generator.integers(2))
        centre_row = generator.uniform(14, HEIGHT - 14)
        centre_column = generator.uniform(13, 20) if left else generator.uniform(WIDTH - 20, WIDTH - 13)
        disc = (rows - centre_row) ** 2 + (columns - centre_column) ** 2 <= radius**2
        grey = np.where(disc, 190.0, 70.0) + generator.normal(0, 8, disc.shape)
        mask = disc.astype(np.uint8)
        if index == 0:
            mask[:, 0] = 255
        image_name, mask_name = f"images/{index:02d}.png", f"masks/{index:02d}.png"
        Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8)).save(folder / image_name)
        if index in WITHOUT_MASK:
            mask_name = ""
        else:
            Image.fromarray(mask).save(folder / mask_name)
        labelled = index not in WITHOUT_LABEL
        records.append(
            {
                "file_name": image_name,
                "mask_file_name": mask_name,
                "label": ("large" if large else "small") if labelled else "",
                "split": "train" if patient < 8 else "validation" if patient < 10 else "test",
                "patient_id": f"{patient:03d}",
                "site": "A" if patient % 2 else "B",
                "finding_left": str(left) if labelled else "",
                "finding_large": str(large) if labelled else "",
                "mask_file_name.disc": mask_name,
            }
        )
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(records)
    return folder
