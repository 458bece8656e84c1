"""The figures of a Transfusion study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umsrep.tasks.pictures import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "osD^vP*Xp<>h"
_PALETTE = ["#{:02x}{:02x}{:02x}".format(*COLOURS[i]) for i in (1, 2, 3, 5, 6, 7, 0)] + ["#888888"]
"""Okabe-Ito without its yellow, which fades on white; and grey."""


def draw_figures(results: Mapping[str, Any], output: Path) -> list[Path]:
    """Draw convergence.png, threshold.png, sizes.png, similarity.png and, where stages were reused, depth.png."""
    import matplotlib  # half a second that only those who draw shall pay

    drawn = {"convergence": _convergence, "threshold": _threshold, "sizes": _sizes, "similarity": _similarity, "depth": _depth}
    paths = []
    with matplotlib.rc_context({"font.size": 9}):
        for name, draw in drawn.items():
            figure = draw(results)
            if figure is not None:
                paths.append(output / f"{name}.png")
                figure.savefig(paths[-1], dpi=120)
    return paths


def _figure(columns: int, width: float, height: float) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False, sharey=True)[0]


def _cells(results: Mapping[str, Any], arm: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [c for c in results["cells"] if (c["arch"], c["init"]) == (arm["arch"], arm["init"])]


def _styles(results: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Give each initialisation one colour and marker in all figures; more inits than colours get dashes."""
    inits = list(dict.fromkeys(arm["init"] for arm in results["arms"]))
    return {
        init: {
            "color": _PALETTE[i % len(_PALETTE)],
            "marker": _MARKERS[i % len(_MARKERS)],
            "linestyle": ("-", "--")[i // len(_PALETTE) % 2],
        }
        for i, init in enumerate(inits)
    }


def _convergence(results: Mapping[str, Any]) -> Figure:
    archs = list(dict.fromkeys(arm["arch"] for arm in results["arms"]))
    figure, axes = _figure(len(archs), 4.2 * len(archs), 3.6)
    styles = _styles(results)
    for axis, arch in zip(axes, archs, strict=True):
        for arm in (a for a in results["arms"] if a["arch"] == arch):
            curves = [c["curve"] for c in _cells(results, arm)]
            steps = [p["step"] for p in curves[0]]
            values = np.array([[np.nan if p["auroc"] is None else p["auroc"] for p in curve] for curve in curves])
            axis.plot(steps, values.mean(0), label=arm["init"], markersize=4, **styles[arm["init"]])
            axis.fill_between(steps, values.min(0), values.max(0), color=styles[arm["init"]]["color"], alpha=0.12, linewidth=0)
        axis.axhline(results["threshold"], color="0.3", linestyle=":", linewidth=1)
        axis.set(title=arch, xlabel="optimiser steps")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7, loc="lower right")
    axes[0].set_ylabel(f"validation AUROC, {results['task']}")
    figure.suptitle(f"Mean and range over {len(results['seeds'])} seed(s); dotted: the threshold", fontsize=8, color="0.35")
    return figure


def _threshold(results: Mapping[str, Any]) -> Figure:
    arms = results["arms"]
    figure, (axis,) = _figure(1, 6.4, 1.2 + 0.3 * len(arms))
    styles = _styles(results)
    last = max(point["step"] for cell in results["cells"] for point in cell["curve"])
    for row, arm in enumerate(arms):
        steps = [c["steps_to_threshold"] for c in _cells(results, arm)]
        reached = [s for s in steps if s is not None]
        colour = styles[arm["init"]]["color"]
        spread = np.linspace(-0.18, 0.18, len(reached)) if len(reached) > 1 else np.zeros(len(reached))
        axis.plot(reached, row + spread, "o", color=colour, markersize=5, alpha=0.85)
        if arm["steps_to_threshold"] is not None:
            axis.plot([arm["steps_to_threshold"]["mean"]], [row], "|", color="black", markersize=14)
        if len(reached) < len(steps):
            axis.text(last * 1.03, row, f"not reached by {len(steps) - len(reached)} of {len(steps)}", va="center", fontsize=7)
    axis.set_yticks(range(len(arms)), [f"{arm['arch']}  {arm['init']}" for arm in arms])
    axis.set_xlim(0, last * 1.32)
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)
    axis.set_xlabel(f"steps to a validation AUROC of {results['threshold']:g} (dot: seed, bar: mean)")
    return figure


