"""Pictures of a benchmark: the critical-difference diagram, and quality against what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umsrep.tasks.benchmark.summary import OWN_TEST, Values
from umsrep.tasks.benchmark.tables import shown
from umsrep.tasks.pictures import COLOURS
from umsrep.tasks.statistics import Friedman, friedman

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GREY = "#555555"


def rank_variants(values: Values, *, alpha: float = 0.05) -> tuple[list[str], Friedman] | None:
    """Rank the variants over sets and tasks, each a block (Demšar 2006).

    Seeds, fractions of the labels and further test sets of one trained model are no independent data: a block's quality is the mean
    over seeds and fractions on the set's own test rows.

    Returns:
        The variants, best mean rank first, with the test over the blocks that have all of them; None with fewer than two of either.
    """
    variants = list(dict.fromkeys(v for column in values.values() for v in column))
    groups: dict[tuple[str, str], list[Mapping[str, Mapping[int, float]]]] = {}
    for column, found in values.items():
        if column.test == OWN_TEST:
            groups.setdefault((column.set, column.task), []).append(found)
    blocks = [
        [np.mean([np.mean(list(found[v].values())) for found in some]) if all(v in found for found in some) else np.nan for v in variants]
        for some in groups.values()
    ]
    result = friedman(np.array(blocks, dtype=np.float64).reshape(len(blocks), len(variants)), alpha=alpha)
    if result.blocks < 2 or len(variants) < 2:
        return None
    order = np.argsort(result.ranks, kind="stable")
    ranked = Friedman([result.ranks[i] for i in order], result.statistic, result.p, result.critical_difference, result.blocks)
    return [variants[i] for i in order], ranked


def cliques(ranks: Sequence[float], critical_difference: float) -> list[tuple[int, int]]:
    """Return the largest runs (first, last position) of sorted ranks that do not differ: those that no other run holds."""
    runs = [
        (first, max(last for last in range(first, len(ranks)) if ranks[last] - ranks[first] < critical_difference))
        for first in range(len(ranks))
    ]
    return [(a, b) for i, (a, b) in enumerate(runs) if b > a and not any(c <= a and b <= d for c, d in runs[:i])]


def draw_critical_difference(values: Values, out: Path) -> bool:
    """Draw mean ranks, with a bar over variants that do not differ at .05 by Nemenyi's test.

    Returns:
        Whether there was something to rank (see `rank_variants`).
    """
    import matplotlib
    from matplotlib.figure import Figure

    ranked = rank_variants(values)
    if ranked is None:
        return False
    names, result = ranked
    k = len(names)
    half = (k + 1) // 2
    bars = cliques(result.ranks, result.critical_difference)
    top = 1.0 + 0.28 * len(bars)
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(7.2, 1.5 + 0.25 * (half + len(bars))), layout="constrained")
        axes = figure.subplots()
        axes.hlines(0, 1, k, color="black", linewidth=1)
        for tick in range(1, k + 1):
            axes.vlines(tick, 0, 0.15, color="black", linewidth=1)
            axes.text(tick, 0.25, str(tick), ha="center", va="bottom")
        axes.hlines(1.0, 1, 1 + result.critical_difference, color=_GREY, linewidth=1.5)
        axes.text(
            1 + result.critical_difference + 0.05, 1.0, f"critical difference {result.critical_difference:.2f}", va="center", color=_GREY
        )
        for position, (name, rank) in enumerate(zip(names, result.ranks, strict=True)):
            left = position < half
            depth = -top + 0.6 - 0.55 * ((position if left else k - 1 - position) + 1)
            edge = 0.9 if left else k + 0.1
            axes.plot([rank, rank, edge], [0, depth, depth], color="black", linewidth=0.9)
            axes.text(edge + (-0.05 if left else 0.05), depth, f"{name}  {rank:.2f}", ha="right" if left else "left", va="center")
        for level, (first, last) in enumerate(bars):
            y = -0.3 - 0.28 * level
            axes.hlines(y, result.ranks[first] - 0.04, result.ranks[last] + 0.04, color="#D55E00", linewidth=3.5)
        p = "" if np.isnan(result.p) else f"; Friedman p = {result.p:.2g}"
        axes.set_title(f"mean rank over {result.blocks} sets and tasks, 1 is best{p}; joined: no difference at .05 (Nemenyi)", fontsize=9)
        margin = 0.16 * max(len(n) for n in names) * k / 7
        axes.set_xlim(0.7 - margin, k + 0.3 + margin)
        axes.set_ylim(-top + 0.6 - 0.55 * (half + 0.8), 1.4)
        axes.axis("off")
        figure.savefig(out, dpi=150)
    return True


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the positions of the (cost, quality) that no other point equals or beats in both and beats in one, cheapest first."""
    kept = [
        i
        for i, (cost, quality) in enumerate(points)
        if not any(c <= cost and q >= quality and (c < cost or q > quality) for c, q in points)
    ]
    return sorted(kept, key=lambda i: points[i])


