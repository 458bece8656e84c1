"""From a YAML file to the cells of a benchmark: the product of its axes, each cell one fine-tuning configuration."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from umsrep.errors import InputError, nearest
from umsrep.tasks.benchmark.leave_one_out import expand
from umsrep.tasks.benchmark.probe import check_probe
from umsrep.tasks.benchmark.shifted import TestSet, read_test_sets
from umsrep.tasks.config import FineTuneConfig
from umsrep.tasks.config_file import config_from_dict, read_mapping
from umsrep.tasks.evaluate import check_metric
from umsrep.tasks.setup import make_task

SCHEMA_VERSION = 1
AXES = {"encoders": "encoder", "sets": "set", "strategies": "strategy", "variants": "variant"}
"""Key of the file to the name of one of its entries."""
# in which what differs is merged into the base
_ORDER = ("sets", "encoders", "strategies", "variants")
_KNOWN = ("schema_version", "output", "seeds", "fractions", "base", *AXES, "only", "skip", "tests", "baseline", "metrics")
MAIN_METRICS = {"classification": "auroc", "segmentation": "dice", "denoising": "psnr_gain"}
"""What the tables, tests and pictures are about, by kind of task."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a benchmark.

    Attributes:
        axes: Axis (encoder, set, strategy, variant: those that the grid has) to the entry of it.
        fraction: Of the training rows.
        seed: Of everything random, the choice of rows included.
        config: The run.
        tests: Further test sets that the trained model is measured on, by name.
        probe: Fit linear heads to the features of the frozen encoder instead of training (strategy ``probe``).
    """

    axes: dict[str, str]
    fraction: float
    seed: int
    config: FineTuneConfig
    tests: dict[str, TestSet] = dataclasses.field(default_factory=dict)
    probe: bool = False

    @property
    def variant(self) -> str:
        """What is compared: the entries of all axes but the set."""
        return variant_name(self.axes)

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return "_".join([*self.axes.values(), f"{self.fraction:g}", str(self.seed)])


def variant_name(axes: Mapping[str, str]) -> str:
    """Join the entries of all axes but the set, as tables and `Benchmark.baseline` name what is compared."""
    return "/".join(value for axis, value in axes.items() if axis != "set") or "base"


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A grid of runs.

    Attributes:
        output: Folder for all of them.
        cells: The runs, in order.
        values: What the grid was read from.
        path: The file.
        baseline: The variant that the others are tested against, or None.
        metrics: Kind of task to its main metric.
    """

    output: Path
    cells: list[Cell]
    values: dict[str, Any]
    path: Path
    baseline: str | None = None
    metrics: dict[str, str] = dataclasses.field(default_factory=lambda: dict(MAIN_METRICS))


def load_benchmark(path: str | Path) -> Benchmark:
    """Read a grid from YAML (docs/benchmark.md describes its keys).

    ``output``; ``base``, a fine-tuning configuration without ``output`` and ``seed``; ``seeds`` and ``fractions``, lists; and the axes
    ``encoders``, ``sets``, ``strategies`` and ``variants``, each a mapping of names to what differs from the base (mappings are merged, a
    null takes a task out), of which the cells are the product. ``only`` and ``skip`` choose among them. ``leave_one_out``
    makes the sets, see `umsrep.tasks.benchmark.leave_one_out.expand`.

    Raises:
        InputError: naming what is missing, unknown or wrong, before anything is trained.
    """
    path = Path(path)
    values = expand(read_mapping(path, "benchmark"), path)
    for key in values:
        if key not in _KNOWN:
            raise InputError(f"{path}: unknown key '{key}'{nearest(str(key), _KNOWN)}")
    for key in ("output", "base"):
        if key not in values:
            raise InputError(f"{path}: missing key '{key}'")
    version = values.get("schema_version", 1)
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise InputError(f"{path}: schema_version {version!r} is not one that this umsrep reads ({SCHEMA_VERSION}); upgrade umsrep")
    if not isinstance(values["base"], dict):
        raise InputError(f"{path}: base must be a mapping, not {values['base']!r}")
    if not isinstance(values["output"], str):
        raise InputError(f"{path}: output must be a folder, not {values['output']!r}")
    cells = list(_cells(values, Path(values["output"]), path))
    if not cells:
        raise InputError(f"{path}: only and skip leave no cell")
    doubled = [name for name, count in Counter(c.name for c in cells).items() if count > 1]
    if doubled:
        raise InputError(f"{path}: two cells are called {min(doubled)}; names, seeds and fractions must differ (to six digits)")
    baseline, variants = values.get("baseline"), list(dict.fromkeys(c.variant for c in cells))
    if baseline is not None and baseline not in variants:
        raise InputError(f"{path}: baseline '{baseline}' is no variant{nearest(str(baseline), variants)}; there is {', '.join(variants)}")
    given = read_metrics(values.get("metrics"), f"{path}: metrics")
    for name, task in {(name, repr(task)): (name, task) for cell in cells for name, task in cell.config.tasks.items()}.values():
        if task.kind in given:
            try:
                check_metric(f"{name}/{given[task.kind]}", {name: make_task(name, task)})
            except InputError as error:
                raise InputError(f"{path}: metrics: {str(error).removeprefix('early_stopping.metric ')}") from error
    return Benchmark(Path(values["output"]), cells, values, path, baseline, MAIN_METRICS | given)


