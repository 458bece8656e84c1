"""The headline of UMS-Rep: joint fine-tuning from a shared encoder against separate models, as benchmarks/grids/headline.yaml says.

    python benchmarks/study_headline.py run --data DIR --weights FILE --out DIR
    python benchmarks/study_headline.py read --out DIR --cost step_cost.json --json OUT.json --picture OUT.png

DIR of ``--data`` holds cxr_guangzhou; a run that was cut short goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import random
import shutil
import statistics
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from umsrep.tasks.benchmark import merged
from umsrep.tasks.config_file import config_from_dict
from umsrep.tasks.progress import say
from umsrep.tasks.runfolder import plain, read_metrics
from umsrep.tasks.trainer import fit
from umsrep.zoo import Encoder

SETTINGS = Path(__file__).with_name("grids") / "headline.yaml"
METRIC = {"denoising": "psnr_gain", "lungs": "dice", "pneumonia": "auroc"}


def part_data(settings: Mapping[str, Any], source: Path, out: Path) -> None:
    """Two data folders over the same images: pretrain/ (train, validation) and arms/ (train, validation, test), no patient in both."""
    with (source / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = {split: some_patients(rows, split, settings[f"{split}_rows"]) for split in ("validation", "test")}
    parts: dict[str, list[dict[str, str]]] = {"pretrain": [], "arms": []}
    for row in rows:
        if row["split"] == "train":
            own = zlib.crc32(row["patient_id"].encode()) % settings["parts"] == 0
            parts["arms" if own else "pretrain"].append(row)
        elif row["patient_id"] in chosen[row["split"]]:
            parts["arms"].append(row)
        elif row["split"] == "validation":
            parts["pretrain"].append(row)
    for name, members in parts.items():
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        for images in ("images", "masks"):
            if not (folder / images).exists():
                shutil.copytree(source / images, folder / images)
        aside = folder / f".metadata.{os.getpid()}.csv"  # runs side by side may be reading the table
        with aside.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(members)
        aside.replace(folder / "metadata.csv")


def some_patients(rows: Sequence[Mapping[str, str]], split: str, wanted: int) -> set[str]:
    counts: dict[str, int] = {}
    for row in rows:
        if row["split"] == split:
            counts[row["patient_id"]] = counts.get(row["patient_id"], 0) + 1
    names = sorted(counts)
    random.Random(0).shuffle(names)
    chosen: set[str] = set()
    while names and sum(counts[n] for n in chosen) < wanted:
        chosen.add(names.pop())
    return chosen


def train(values: Mapping[str, Any], folder: Path) -> None:
    if not (folder / "report.json").is_file():
        say(f"{folder.name}")
        fit(config_from_dict({**values, "schema_version": 1, "output": str(folder)}, where=str(SETTINGS)), resume=True)


def cells(settings: Mapping[str, Any], out: Path, weights: Path) -> Iterator[tuple[str, float, int, Path, dict[str, Any]]]:
    """(arm, fraction, seed, folder, configuration), seed by seed: what is cut short has compared every arm."""
    for seed in settings["seeds"]:
        for fraction, length in settings["fractions"].items():
            for arm, own in settings["arms"].items():
                values = {**merged(settings["base"], length), "seed": seed, "encoder": encoder(settings, own["encoder"], out, weights)}
                values["tasks"] = {name: task for name, task in values["tasks"].items() if name in own["tasks"]}
                values["data"] = [{"path": str(out / "data" / "arms"), "fraction": float(fraction)}]
                if own["encoder"] == "scratch":
                    values = merged(values, settings["scratch"])
                yield arm, float(fraction), seed, out / f"{arm}_{fraction}_{seed}", values


def encoder(settings: Mapping[str, Any], name: str, out: Path, weights: Path) -> dict[str, Any]:
    filled = dict(settings["encoders"][name])
    for key, value in filled.items():
        if isinstance(value, str):
            filled[key] = value.replace("{shared}", str(out / "shared")).replace("{weights}", str(weights))
    return filled


def run(settings: Mapping[str, Any], data: Path, weights: Path, out: Path, seeds: Sequence[int] | None, arms: Sequence[str] | None) -> None:
    part_data(settings, data / "cxr_guangzhou", out / "data")
    first = {k: v for k, v in settings["pretraining"].items() if k != "encoder"}
    values = merged(settings["base"], first) | {"encoder": encoder(settings, settings["pretraining"]["encoder"], out, weights)}
    train({**values, "seed": 0, "data": [{"path": str(out / "data" / "pretrain")}]}, out / "pretraining")
    if not (out / "shared").is_dir():
        Encoder.from_pretrained(out / "pretraining" / "model").save_pretrained(out / "shared")  # without the heads
    for arm, _, seed, folder, values in cells(settings, out, weights):
        if (seeds is None or seed in seeds) and (arms is None or arm in arms):
            train(values, folder)


# ---- reading ---------------------------------------------------------------------------------------------------------
Curve = list[tuple[int, float]]  # (step, value)


def curve(folder: Path, task: str) -> Curve:
    return [(e["step"], v) for e in read_metrics(folder) if "validation" in e and (v := e["validation"][task][METRIC[task]]) is not None]


def first_reaching(points: Curve, goal: float) -> int | None:
    return next((step for step, value in points if value >= goal), None)


def first_reaching_all(curves: Mapping[str, Curve], goals: Mapping[str, float]) -> int | None:
    """The first step at which one and the same model reaches the goals of all tasks: what it reached and lost before does not count."""
    reached = [{step for step, value in curves[task] if value >= goal} for task, goal in goals.items()]
    return min(set.intersection(*reached), default=None)


def interpolated(points: Curve, step: float) -> float | None:
    """The value at a step, on the line between the points before and after it; None before the first, the last value beyond the last."""
    return float(np.interp(step, *zip(*points, strict=True))) if step >= points[0][0] else None


def compare(curves: Mapping[str, Mapping[str, Curve]], against: str, joint: str, cost: Mapping[str, float]) -> dict[str, Any]:
    """One seed: the joint run against three separate models from ``against``.

    ``gain`` is read as headline.yaml announces, against the separate model's last point within its third of the compute: with few points
    on a curve that is up to one interval less than the joint run had ("share_used" tells). ``gain_interpolated`` gives the whole third.
    """
    goals, separate, each = {}, 0.0, {}
    for task in METRIC:
        points = curves[f"{task}-{against}"][task]
        goals[task] = max(value for _, value in points)
        separate += (first_reaching(points, goals[task]) or math.nan) * cost[task]
        step = first_reaching(curves[joint][task], goals[task])
        each[task] = None if step is None else step * cost["joint"]
    together = first_reaching_all(curves[joint], goals)
    own = None if together is None else together * cost["joint"]
    total = max(points[-1][0] for points in curves[joint].values()) * cost["joint"]
    equal: dict[str, Any] = {}
    for task in METRIC:
        points, third = curves[f"{task}-{against}"][task], total / len(METRIC) / cost[task]
        last, theirs = next(((s, v) for s, v in reversed(points) if s <= third), (0, None))
        ours, between = curves[joint][task][-1][1], interpolated(points, third)
        equal[task] = {
            "joint": ours,
            "separate": theirs,
            "gain": None if theirs is None else ours - theirs,
            "share_used": last / third,
            "gain_interpolated": None if between is None else ours - between,
        }
    return {
        "goals": goals,
        "separate_seconds": separate,
        "joint_seconds": own,
        "joint_seconds_by_task": each,
        "saved_percent": None if own is None else 100 * (1 - own / separate),
        "equal_compute": equal,
    }


def spread(values: Sequence[float | None]) -> dict[str, Any]:
    """Mean and sd of what is known; the median of all, where a missing value is worse than every other one (None where it is missing)."""
    ranked = sorted(-math.inf if v is None else v for v in values)
    middle = statistics.median(ranked) if ranked else -math.inf
    known = [v for v in values if v is not None]
    return {
        "mean": statistics.fmean(known) if known else None,
        "sd": statistics.stdev(known) if len(known) > 1 else None,
        "n": len(known),
        "missing": len(values) - len(known),
        "median": None if math.isinf(middle) else middle,
        "values": list(values),
    }


def read(settings: Mapping[str, Any], out: Path, cost: Mapping[str, float]) -> dict[str, Any]:
    done: dict[tuple[float, int], dict[str, dict[str, Curve]]] = {}
    tests: dict[tuple[float, int], dict[str, dict[str, float]]] = {}
    for arm, fraction, seed, folder, values in cells(settings, out, Path("unused")):
        if (folder / "report.json").is_file():
            done.setdefault((fraction, seed), {})[arm] = {task: curve(folder, task) for task in values["tasks"]}
            measured = json.loads((folder / "report.json").read_text(encoding="utf-8"))["test"]
            tests.setdefault((fraction, seed), {})[arm] = {task: measured[task][METRIC[task]] for task in values["tasks"]}
    steps = max((e["step"] for e in read_metrics(out / "pretraining")), default=math.nan)
    result: dict[str, Any] = {
        "settings": dict(settings),
        "seconds_per_step": dict(cost),
        "pretraining_seconds": steps * cost["joint"],
        "test": "of the model of each run that is best on its validation rows (joint: by the mean over its tasks), not of its last step",
        "cells": [],
        "table": [],
    }
    for (fraction, seed), arms in done.items():
        cell: dict[str, Any] = {"fraction": fraction, "seed": seed, "test": tests[fraction, seed], "against": {}}
        cell["curves"] = arms
        for joint in ("joint-shared", "joint-imagenet"):
            for against in ("scratch", "imagenet", "shared"):
                if joint in arms and all(f"{task}-{against}" in arms for task in METRIC):
                    cell["against"][f"{joint} / {against}"] = compare(arms, against, joint, cost)
        result["cells"].append(cell)
    for fraction in sorted({fraction for fraction, _ in done}):
        members = [c for c in result["cells"] if c["fraction"] == fraction]
        for pair in sorted({p for c in members for p in c["against"]}):
            some = [c["against"][pair] for c in members if pair in c["against"]]
            entry = {"fraction": fraction, "pair": pair, "saved_percent": spread([s["saved_percent"] for s in some])}
            for name, key in (("gain_at_equal_compute", "gain"), ("gain_interpolated", "gain_interpolated")):
                entry[name] = {t: spread([s["equal_compute"][t][key] for s in some]) for t in METRIC}
            result["table"].append(entry)
        for arm in settings["arms"]:
            for task in settings["arms"][arm]["tasks"]:
                values_ = [c["test"][arm][task] for c in members if arm in c["test"]]
                result["table"].append({"fraction": fraction, "arm": arm, "task": task, "test": spread(values_)})
    return result


LINES = {  # (label, colour, dashes)
    "joint-shared": ("joint, shared encoder", "#0072b2", "-"),
    "joint-imagenet": ("joint, ImageNet", "#56b4e9", "--"),
    "shared": ("three models, shared encoder", "#009e73", "--"),
    "imagenet": ("three models, ImageNet", "#e69f00", "-"),
    "scratch": ("three models, scratch", "#d55e00", "-"),
}
UNITS = {"denoising": "PSNR gain, dB", "lungs": "lung Dice", "pneumonia": "AUROC"}


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Quality on the validation rows against compute, one panel a task and fraction; the band is from the lowest to the highest seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    cost = result["seconds_per_step"]
    separate = sum(cost[task] for task in METRIC)
    fractions = sorted({c["fraction"] for c in result["cells"]})
    figure, axes = plt.subplots(len(METRIC), len(fractions), figsize=(4 * len(fractions), 8), squeeze=False, sharey="row")
    for column, fraction in enumerate(fractions):
        members = [c["curves"] for c in result["cells"] if c["fraction"] == fraction]
        for axis, task in zip(axes[:, column], METRIC, strict=True):
            for name, (label, colour, dashes) in LINES.items():
                arm, each = (name, cost["joint"]) if name.startswith("joint") else (f"{task}-{name}", separate)
                curves = [c[arm][task] for c in members if arm in c]
                if not curves:
                    continue
                x = [step * each for step, _ in curves[0]]
                columns = list(zip(*([value for _, value in points] for points in curves), strict=True))
                axis.plot(x, [statistics.fmean(v) for v in columns], dashes, color=colour, label=label, marker=".")
                axis.fill_between(x, [min(v) for v in columns], [max(v) for v in columns], color=colour, alpha=0.12, linewidth=0)
            axis.grid(alpha=0.3)
            axis.set_ylabel(UNITS[task] if column == 0 else "")
        axes[0, column].set_title(f"{fraction:.0%} of the labels")
        axes[-1, column].set_xlabel("training, s (three models: sum)")
    axes[0, 0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run")
    runs.add_argument("--data", type=Path, required=True)
    runs.add_argument("--weights", type=Path, required=True, help="ImageNet weights of tf_efficientnet_lite0")
    runs.add_argument("--seeds", type=int, nargs="+", help="only these, after the pretraining is done: to run seeds side by side")
    runs.add_argument("--arms", nargs="+", help="only these")
    reads = commands.add_parser("read")
    reads.add_argument("--cost", type=Path, required=True)
    reads.add_argument("--json", type=Path, required=True)
    reads.add_argument("--picture", type=Path)
    for command in (runs, reads):
        command.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    settings = yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))
    if arguments.command == "run":
        run(settings, arguments.data, arguments.weights, arguments.out, arguments.seeds, arguments.arms)
    else:
        cost = json.loads(arguments.cost.read_text(encoding="utf-8"))["seconds_per_step"]
        result = read(settings, arguments.out, cost)
        arguments.json.write_text(json.dumps(plain(result), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        if arguments.picture:
            draw(result, arguments.picture)


if __name__ == "__main__":
    main()
