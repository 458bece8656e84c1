"""Encoders for the tests of the catalog. Every number here is MADE UP: nothing was measured, and no such data set exists."""

from __future__ import annotations

import random
from typing import Any

from umsrep.tasks.catalog.entries import Entry
from umsrep.zoo.card_sections import snippets
from umsrep.zoo.listing import Listed
from umsrep.zoo.results import Results

NOTICE = "MADE UP for tests: no number here was measured."
HEADS = {"denoising": "denoising", "lungs": "segmentation", "finding": "classification"}
ARCHS = ("tf_efficientnet_lite0", "resnet50", "cbr_tiny", "vit_tiny_patch16_224")


def results_file(seed: int = 0, *, modality: str = "cxr", licence: str = "cc-by-4.0", reliability: bool = True) -> dict[str, Any]:
    """Return a results file with rows of all groups; the numbers follow the seed alone."""
    draw = random.Random(seed)
    data = f"invented_{modality}"
    good = draw.uniform(0.85, 0.96)

    def row(group: str, head: str, metric: str, value: float, half: float | None = None, **more: Any) -> dict[str, Any]:
        ends = {} if half is None else {"interval": [value - half, value + half]}
        return {"group": group, "head": head, "metric": metric, "data": data, "value": value, "split": "test", **ends, **more}

    n: dict[str, Any] = {"images": 447, "patients": 222}
    rows = [
        row("results", "lungs", "dice", good, 0.004, **n),
        row("results", "lungs", "hd95", draw.uniform(2, 6), **n),
        row("results", "finding", "auroc", good + 0.02, 0.01, images=624, patients=427),
        row("results", "denoising", "psnr_gain", draw.uniform(8, 12), 0.15, images=101, patients=99),
        row("results", "denoising", "psnr_gain", 9.5, 0.14, images=101, patients=99, method="Total variation", difference=1.0),
    ]
    for labels in (0.01, 0.1, 1.0):
        for mode in ("frozen", "fine-tuned"):
            for method, less in ((None, 0.0), ("ImageNet", 0.02), ("scratch", 0.09)):
                value = good - 0.08 * (1 - labels) - less - (0.03 if mode == "frozen" else 0)
                more = {"method": method, "labels": labels, "mode": mode, "sd": 0.006, "seeds": 3, "data": f"other_{modality}"}
                gap = {} if method is None else {"difference": less, "difference_interval": [less - 0.01, less + 0.01]}
                rows.append(row("transfer", "nodules", "dice", value, 0.01, images=80, **gap, **more))
    rows += [
        row("interference", "lungs", "dice", good + 0.003, 0.004, method="single-task", difference=-0.003, **n),
        row("shift", "lungs", "dice", good - 0.03, 0.02, **{**n, "images": 30, "data": "elsewhere", "split": "13 places"}),
        row("shift", "lungs", "dice", good - 0.05, 0.03, **{**n, "images": 14, "data": "elsewhere", "split": "one scanner"}),
    ]
    for name, steep in (("gaussian_noise", 0.09), ("motion_blur", 0.04), ("gamma", 0.01)):
        for severity in range(1, 6):
            rows.append(row("shift", "lungs", "dice", good - steep * severity, 0.01, note=f"{name}, severity {severity}", **n))
    rows.append(row("shift", "finding", "auroc", good, 0.01, note="unchanged", **{**n, "split": "test, images changed"}))
    for name, drop in (("scatter", 0.08), ("rotation", 0.02), ("label_overlay", 0.001)):
        note = f"{name}, mean of 5 severities: drop {drop:.3f} ({drop - 0.01:.3f} to {drop + 0.01:.3f})"
        rows.append(row("shift", "finding", "auroc", good - drop, note=note, **{**n, "split": "test, images changed"}))
    rows += [
        row("calibration", "finding", "ece", draw.uniform(0.02, 0.1), 0.01, images=624, patients=427),
        row("calibration", "finding", "brier", draw.uniform(0.05, 0.15), 0.01, images=624, patients=427),
        row("subgroups", "finding", "auroc", good, 0.02, images=310, patients=210, note=f"women; less men: {-0.01 - seed / 1000:.3f}"),
        row("subgroups", "finding", "auroc", good + 0.01, 0.02, images=314, patients=217, note="men"),
    ]
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    bins = {
        name: [{"confidence": p, "frequency": p**sure, "count": k * 7 + 3} for k, p in enumerate(levels)]
        for name, sure in (("normal", 1.2), ("opacity", 0.7))
    }
    diagrams = [{"head": "finding", "data": data, "split": "test", "class": name, "bins": found} for name, found in bins.items()]
    return {
        "schema_version": 1,
        "license": licence,
        "verdict": f"{NOTICE} An encoder that does not exist, for looking at the page.",
        "base_model": "made/up",
        "conditions": NOTICE,
        "data": [{"name": data, "images": 4127, "patients": 2277, "license": "CC BY 4.0", "split": "by patient"}],
        "measurements": rows,
        "reliability": diagrams if reliability else [],
        "cost": {"size": [1, 128, 128], "encoder": {"parameters": 3_370_432, "macs": 122_998_272}},
        "guard": {
            "score": "distance",
            "threshold": 6.9,
            "false_alarms": 0.05,
            "calibrated": 256,
            "data": data,
            "rates": [{"data": data, "kind": "like the training data", "images": 200, "flagged": 12, "interval": [0.03, 0.1]}],
        },
        "limits": [NOTICE, "One hospital that does not exist."],
    }


def entry(number: int, name: str | None = None, **changes: Any) -> Entry:
    """Return an encoder that does not exist; every third has no weight files at hand."""
    modality = ("cxr", "us", "doppler")[number % 3]
    licence = ("cc-by-4.0", "apache-2.0", "unknown")[number % 3 if number < 30 else 2]
    arch = ARCHS[number % 4]
    name = name or f"made-up-{number:02d}-{modality}-{arch.replace('_', '-')}"
    heads = dict(list(HEADS.items())[: 1 + number % 3]) if number % 5 else HEADS
    block = {"architecture": arch, "contract": {"channels": 1}, "heads": heads, "strides": [16, 16] if "vit" in arch else [2, 4]}
    known = {
        "listed": Listed(name, modality, arch, heads, 1_000_000 * (number + 1), 496_949_248, [1, 128, 128], licence),
        "place": "shipped with umsrep",
        "results": Results.from_dict(results_file(number, modality=modality, licence=licence, reliability=number % 2 == 0)),
        "complete": True,
        "mebibytes": None if number % 3 == 2 else 2.1 * (number + 1),
        "code": snippets(block, name),
        "size": (128, 128),
    }
    return Entry(**{**known, **changes})


def entries(count: int) -> list[Entry]:
    """Return so many encoders; the last of three and more has no measurements at all."""
    found = [entry(number) for number in range(count)]
    return [*found[:-1], entry(count - 1, results=Results())] if count > 2 else found
