"""A whole review as plain values, with every part of the schema in docs/evaluation.md: what the page and the checklist are tested on."""

from __future__ import annotations

from typing import Any

import numpy as np

EVIL = "<script>alert('1')</script>\"><img src=x onerror=alert(1)>\u202e"
"""As a label, a column, a file or a folder: nothing of it may become markup."""
SITES = ("North", "South")


def estimate(value: float | None, *, wide: float = 0.03, n: int = 40, note: str | None = None) -> dict[str, Any]:
    """An estimate with an interval around it, or with none and the reason why."""
    none = value is None or note is not None
    ends = {"low": None, "high": None} if none or value is None else {"low": value - wide, "high": value + wide}
    known = {"value": value, **ends, "n": n, "patients": n // 2, "method": "none" if none else "bootstrap"}
    return known | ({"note": note} if note else {})


def _table(column: str | list[str], values: list[Any], metric: str, at: float, classes: list[str]) -> dict[str, Any]:
    groups = [
        {
            "value": value,
            "n": 20 if number else 6,
            "patients": 10 if number else 3,
            "counts": dict.fromkeys(classes, 10),
            "metrics": {metric: estimate(at + 0.02 * number, n=20, note=None if number else "fewer than 10 rows")},
            "gap": {metric: estimate(0.02 * number, n=20, note=None if number else "fewer than 10 rows")},
            "small": not number,
        }
        for number, value in enumerate(values)
    ]
    spread = {metric: {"value": 0.02, "low": None, "high": None, "best": str(values[-1]), "worst": str(values[0]), "n_groups": 2}}
    return {"column": column, "edges": None, "missing": 1, "groups": groups, "spread": spread}


def _common(kind: str, main: str, at: float, classes: list[str], metrics: dict[str, float]) -> dict[str, Any]:
    """The part of a task that every kind has."""
    return {
        "kind": kind,
        "classes": classes,
        "multi_label": False,
        "positive": classes[1] if kind == "classification" and len(classes) == 2 else None,
        "n": 40,
        "patients": 20,
        "target": {"column": "label", "map": {}},
        "main": main,
        "metrics": {name: estimate(value) for name, value in metrics.items()},
        "per_class": {},
        "lower_is_better": ["ece", "brier", "nll", "hd95"],
        "subgroups": [_table("sex", [None, "F", "M"], main, at, classes)],
        "intersections": [_table(["sex", "view"], [["F", "AP"], ["M", "PA"]], main, at, classes)],
        "sites": _table("site", list(SITES), main, at, classes),
        "comparisons": [
            {
                "other": "elsewhere",
                "metric": main,
                "class": None,
                "value": at,
                "other_value": at - 0.04,
                "difference": 0.04,
                "low": 0.01,
                "high": 0.07,
                "p": 0.004,
                "p_holm": 0.008,
                "method": "delong",
                "family": 2,
                "n": 40,
                "patients": 20,
            }
        ],
        "records": [],
    }


def _records(seed: int) -> list[dict[str, Any]]:
    """Rows with what every record has; ids are there, as in a real review."""
    generator = np.random.default_rng(seed)
    return [
        {
            "row": row,
            "line": row + 2,
            "file": f"images/secret-{row // 2:03d}_{row % 2}.png",
            "patient": f"secret-{row // 2:03d}",
            "site": SITES[row % 2],
            "groups": {"sex": "F", "view": "AP"},
            "loss": float(generator.exponential(0.3)),
        }
        for row in range(40)
    ]


def _reliability(scale: float) -> list[dict[str, Any]]:
    bins = []
    for number in range(15):
        empty = number < 7
        middle = (number + 0.5) / 15
        bins.append(
            {
                "low": number / 15,
                "high": (number + 1) / 15,
                "n": 0 if empty else 5,
                "patients": 0 if empty else 4,
                "confidence": None if empty else middle,
                "accuracy": None if empty else min(1.0, middle * scale),
                "accuracy_low": None if empty else middle * scale - 0.1,
                "accuracy_high": None if empty else min(1.0, middle * scale + 0.1),
            }
        )
    return bins


def _calibration() -> dict[str, Any]:
    def one(ece: float, scale: float) -> dict[str, Any]:
        names = ("ece", "ece_adaptive", "ece_classwise", "mce", "brier", "nll")
        parts = {"reliability": 0.01, "resolution": 0.09, "uncertainty": 0.24, "within_bins": 0.001}
        return {name: estimate(ece + 0.01 * i) for i, name in enumerate(names)} | {
            "brier_parts": parts,
            "reliability": _reliability(scale),
        }

    return {"before": one(0.08, 0.85), "after": one(0.03, 0.97), "definition": {"bins": 15, "variant": "confidence, l1, equal width"}}


def _conformal(classes: list[str]) -> dict[str, Any]:
    def per(value: float) -> dict[str, Any]:
        return {
            "overall": estimate(value),
            "per_class": {name: estimate(value - 0.02) for name in classes},
            "by_site": {site: estimate(value + 0.01) for site in SITES},
            "groups": {"sex": {"F": estimate(value), "M": estimate(value - 0.03)}},
        }

    method = {
        "quantile": 0.83,
        "needed": None,
        "calibration_n": 60,
        "coverage": per(0.89),
        "size": per(1.2),
        "empty": estimate(0.01),
        "single": estimate(0.78),
        "shift": False,
    }
    refused = {
        "quantile": {classes[0]: 0.8, classes[1]: None},
        "needed": "9 calibration rows of each class",
        "calibration_n": {classes[0]: 52, classes[1]: 8},
        "coverage": {"overall": estimate(None, note="refused"), "per_class": {}, "by_site": {}, "groups": {}},
        "size": {"overall": estimate(None, note="refused"), "per_class": {}, "by_site": {}, "groups": {}},
        "empty": estimate(None, note="refused"),
        "single": estimate(None, note="refused"),
        "shift": False,
    }
    return {"alpha": 0.1, "methods": {"lac": method, "mondrian": refused}, "note": "marginal over rows like these"}


def classification(classes: list[str]) -> dict[str, Any]:
    """A task of two exclusive classes."""
    metrics = {"auroc": 0.9, "average_precision": 0.88, "balanced_accuracy": 0.82, "ece": 0.08, "brier": 0.12, "nll": 0.38}
    metrics |= {"sensitivity": 0.85, "specificity": 0.8, "ece_scaled": 0.03, "average_precision_base": 0.4}
    task = _common("classification", "auroc", 0.9, classes, metrics)
    positive = classes[1]
    task["metrics"]["hd95_undefined"] = estimate(None, note="undefined")
    records = _records(1)
    for number, record in enumerate(records):
        truth, predicted = classes[number % 2], classes[number % 2 if number % 5 else 1 - number % 2]
        p = 0.97 - 0.01 * number
        other = classes[1 - classes.index(predicted)]
        record |= {"truth": truth, "predicted": predicted, "probabilities": {predicted: p, other: 1 - p}}
        record |= {"set": [predicted], "correct": truth == predicted, "loss": 0.2 if truth == predicted else 3 - 0.01 * number}
    grid = [round(0.05 * k, 2) for k in range(1, 16)]
    benefit = [0.3 - 0.3 * t for t in grid]
    task |= {
        "records": records,
        "threshold": 0.31,
        "curves": {
            positive: {
                "roc": [[0.0, 0.0], [0.1, 0.6], [0.2, 0.85], [0.5, 0.95], [1.0, 1.0]],
                "pr": [[0.0, 1.0], [0.6, 0.9], [0.85, 0.75], [1.0, 0.4]],
            }
        },
        "calibration": _calibration(),
        "temperature": {"value": 1.7, "nll_before": 0.5, "nll_after": 0.38, "n": 60, "patients": 30, "split": "validation", "note": ""},
        "conformal": _conformal(classes),
        "prevalence": {
            "overall": {name: estimate(0.6 if number == 0 else 0.4) for number, name in enumerate(classes)},
            "by_site": [
                {
                    "site": site,
                    "n": 20,
                    "patients": 10,
                    "counts": dict.fromkeys(classes, 10),
                    "prevalence": {name: estimate(0.5) for name in classes},
                }
                for site in SITES
            ],
            "definition": "column label as it stands",
        },
        "predictive_values": [
            {
                "class": positive,
                "prevalence": prevalence,
                "observed": number == 0,
                "sensitivity": 0.85,
                "specificity": 0.8,
                "ppv": estimate(0.7 - 0.3 * number),
                "npv": estimate(0.9 + 0.05 * number),
            }
            for number, prevalence in enumerate((0.4, 0.05))
        ],
        "decision_curve": {
            positive: {
                "thresholds": grid,
                "net_benefit": benefit,
                "low": [v - 0.05 for v in benefit],
                "high": [v + 0.05 for v in benefit],
                "treat_all": [(0.4 - t) / (1 - t) for t in grid],
                "treat_none": [0.0] * len(grid),
                "prevalence": 0.4,
                "n": 40,
            }
        },
    }
    return task


def segmentation(classes: list[str]) -> dict[str, Any]:
    """A task with one class in front of the background."""
    front = classes[1]
    task = _common("segmentation", "dice", 0.91, classes, {"dice": 0.91, "iou": 0.84, "hd95": 4.2, "surface_dice": 0.88})
    task["per_class"] = {front: dict(task["metrics"])}
    generator = np.random.default_rng(3)
    task["records"] = _records(2)
    for record in task["records"]:
        dice = float(generator.beta(12, 1.5))
        record |= {"dice": {front: dice}, "iou": {front: dice / (2 - dice)}, "hd95": {front: 20 * (1 - dice)}, "hd95_mm": {front: None}}
        record |= {"surface_dice": {front: dice**2}, "surface_dice_mm": {front: None}, "score": dice}
    task["records"][4] |= {"dice": {front: 0.0}, "hd95": {front: None}, "score": 0.0}
    task["records"][5] |= {"dice": {front: None}, "hd95": {front: None}, "score": None}
    task |= {"calibration": _calibration(), "temperature": None, "empty": {front: {"both": 1, "truth_only": 1, "predicted_only": 0}}}
    return task


def denoising() -> dict[str, Any]:
    """A task beside its classical filters."""
    task = _common("denoising", "psnr_gain", 7.4, [], {"psnr": 29.1, "psnr_noisy": 21.7, "psnr_gain": 7.4, "ssim": 0.83})
    task["target"] = {"column": None, "map": {}}
    generator = np.random.default_rng(4)
    task["records"] = _records(5)
    for record in task["records"]:
        noisy, gain = float(generator.normal(21.7, 1)), float(generator.normal(7.4, 0.8))
        record |= {"psnr": noisy + gain, "psnr_noisy": noisy, "psnr_gain": gain, "ssim": 0.83, "ssim_noisy": 0.5, "score": gain}
    task["classical"] = {
        "total_variation": {
            "title": "total variation",
            "parameters": {"weight": 0.08},
            "tuned_on": 8,
            "psnr": estimate(27.1),
            "psnr_gain": estimate(5.4),
            "ssim": estimate(0.78),
            "difference": estimate(2.0),
        }
    }
    return task


def whole_review(*, evil: bool = False) -> dict[str, Any]:
    """A review of three heads; ``evil`` puts `EVIL` wherever a name can come from the user."""
    name = EVIL if evil else "pneumonia"
    classes = ["normal", name]
    tasks = {name: classification(classes), "lungs": segmentation(["background", "lung" if not evil else EVIL]), "denoising": denoising()}
    found: dict[str, Any] = {
        "schema_version": 1,
        "kind": "umsrep review",
        "created": "2026-11-28T19:00:00+00:00",
        "umsrep": "0.1.0",
        "versions": {"torch": "2.9.1", "numpy": "2.3.5"},
        "model": {
            "name": EVIL if evil else "runs/cxr/model",
            "modality": "cxr",
            "parameters": 4_000_000,
            "arch": "tf_efficientnet_lite0",
            "contract": {"channels": 1, "size": [128, 128], "unit": "auto", "mean": 0.5, "std": 0.5, "resize": "stretch"},
            "heads": {
                head: {"kind": task["kind"], "args": {"classes": task["classes"]} if task["classes"] else {}}
                for head, task in tasks.items()
            },
            "sha256": {"model.safetensors": "a" * 64, "heads.safetensors": "b" * 64},
        },
        "data": {
            "path": f"data/{EVIL}" if evil else "data/cxr",
            "table": "data/cxr/metadata.csv",
            "fingerprint": "c" * 64,
            "split": "test",
            "split_column": "split",
            "n": 40,
            "patients": 20,
            "rows_without_patient": 2,
            "targets": {},
            "sites": dict.fromkeys(SITES, 20),
        },
        "calibration_data": {
            "path": "data/cxr",
            "fingerprint": "c" * 64,
            "split": "validation",
            "n": 60,
            "patients": 30,
            "same_data": True,
            "shared_patients": 0,
        },
        "settings": {
            "groups": ["sex", "view"],
            "edges": {},
            "compare": "elsewhere",
            "alpha": 0.1,
            "resamples": 2000,
            "seed": 0,
            "interval_level": 0.95,
            "noise": "gaussian",
            "level": 25.0,
            "specificity": 0.95,
            "tolerance": 2.0,
            "tolerance_mm": None,
            "prevalences": [0.05],
            "small_group": 10,
            "batch_size": 16,
        },
        "notes": [f"head {EVIL} was left out" if evil else "2 rows have no patient_id: each counts as a patient of its own"],
        "tasks": tasks,
    }
    return found
