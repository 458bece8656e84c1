"""From the cells of a Transfusion study to means over seeds and a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from umsrep.tasks.study.config import StudyConfig


def summarise(cells: Sequence[Mapping[str, Any]], study: StudyConfig) -> dict[str, Any]:
    """Return all cells with their steps to the threshold, and for each encoder and initialisation the means over seeds.

    Standard deviations are those of a sample (n - 1); None for one seed. The mean number of steps is None unless every seed reached
    the threshold: a mean over the seeds that did would favour arms that sometimes fail.
    """
    cells = [{**cell, "steps_to_threshold": steps_to(cell["curve"], study.threshold)} for cell in cells]
    arms = []
    for arch, (_, inits) in study.encoders.items():
        for init in inits:
            own = [c for c in cells if (c["arch"], c["init"]) == (arch, str(init))]
            steps = [c["steps_to_threshold"] for c in own]
            reached = [s for s in steps if s is not None]
            arms.append(
                {
                    "arch": arch,
                    "init": str(init),
                    "stages": own[0]["stages"],
                    "parameters": own[0]["parameters"],
                    "seeds": len(own),
                    "test_auroc": _mean_sd([(c["test"] or {}).get("auroc") for c in own]),
                    "best_auroc": _mean_sd([max((p["auroc"] for p in c["curve"] if p["auroc"] is not None), default=None) for c in own]),
                    "mean_auroc": _mean_sd([_mean([p["auroc"] for p in c["curve"]]) for c in own]),
                    "reached": len(reached),
                    "steps_to_threshold": _mean_sd(reached) if len(reached) == len(own) else None,
                    "cka": np.mean([c["similarity"]["cka"] for c in own], axis=0).tolist(),
                    "svcca": np.mean([c["similarity"]["svcca"] for c in own], axis=0).tolist(),
                    "seconds": _mean_sd([c["seconds"] for c in own]),
                }
            )
    return {"task": study.task, "threshold": study.threshold, "seeds": list(study.seeds), "arms": arms, "cells": cells}


def steps_to(curve: Sequence[Mapping[str, Any]], threshold: float) -> int | None:
    """Return the step of the first validation whose AUROC is at the threshold or above, or None."""
    return next((int(point["step"]) for point in curve if point["auroc"] is not None and point["auroc"] >= threshold), None)


def _mean(values: Sequence[float | None]) -> float | None:
    return math.fsum(v for v in values if v is not None) / len(values) if values and None not in values else None


def _mean_sd(values: Sequence[float | None]) -> dict[str, float | None] | None:
    mean = _mean(values)
    if mean is None:
        return None
    return {"mean": mean, "sd": float(np.std(np.array(values, dtype=float), ddof=1)) if len(values) > 1 else None}


def markdown(results: Mapping[str, Any]) -> str:
    """Return the table for people."""
    threshold = results["threshold"]
    lines = [
        f"Transfusion study of {results['task']}: {len(results['seeds'])} seed(s), mean ± sd over them.",
        "",
        f"| encoder | weights | start | test AUROC | best validation AUROC | mean validation AUROC | steps to {threshold:g} "
        "| CKA before/after, first to last level |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arm in results["arms"]:
        steps = arm["steps_to_threshold"]
        reached = _shown(steps, 0) if steps is not None else f"reached by {arm['reached']} of {arm['seeds']}"
        cka = " ".join(f"{v:.2f}" for v in np.diag(arm["cka"]))
        numbers = " | ".join(_shown(arm[key], 3) for key in ("test_auroc", "best_auroc", "mean_auroc"))
        lines.append(f"| {arm['arch']} | {arm['parameters']:,} | {arm['init']} | {numbers} | {reached} | {cka} |")
    return "\n".join(lines) + "\n"


def _shown(value: Mapping[str, float | None] | None, digits: int) -> str:
    if value is None:
        return "-"
    sd = value["sd"]
    return f"{value['mean']:.{digits}f}" + (f" ± {sd:.{digits}f}" if sd is not None else "")