COSTS = {
    "seconds": "seconds of training and validation",
    "images": "training images seen",
    "tera-MACs": "10¹² multiply-accumulates, forward",
}
"""What quality is drawn against. The third, images times the MACs of a pass, leaves out backward passes, in which strategies differ."""


def _costs(cell: Mapping[str, Any]) -> dict[str, float]:
    cost = cell["cost"]
    return {"seconds": cell["seconds"], "images": cost["images"], "tera-MACs": cost["images"] * cost["macs"] / 1e12}


def draw_compute(cells: Sequence[Mapping[str, Any]], values: Values, out: Path) -> None:
    """Draw for each column the mean quality of each variant, with its sd over seeds, against its cost; a line joins the Pareto front."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    columns = [column for column in values if column.test == OWN_TEST]
    variants = list(dict.fromkeys(v for column in columns for v in values[column]))
    colours = (COLOURS[1:] / 255).tolist()  # seven, and eight marks: 56 variants before one looks like another
    marks = {v: ("osD^vPX*"[i % 8], colours[i % len(colours)]) for i, v in enumerate(variants)}
    with matplotlib.rc_context({"font.size": 8}):
        figure = Figure(figsize=(3.0 * len(COSTS) + 1.6, 2.4 * len(columns)), layout="constrained")
        grid = figure.subplots(len(columns), len(COSTS), squeeze=False, sharey="row")
        for row, column in zip(grid, columns, strict=True):
            for axes, (cost, label) in zip(row, COSTS.items(), strict=True):
                spent = {
                    v: np.mean([_costs(c)[cost] for c in cells if (c["variant"], c.get("set") or "", c["fraction"]) == (v, *_key(column))])
                    for v in values[column]
                }
                _draw_panel(axes, values[column], spent, column.metric, marks)
                axes.set_xscale("log")
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
                axes.xaxis.set_minor_formatter(NullFormatter())
                axes.set_xlabel(label if column == columns[-1] else "")
            row[0].set_ylabel(f"{column.title}\n{shown(column.metric)[0]}")
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False)
        figure.savefig(out, dpi=150)


def _key(column: Any) -> tuple[str, float]:
    return column.set, column.fraction


def _draw_panel(
    axes: Axes, found: Mapping[str, Mapping[int, float]], spent: Mapping[str, Any], metric: str, marks: Mapping[str, Any]
) -> None:
    factor = shown(metric)[1]
    points = []
    for variant, seeds in found.items():
        some = np.array(list(seeds.values())) * factor
        points.append((float(spent[variant]), float(some.mean())))
        sd = some.std(ddof=1) if len(some) > 1 else None
        marker, colour = marks[variant]
        axes.errorbar(*points[-1], yerr=sd, marker=marker, color=colour, linestyle="", markersize=5, elinewidth=0.8, label=variant)
    front = [points[i] for i in pareto(points)]
    axes.plot(*zip(*front, strict=True), color=_GREY, linewidth=1, linestyle="--", zorder=0)
    axes.grid(visible=True, alpha=0.3)
