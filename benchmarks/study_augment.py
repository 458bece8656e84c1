"""What augmentation takes away: lungs and findings that leave the frame, a small nodule's contrast, grey levels that saturate.

The numbers of docs/augmentation.md. Lungs: every 3rd mask of cxr_guangzhou; findings: the boxes that radiologists drew in cxr_nih. For each
mask the loss in random draws, and the worst that any draw could do (largest shift and growth in all directions, five angles).
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import math
import re
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from umsrep.tasks.data.augment import Augment
from umsrep.tasks.progress import track
from umsrep.zoo import InputContract

SETTINGS = {
    "default": Augment(),
    "shift .05, scale .1": Augment(shift=0.05, scale=0.1),
    "examples/cxr_joint.yaml": Augment(rotate=15, shift=0.08, scale=0.2, brightness=0.3, contrast=0.4, gamma=0.5, flip=0.5),
}
Marked = list[tuple[Path, Tensor]]


def read_lungs(folder: Path) -> Marked:
    """Return images' paths and lung masks."""
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["mask_file_name"]][::3]
    return [(folder / r["file_name"], torch.from_numpy(np.array(Image.open(folder / r["mask_file_name"])) == 1)) for r in rows]


def read_findings(folder: Path) -> Marked:
    """Return images' paths and masks of single boxes."""
    found = []
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for box in re.findall(r":([\d.]+),([\d.]+),([\d.]+),([\d.]+)", row["bbox_xywh_norm"]):
                x, y, width, height = (round(256 * float(v)) for v in box)
                mask = torch.zeros(256, 256, dtype=torch.bool)
                mask[y : y + height, x : x + width] = True
                found.append((folder / row["file_name"], mask))
    return found


def outside(mask: Tensor, degrees: float, right: float, down: float, growth: float) -> float:
    """Return the fraction of a mask that a movement takes out of the frame."""
    (height, width), (rows, columns) = mask.shape, mask.nonzero().numpy().T
    x, y, angle = columns - (width - 1) / 2, rows - (height - 1) / 2, math.radians(degrees)
    new_x = growth * (math.cos(angle) * x - math.sin(angle) * y) + right * width
    new_y = growth * (math.sin(angle) * x + math.cos(angle) * y) + down * height
    return float(np.mean((abs(new_x) > width / 2) | (abs(new_y) > height / 2)))


def movements(augment: Augment, marked: Marked, draws: int) -> tuple[list[float], list[float]]:
    """Return the losses in random draws, and for each mask the worst possible."""
    random = np.random.default_rng(0)
    drawn = []
    for number in range(draws):
        angle, right, down, growth = random.uniform(-1, 1, 4)
        by = (augment.rotate * angle, augment.shift * right, augment.shift * down, 1 + augment.scale * growth)
        drawn.append(outside(marked[number % len(marked)][1], *by))
    ends = list(itertools.product((-1, -0.5, 0, 0.5, 1), (-1, 1), (-1, 1)))
    worst = [
        max(outside(m, augment.rotate * a, augment.shift * i, augment.shift * j, 1 + augment.scale) for a, i, j in ends)
        for _, m in track(marked, "worst cases", len(marked))
    ]
    return drawn, worst


def saturated(augment: Augment, marked: Marked, draws: int) -> list[float]:
    """Return the fraction of a marked region that becomes 0 or 1 by the change of intensity alone."""
    still, contract, generator = dataclasses.replace(augment, rotate=0, shift=0, scale=0, flip=0), InputContract(), torch.Generator()
    fractions = []
    for number in range(draws):
        path, mask = marked[number % len(marked)]
        image = contract.load_unit(path)
        before, after = image[0][mask], still(image, {}, generator.manual_seed(number))[0][0][mask]
        fractions.append(float((((after <= 0) | (after >= 1)) & (before > 0) & (before < 1)).float().mean()))
    return fractions


def nodule_kept(augment: Augment, diameter: float, draws: int) -> list[float]:
    """Return what is left of the peak of a nodule of so many pixels at 128 px, after resampling."""
    still, generator, fine, kept = dataclasses.replace(augment, brightness=0, contrast=0, gamma=0), torch.Generator(), 4, []
    axis = (torch.arange(128 * fine) + 0.5) / fine - 0.5
    for number in range(draws):
        y, x = (torch.rand(2, generator=generator.manual_seed(number)) * 40 + 44).tolist()
        image = F.avg_pool2d(((axis[:, None] - y) ** 2 + (axis - x) ** 2 <= (diameter / 2) ** 2).float()[None], fine)
        kept.append(float(still(image, {}, generator)[0].max() / image.max()))
    return kept


def main() -> None:
    if len(sys.argv) != 2 or not all(Path(sys.argv[1], name).is_dir() for name in ("cxr_guangzhou", "cxr_nih")):
        sys.exit(print("error: name the folder that holds cxr_guangzhou and cxr_nih (../shared/data/unpack)", file=sys.stderr) or 2)
    data = Path(sys.argv[1])
    sets = {"lungs": read_lungs(data / "cxr_guangzhou"), "findings": read_findings(data / "cxr_nih")}
    for name, augment in SETTINGS.items():
        for what, marked in sets.items():
            drawn, worst = movements(augment, marked, 4000)
            grey = saturated(augment, marked, 600)
            print(
                f"{name}: {len(marked)} {what}: out of the frame in 4,000 draws: mean {np.mean(drawn):.4f}, largest {max(drawn):.3f};",
                end=" ",
            )
            print(f"worst possible: median {np.median(worst):.3f}, largest {max(worst):.3f};", end=" ")
            print(f"saturated in 600 draws: mean {np.mean(grey):.5f}, largest {max(grey):.3f}")
        for diameter in (2, 3, 4):
            kept = nodule_kept(augment, diameter, 300)
            print(f"{name}: nodule of {diameter} px: peak kept: mean {np.mean(kept):.3f}, least {min(kept):.3f}")


if __name__ == "__main__":
    main()
