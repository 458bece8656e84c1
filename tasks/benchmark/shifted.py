"""Further test sets of a benchmark: other sites, other devices, shifted images; measured once on each trained model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import PartialState

from umsrep.errors import InputError, nearest
from umsrep.heads import ClassificationHead
from umsrep.tasks.benchmark.locks import write_whole
from umsrep.tasks.config import DataConfig, FineTuneConfig, TargetConfig
from umsrep.tasks.config_file import text_keys
from umsrep.tasks.data.dataset import JointDataset, Source, Target
from umsrep.tasks.data.manifest import Manifest, load_manifest
from umsrep.tasks.data.subset import rows_where, take_fraction
from umsrep.tasks.evaluate import annotates, collect, summarise
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.runfolder import plain
from umsrep.tasks.setup import make_targets, make_task
from umsrep.tasks.task import Task
from umsrep.tasks.validation import at_middle_level

FILE = "tests.json"


@dataclasses.dataclass(frozen=True)
class TestSet:
    """Rows that a trained model is tested on.

    Attributes:
        path: What `load_manifest` opens.
        split: train, validation or test, or all: every row, whatever its split says.
        split_column: Column that says so.
        tasks: Heads to test; default those that the data is annotated for.
        targets: Task's name to where its target stands.
        limit: At most so many rows, of whole patients, the same for every model; null takes all.
        only: Column to the values whose rows are taken, such as one site.
    """

    __test__ = False  # no class of tests, whatever pytest thinks of its name

    path: str
    split: str = "test"
    split_column: str = "split"
    tasks: list[str] | None = None
    targets: dict[str, TargetConfig] = dataclasses.field(default_factory=dict)
    limit: int | None = None
    only: dict[str, list[str]] = dataclasses.field(default_factory=dict)


def read_test_sets(values: Any, config: FineTuneConfig, where: str) -> dict[str, TestSet]:
    """Read the ``tests`` of a grid: name to the keys of `TestSet`.

    Raises:
        InputError: for a key that is unknown or wrong.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{where}: tests must map names to data sets, not {values!r}")
    known = [f.name for f in dataclasses.fields(TestSet)]
    sets = {}
    for name, given in values.items():
        here = f"{where}: tests.{name}"
        if not isinstance(given, Mapping) or not isinstance(given.get("path"), str):
            raise InputError(f"{here} must be a mapping with the path of a data set")
        for key in given:
            if key not in known:
                raise InputError(f"{here}: unknown key '{key}'{nearest(str(key), known)}")
        limit, targets, tasks = given.get("limit"), given.get("targets") or {}, given.get("tasks")
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            raise InputError(f"{here}: limit must be a number of rows or null, not {limit!r}")
        if not isinstance(targets, Mapping) or not isinstance(tasks, list | None):
            raise InputError(f"{here}: targets must be a mapping, tasks a list")
        for task in (*targets, *(tasks or ())):
            if task not in config.tasks:
                raise InputError(f"{here} names task '{task}'{nearest(str(task), config.tasks)}")
        only = given.get("only") or {}
        if not isinstance(only, Mapping) or not all(isinstance(v, list) and v for v in only.values()):
            raise InputError(f"{here}: only must map columns to lists of values, not {only!r}")
        read = {str(task): _target(target, f"{here}: targets.{task}") for task, target in targets.items()}
        sets[str(name)] = TestSet(**{**given, "targets": read})
    return sets


def _target(values: Any, where: str) -> TargetConfig:
    known = [f.name for f in dataclasses.fields(TargetConfig)]
    if not isinstance(values, Mapping) or not isinstance(values.get("map") or {}, Mapping):
        raise InputError(f"{where} must be a mapping of column and map")
    for key in values:
        if key not in known:
            raise InputError(f"{where}: unknown key '{key}'{nearest(str(key), known)}")
    return TargetConfig(values.get("column"), text_keys(values.get("map") or {}))