def read_metrics(given: Any, where: str) -> dict[str, str]:
    """Check which metric each kind of task is compared in.

    Raises:
        InputError: for an unknown kind, or a metric of which less is better: tables, tests and ranks take more for better.
    """
    if not isinstance(given, Mapping | None):
        raise InputError(f"{where} must map kinds of task to a metric, such as {{classification: balanced_accuracy}}")
    for kind, metric in (given or {}).items():
        if kind not in MAIN_METRICS:
            raise InputError(f"{where}: unknown kind '{kind}'{nearest(str(kind), MAIN_METRICS)}")
        if str(metric).startswith("hd95"):
            raise InputError(f"{where}: of '{metric}' less is better; choose one of which more is, such as {MAIN_METRICS[kind]}")
    return {kind: str(metric) for kind, metric in (given or {}).items()}


def _cells(values: Mapping[str, Any], output: Path, path: Path) -> Iterator[Cell]:
    seeds, fractions = values.get("seeds", [0]), values.get("fractions", [1.0])
    for name, kind, some in (("seeds", int, seeds), ("fractions", (int, float), fractions)):
        if not isinstance(some, list) or not some or not all(isinstance(v, kind) and not isinstance(v, bool) for v in some):
            raise InputError(f"{path}: {name} must be a list of numbers, not {some!r}")
    axes = {AXES[key]: _axis(key, values[key], path) for key in AXES if key in values}
    rules = {key: _patterns(key, values.get(key, []), axes, path) for key in ("only", "skip")}
    parsed: dict[tuple[str, ...], tuple[FineTuneConfig, dict[str, TestSet], bool]] = {}
    # seed by seed, so that a grid that is cut short has compared all variants
    for seed, fraction, *entries in itertools.product(seeds, fractions, *axes.values()):
        chosen = dict(zip(axes, entries, strict=True))
        if (rules["only"] and not _matches(rules["only"], chosen)) or _matches(rules["skip"], chosen):
            continue
        if tuple(entries) not in parsed:
            where = f"{path}: " + ", ".join(f"{axis} {entry}" for axis, entry in chosen.items()) if chosen else str(path)
            parsed[tuple(entries)] = _parse(values, axes, chosen, where)
        config, tests, probe = parsed[tuple(entries)]
        folder = str(output / "_".join([*chosen.values(), f"{fraction:g}", str(seed)]))
        data = [one if one.unlabelled else dataclasses.replace(one, fraction=one.fraction * fraction) for one in config.data]
        yield Cell(chosen, float(fraction), int(seed), dataclasses.replace(config, seed=seed, output=folder, data=data), tests, probe)


def _parse(
    values: Mapping[str, Any], axes: Mapping[str, Mapping[str, Any]], chosen: Mapping[str, str], where: str
) -> tuple[FineTuneConfig, dict[str, TestSet], bool]:
    """Make the configuration, but for seed, fraction and output, the further test sets, and whether to probe, of one entry of each axis."""
    own, tests = dict(values["base"]), _tests(values, where)
    for key in _ORDER:
        if AXES[key] in chosen:
            changes = dict(axes[AXES[key]][chosen[AXES[key]]])
            if key == "sets":
                tests |= _tests(changes, where)
                changes.pop("tests", None)
            own = merged(own, changes)
    for key in ("seed", "output"):
        if key in own:
            raise InputError(f"{where}: {key} is the benchmark's to set, not the configuration's")
    probe = own.get("strategy") == "probe"  # known to benchmarks alone: it leaves no model
    config = config_from_dict({**own, **({"strategy": "frozen"} if probe else {}), "output": str(values["output"])}, where=where)
    if probe:
        check_probe(config, where)
    return config, read_test_sets(tests, config, where), probe


def _tests(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    tests = values.get("tests")
    if not isinstance(tests, Mapping | None):
        raise InputError(f"{where}: tests must map names to data sets, not {tests!r}")
    return dict(tests or {})


def _axis(key: str, entries: Any, path: Path) -> dict[str, Mapping[str, Any]]:
    if not isinstance(entries, dict) or not entries:
        raise InputError(f"{path}: {key} must be a mapping, with at least one {AXES[key]}")
    for name, changes in entries.items():
        if not re.fullmatch(r"[\w.-]+", str(name)):
            raise InputError(f"{path}: {AXES[key]} '{name}' must be named in letters, digits, '.', '-' and '_': it names a folder")
        if not isinstance(changes, Mapping | None):
            raise InputError(f"{path}: {AXES[key]} '{name}' must be a mapping of keys, not {changes!r}")
    return {str(name): changes or {} for name, changes in entries.items()}


def _patterns(key: str, rules: Any, axes: Mapping[str, Mapping[str, Any]], path: Path) -> list[dict[str, str]]:
    if not isinstance(rules, list) or not all(isinstance(rule, dict) and rule for rule in rules):
        raise InputError(f"{path}: {key} must be a list of mappings, such as [{{encoder: cbr*, strategy: frozen}}]")
    for rule in rules:
        for axis, pattern in rule.items():
            if axis not in axes:
                raise InputError(f"{path}: {key}: no axis '{axis}'{nearest(str(axis), axes)}")
            if not any(fnmatchcase(entry, str(pattern)) for entry in axes[axis]):
                raise InputError(f"{path}: {key}: no {axis} is called '{pattern}'; there is {', '.join(axes[axis])}")
    return [{str(axis): str(pattern) for axis, pattern in rule.items()} for rule in rules]


def _matches(rules: list[dict[str, str]], chosen: Mapping[str, str]) -> bool:
    return any(all(fnmatchcase(chosen[axis], pattern) for axis, pattern in rule.items()) for rule in rules)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the base with changes: mappings are merged, a null takes a mapping out, all else is replaced."""
    result = copy.deepcopy(dict(base))
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        elif value is None and isinstance(result.get(key), Mapping):
            del result[key]
        else:
            result[key] = copy.deepcopy(value)
    return result
