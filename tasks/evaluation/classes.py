"""What a review says of classification beyond metrics: calibration, conformal sets, prevalence, predictive values, decisions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from umsrep.tasks.classification import Classification
from umsrep.tasks.evaluation import conformal, decision
from umsrep.tasks.evaluation.calibration import BINS, Calibration
from umsrep.tasks.evaluation.metrics import decision_thresholds
from umsrep.tasks.evaluation.ranking import Ranking
from umsrep.tasks.evaluation.resample import Draws, Sampled, estimate, mean_estimates, sample
from umsrep.tasks.evaluation.tables import Grouping
from umsrep.tasks.evaluation.temperature import probabilities_of

NUMBERS = ("ece", "ece_adaptive", "ece_classwise", "mce", "brier", "nll")


def questions(task: Classification, rows: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return each yes-no question of a task: class to its rows (indices), their scores and their truth; binary asks for class 1 alone."""
    found = {}
    for column in [1] if task.binary else range(len(task.classes)):
        target = rows["target"][:, column] if task.multi_label else (rows["target"] == column).astype(np.float64)
        known = np.flatnonzero(~np.isnan(target))
        found[task.classes[column]] = (known, rows["probabilities"][known, column].astype(np.float64), target[known] == 1)
    return found


def calibration_of(task: Classification, probabilities: np.ndarray, target: np.ndarray, draws: Draws) -> tuple[dict[str, Any], str]:
    """Return the numbers, the Brier score's parts and the bins of the reliability picture, and the variant in words."""
    found = Calibration(probabilities, target)
    sampled = sample({"numbers": found, "bins": found.bin_draws}, draws)
    numbers, n, patients = sampled["numbers"], len(draws.groups), draws.patients()
    result: dict[str, Any] = {
        name: estimate(numbers.values[name], numbers.draws[name], n=n, patients=patients, level=draws.level) for name in NUMBERS
    }
    result["brier_parts"] = found.parts()
    result["reliability"] = found.reliability(sampled["bins"], draws)
    return result, found.variant


def scaled(task: Classification, rows: Mapping[str, np.ndarray], temperature: float) -> np.ndarray:
    """Return the rows' probabilities at a temperature."""
    return probabilities_of(rows["logits"], temperature, multi_label=task.multi_label)


def conformal_of(
    task: Classification,
    rows: Mapping[str, np.ndarray],
    calibration_rows: Mapping[str, np.ndarray] | None,
    draws: Draws,
    groupings: Sequence[Grouping],
    *,
    alpha: float,
    shift: bool,
) -> tuple[dict[str, Any] | None, np.ndarray | None]:
    """Return the schema's conformal block and the marginal method's sets, bool [n, K]; None where there are none."""
    if calibration_rows is None:
        return None, None
    if task.multi_label:
        note = "sets of classes are for exclusive classes; labels that occur together have none here"
        return {"alpha": alpha, "methods": {}, "note": note}, None
    methods: dict[str, Any] = {}
    first: np.ndarray | None = None
    for name, mondrian in (("lac", False), ("mondrian", True)):
        try:
            rule = conformal.calibrate(
                calibration_rows["probabilities"], calibration_rows["target"], alpha, mondrian=mondrian, classes=task.classes
            )
        except conformal.TooFewRows as error:
            refused = {"quantile": None, "needed": str(error), "calibration_n": len(calibration_rows["target"]), "shift": shift}
            methods[name] = refused | _no_coverage(draws, str(error))
            continue
        sets = rule.sets(rows["probabilities"])
        first = sets if name == "lac" else first
        each = dict(zip(task.classes, rule.quantiles.tolist(), strict=True))
        counts = dict(zip(task.classes, rule.counts.tolist(), strict=True))
        methods[name] = {
            "quantile": each if mondrian else float(rule.quantiles[0]),
            "needed": None,
            "calibration_n": counts if mondrian else int(rule.counts[0]),
            **_coverage(task, sets, rows["target"], draws, groupings),
            "shift": shift,
        }
    warning = "calibrated on other data than reviewed: nothing guarantees the coverage" if shift else None
    return {"alpha": alpha, "methods": methods, "note": warning}, first


def _no_coverage(draws: Draws, reason: str) -> dict[str, Any]:
    """Return the keys of `_coverage` for a method that was refused."""
    nothing = estimate(math.nan, np.empty(0), n=len(draws.groups), patients=draws.patients()) | {"note": reason}
    both = {key: {"overall": nothing, "per_class": {}, "by_site": {}, "groups": {}} for key in ("coverage", "size")}
    return {**both, "empty": nothing, "single": nothing}


def _coverage(task: Classification, sets: np.ndarray, target: np.ndarray, draws: Draws, groupings: Sequence[Grouping]) -> dict[str, Any]:
    size = sets.sum(axis=1).astype(np.float64)
    values = {"coverage": conformal.coverage(sets, target), "size": size, "empty": (size == 0) * 1.0, "single": (size == 1) * 1.0}
    overall = mean_estimates(values, draws)
    classes = {c: mean_estimates(values, draws, target == k) for k, c in enumerate(task.classes) if (target == k).any()}
    groups = {
        g.column: {
            str(value): mean_estimates(values, draws, np.array([v == value for v in g.values])) for value in g.order if value is not None
        }
        for g in groupings
    }
    result: dict[str, Any] = {}
    for key in ("coverage", "size"):
        result[key] = {"overall": overall[key], "per_class": {c: e[key] for c, e in classes.items()}}
        result[key]["by_site"] = {v: e[key] for v, e in groups.get("site", {}).items()}
        result[key]["groups"] = {c: {v: e[key] for v, e in each.items()} for c, each in groups.items() if c != "site"}
    return result | {"empty": overall["empty"], "single": overall["single"]}


