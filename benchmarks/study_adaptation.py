"""Adaptation to another site against ERM: the data, the test-time methods, and the table of benchmarks/grids/adaptation.yaml.

python benchmarks/study_adaptation.py prepare DATA OUT    # us_lung and nuclei, whose test rows are cut in two: adapted to, and measured
python benchmarks/study_adaptation.py adapt               # AdaBN and TENT on the ERM runs of the finished grid
python benchmarks/study_adaptation.py table               # everything, as Markdown
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from umsrep.errors import InputError
from umsrep.tasks.adapt.evaluating import with_tent
from umsrep.tasks.adapt.target import adapted_copy, target_images
from umsrep.tasks.benchmark.grid import MAIN_METRICS, Cell, load_benchmark
from umsrep.tasks.config import AdaptConfig
from umsrep.tasks.data.dataset import JointDataset, Target
from umsrep.tasks.evaluate import collect, evaluation_set, summarise
from umsrep.tasks.evaluation.evaluating import thresholds_of
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.runfolder import plain

GRID = Path("benchmarks/grids/adaptation.yaml")
TENT_BATCH = 32
METHODS = ("adabn", "tent-norms", "tent")
"""tent-norms is TENT without a step: statistics of the batch alone."""


# ---- data ----------------------------------------------------------------------------------------------------------
def prepare(data: Path, out: Path) -> None:
    """Copy the sets whose target has no rows but test rows, half of its patients (or images) as the training rows of ``adapt_split``."""
    for name in ("us_lung", "nuclei"):
        with (data / name / "metadata.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        groups = sorted({(row["site"], row["patient_id"] or row["file_name"]) for row in rows if row["split"] == "test"})
        order = np.random.default_rng(0).permutation(len(groups))
        mixed = sorted((groups[k] for k in order), key=lambda group: group[0])  # site by site, in random order
        seen = set(mixed[::2])
        for row in rows:
            row["adapt_split"] = ""
            if row["split"] == "test" and (row["site"], row["patient_id"] or row["file_name"]) in seen:
                row["split"], row["adapt_split"] = "", "train"
        target = out / name
        for folder in ("images", "masks"):
            if (data / name / folder).is_dir():
                shutil.copytree(data / name / folder, target / folder, dirs_exist_ok=True)
        with (target / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        halves = [sum(row["adapt_split"] == "train" for row in rows), sum(row["split"] == "test" for row in rows)]
        print(f"{target}: {halves[0]} rows to adapt to, {halves[1]} to measure ({len(groups)} patients or images)")


# ---- AdaBN and TENT ------------------------------------------------------------------------------------------------
def measured(cell: Cell, model: MultiTaskModel) -> Iterator[tuple[str, JointDataset]]:
    """Yield rows of the target, each with their name: the further sets of the grid, or where it has none the run's own test rows."""
    if not cell.tests:
        own = cell.config.data[0]
        targets = {name: Target(task.target) for name, task in cell.config.tasks.items() if isinstance(task.target, str)}
        yield "test", evaluation_set(model, own.path, split_column=own.split_column, targets=targets, seed=cell.config.seed)
    for name, test in cell.tests.items():
        further = {
            task: Target(target.column if isinstance(target.column, str) else None, target.map) for task, target in test.targets.items()
        }
        yield name, evaluation_set(model, test.path, targets=further, tasks=test.tasks, seed=cell.config.seed)


