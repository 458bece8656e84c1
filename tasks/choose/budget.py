"""`--budget`: try the first candidates by short fine-tuning with successive halving; what trusting a score would have cost."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umsrep.errors import InputError
from umsrep.tasks.choose.annotations import Annotated
from umsrep.tasks.choose.candidates import Candidate
from umsrep.tasks.config import DataConfig, FineTuneConfig, OptimiserConfig, TargetConfig
from umsrep.tasks.config_file import load_config
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.progress import say
from umsrep.tasks.runfolder import fingerprint
from umsrep.tasks.setup import make_task
from umsrep.tasks.statistics import regret

if TYPE_CHECKING:
    from umsrep.tasks.choose.choice import Choice

STEPS = 100
"""Optimiser steps of the first round, by default."""
BATCH = 16
ALL = "all tasks"


@dataclasses.dataclass(frozen=True)
class Plan:
    """How many encoders to try, and with how many steps each in the first round."""

    encoders: int
    steps: int


@dataclasses.dataclass(frozen=True)
class Round:
    """One round of successive halving.

    Attributes:
        steps: Optimiser steps of each encoder so far.
        quality: Task (and `ALL`, the selection score of fine-tuning) to encoder to its validation metric after these steps.
    """

    steps: int
    quality: dict[str, dict[str, float]]


@dataclasses.dataclass(frozen=True)
class Budget:
    """What trying out found.

    Attributes:
        rounds: The rounds; from one to the next the better half stays.
        best: The encoder that was left.
        metrics: Task to the metric of its quality, on the validation rows.
        regrets: Task to score to ``choice`` (what the score puts first; several where it ties), ``lost`` (quality lost by taking it, at
            the last round it was in; None where it was not tried) and ``steps`` (of that round).
        seconds: It took, of all runs in the folder.
        notes: What was left out, a line each.
    """

    rounds: list[Round]
    best: str
    metrics: dict[str, str]
    regrets: dict[str, dict[str, dict[str, object]]]
    seconds: float
    notes: list[str]


def parse_budget(text: str) -> Plan:
    """Read ``K`` or ``KxSTEPS``.

    Raises:
        InputError: for anything else.
    """
    match = re.fullmatch(r"(\d{1,4})(?:x(\d{1,7}))?", text.strip())
    plan = Plan(int(match[1]), int(match[2] or STEPS)) if match else Plan(0, 0)
    if plan.encoders < 2 or plan.steps < 1:
        raise InputError(
            f"budget '{text}' must be K or KxSTEPS: K encoders, 2 or more, and STEPS of the first round, for example 4x{STEPS}"
        )
    return plan


def try_out(
    plan: Plan,
    ordered: Sequence[Candidate],
    tasks: Sequence[Annotated],
    choice: Choice,
    manifest: Manifest,
    *,
    data: str,
    split_column: str,
    output: Path,
    seed: int,
    workers: int,
) -> Budget:
    """Fine-tune the first K encoders jointly on all tasks that have validation rows, by successive halving.

    Each encoder trains STEPS steps at a constant learning rate; the better half (by the mean over tasks of the validation metric, as
    fine-tuning selects) goes on to twice as many steps in the same run, until one is left (Jamieson & Talwalkar 2016). Runs that are
    there already go on or are taken as they are, so that an interrupted call can be repeated.

    Args:
        plan: K and STEPS.
        ordered: Candidates from the best.
        tasks: Annotated tasks.
        choice: The scores, for the regrets.
        manifest: The set.
        data: Its path.
        split_column: Column with train, validation, test.
        output: Each encoder's run goes to ``output/budget/<encoder>``.
        seed: Of the runs.
        workers: Loader processes.

    Raises:
        InputError: if there are no validation rows, or a run in the folder was made otherwise.
    """
    from umsrep.tasks.trainer import fit

    started = time.perf_counter()
    kept = [task for task in tasks if _validated(task, manifest, split_column)]
    if not kept:
        raise InputError(f"{manifest.table}: --budget needs rows with {split_column} = validation that are annotated for a task")
    notes = [f"task '{task.name}' has no annotated validation rows and is not part of --budget" for task in tasks if task not in kept]
    alive = [candidate.name for candidate in ordered[: plan.encoders]]
    by_name = {candidate.name: candidate for candidate in ordered}
    steps, rounds = plan.steps, []
    while True:
        quality: dict[str, dict[str, float]] = {}
        for name in alive:
            say(f"--budget: {name}, {steps} steps")
            config = _config(
                by_name[name], kept, data=data, split_column=split_column, output=output, steps=steps, seed=seed, workers=workers
            )
            entry = _measured(config, manifest)
            if entry is None:
                fit(config, resume=True)
                entry = _measured(config, manifest)
                assert entry is not None  # the last step is always validated
            quality.setdefault(ALL, {})[name] = _or_nan(entry["score"])
            for task in kept:
                metrics = {key: _or_nan(value) for key, value in entry["validation"].get(_head(task), {}).items()}
                quality.setdefault(task.name, {})[name] = make_task(task.name, task.config).score(metrics)
        rounds.append(Round(steps, quality))
        if len(alive) == 1:
            break
        alive = sorted(alive, key=lambda one: -_number(quality[ALL][one]))[: math.ceil(len(alive) / 2)]
        steps *= 2
    named = {ALL: "mean of the tasks' metrics", **{task.name: make_task(task.name, task.config).metric for task in kept}}
    return Budget(rounds, alive[0], named, _regrets(rounds, choice, [t.name for t in kept]), round(time.perf_counter() - started, 1), notes)


def _measured(config: FineTuneConfig, manifest: Manifest) -> dict[str, Any] | None:
    """Return what a run of this configuration and data, which may have gone on since, measured after so many steps; None if it has not."""
    output = Path(config.output)
    try:
        lines = (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        entries = [json.loads(line) for line in lines]
        began = load_config(str(output / "config.yaml"), [])
        data = json.loads((output / "environment.json").read_text(encoding="utf-8"))["data"]
    except (OSError, ValueError, KeyError):  # no run, or one that was killed while it wrote: fitting goes on with it, or says what is wrong
        return None
    if dataclasses.replace(began, max_steps=None, workers=0) != dataclasses.replace(config, max_steps=None, workers=0):
        return None
    if list(data.values()) != [fingerprint(manifest)]:
        return None
    return next((entry for entry in entries if entry["step"] == config.max_steps and "validation" in entry), None)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _number(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _head(task: Annotated) -> str:
    """Name the head so that it is none of those a preset brings, which would start trained."""
    return f"trial_{task.name}"


def _validated(task: Annotated, manifest: Manifest, split_column: str) -> bool:
    rows = [row for row, split in enumerate(manifest.column(split_column)) if split == "validation"]
    if task.kind == "denoising":
        return bool(rows)
    columns = task.target.column if isinstance(task.target.column, tuple) else (task.target.column or "label",)
    cells = [manifest.columns[column][row] for column in columns for row in rows]
    return any(task.target.map.get(cell, cell) for cell in cells if cell)


def _config(
    candidate: Candidate, tasks: Sequence[Annotated], *, data: str, split_column: str, output: Path, steps: int, seed: int, workers: int
) -> FineTuneConfig:
    size = candidate.encoder.contract.size
    assert isinstance(size, tuple)
    targets = {}
    for task in tasks:
        column = task.target.column
        targets[_head(task)] = TargetConfig(list(column) if isinstance(column, tuple) else column, dict(task.target.map))
    folder = re.sub(r"[^\w.=-]+", "_", candidate.name)
    return FineTuneConfig(
        tasks={_head(task): task.config for task in tasks},
        data=[DataConfig(data, tasks=[_head(task) for task in tasks], targets=targets, split_column=split_column)],
        output=str(output / "budget" / folder),
        encoder=candidate.config,
        seed=seed,
        image_size=list(size),
        batch_size=BATCH,
        epochs=10**6,
        max_steps=steps,
        optimiser=OptimiserConfig(warmup=0.0, final_fraction=1.0),  # so that a run that goes on is as one that was longer from the start
        ema=0.0,
        validate_every=10**6,  # and at the last step
        workers=workers,
    )


def _regrets(rounds: Sequence[Round], choice: Choice, tasks: Sequence[str]) -> dict[str, dict[str, dict[str, object]]]:
    """For each task and score: what trusting it would have cost, among encoders that were trained for equally many steps."""
    found: dict[str, dict[str, dict[str, object]]] = {}
    for task in choice.tasks:
        if task.name in tasks:
            tables = {name: {n: p.value for n, p in table.items()} for name, table in task.scores.items() if table}
            tables[task.basis] = {n: p.value for n, p in task.ranking.items()}
            found[task.name] = {name: _regret(rounds, task.name, values) for name, values in tables.items()}
    found[ALL] = {"combined ranking": _regret(rounds, ALL, {n: p.value for n, p in choice.combined.items()})}
    return found


def _regret(rounds: Sequence[Round], task: str, scores: Mapping[str, float]) -> dict[str, object]:
    best = max(scores.values())
    first = [name for name, value in scores.items() if value == best]
    last = next((one for one in reversed(rounds) if all(name in one.quality[task] for name in first)), None)
    if last is None:
        return {"choice": first, "lost": None, "steps": None}
    names = list(last.quality[task])
    truth = [last.quality[task][name] for name in names]
    lost = regret([1.0 if name in first else 0.0 for name in names], truth)
    return {"choice": first, "lost": lost, "steps": last.steps}
