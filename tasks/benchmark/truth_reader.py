"""Reading scores of encoders, and the truth about them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from umsrep.errors import InputError, nearest
from umsrep.tasks.benchmark.grid import MAIN_METRICS, read_metrics
from umsrep.tasks.benchmark.summary import OWN_TEST


@dataclasses.dataclass(frozen=True)
class Scored:
    """Scores of encoders for one task of one data set.

    Attributes:
        data: Path or name of the set; "" where the file does not say.
        task: Name of the task.
        kind: classification, segmentation or denoising.
        scores: Encoder to score's name to value.
        draws: Encoder to score's name to its bootstrap values over rows, where the file holds them.
        aliases: Encoder to all it may be called: its name, as the user wrote it, preset or folder, architecture with weights.
        truth: Encoder to test set to quality, where the file holds it itself.
        metric: What that quality is.
    """

    data: str
    task: str
    kind: str
    scores: dict[str, dict[str, float]]
    draws: dict[str, dict[str, list[float]]]
    aliases: dict[str, set[str]]
    truth: dict[str, dict[str, float]]
    metric: str = "quality"


@dataclasses.dataclass(frozen=True)
class Truth:
    """Measured quality of encoders for one task.

    Attributes:
        name: For people: set, task, fraction of the labels.
        data: Paths of the data sets that were trained on.
        task: Head.
        kind: As for `Scored`.
        test: `OWN_TEST`, in distribution, or the name of a further test set.
        metric: What was measured.
        columns: Columns of the target; () is the default.
        quality: Encoder to its quality.
        aliases: As for `Scored`.
        parameters: Encoder to its number of parameters, where known: a baseline that no score has to compute.
    """

    name: str
    data: tuple[str, ...]
    task: str
    kind: str
    test: str
    metric: str
    columns: tuple[str, ...]
    quality: dict[str, float]
    aliases: dict[str, set[str]]
    parameters: dict[str, float] = dataclasses.field(default_factory=dict)


def read_scores(paths: Iterable[Path]) -> list[Scored]:
    """Read scores: what ``umsrep choose --json`` prints, or a study such as docs/results/chaves2023.json (docs/benchmark.md).

    Raises:
        InputError: for a file that is not there, is not JSON, or holds no task with encoders and scores.
    """
    found = []
    for path in paths:
        values = _json(path)
        for study in values if isinstance(values, list) else [values]:
            tasks = study.get("tasks") if isinstance(study, dict) else None
            for name, task in _named(tasks, path, "tasks"):
                found.append(_scored(study, name, task, path))
    return found


def _scored(study: Mapping[str, Any], name: str, task: Mapping[str, Any], path: Path) -> Scored:
    kind = task.get("kind")
    if kind not in MAIN_METRICS:
        raise InputError(f"{path}: task '{name}' has kind {kind!r}, which is none of {', '.join(MAIN_METRICS)}")
    data = str(task.get("data") or study.get("data") or "")
    one = Scored(data, name, str(kind), {}, {}, {}, {}, str(study.get("truth_metric") or "quality"))
    entries = task.get("encoders") if "encoders" in task else _by_encoder(study, task, path, f"tasks.{name}.scores")
    for encoder, entry in _named(entries, path, f"tasks.{name}.encoders"):
        values: dict[str, Any] = {}
        for part in ("scores", "baselines"):
            values |= entry.get(part) or {}
        cost = entry.get("cost") if isinstance(entry.get("cost"), Mapping) else {}
        parameters = entry.get("parameters", cost.get("parameters") if isinstance(cost, Mapping) else None)
        if parameters is not None:
            values.setdefault("parameters", parameters)
        one.scores[encoder] = {score: _number(value, path, f"{name}, {encoder}, {score}") for score, value in values.items()}
        one.draws[encoder] = {s: [_float(d) for d in v["draws"]] for s, v in values.items() if isinstance(v, Mapping) and v.get("draws")}
        config = entry.get("config")
        one.aliases[encoder] = _aliases(config if isinstance(config, Mapping) else entry) | {encoder} | _spec_aliases(entry)
        truth = entry.get("truth")
        if truth is not None:
            given = truth if isinstance(truth, Mapping) else {OWN_TEST: truth}
            one.truth[encoder] = {test: _number(value, path, f"{name}, {encoder}, truth") for test, value in given.items()}
    if not any(one.scores.values()):
        raise InputError(f"{path}: task '{name}' holds no scores of encoders")
    return one


def _by_encoder(study: Mapping[str, Any], task: Mapping[str, Any], path: Path, where: str) -> dict[str, dict[str, Any]]:
    """Return entries by encoder from what ``umsrep choose`` prints: facts of encoders, and score to encoder to value."""
    entries = {name: {k: v for k, v in facts.items() if k != "name"} for name, facts in _named(study.get("encoders"), path, "encoders")}
    for score, places in _named(task.get("scores"), path, where):
        for encoder, place in places.items():
            if encoder not in entries:
                raise InputError(f"{path}: {where}.{score} names '{encoder}'{nearest(encoder, entries)}")
            entries[encoder].setdefault("scores", {})[score] = place
    return entries


def _named(values: Any, path: Path, where: str) -> list[tuple[str, dict[str, Any]]]:
    """Return (name, entry) of a mapping, or of a list of entries that have a name."""
    if isinstance(values, list):
        values = {str(e.get("name") or e.get("task") or e.get("encoder")): e for e in values if isinstance(e, Mapping)}
    if not isinstance(values, Mapping) or not values or not all(isinstance(v, Mapping) for v in values.values()):
        raise InputError(f"{path}: {where} must map names to entries (docs/benchmark.md shows a file)")
    return [(str(name), dict(entry)) for name, entry in values.items()]


def _aliases(config: Mapping[str, Any]) -> set[str]:
    """Return what an encoder's configuration calls it: its preset or folder, or its architecture with the file of its weights."""
    names = set()
    if config.get("name"):
        names |= _path_aliases(str(config["name"]))
    if config.get("arch") and "weights" in config:
        weights = config.get("weights")
        names.add(f"{config['arch']}={Path(str(weights)).name}" if weights else f"{config['arch']} (random)")
    return names


