"""The result of `umsrep choose`: what was measured of each encoder, and rankings with ties."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from umsrep.tasks.choose.cost import Cost
from umsrep.tasks.choose.evidence import Distance
from umsrep.tasks.choose.ranking import Place, mean_ranks, places
from umsrep.tasks.choose.scores import PROBES, Scored
from umsrep.tasks.choose.truth import WARNING

SCHEMA_VERSION = 1
BASELINES = ("parameters", "source_accuracy")
CONSENSUS = "mean rank"


@dataclasses.dataclass(frozen=True)
class EncoderFacts:
    """What is known of a candidate besides its scores.

    Attributes:
        name: As in the rankings.
        spec: As the user wrote it.
        arch: timm's name of the architecture.
        modality: For whom it was trained, or None.
        random: Whether its weights are random.
        embedding_dim: D of its embedding.
        cost: Parameters, multiply-accumulates, milliseconds.
        source: Its own classifier's name and classes, or None.
        source_accuracy: As the user gave it, or None.
        distance: From its own kind of picture to this set, or None where it brings no reference.
        card: What its card measured nearest to this set, a row a kind of task.
    """

    name: str
    spec: str
    arch: str
    modality: str | None
    random: bool
    embedding_dim: int
    cost: Cost
    source: str | None
    source_accuracy: float | None
    distance: Distance | None
    card: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class TaskChoice:
    """The candidates on one task.

    Attributes:
        name: Of the task.
        kind: denoising, segmentation or classification.
        classes: Its classes.
        rows: Training rows that were scored.
        annotated: Training rows that are annotated.
        patients: Different known patients among those scored; 0 where none is known (each row then counts as one).
        scores: Score (baselines among them) to encoder to place.
        failures: Score to encoder to why it has none.
        basis: What `ranking` goes by: one score that has proved itself (see `umsrep.tasks.choose.truth.best_score`), or the mean rank
            over ``used``.
        used: The scores that the ranking rests on: those that every encoder has.
        ranking: Encoder to place.
        truth: How well each score predicted the truth so far, a line each.
    """

    name: str
    kind: str
    classes: list[str]
    rows: int
    annotated: int
    patients: int
    scores: dict[str, dict[str, Place]]
    failures: dict[str, dict[str, str]]
    basis: str
    used: list[str]
    ranking: dict[str, Place]
    truth: list[str]

    def order(self) -> list[str]:
        """Names from the best; within a tie by value."""
        return order(self.ranking)


@dataclasses.dataclass(frozen=True)
class Choice:
    """What `choose` found.

    Attributes:
        data: The set, as the user wrote it.
        encoders: Facts of each candidate.
        tasks: One a task.
        combined: Encoder to place by the mean over tasks of its mean rank; every task counts alike.
        hardware: What milliseconds were measured on.
        settings: limit, resamples, seed, image_size.
        notes: What was left out or decided, a line each.
        budget: What fine-tuning found, see `umsrep.tasks.choose.budget.Budget`; None without it.
        warning: How far not to trust all this.
        seconds: It took.
    """

    data: str
    encoders: list[EncoderFacts]
    tasks: list[TaskChoice]
    combined: dict[str, Place]
    hardware: str
    settings: dict[str, Any]
    notes: list[str]
    budget: Any = None
    warning: str = WARNING
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)}


def order(ranking: Mapping[str, Place]) -> list[str]:
    """Return names from the best; within a tie by value, then by name."""
    return sorted(ranking, key=lambda name: (ranking[name].rank, -ranking[name].value, name))


@dataclasses.dataclass(frozen=True)
class Ranked:
    """Places of one task by every score, and by what the task is ranked by.

    Attributes:
        scores: Score to encoder to place.
        failures: Score to encoder to reason.
        basis: See `TaskChoice`.
        used: See `TaskChoice`.
        ranking: See `TaskChoice`.
        mean_rank: Encoder to minus its mean rank over ``used``.
        drawn: The same in each draw.
    """

    scores: dict[str, dict[str, Place]]
    failures: dict[str, dict[str, str]]
    basis: str
    used: list[str]
    ranking: dict[str, Place]
    mean_rank: dict[str, float]
    drawn: dict[str, np.ndarray]


def rank_task(scored: Mapping[str, Scored], baselines: Mapping[str, Mapping[str, float]], proven: str | None) -> Ranked:
    """Rank the candidates of one task.

    Args:
        scored: Encoder to its scores.
        baselines: Further numbers by encoder (parameters, source accuracy); shown, but no part of the ranking.
        proven: The score to rank by, or None for the mean rank over all scores and probes that every encoder has.
    """
    names = list(scored)
    known = dict.fromkeys(key for one in scored.values() for key in (*one.values, *one.failures))
    values = {key: {n: scored[n].values[key] for n in names if key in scored[n].values} for key in known}
    draws = {key: {n: scored[n].draws[key] for n in values[key]} for key in known}
    tables = {key: places(values[key], draws[key]) for key in known}
    failures = {key: {n: scored[n].failures[key] for n in names if key in scored[n].failures} for key in known}
    for key, numbers in baselines.items():
        tables[key] = places(numbers, {})
        failures[key] = {n: "not known" for n in names if n not in numbers}
    everywhere = [key for key in known if len(values[key]) == len(names)]
    single = proven if proven in everywhere else None
    used = [single] if single is not None else everywhere
    mean_rank, drawn = mean_ranks([values[key] for key in used], [draws[key] for key in used], names)
    ranking = tables[single] if single is not None else places(mean_rank, drawn)
    if len(used) == 1:
        ranking = tables[used[0]]
    return Ranked(
        tables, {k: v for k, v in failures.items() if v}, used[0] if len(used) == 1 else CONSENSUS, used, ranking, mean_rank, drawn
    )


def combine(tasks: Sequence[Ranked]) -> dict[str, Place]:
    """Rank encoders by the mean over tasks of their mean rank; draws of different tasks are independent."""
    names = list(tasks[0].mean_rank)
    values = {n: float(np.mean([task.mean_rank[n] for task in tasks])) for n in names}
    count = min(len(task.drawn[names[0]]) for task in tasks)
    draws = {n: np.mean([task.drawn[n][:count] for task in tasks], axis=0) for n in names}
    return places(values, draws)


def columns_of(task: TaskChoice) -> list[str]:
    """Return the scores that a table shows: those that some encoder has, probes and baselines last."""
    shown = [key for key, table in task.scores.items() if table and key not in (*PROBES, *BASELINES)]
    shown += [key for key in task.failures if key not in shown and key not in (*PROBES, *BASELINES)]
    return [*shown, *(key for key in (*PROBES, *BASELINES) if task.scores.get(key))]
