"""What the benchmarks share: take turns, put two times side by side, print a table, keep the numbers.

Both sides of a comparison run in one process (or as child processes in turn), one after the other in every round and in the
opposite order every second round, so that a slower spell of the machine falls on both. A ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

Clock = Callable[[], float]


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        what: What is compared, and with what.
        ours: Seconds in each round.
        reference: The other side's seconds in the same rounds.
        measure: ours / reference, reference / ours (how many times faster), or ours - reference in seconds.
        limit: The target: at most this, for a speed-up at least; None reports only.
    """

    what: str
    ours: Sequence[float]
    reference: Sequence[float]
    measure: Literal["ratio", "speed-up", "difference"]
    limit: float | None = None

    def values(self) -> list[float]:
        """Return the measure in each round."""
        pairs = zip(self.ours, self.reference, strict=True)
        return [a / b if self.measure == "ratio" else b / a if self.measure == "speed-up" else a - b for a, b in pairs]

    def verdict(self) -> str:
        """Return the target, and whether the median meets it."""
        if self.limit is None:
            return "-"
        value, least = statistics.median(self.values()), self.measure == "speed-up"
        met = value >= self.limit if least else value <= self.limit
        return f"{'>=' if least else '<='} {self.limit:g} {'met' if met else 'MISSED'}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; [median, min, max] of each side in seconds and of the measure."""
        own = {"what": self.what, "measure": self.measure, "rounds": len(self.ours), "target": self.verdict()}
        return own | {k: spread(v) for k, v in (("ours_s", self.ours), ("reference_s", self.reference), ("value", self.values()))}


def spread(values: Sequence[float]) -> list[float]:
    """Return [median, min, max]."""
    return [statistics.median(values), min(values), max(values)]


def timed(function: Callable[[], object], count: int = 1) -> Clock:
    """Return a clock that runs a function and gives its seconds, divided by ``count``; garbage is collected before it starts."""

    def run() -> float:
        gc.collect()
        started = time.perf_counter()
        function()
        return (time.perf_counter() - started) / count

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
    """Print the table (milliseconds: median, min to max) and add the result to the JSON file under ``name``."""
    cells: list[tuple[str, ...]] = [("", "ours, ms", "reference, ms", "measure", "target")]
    for row in rows:
        ours, reference, value = spread(row.ours), spread(row.reference), spread(row.values())
        times = ["{:.1f} ({:.1f} to {:.1f})".format(*(1e3 * v for v in side)) for side in (ours, reference)]
        unit = " s" if row.measure == "difference" else ""
        cells.append((row.what, *times, "{:.3f}{} ({:.3f} to {:.3f})".format(value[0], unit, *value[1:]), row.verdict()))
    widths = [max(len(line[k]) for line in cells) for k in range(len(cells[0]))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    if options.json is None:
        return
    known: dict[str, Any] = json.loads(options.json.read_text(encoding="utf-8")) if options.json.is_file() else {}
    machine = {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "load": os.getloadavg()[0], "platform": platform.platform()}
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    known[name] = {"quick": options.quick, "machine": machine | versions, "rows": [row.to_dict() for row in rows]}
    options.json.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
