"""How well each score has predicted the truth so far: the study that `umsrep benchmark` makes, as shipped with the package."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from umsrep.errors import InputError
from umsrep.tasks.choose.scores import LABELS

SCHEMA_VERSION = 1
FILE = "truth.json"
WARNING = (
    "No score is reliable on medical images: Chaves et al. (MICCAI DART 2023) find no score whose ranking of ten encoders holds over three "
    "medical sets (Kendall tau from -0.29 to 0.60); elsewhere the number of parameters alone, or k-NN, ranked better than most scores. "
    "Take the ranking as a reason for what to try first, and fine-tune the first few (--budget)."
)


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How one score's ranking agreed with the truth in one study.

    Attributes:
        tau: Kendall's tau-b, -1 to 1.
        tau_interval: Its bootstrap interval, or None.
        weighted_tau: Vigna's weighted tau, or None.
        regret: Quality lost by taking the score's first choice, in the study's metric, or None.
    """

    tau: float
    tau_interval: tuple[float, float] | None = None
    weighted_tau: float | None = None
    regret: float | None = None


@dataclasses.dataclass(frozen=True)
class Study:
    """One data set and task on which encoders were both scored and fine-tuned.

    Attributes:
        kind: denoising, segmentation or classification.
        data: The set.
        task: The task.
        metric: What the truth is (balanced_accuracy, dice ...).
        distribution: ``in``: tested on the same source; ``out``: on another.
        encoders: How many.
        scores: Score (or baseline) to agreement.
    """

    kind: str
    data: str
    task: str
    metric: str
    distribution: str
    encoders: int
    scores: Mapping[str, Agreement]


def load_truth(path: Path | None = None) -> list[Study]:
    """Read the studies of a file, or those shipped with the package; an empty list where none are shipped.

    The file is ``{"schema_version": 1, "studies": [{"kind", "data", "task", "metric", "distribution", "encoders", "scores": {score: {"tau",
    "tau_interval": [low, high], "weighted_tau", "regret"}}}]}``; further keys are left to whoever wrote it. A score whose tau is null (it
    could not be had) is left out.

    Raises:
        InputError: for a file that is missing or of another form, naming it.
    """
    if path is None:
        shipped = resources.files("umsrep.tasks.choose").joinpath(FILE)
        if not shipped.is_file():
            return []
        text, where = shipped.read_text(encoding="utf-8"), FILE
    else:
        where = str(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read ({error})") from error
    try:
        values = json.loads(text)
        if values["schema_version"] != SCHEMA_VERSION:
            raise InputError(f"{where}: schema_version must be {SCHEMA_VERSION}, not {values['schema_version']!r}")
        return [_study(study) for study in values["studies"]]
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{where}: no file of scores against truth ({type(error).__name__}: {error}); see docs/choose.md") from error


def _study(values: Mapping[str, Any]) -> Study:
    scores = {name: _agreement(one) for name, one in values["scores"].items() if one.get("tau") is not None}
    names = {key: str(values[key]) for key in ("kind", "data", "task", "metric")}
    return Study(**names, distribution=str(values.get("distribution", "in")), encoders=int(values["encoders"]), scores=scores)


def _agreement(values: Mapping[str, Any]) -> Agreement:
    interval = values.get("tau_interval")
    known = interval is not None and all(end is not None for end in interval)
    pair = (float(interval[0]), float(interval[1])) if interval is not None and known else None
    rest = {key: None if values.get(key) is None else float(values[key]) for key in ("weighted_tau", "regret")}
    return Agreement(float(values["tau"]), pair, rest["weighted_tau"], rest["regret"])


def best_score(studies: list[Study], kind: str) -> str | None:
    """Return the score that may be ranked by alone: its interval of tau lies above 0 in every study of a kind; of several the highest."""
    of_kind = [study for study in studies if study.kind == kind]
    names = set.intersection(*(set(study.scores) for study in of_kind)) if of_kind else set()
    lows = {n: [(s.scores[n].tau_interval or (-math.inf, 0))[0] for s in of_kind] for n in names}
    sure = [n for n, low in lows.items() if min(low) > 0]
    return max(sure, key=lambda n: (sum(s.scores[n].tau for s in of_kind), n), default=None)


def statement(studies: list[Study], kind: str, scores: list[str]) -> list[str]:
    """Say in plain words how well each score, and each baseline, predicted the truth so far; one line each, the best first."""
    of_kind = [study for study in studies if study.kind == kind]
    if not of_kind:
        return [f"How well scores predict fine-tuned {kind}: not measured yet."]
    lines = []
    for name in dict.fromkeys([*scores, *(n for study in of_kind for n in study.scores)]):
        taus = [study.scores[name] for study in of_kind if name in study.scores]
        label = LABELS.get(name, name)
        if not taus:
            lines.append((-math.inf, f"{label}: not measured yet"))
            continue
        mean = sum(one.tau for one in taus) / len(taus)
        places = ", ".join(_place(study, study.scores[name]) for study in of_kind if name in study.scores)
        lines.append((mean, f"{label}: Kendall tau {mean:.2f}" + (f" on average ({places})" if len(taus) > 1 else f" ({places})")))
    return [line for _, line in sorted(lines, key=lambda item: -item[0])]


def _place(study: Study, one: Agreement) -> str:
    where = f"{study.data} {study.task}" + (" out of distribution" if study.distribution == "out" else "")
    interval = f" [{one.tau_interval[0]:.2f}, {one.tau_interval[1]:.2f}]" if one.tau_interval else ""
    lost = f", its first choice lost {one.regret:.3f} {study.metric}" if one.regret is not None else ""
    return f"{where}: {one.tau:.2f}{interval} over {study.encoders} encoders{lost}"
