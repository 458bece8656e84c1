"""Scores against truth: how far transferability scores, and the baselines beside them, foretold which encoder would be best."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from umsrep.errors import InputError
from umsrep.tasks.benchmark.agreement import Agreement, agreement
from umsrep.tasks.benchmark.joining import Joined
from umsrep.tasks.benchmark.summary import OWN_TEST
from umsrep.tasks.benchmark.tables import shown
from umsrep.tasks.runfolder import plain

SCHEMA_VERSION = 1
BASELINES = ("parameters", "source_accuracy", "knn_accuracy", "linear_probe")
"""What every score has to beat: model size, accuracy on the source data, and two classifiers on frozen features."""
FEWEST = 3
"""Encoders without which a rank correlation says nothing."""


def judge(joined: Sequence[Joined], *, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Compare every score with the truth, task by task and over all tasks of a kind.

    Args:
        joined: See `umsrep.tasks.benchmark.joining.join`.
        resamples: Bootstrap draws.
        seed: Of them.

    Returns:
        JSON values: ``kinds``, kind to score to the fields of `Agreement` over all in-distribution tasks; ``shifted``, the same over the
        shifted test sets; ``studies``, what ``umsrep choose`` reads; ``tasks``, each with its truth, scores and agreements, and
        ``random_regret``, the expected regret of a random choice. ``baseline`` marks the baselines.

    Raises:
        InputError: if a task has fewer than three encoders with scores and truth.
    """
    tasks = []
    for one in joined:
        known = [e for e, q in one.truth.quality.items() if not np.isnan(q) and e in one.scores]
        if len(known) < FEWEST:
            raise InputError(
                f"{one.truth.name} on {one.truth.test}: {len(known)} encoder(s) have both scores and a truth, {FEWEST} or more are needed; "
                f"without scores: {', '.join(one.unmatched) or 'none'}"
            )
        found = {score: _judge([one], score, resamples, seed) for score in _scores([one])}
        quality = np.array([q for q in one.truth.quality.values() if not np.isnan(q)])
        tasks.append(
            {
                "task": one.truth.name,
                "kind": one.truth.kind,
                "test": one.truth.test,
                "in_distribution": one.truth.test == OWN_TEST,
                "metric": one.truth.metric,
                "truth": one.truth.quality,
                "without_scores": one.unmatched,
                "random_regret": float(quality.max() - quality.mean()),
                "scores": found,
            }
        )
    studies = [_study(one, task) for one, task in zip(joined, tasks, strict=True)]
    result: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "resamples": resamples, "seed": seed}
    for key, own in (("kinds", True), ("shifted", False)):
        groups: dict[str, list[Joined]] = {}
        for one in joined:
            if (one.truth.test == OWN_TEST) == own:
                groups.setdefault(one.truth.kind, []).append(one)
        result[key] = {
            kind: {score: _judge(some, score, resamples, seed) for score in _scores(some)} for kind, some in sorted(groups.items())
        }
    found_all: dict[str, Any] = plain(result | {"tasks": tasks, "studies": studies})
    return found_all


def _study(one: Joined, task: Mapping[str, Any]) -> dict[str, Any]:
    """Return one task in the form that ``umsrep choose`` reads (umsrep.tasks.choose.truth)."""
    scores = {
        name: {
            "tau": a["kendall"],
            "tau_interval": [a["kendall_low"], a["kendall_high"]],
            "weighted_tau": a["weighted"],
            "regret": a["regret"],
        }
        for name, a in task["scores"].items()
    }
    return {
        "kind": one.truth.kind,
        "data": Path(one.truth.data[0]).stem if one.truth.test == OWN_TEST else f"{Path(one.truth.data[0]).stem} to {one.truth.test}",
        "task": one.truth.task,
        "metric": one.truth.metric,
        "distribution": "in" if one.truth.test == OWN_TEST else "out",
        "encoders": max((a["n"] for a in task["scores"].values()), default=0),
        "scores": scores,
    }


def _scores(joined: Sequence[Joined]) -> list[str]:
    """Names of all scores, baselines last."""
    names = dict.fromkeys(name for one in joined for scores in one.scores.values() for name in scores)
    return sorted(names, key=lambda name: (name in BASELINES, list(names).index(name)))


def _judge(joined: Sequence[Joined], score: str, resamples: int, seed: int) -> dict[str, Any]:
    encoders = list(dict.fromkeys(e for one in joined for e in one.truth.quality))
    values, truth = (np.full((len(joined), len(encoders)), np.nan) for _ in range(2))
    draws: dict[int, np.ndarray] = {}
    for t, one in enumerate(joined):
        for e, encoder in enumerate(encoders):
            truth[t, e] = one.truth.quality.get(encoder, np.nan)
            values[t, e] = one.scores.get(encoder, {}).get(score, np.nan)
        if np.count_nonzero(~np.isnan(values[t]) & ~np.isnan(truth[t])) < FEWEST:
            values[t] = np.nan
        given = {encoder: one.draws.get(encoder, {}).get(score) for encoder in encoders}
        lengths = {len(d) for d in given.values() if d}
        if len(lengths) == 1 and all(given[e] or np.isnan(values[t, i]) for i, e in enumerate(encoders)):
            (length,) = lengths
            draws[t] = np.array([given[e] or [np.nan] * length for e in encoders], dtype=np.float64).T
    found: Agreement = agreement(values, truth, draws=draws, resamples=resamples, seed=seed)
    return {**dataclasses.asdict(found), "baseline": score in BASELINES}


