"""Which scores belong to which truth: by data set, task and encoder."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from umsrep.errors import InputError
from umsrep.tasks.benchmark.truth_reader import Scored, Truth


@dataclasses.dataclass(frozen=True)
class Joined:
    """A task with scores and truths of the same encoders.

    Attributes:
        truth: The truth, its encoders named as there.
        scores: Encoder of the truth to score's name to value.
        draws: Likewise, to bootstrap values.
        unmatched: Encoders of the truth that have no scores.
    """

    truth: Truth
    scores: dict[str, dict[str, float]]
    draws: dict[str, dict[str, list[float]]]
    unmatched: list[str]


def join(scores: Sequence[Scored], truths: Sequence[Truth] | None) -> list[Joined]:
    """Join scores with truths: by data set, kind and task, and in each by encoder.

    A task of the scores belongs to a truth of the same kind and data set (the last part of the path) if it is called like the head or
    like the column of its target, as ``umsrep choose`` names tasks, or if it is the only one of that kind. An encoder belongs to
    another if they share a name: of the grid's axis, preset, folder, or architecture with weights.

    Args:
        scores: See `read_scores`.
        truths: See `read_truth`; None takes those in the scores' own files.

    Raises:
        InputError: if nothing belongs together, or one encoder has two values of one score.
    """
    if truths is None:
        truths = [
            Truth(f"{s.data} {s.task}".strip(), (s.data,), s.task, s.kind, test, s.metric, (), _of_test(s.truth, test), s.aliases)
            for s in scores
            for test in dict.fromkeys(t for given in s.truth.values() for t in given)
        ]
    joined = []
    for truth in truths:
        near = [s for s in scores if s.kind == truth.kind and _base(s.data) in {_base(d) for d in truth.data}]
        names = {truth.task, *truth.columns, *({truth.kind} if not truth.columns or truth.columns == ("label",) else set())}
        exact = [s for s in near if s.task in names]
        some = exact or (near if len(near) == 1 else [])
        if some:
            joined.append(_join_encoders(truth, some))
    if not joined:
        raise InputError(
            "no task has both scores and a truth: the scores are of "
            f"{', '.join(f'{_base(s.data)} {s.task} ({s.kind})' for s in scores)}; the truths of "
            f"{', '.join(f'{t.name} ({t.kind})' for t in truths) or 'nothing'}"
        )
    return joined


def _join_encoders(truth: Truth, some: Sequence[Scored]) -> Joined:
    scores: dict[str, dict[str, float]] = {}
    draws: dict[str, dict[str, list[float]]] = {}
    for encoder in truth.quality:
        for one in some:
            for other, names in one.aliases.items():
                if names & truth.aliases[encoder]:
                    own = scores.setdefault(encoder, {})
                    for score, value in one.scores[other].items():
                        before = own.setdefault(score, value)
                        if before != value and not (math.isnan(before) and math.isnan(value)):
                            both = f"{before:g} and {value:g}"
                            raise InputError(f"{truth.name}: '{encoder}' has two values of {score}, {both}; give one file of scores a task")
                    draws.setdefault(encoder, {}).update(one.draws[other])
    for encoder, found in scores.items():
        if encoder in truth.parameters:
            found["parameters"] = truth.parameters[encoder]
    return Joined(truth, scores, draws, [e for e in truth.quality if e not in scores])


def _of_test(truth: Mapping[str, Mapping[str, float]], test: str) -> dict[str, float]:
    return {encoder: given.get(test, math.nan) for encoder, given in truth.items()}


def _base(path: str) -> str:
    return Path(path).name