def stored_tests(config: FineTuneConfig, tests: Mapping[str, TestSet]) -> dict[str, Any]:
    """Return the metrics of those test sets that a run was measured on already: name to task to metrics."""
    stored = _read(Path(config.output) / FILE)
    return {name: stored[name]["metrics"] for name, test in tests.items() if _asked(stored, name) == dataclasses.asdict(test)}


def _asked(stored: Mapping[str, Any], name: str) -> dict[str, Any]:
    asked: dict[str, Any] = stored.get(name, {}).get("asked", {})
    return {"only": {}} | asked  # tests that were stored before had no such key


def measure(config: FineTuneConfig, tests: Mapping[str, TestSet]) -> dict[str, Any]:
    """Measure a trained run on each test set that it was not measured on yet; the results stay in tests.json in its folder.

    Denoising is tested at the middle of its range of levels, as in the run; heads that the run did not train are left out.

    Returns:
        As `stored_tests`, of all of them.
    """
    path = Path(config.output) / FILE
    there = stored_tests(config, tests)
    for name, test in tests.items():
        if name not in there:
            entry = {"asked": dataclasses.asdict(test), "metrics": plain(_evaluate(config, test, name))}
            write_whole(path, json.dumps(_read(path) | {name: entry}, indent=2, allow_nan=False) + "\n")
    return stored_tests(config, tests)


def _read(path: Path) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return stored


def _evaluate(config: FineTuneConfig, test: TestSet, name: str) -> dict[str, dict[str, float]]:
    model = MultiTaskModel.from_pretrained(Path(config.output) / "model").to(PartialState().device)
    manifest, rows = rows_of(test)
    tasks, targets = served_tasks(config, test, name, manifest)
    source = Source(manifest, rows, list(tasks), targets)
    dataset = JointDataset([source], tasks, model.encoder.contract, seed=config.seed, lenient=config.lenient)
    for task in tasks:
        if not dataset.annotated[task].any():
            raise InputError(f"{manifest.table}: no row with {test.split_column} = {test.split} is annotated for '{task}'")
    found = collect(model, dataset, batch_size=config.batch_size, workers=config.workers, title=f"testing on {name}")
    thresholds = {task: head.thresholds for task, head in model.heads.items() if isinstance(head, ClassificationHead)}
    return summarise(found, dataset.tasks, thresholds)


def rows_of(test: TestSet) -> tuple[Manifest, list[int]]:
    """Open a test set, and choose its rows: the same for every model."""
    manifest = load_manifest(test.path)
    rows = list(range(len(manifest))) if test.split == "all" else manifest.rows(test.split, test.split_column)
    if test.only:
        kept = rows_where(manifest, test.only)
        rows = [row for row in rows if row in kept]
        if not rows:
            raise InputError(f"{manifest.table}: no row with {test.split_column} = {test.split} and {test.only}")
    if test.limit is not None and len(rows) > test.limit:
        rows = take_fraction(manifest, rows, test.limit / len(rows), seed=0)
    return manifest, rows


def served_tasks(config: FineTuneConfig, test: TestSet, name: str, manifest: Manifest) -> tuple[dict[str, Task], dict[str, Target]]:
    """Return the trained tasks that a test set is asked or annotated for, denoising at the middle of its levels, and all targets.

    Raises:
        InputError: where there is none.
    """
    tasks = {task: at_middle_level(make_task(task, config.tasks[task])) for task in config.train_heads or config.tasks}
    targets = make_targets(DataConfig(test.path, targets=test.targets), config.tasks)
    served = [task for task in tasks if (task in test.tasks if test.tasks else _annotated(task, tasks[task], manifest, targets[task]))]
    if not served:
        raise InputError(f"{manifest.table}: annotated for none of {', '.join(tasks)}; give tests.{name} tasks or targets")
    return {task: tasks[task] for task in served}, targets


def _annotated(name: str, task: Task, manifest: Manifest, target: Target) -> bool:
    if target.column is None:
        return annotates(name, task, manifest, {name: target})
    return all(c in manifest.columns for c in ([target.column] if isinstance(target.column, str) else target.column))
