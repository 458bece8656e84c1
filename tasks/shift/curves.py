"""Pictures of an evaluation under shift: a curve for each shift, and the drops of all side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from umsrep.tasks.pictures import COLOURS
from umsrep.tasks.shift.robustness import SHOWN
from umsrep.tasks.shift.shift import SEVERITIES

_LABELS = {
    "auroc": "AUROC", "balanced_accuracy": "balanced accuracy", "dice": "Dice", "psnr_gain": "PSNR gain (dB)",
}  # fmt: skip


def _colour(number: int) -> tuple[float, ...]:
    return tuple(COLOURS[(5, 6, 3, 7, 1, 2, 0)[number % 7]] / 255)


def draw_curves(found: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw one picture a shift, ``shift-<name>.png``: each head's metrics against severity, 0 being unshifted.

    Bands are the 95 % intervals of the drop at that severity, around the metric.

    Returns:
        The files.
    """
    from matplotlib.figure import Figure

    written = []
    heads = found["heads"]
    for name, shift in found["shifts"].items():
        figure = Figure(figsize=(3.4 * len(heads), 2.9), layout="constrained")
        for axes, (head, facts) in zip(figure.subplots(1, len(heads), squeeze=False)[0], heads.items(), strict=True):
            under = shift["heads"][head]
            for number, metric in enumerate(SHOWN[facts["kind"]]):
                values = [facts["unshifted"][metric], *(under["severity"][str(s)][metric] for s in SEVERITIES)]
                axes.plot(range(6), values, marker="o", markersize=3.5, color=_colour(number), label=_LABELS[metric])
                at = [under["drop_at"][str(s)][metric] for s in SEVERITIES]
                low = [values[0], *(values[0] - d["high"] for d in at)]
                most = np.inf if metric == "psnr_gain" else 1.0
                high = [values[0], *(min(values[0] - d["low"], most) for d in at)]
                if np.isfinite(low[1:]).any():
                    axes.fill_between(range(6), low, high, color=_colour(number), alpha=0.18, linewidth=0)
                axes.axhline(values[0], color=_colour(number), linewidth=0.7, linestyle=":")
            axes.set_title(f"{head} (n = {facts['n']})", fontsize=9)
            axes.set_xlabel(f"severity ({shift['meaning']})", fontsize=7)
            axes.set_xticks(range(6), ["0", *(f"{s}\n{_short(m)}" for s, m in zip(SEVERITIES, shift["magnitudes"], strict=True))])
            axes.tick_params(labelsize=7)
            axes.grid(axis="y", alpha=0.3)
            axes.legend(fontsize=7, frameon=False)
        figure.suptitle(name, fontsize=10)
        path = folder / f"shift-{name}.png"
        figure.savefig(path, dpi=130)
        written.append(path)
    return written


def _short(magnitude: Any) -> str:
    return ", ".join(f"{v:g}" for v in magnitude) if isinstance(magnitude, list) else f"{magnitude:g}"


def draw_drops(found: Mapping[str, Any], path: Path) -> None:
    """Draw every shift's mean drop with its interval, one column a head, the shifts in the order of the first head's drops."""
    from matplotlib.figure import Figure

    heads, shifts = found["heads"], found["shifts"]

    def drop(name: str, head: str) -> Any:
        return shifts[name]["heads"][head]["drop"][heads[head]["main"]]

    first = next(iter(heads))
    order = sorted(shifts, key=lambda name: np.nan_to_num(drop(name, first)["value"], nan=-np.inf))
    figure = Figure(figsize=(2.4 + 2.6 * len(heads), 1.0 + 0.17 * len(order)), layout="constrained")
    every = figure.subplots(1, len(heads), squeeze=False, sharey=True)[0]
    for number, (axes, (head, facts)) in enumerate(zip(every, heads.items(), strict=True)):
        for y, name in enumerate(order):
            one = drop(name, head)
            axes.plot([one["low"], one["high"]], [y, y], color=_colour(number), linewidth=2, alpha=0.5)
            axes.plot(one["value"], y, "o", color=_colour(number), markersize=3.5)
        axes.axvline(0, color="black", linewidth=0.7)
        axes.set_title(f"{head}: drop of {_LABELS[facts['main']]}", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(axis="x", alpha=0.3)
        axes.set_ylim(-0.7, len(order) - 0.3)
    every[0].set_yticks(range(len(order)), order, fontsize=6.5)
    figure.savefig(path, dpi=130)