def _sizes(results: Mapping[str, Any]) -> Figure:
    figure, (axis,) = _figure(1, 5.4, 3.8)
    styles = _styles(results)
    shown = set()
    for arm in results["arms"]:
        if arm["test_auroc"] is None or ":" in arm["init"]:
            continue
        style = styles[arm["init"]] | {"linestyle": "none"}
        label = None if arm["init"] in shown else arm["init"]
        shown.add(arm["init"])
        axis.errorbar(arm["parameters"], arm["test_auroc"]["mean"], arm["test_auroc"]["sd"] or 0, label=label, capsize=3, **style)
    for arch, count in dict.fromkeys((arm["arch"], arm["parameters"]) for arm in results["arms"]):
        axis.annotate(arch, (count, 1), xycoords=("data", "axes fraction"), rotation=90, fontsize=7, va="top", ha="right", color="0.35")
        axis.axvline(count, color="0.85", linewidth=1, zorder=0)
    counts = [arm["parameters"] for arm in results["arms"]]
    axis.set_xlim(min(counts) / 2, max(counts) * 2)
    axis.set_xscale("log")
    axis.minorticks_off()
    axis.set_xticks(sorted(set(counts)), [f"{count / 1e6:.2g} M" for count in sorted(set(counts))])
    axis.set(xlabel="weights of the encoder", ylabel=f"test AUROC, {results['task']}")
    axis.margins(y=0.5)  # room for the names
    axis.grid(alpha=0.3)
    if shown:
        figure.legend(fontsize=7, loc="outside right upper")
    return figure


def _similarity(results: Mapping[str, Any]) -> Figure:
    arms = results["arms"]
    figure, axes = _figure(2, 10.0, 1.4 + 0.3 * len(arms))
    levels = max(len(arm["cka"]) for arm in arms)
    for axis, measure, title in zip(axes, ("cka", "svcca"), ("linear CKA", "SVCCA"), strict=True):
        values = np.full((len(arms), levels), np.nan)
        for row, arm in enumerate(arms):
            diagonal = np.diag(arm[measure])
            values[row, : len(diagonal)] = diagonal
        _heat_map(axis, values)
        axis.set(title=f"{title}, before and after training", xlabel="level of the encoder, finest first")
        axis.set_xticks(range(levels), [str(i + 1) for i in range(levels)])
    axes[0].set_yticks(range(len(arms)), [f"{arm['arch']}  {arm['init']}" for arm in arms])
    return figure


def _heat_map(axis: Axes, values: np.ndarray) -> None:
    """Draw numbers in 0-1 with their values written in; an empty field is one that there is not."""
    axis.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color="white" if value < 0.6 else "black")


def draw_comparison(
    matrices: Mapping[str, np.ndarray], rows: tuple[str, Sequence[str]], columns: tuple[str, Sequence[str]], out: Path
) -> None:
    """Draw the similarity of all levels of two encoders as heat maps.

    Args:
        matrices: Title to similarities [levels of the first, levels of the second].
        rows: Name of the first encoder and of its levels.
        columns: Name of the second encoder and of its levels.
        out: PNG file.
    """
    import matplotlib

    with matplotlib.rc_context({"font.size": 9}):
        width, height = 1.6 + 0.65 * len(columns[1]), 1.4 + 0.45 * len(rows[1])
        figure, axes = _figure(len(matrices), width * len(matrices), height)
        for axis, (title, values) in zip(axes, matrices.items(), strict=True):
            _heat_map(axis, values)
            axis.set(title=title, xlabel=columns[0])
            axis.set_xticks(range(len(columns[1])), columns[1])
        axes[0].set_ylabel(rows[0])
        axes[0].set_yticks(range(len(rows[1])), rows[1])
        figure.savefig(out, dpi=120)


def _depth(results: Mapping[str, Any]) -> Figure | None:
    archs = list(dict.fromkeys(arm["arch"] for arm in results["arms"] if arm["init"].startswith(("transfuse:", "frozen:"))))
    if not archs:
        return None
    figure, axes = _figure(len(archs), 4.8 * len(archs), 3.6)
    for axis, arch in zip(axes, archs, strict=True):
        arms = [arm for arm in results["arms"] if arm["arch"] == arch]
        for number, (kind, label) in enumerate((("transfuse", "all trains"), ("frozen", "the reused stages stay frozen"))):
            points = {int(a["init"].split(":")[1]): a for a in arms if a["init"].startswith(f"{kind}:")}
            if not points:
                continue
            if kind == "transfuse":
                ends = {"random": 0, "pretrained": arms[0]["stages"]}
                points |= {ends[a["init"]]: a for a in arms if a["init"] in ends}
            for key, what, style in (("mean_auroc", "mean over the run", "--"), ("best_auroc", "best", "-")):
                drawn = [(k, points[k][key]) for k in sorted(points) if points[k][key] is not None]
                axis.errorbar(
                    [k for k, _ in drawn],
                    [v["mean"] for _, v in drawn],
                    [v["sd"] or 0 for _, v in drawn],
                    label=f"{what}, {label}",
                    color=_PALETTE[3 + number],
                    marker=_MARKERS[number],
                    linestyle=style,
                    capsize=3,
                )
        axis.set(title=arch, xlabel=f"stages reused, of {arms[0]['stages']} (0: random, all: pretrained)")
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=7, loc="outside lower center", ncols=2)
    axes[0].set_ylabel(f"validation AUROC, {results['task']}")
    return figure
