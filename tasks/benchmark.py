"""Benchmarks: variants of one configuration, trained on fractions of the labels with several seeds, measured on the same test rows."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from umsrep.errors import InputError, nearest
from umsrep.tasks.config import FineTuneConfig
from umsrep.tasks.config_file import config_from_dict, dump_config
from umsrep.tasks.progress import say
from umsrep.tasks.runfolder import plain
from umsrep.tasks.trainer import fit

SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a benchmark.

    Attributes:
        variant: Its name.
        fraction: Of the training rows.
        seed: Of everything random, the choice of rows included.
        config: The run.
    """

    variant: str
    fraction: float
    seed: int
    config: FineTuneConfig

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return f"{self.variant}_{self.fraction:g}_{self.seed}"


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A grid of runs.

    Attributes:
        output: Folder for all of them.
        cells: The runs, in order.
        values: What the grid was read from.
    """

    output: Path
    cells: list[Cell]
    values: dict[str, Any]


def load_benchmark(path: str | Path) -> Benchmark:
    """Read a grid from YAML.

    Keys: ``output``; ``seeds`` and ``fractions`` (lists); ``base``, a fine-tuning configuration without ``output`` and ``seed``;
    ``variants``, name to what differs from the base (mappings are merged, a null takes a task out).

    Raises:
        InputError: naming what is missing, unknown or wrong, before anything is trained.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such benchmark file")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    known = ("schema_version", "output", "seeds", "fractions", "base", "variants")
    if not isinstance(values, dict):
        raise InputError(f"{path}: a benchmark is a mapping of keys ({', '.join(known)})")
    for key in values:
        if key not in known:
            raise InputError(f"{path}: unknown key '{key}'{nearest(str(key), known)}")
    for key in ("output", "base", "variants"):
        if key not in values:
            raise InputError(f"{path}: missing key '{key}'")
    version = values.get("schema_version", 1)
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise InputError(f"{path}: schema_version {version!r} is not one that this umsrep reads ({SCHEMA_VERSION}); upgrade umsrep")
    if not isinstance(values["base"], dict) or not isinstance(values["variants"], dict) or not values["variants"]:
        raise InputError(f"{path}: base and variants must be mappings, with at least one variant")
    if not isinstance(values["output"], str):
        raise InputError(f"{path}: output must be a folder, not {values['output']!r}")
    output = Path(values["output"])
    cells = list(_cells(values, output, path))
    doubled = {c.name for c in cells if sum(other.name == c.name for other in cells) > 1}
    if doubled:
        raise InputError(f"{path}: two cells are called {min(doubled)}; seeds and fractions must differ (to six digits)")
    return Benchmark(output, cells, values)


def _cells(values: Mapping[str, Any], output: Path, path: Path) -> Iterator[Cell]:
    seeds, fractions = values.get("seeds", [0]), values.get("fractions", [1.0])
    for name, kind, some in (("seeds", int, seeds), ("fractions", (int, float), fractions)):
        if not isinstance(some, list) or not some or not all(isinstance(v, kind) and not isinstance(v, bool) for v in some):
            raise InputError(f"{path}: {name} must be a list of numbers, not {some!r}")
    # seed by seed, so that a grid that is cut short has compared all variants
    for seed, fraction, (variant, changes) in itertools.product(seeds, fractions, values["variants"].items()):
        if not re.fullmatch(r"[\w.-]+", str(variant)):
            raise InputError(f"{path}: variant '{variant}' must be named in letters, digits, '.', '-' and '_': it names a folder")
        if not isinstance(changes, Mapping | None):
            raise InputError(f"{path}: variant '{variant}' must be a mapping of keys, not {changes!r}")
        own = _merged(values["base"], changes or {})
        sets = own.get("data")
        own["data"] = [{**data, "fraction": fraction} if isinstance(data, Mapping) else data for data in sets or ()]
        name = f"{variant}_{fraction:g}_{seed}"
        config = config_from_dict({**own, "seed": seed, "output": str(output / name)}, where=f"{path}: variant {variant}")
        yield Cell(str(variant), float(fraction), int(seed), config)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    result = copy.deepcopy(dict(base))
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = _merged(result[key], value)
        elif value is None and isinstance(result.get(key), Mapping):
            del result[key]
        else:
            result[key] = copy.deepcopy(value)
    return result


def run_benchmark(benchmark: Benchmark) -> dict[str, Any]:
    """Train the cells that are not done yet, and sum up all.

    A cell that was interrupted goes on where it stopped; results.json grows with every cell.

    Returns:
        JSON values: ``cells`` (variant, fraction, seed, seconds, test metrics) and ``table`` (`summarise_cells`).
    """
    results: dict[str, Any] = {}
    for number, cell in enumerate(benchmark.cells, start=1):
        path = Path(cell.config.output) / "report.json"
        done = path.with_name("config.yaml")
        if path.is_file() and done.read_text(encoding="utf-8") != dump_config(cell.config):
            raise InputError(f"{done}: this cell ran with another configuration; delete its folder, or choose another output")
        if not path.is_file():
            say(f"cell {number} of {len(benchmark.cells)}: {cell.name}")
            fit(cell.config, resume=True)
        report = json.loads(path.read_text(encoding="utf-8"))
        results[cell.name] = {
            "variant": cell.variant,
            "fraction": cell.fraction,
            "seed": cell.seed,
            "seconds": report["seconds"],
            "test": report["test"],
        }
        summary = {"cells": list(results.values()), "table": summarise_cells(list(results.values())), "benchmark": benchmark.values}
        text = json.dumps(plain(summary), indent=2, allow_nan=False) + "\n"
        (benchmark.output / "results.json").write_text(text, encoding="utf-8")
    return summary


def summarise_cells(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return mean, standard deviation over seeds (n - 1; null with one) and n of each metric of each variant and fraction.

    Args:
        cells: As `run_benchmark` collects them.

    Returns:
        One entry a (variant, fraction): ``variant``, ``fraction``, ``seconds`` and ``metrics`` ("task/metric" to mean, sd, n).
    """
    groups: dict[tuple[str, float], list[Mapping[str, Any]]] = {}
    for cell in cells:
        groups.setdefault((cell["variant"], cell["fraction"]), []).append(cell)
    table = []
    for (variant, fraction), members in groups.items():
        values: dict[str, list[float]] = {"seconds": [m["seconds"] for m in members]}
        for member in members:
            for task, metrics in member["test"].items():
                for key, value in metrics.items():
                    if value is not None and key != "n":
                        values.setdefault(f"{task}/{key}", []).append(value)
        metrics = {name: spread(some) for name, some in values.items()}
        table.append({"variant": variant, "fraction": fraction, "seconds": metrics.pop("seconds"), "metrics": metrics})
    return table


def spread(values: Sequence[float]) -> dict[str, float | int | None]:
    """Return mean, sample standard deviation (None of one value) and n."""
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": math.fsum(values) / len(values), "sd": sd, "n": len(values)}
