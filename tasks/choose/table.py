"""The words and numbers of a choice as rows of text, for the terminal and the page alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from umsrep.tasks.choose.choice import CONSENSUS, Choice, EncoderFacts, TaskChoice, columns_of
from umsrep.tasks.choose.cost import BATCHES
from umsrep.tasks.choose.ranking import Place
from umsrep.tasks.choose.scores import LABELS

NONE = "—"


def score_text(name: str, place: Place, *, interval: bool = False) -> str:
    """Write one score with its rank in brackets, as ``0.848 (2)``; with ``interval`` also that, as ``0.848 [0.703, 0.993] (2)``."""
    if name == "parameters":
        return f"{place.value / 1e6:.2f} M ({place.rank})"
    sign = -1 if name == CONSENSUS else 1  # kept so that higher is better; people count ranks from 1
    shown = f"{sign * place.value:.2f}" if name == CONSENSUS else f"{place.value:.3f}"
    if interval and place.interval is not None:
        low, high = sorted(sign * end for end in place.interval)
        shown += f" [{low:.3f}, {high:.3f}]"
    return f"{shown} ({place.rank})"


def score_rows(task: TaskChoice, *, interval: bool = False) -> tuple[list[str], list[list[str]]]:
    """Return the heading and a row an encoder, best first: rank, encoder, what the ranking goes by, every score with its rank."""
    shown = columns_of(task)
    lead = [CONSENSUS] if task.basis == CONSENSUS else []
    header = ["rank", "encoder", *lead, *(LABELS.get(name, name) for name in shown)]
    rows = []
    for name in task.order():
        cells = [_rank(task.ranking, name), name]
        cells += [score_text(CONSENSUS, task.ranking[name], interval=interval)] if lead else []
        for score in shown:
            place = task.scores[score].get(name) if score in task.scores else None
            cells.append(NONE if place is None else score_text(score, place, interval=interval))
        rows.append(cells)
    return header, rows


def _rank(ranking: Mapping[str, Place], name: str) -> str:
    """Write a rank, with ``=`` where others share it."""
    rank = ranking[name].rank
    return f"{rank}{'=' if sum(place.rank == rank for place in ranking.values()) > 1 else ''}"


def combined_rows(choice: Choice) -> tuple[list[str], list[list[str]]]:
    """Return the heading and a row an encoder: its combined rank, its rank in each task, cost, distance."""
    kinds = [task.name for task in choice.tasks]
    header = ["rank", "encoder", *kinds, "parameters", "MACs", "size", *(f"ms/image (batch {b})" for b in BATCHES), "distance"]
    facts = {one.name: one for one in choice.encoders}
    ordered = sorted(choice.combined, key=lambda n: (choice.combined[n].rank, -choice.combined[n].value, n))
    rows = []
    for name in ordered:
        one = facts[name]
        cost = one.cost
        ranks = [_rank(task.ranking, name) for task in choice.tasks]
        size = "x".join(map(str, cost.size))
        milliseconds = [f"{cost.milliseconds[batch]:.1f}" for batch in BATCHES]
        row = [
            _rank(choice.combined, name),
            name,
            *ranks,
            f"{cost.parameters / 1e6:.2f} M",
            f"{cost.macs / 1e6:.0f} M",
            size,
            *milliseconds,
        ]
        rows.append([*row, distance_text(one)])
    return header, rows


def distance_text(encoder: EncoderFacts) -> str:
    """Write how far the pictures are from the encoder's own, in a few words."""
    if encoder.distance is None:
        return NONE
    return f"{encoder.distance.frechet:.2f} sd; {100 * encoder.distance.flagged:.0f} % unlike its {encoder.modality or 'pictures'}"


def card_lines(choice: Choice) -> list[str]:
    """Write what each encoder's card measured nearest to this set, with the name of what it was measured on."""
    return [
        f"card of {one.name}: " + "; ".join(f"{row['head']} {row['metric']} {row['value']:.3g} on {_place(row)}" for row in one.card)
        for one in choice.encoders
        if one.card
    ]


def _place(row: Mapping[str, Any]) -> str:
    return f"{row['data']} {row['split'] or ''}".strip() + (" (this set)" if row["same_data"] else "")


def basis_text(task: TaskChoice) -> str:
    """Say what the ranking of a task goes by."""
    if task.basis == CONSENSUS:
        return f"ranked by the mean rank over {', '.join(LABELS.get(name, name) for name in task.used)}"
    return f"ranked by {LABELS.get(task.basis, task.basis)}" + (
        " alone, which has proved itself (see below)" if len(task.scores) > 2 else ""
    )


def size_text(task: TaskChoice) -> str:
    """Say which of the tied and untied choices the plain baselines make, to compare with."""
    parts = []
    for score in ("parameters", "source_accuracy", "knn_accuracy", "linear_probe"):
        table = task.scores.get(score, {})
        if table:
            best = max(place.value for place in table.values())
            parts.append(f"{LABELS[score]}: {', '.join(name for name, place in table.items() if place.value == best)}")
    return "baselines put first: " + "; ".join(parts)


def budget_rows(choice: Choice) -> tuple[list[str], list[list[str]]]:
    """Return the heading and a row a score: what it put first in each task, and the quality lost by taking that."""
    header = ["task", "score", "puts first", "quality lost", "metric", "after steps"]
    rows = []
    for task, scores in choice.budget.regrets.items():
        for score, one in scores.items():
            lost = "not tried" if one["lost"] is None else f"{one['lost']:.4f}"
            rows.append(
                [task, LABELS.get(score, score), ", ".join(one["choice"]), lost, choice.budget.metrics[task], str(one["steps"] or NONE)]
            )
    return header, rows


def round_rows(choice: Choice) -> tuple[list[str], list[list[str]]]:
    """Return the heading and a row an encoder and round: the validation quality of each task."""
    tasks = list(choice.budget.metrics)
    header = ["steps", "encoder", *(f"{task} ({choice.budget.metrics[task]})" for task in tasks)]
    rows = [
        [str(one.steps), name, *(f"{one.quality[task][name]:.4f}" for task in tasks)]
        for one in choice.budget.rounds
        for name in sorted(one.quality[tasks[0]], key=lambda n: -one.quality[tasks[0]][n])
    ]
    return header, rows