def prevalence_of(
    task: Classification, rows: Mapping[str, np.ndarray], draws: Draws, sites: Grouping | None, definition: str
) -> dict[str, Any]:
    """Return how often each class occurs, overall and by site: where sites differ in it, or in what a label means, metrics differ too."""
    target = rows["target"]
    held = target.astype(np.float64) if task.multi_label else (target[:, None] == np.arange(len(task.classes))).astype(np.float64)
    values = {c: held[:, k] for k, c in enumerate(task.classes)}
    by_site = []
    for site in sites.order if sites is not None else []:
        assert sites is not None
        mask = np.array([v == site for v in sites.values])
        counts = {c: int(np.nansum(v[mask])) for c, v in values.items()}
        one = {"site": site, "n": int(mask.sum()), "patients": draws.patients(mask), "counts": counts}
        by_site.append(one | {"prevalence": mean_estimates(values, draws, mask)})
    return {"overall": mean_estimates(values, draws), "by_site": by_site, "definition": definition}


def predictive_values_of(
    task: Classification, rows: Mapping[str, np.ndarray], sampled: Sampled, draws: Draws, prevalences: Sequence[float]
) -> list[dict[str, Any]]:
    """Return positive and negative predictive values of each class at the data's prevalence and at those asked for."""
    result = []
    for label, (known, _, truth) in questions(task, rows).items():
        suffix = "" if task.binary else f"/{label}"
        se, sp = (f"{name}{suffix}" for name in ("sensitivity", "specificity"))
        mask = np.zeros(len(draws.groups), dtype=bool)
        mask[known] = True
        n, patients = len(known), draws.patients(mask)
        base = float(truth.mean()) if n else math.nan
        for prevalence, observed in [*([(base, True)] if n else []), *((p, False) for p in prevalences)]:
            value = decision.predictive_values(sampled.values[se], sampled.values[sp], prevalence)
            drawn = decision.predictive_values(sampled.draws[se], sampled.draws[sp], prevalence)
            one: dict[str, Any] = {"class": label, "prevalence": prevalence, "observed": observed}
            one |= {"sensitivity": sampled.values[se], "specificity": sampled.values[sp]}
            for name, v, d in zip(("ppv", "npv"), value, drawn, strict=True):
                one[name] = estimate(float(v), d, n=n, patients=patients, level=draws.level)
            result.append(one)
    return result


def decision_curves(task: Classification, rows: Mapping[str, np.ndarray], draws: Draws) -> dict[str, Any]:
    """Return the decision curve of each class against the rest, where both outcomes occur."""
    result = {}
    for label, (known, scores, truth) in questions(task, rows).items():
        if not truth.any() or truth.all() or not np.isfinite(scores).all():
            continue
        own = Draws([draws.groups[row] for row in known], draws.resamples, draws.seed, draws.level)
        sampled = sample({"curve": decision.statistic(scores, truth)}, own)["curve"]
        result[label] = decision.curve(sampled, truth, own)
    return result


def classification_block(
    task: Classification,
    rows: Mapping[str, np.ndarray],
    sampled: Sampled,
    draws: Draws,
    *,
    thresholds: Sequence[float] | None,
    calibration_rows: Mapping[str, np.ndarray] | None,
    temperature: float | None,
    groupings: Sequence[Grouping],
    sites: Grouping | None,
    definition: str,
    alpha: float,
    shift: bool,
    prevalences: Sequence[float],
) -> tuple[dict[str, Any], np.ndarray | None]:
    """Return the keys that the schema has for classification alone, and the conformal sets; arguments as in `review`."""
    limits = decision_thresholds(task, thresholds)
    threshold: Any = None
    if limits:
        threshold = limits[0] if task.binary else dict(zip(task.classes, limits, strict=True))
    found = {label: Ranking(scores, truth) for label, (_, scores, truth) in questions(task, rows).items()}
    before, variant = calibration_of(task, rows["probabilities"], rows["target"], draws)
    calibration: dict[str, Any] = {"definition": {"bins": BINS, "variant": variant}, "before": before, "after": None}
    block: dict[str, Any] = {
        "threshold": threshold,
        "curves": {label: ranking.curves() for label, ranking in found.items()},
        "calibration": calibration,
        "decision_curve": decision_curves(task, rows, draws),
        "decision_curve_scaled": None,
    }
    if temperature is not None:
        p = scaled(task, rows, temperature)
        calibration["after"], _ = calibration_of(task, p, rows["target"], draws)
        block["decision_curve_scaled"] = decision_curves(task, {**rows, "probabilities": p}, draws)
    every = [*(g for g in groupings if g.column != "site"), *([sites] if sites is not None else [])]
    block["conformal"], sets = conformal_of(task, rows, calibration_rows, draws, every, alpha=alpha, shift=shift)
    block["prevalence"] = prevalence_of(task, rows, draws, sites, definition)
    block["predictive_values"] = predictive_values_of(task, rows, sampled, draws, prevalences)
    return block, sets
