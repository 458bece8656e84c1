"""Picture and table of docs/shifts.md, on procedural phantoms: ``python -m umsrep.tasks.shift.gallery FOLDER``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from umsrep.tasks.shift.apply import apply_shift
from umsrep.tasks.shift.registry import SHIFTS
from umsrep.tasks.shift.shift import Shift


def phantom(modality: str, side: int = 160) -> Tensor:
    """Make a picture of a modality's rough look, of no patient: [1 or 3, side, side] in 0-1."""
    if modality == "doppler":
        from umsrep.tasks.data.doppler import simulate

        return torch.from_numpy(simulate("mitral_inflow_normal", seed=1, size=(side, side)).image.copy())[None]
    rng = np.random.default_rng(0)
    down, across = np.mgrid[:side, :side] / side
    noise = rng.normal(size=(side, side))

    def disc(row: float, column: float, tall: float, wide: float, edge: float = 0.03) -> np.ndarray:
        distance = np.hypot((down - row) / tall, (across - column) / wide)
        return np.asarray(1 / (1 + np.exp(np.clip((distance - 1) * min(tall, wide) / edge * 4, -40, 40))))

    if modality == "cxr":
        lungs = np.maximum(disc(0.5, 0.3, 0.34, 0.17), disc(0.5, 0.7, 0.34, 0.17))
        ribs = 0.06 * np.maximum(np.cos(2 * np.pi * (9 * down - 3 * np.abs(across - 0.5))), 0) * lungs
        grey = 0.72 * disc(0.6, 0.5, 0.66, 0.5) - 0.5 * lungs + 0.2 * disc(0.62, 0.55, 0.19, 0.14) + 0.12 * disc(0.5, 0.5, 0.5, 0.05) + ribs
        return torch.from_numpy(np.clip(grey + 0.012 * noise, 0, 1)).float()[None]
    if modality == "us":
        angle, depth = np.arctan2(across - 0.5, down + 0.15), np.hypot(across - 0.5, down + 0.15)
        bright, cyst = disc(0.62, 0.4, 0.05, 0.3), disc(0.4, 0.6, 0.11, 0.14)
        power = rng.exponential(size=(side, side)) * np.exp(-1.3 * depth) * (1 + 6 * bright) * (1 - 0.97 * cyst)
        grey = 1 + 10 * np.log10(power + 1e-4) / 50 - 0.12
        return torch.from_numpy(np.clip(grey, 0, 1) * ((np.abs(angle) < 0.62) & (depth > 0.2) & (depth < 1.1))).float()[None]
    cells = np.zeros((side, side))
    for _ in range(60):
        (row, column), (tall, wide) = rng.uniform(0.05, 0.95, 2), rng.uniform(0.02, 0.05, 2)
        cells = np.minimum(cells + disc(row, column, tall, wide, 0.01), 1)
    texture = 0.05 * np.sin(25 * (down + 0.3 * np.sin(9 * across))) + 0.02 * noise
    planes = [level - fall * cells + texture for level, fall in ((0.88, 0.5), (0.62, 0.42), (0.78, 0.22))]
    return torch.from_numpy(np.clip(np.stack(planes), 0, 1)).float()


def phantom_of(shift: Shift) -> str:
    """Return the phantom on which a shift is shown."""
    if shift.colour or (shift.modalities and shift.modalities[0] not in ("cxr", "us", "doppler", "oct")):
        return "histology"
    return {"oct": "us"}.get(shift.modalities[0], shift.modalities[0]) if shift.modalities else "cxr"


def draw(shifts: Sequence[Shift], path: Path, *, severity: int = 3, columns: int = 10) -> None:
    """Draw each shift at one severity."""
    from matplotlib.figure import Figure

    phantoms = {kind: phantom(kind) for kind in ("cxr", "us", "doppler", "histology")}
    panels = [(f"({kind})", image) for kind, image in phantoms.items()]
    panels += [(s.name, apply_shift(phantoms[phantom_of(s)], s.name, severity, 1)) for s in shifts]
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(1.32 * columns, 1.5 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, (name, image) in zip(axes, panels, strict=False):
        axis.imshow((image[0] if len(image) == 1 else image.permute(1, 2, 0)).numpy(), cmap="gray", vmin=0, vmax=1)
        origin, _, rest = name.partition("-")
        axis.set_title(f"{origin}-\n{rest}" if len(name) > 16 and rest else name, fontsize=6)
    for axis in axes:
        axis.set_axis_off()
    figure.savefig(path, dpi=90)


def table() -> str:
    """Return the table of all shifts in Markdown."""
    lines = ["| shift | for | severities 1 to 5 | a severity is | source |", "|---|---|---|---|---|"]
    for shift in SHIFTS.values():
        values = " · ".join("(" + ", ".join(f"{v:g}" for v in m) + ")" if isinstance(m, tuple) else f"{m:g}" for m in shift.magnitudes)
        marks = (" †" if shift.geometric else "") + (" ‡" if shift.colour else "")
        lines.append(f"| `{shift.name}`{marks} | {', '.join(shift.modalities) or 'all'} | {values} | {shift.meaning} | {shift.source} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for shifts.png and shifts-table.md")
    folder = parser.parse_args().folder
    draw(list(SHIFTS.values()), folder / "shifts.png")
    (folder / "shifts-table.md").write_text(table(), encoding="utf-8")
