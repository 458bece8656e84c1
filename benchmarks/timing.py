"""What the benchmarks share: take turns, put two times side by side, print a table, keep the numbers.

Both sides of a comparison run in one process (or as child processes in turn), one after the other in every round and in the
opposite order every second round, so that a slower spell of the machine falls on both. A ratio is the median of the rounds' ratios;
beside every median stand the quartiles over the rounds.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

Clock = Callable[[], float]
SHOWN = {"ms": 1e3, "MB": 1e-6, "million": 1e-6}
"""Unit of a table's cells to its factor on seconds, bytes and counts."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        what: What is compared, and with what.
        ours: Seconds in each round (bytes or counts, if ``unit`` says so).
        reference: The other side's in the same rounds.
        measure: ours / reference, reference / ours (how many times faster or smaller), or ours - reference.
        limit: The target: at most this, for a speed-up at least; None reports only.
        unit: What the table shows.
    """

    what: str
    ours: Sequence[float]
    reference: Sequence[float]
    measure: Literal["ratio", "speed-up", "difference"]
    limit: float | None = None
    unit: Literal["ms", "MB", "million"] = "ms"

    def values(self) -> list[float]:
        """Return the measure in each round."""
        pairs = zip(self.ours, self.reference, strict=True)
        return [a / b if self.measure == "ratio" else b / a if self.measure == "speed-up" else a - b for a, b in pairs]

    def verdict(self) -> str:
        """Return the target, and whether the median meets it."""
        if self.limit is None:
            return "-"
        value, least = spread(self.values())[0], self.measure == "speed-up"
        met = value >= self.limit if least else value <= self.limit
        return f"{'>=' if least else '<='} {self.limit:g} {'met' if met else 'MISSED'}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; [median, lower, upper quartile] of each side in seconds (bytes, counts) and of the measure."""
        own = {"what": self.what, "measure": self.measure, "rounds": len(self.ours), "target": self.verdict(), "shown_in": self.unit}
        return own | {k: spread(v) for k, v in (("ours", self.ours), ("reference", self.reference), ("value", self.values()))}


def spread(values: Sequence[float]) -> list[float]:
    """Return [median, lower quartile, upper quartile]."""
    return [float(v) for v in np.percentile(values, (50, 25, 75))]


def timed(function: Callable[[], object], count: int = 1, now: Callable[[], float] = time.perf_counter) -> Clock:
    """Return a clock that runs a function and gives its seconds, divided by ``count``; garbage is collected before it starts.

    ``now=time.process_time`` takes the processor's seconds in this process, which what else runs on the machine changes little.
    """

    def run() -> float:
        gc.collect()
        started = now()
        function()
        return (now() - started) / count

    return run


def alternate(clocks: Mapping[str, Clock], rounds: int, *, warm_up: int = 1) -> dict[str, list[float]]:
    """Run clocks in turn and return each one's seconds by round; the first ``warm_up`` rounds do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in clocks}
    for number in range(-warm_up, rounds):
        for name in list(clocks) if number % 2 else reversed(list(clocks)):
            value = clocks[name]()
            if number >= 0:
                seconds[name].append(value)
    return seconds


def arguments(description: str | None) -> argparse.Namespace:
    """Read ``--json FILE`` and ``--quick``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="put the numbers into this file, beside those of the other benchmarks")
    parser.add_argument("--quick", action="store_true", help="a smoke run: few rounds, numbers of no worth")
    return parser.parse_args()


def finish(name: str, rows: Sequence[Row], options: argparse.Namespace) -> None:
    """Print the table (median, quartiles) and add the result to the JSON file under ``name``."""
    cells: list[tuple[str, ...]] = [("", "ours", "reference", "measure", "target")]
    for row in rows:
        sides = [[SHOWN[row.unit] * v for v in spread(side)] for side in (row.ours, row.reference)]
        shown = ["{:.1f} {} ({:.1f} to {:.1f})".format(median, row.unit, *quartiles) for median, *quartiles in sides]
        value = spread(row.values())
        unit = " s" if row.measure == "difference" else ""
        cells.append((row.what, *shown, "{:.3f}{} ({:.3f} to {:.3f})".format(value[0], unit, *value[1:]), row.verdict()))
    widths = [max(len(line[k]) for line in cells) for k in range(len(cells[0]))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    keep(name, [row.to_dict() for row in rows], options)


def keep(name: str, rows: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> None:
    """Add a result to the JSON file under ``name``, if one is wanted, with what it ran on."""
    if options.json is None:
        return
    known: dict[str, Any] = json.loads(options.json.read_text(encoding="utf-8")) if options.json.is_file() else {}
    machine = {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "load": os.getloadavg()[0], "platform": platform.platform()}
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    known[name] = {"quick": options.quick, "machine": machine | versions, "rows": list(rows)}
    options.json.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