def markdown(judgement: Mapping[str, Any]) -> str:
    """Return the judgement as Markdown: one table a kind, then one a task."""
    lines = []
    for key, title in (("kinds", "in distribution"), ("shifted", "on shifted test sets")):
        for kind, scores in judgement[key].items():
            lines += [f"### {kind}, {title}: mean over tasks", "", *_table(scores, 1.0, "share of the span lost", "normalised_regret"), ""]
    for task in judgement["tasks"]:
        name, factor, decimals = shown(task["metric"])
        best = max((q, e) for e, q in task["truth"].items() if q is not None)
        lines += [
            f"### {task['task']}, {'test rows' if task['in_distribution'] else 'shifted: ' + task['test']} ({name})",
            "",
            f"Best: {best[1]}, {best[0] * factor:.{decimals}f}. A random choice loses {task['random_regret'] * factor:.{decimals}f}."
            + (f" Without scores: {', '.join(task['without_scores'])}." if task["without_scores"] else ""),
            "",
            *_table(task["scores"], factor, f"regret ({name})", "regret"),
            "",
        ]
    lines.append(
        "Kendall's tau-b and Vigna's weighted tau with 95 % bootstrap intervals over encoders: one that holds 0 does not show a relation, "
        "and with few encoders they are too narrow (a perfect order gives 1 to 1). They are not corrected for the number of scores, "
        "and hold neither other data sets nor the truth's own error. A score that fewer than three encoders have is not judged. "
        "Regret: quality lost by taking the encoder with the highest score. Baselines are in italics."
    )
    return "\n".join(lines) + "\n"


def _table(scores: Mapping[str, Mapping[str, Any]], factor: float, title: str, key: str) -> list[str]:
    lines = [f"| score | Kendall tau | weighted tau | {title} | encoders | tasks |", "|---|---|---|---|---|---|"]
    for name, a in scores.items():
        taus = [_interval(a[k], a[f"{k}_low"], a[f"{k}_high"]) for k in ("kendall", "weighted")]
        lost = "–" if a[key] is None else f"{a[key] * factor:.3g}"
        lines.append(f"| {f'*{name}*' if a['baseline'] else name} | {taus[0]} | {taus[1]} | {lost} | {a['n']} | {a['tasks']} |")
    return lines


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:+.2f}" + ("" if low is None or high is None else f" ({low:+.2f} to {high:+.2f})")


def write_judgement(judgement: Mapping[str, Any], out: Path) -> list[str]:
    """Write truth.json, truth.md and truth.png; return their paths."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "truth.json").write_text(json.dumps(judgement, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        (out / "truth.md").write_text(markdown(judgement), encoding="utf-8")
        draw(judgement, out / "truth.png")
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from error
    return [str(out / f"truth.{ending}") for ending in ("json", "md", "png")]


def draw(judgement: Mapping[str, Any], out: Path) -> None:
    """Draw the weighted tau of every score with its interval, one panel a kind, in distribution and shifted."""
    import matplotlib
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys([*judgement["kinds"], *judgement["shifted"]]))
    handles: dict[str, Any] = {}
    rows = max(len(judgement[key].get(kind, {})) for key in ("kinds", "shifted") for kind in kinds)
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(4.2 * len(kinds), 1.7 + 0.3 * rows), layout="constrained")
        for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
            names = list(dict.fromkeys(s for key in ("kinds", "shifted") for s in judgement[key].get(kind, {})))
            for key, colour, shift, label in (("kinds", "#0072B2", -0.12, "in distribution"), ("shifted", "#D55E00", 0.12, "shifted")):
                some = judgement[key].get(kind, {})
                known = [n for n in names if some.get(n, {}).get("weighted") is not None]
                for name in known:
                    a = some[name]
                    y = names.index(name) + shift
                    axes.plot([a["weighted_low"], a["weighted_high"]], [y, y], color=colour, linewidth=1.2)
                    (handles[label],) = axes.plot(a["weighted"], y, "o", color=colour, markersize=4)
            axes.axvline(0, color="#555555", linewidth=0.8)
            axes.set_yticks(range(len(names)), [f"{n} (baseline)" if n in BASELINES else n for n in names])
            axes.invert_yaxis()
            axes.set_xlim(-1.02, 1.02)
            axes.set_xlabel("weighted tau, 95 % interval over encoders")
            axes.set_title(kind)
            axes.grid(visible=True, axis="x", alpha=0.3)
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=2, frameon=False)
        figure.savefig(out, dpi=150)