def adapt(grid: Path) -> None:
    """Measure AdaBN and TENT on each ERM run; what is measured already is left as it is."""
    benchmark = load_benchmark(grid)
    for cell in benchmark.cells:
        if cell.axes["variant"] not in ("erm", "erm-clean"):
            continue
        folder, goal = Path(cell.config.output), AdaptConfig(**benchmark.values["sets"][cell.axes["set"]]["adapt"])
        if not (folder / "report.json").is_file():
            sys.exit(f"error: {folder}: no finished run; run umsrep benchmark --config {grid} first")
        if (folder / "adapted.json").is_file():
            continue
        model = MultiTaskModel.from_pretrained(folder / "model")
        images = target_images(model, goal.path, split=goal.split, split_column=goal.split_column)
        adapted = adapted_copy(model, images, title=f"{folder.name}: adabn")
        found: dict[str, Any] = {"images": images.what, "tent_batch": TENT_BATCH}
        for name, dataset in measured(cell, model):
            rows = {
                "erm": collect(model, dataset),
                "adabn": collect(adapted, dataset),
                "tent-norms": with_tent(copy.deepcopy(model), dataset, 0.0, TENT_BATCH, 0, cell.seed, None),
                "tent": with_tent(copy.deepcopy(model), dataset, 1e-3, TENT_BATCH, 0, cell.seed, None),
            }
            found[name] = {method: summarise(some, dataset.tasks, thresholds_of(model)) for method, some in rows.items()}
        (folder / "adapted.json").write_text(json.dumps(plain(found), indent=2) + "\n", encoding="utf-8")
        print(f"{folder.name}: done")


# ---- the table -----------------------------------------------------------------------------------------------------
def table(grid: Path) -> None:
    """Print each measured set: mean of each method and its difference from ERM, paired by seed, with the differences themselves."""
    values: dict[tuple[str, str], dict[str, dict[int, float]]] = {}
    for cell in load_benchmark(grid).cells:
        folder, own = Path(cell.config.output), cell.axes["variant"]
        if not (folder / "report.json").is_file():
            print(f"missing: {folder.name}")
            continue
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        found = {"validation": {own: report["validation"]}, "test": {own: report["test"]}}
        if (folder / "tests.json").is_file():
            tests = json.loads((folder / "tests.json").read_text(encoding="utf-8"))
            found |= {name: {own: tests[name]["metrics"]} for name in cell.tests if name in tests}
        if (folder / "adapted.json").is_file():
            extra = json.loads((folder / "adapted.json").read_text(encoding="utf-8"))
            for name in set(extra) & set(found):
                found[name] |= {method + own.removeprefix("erm"): extra[name][method] for method in METHODS}
        for name, methods in found.items():
            for method, heads in methods.items():
                for head, metrics in heads.items():
                    value = metrics.get(MAIN_METRICS[cell.config.tasks[head].kind])
                    if value is not None:
                        values.setdefault((f"{cell.axes['set']}/{name}", head), {}).setdefault(method, {})[cell.seed] = value
    for (where, head), methods in values.items():
        print(f"\n{where}: {head}\n\n| method | seeds | mean | less ERM | each seed | reading |\n|---|---|---|---|---|---|")
        base = methods.get("erm", {})
        for method, seeds in methods.items():
            pairs = [seeds[s] - base[s] for s in sorted(seeds) if s in base]
            each = ", ".join(f"{d:+.3f}" for d in pairs)
            mean = float(np.mean(pairs)) if pairs else math.nan
            print(f"| {method} | {len(seeds)} | {np.mean(list(seeds.values())):.3f} | {mean:+.3f} | {each} | {reading(method, pairs)} |")


def reading(method: str, pairs: list[float]) -> str:
    """Apply the rule that the grid names."""
    if method == "erm" or len(pairs) < 3:
        return ""
    mean = float(np.mean(pairs))
    if min(pairs) > 0 and mean >= 0.01:
        return "helps"
    return "harms" if max(pairs) < 0 and mean <= -0.01 else "no difference"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("prepare")
    first.add_argument("data", type=Path)
    first.add_argument("out", type=Path)
    for name in ("adapt", "table"):
        commands.add_parser(name).add_argument("--config", type=Path, default=GRID)
    arguments = parser.parse_args()
    try:
        if arguments.command == "prepare":
            prepare(arguments.data, arguments.out)
        elif arguments.command == "adapt":
            adapt(arguments.config)
        else:
            table(arguments.config)
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