def _spec_aliases(entry: Mapping[str, Any]) -> set[str]:
    """Return what ``umsrep choose --encoders`` calls an encoder: a preset, folder or repository, ARCH=FILE, or ARCH for random weights."""
    spec = entry.get("spec")
    if not spec:
        return set()
    arch, equals, file = str(spec).partition("=")
    if equals:
        return {f"{arch}={Path(file).name}"}
    return {f"{spec} (random)"} if entry.get("random") else _path_aliases(str(spec))


def _path_aliases(name: str) -> set[str]:
    return {name, str(Path(name).expanduser().resolve())} if Path(name).expanduser().is_dir() else {name}


def _number(value: Any, path: Path, where: str) -> float:
    """Return a number, the ``value`` of a mapping, or NaN for null."""
    if isinstance(value, Mapping):
        value = value.get("value")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InputError(f"{path}: {where}: {value!r} is no number")
    return _float(value)


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)


def read_truth(paths: Iterable[Path], metrics: Mapping[str, str] | None = None) -> list[Truth]:
    """Read the truth from results.json of benchmarks with an axis ``encoders``.

    The quality of an encoder is the mean over seeds of the main metric on test rows; of several strategies or variants it is that of
    the one whose mean on the *validation* rows is best, so that the test rows choose nothing.

    Args:
        paths: The files.
        metrics: Kind of task to metric, instead of the benchmark's own.

    Raises:
        InputError: for a file that is none, a grid without encoders, or a metric that was not measured.
    """
    found: list[Truth] = []
    asked = read_metrics(metrics, "metric")
    for path in paths:
        values = _json(path)
        cells = values.get("cells") if isinstance(values, dict) else None
        if not isinstance(cells, list) or not cells:
            raise InputError(f"{path}: holds no cells of a benchmark")
        if not all("encoder" in cell.get("axes", {}) for cell in cells):
            raise InputError(f"{path}: the benchmark has no axis 'encoders', so it tells nothing of scores of encoders")
        main = {**MAIN_METRICS, **values.get("metrics", {}), **asked}
        groups: dict[tuple[str, float], list[dict[str, Any]]] = {}
        for cell in cells:
            groups.setdefault((cell.get("set") or "", cell["fraction"]), []).append(cell)
        for (name, fraction), members in groups.items():
            for task, kind in {t: k for cell in members for t, k in cell["kinds"].items()}.items():  # a variant may leave tasks out
                found += _truths(name, fraction, members, task, kind, main[kind], path)
    return found


def _truths(name: str, fraction: float, cells: Sequence[Mapping[str, Any]], task: str, kind: str, metric: str, path: Path) -> list[Truth]:
    ways: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for cell in cells:
        ways.setdefault(cell["axes"]["encoder"], {}).setdefault(cell["variant"], []).append(cell)
    best = {
        encoder: max(some.values(), key=lambda members: _mean([m["validation"].get(task, {}).get(metric) for m in members], -math.inf))
        for encoder, some in ways.items()
    }
    measured = [m[task] for c in cells for m in [c["test"], *c["shifted"].values()] if task in m]
    if measured and not any(metric in m for m in measured):
        raise InputError(f"{path}: '{metric}' of '{task}' was not measured{nearest(metric, measured[0])}")
    aliases = {encoder: _aliases(members[0]["encoder"]) | {encoder} for encoder, members in best.items()}
    parameters = {encoder: float(members[0]["cost"]["parameters"]) for encoder, members in best.items()}
    title = " ".join(part for part in (name, task) if part) + (f", {fraction:.3g} of labels" if fraction != 1 else "")
    found = []
    for test in dict.fromkeys([OWN_TEST, *(test for c in cells for test in c["shifted"])]):
        quality = {
            encoder: _mean([(c["test"] if test == OWN_TEST else c["shifted"].get(test, {})).get(task, {}).get(metric) for c in members])
            for encoder, members in best.items()
        }
        if any(not math.isnan(q) for q in quality.values()):
            first = next(c for c in cells if task in c["kinds"])
            columns = first["targets"].get(task) or []
            found.append(Truth(title, tuple(first["data"]), task, kind, test, metric, tuple(columns), quality, aliases, parameters))
    return found


def _mean(values: Sequence[float | None], empty: float = math.nan) -> float:
    known = [v for v in values if v is not None]
    return math.fsum(known) / len(known) if known else empty


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from error
