"""Rows of the cards' transfer tables, with intervals over patients, from the grids transfer.yaml and transfer_tuned.yaml.

    python benchmarks/study_transfer.py --out docs/results/transfer.json GRID.yaml [GRID.yaml ...]

For every preset, set, task, label fraction and mode: the mean over seeds of the task's main metric on the test rows, its standard
deviation, and a 95 % interval; the same for ImageNet and random weights of the same architecture, and the preset less each of them.
Intervals are percentiles over 2,000 bootstrap draws of test patients; in every draw the seeds' values are averaged, and differences are
paired. Where fewer than five patients are tested, there is none. They hold for these trainings on other patients; what other seeds
would do is in the standard deviation. Cells that are not done are left out and named.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from umsrep.errors import InputError
from umsrep.tasks.benchmark.grid import Cell, load_benchmark
from umsrep.tasks.benchmark.probe import ROWS
from umsrep.tasks.benchmark.run import is_done
from umsrep.tasks.data.manifest import load_manifest
from umsrep.tasks.evaluate import collect
from umsrep.tasks.evaluation.metrics import MAIN, statistic_of
from umsrep.tasks.evaluation.resample import Draws, Sampled, Statistic, estimate, sample
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.progress import say, track
from umsrep.tasks.setup import build_sets, make_task
from umsrep.tasks.validation import at_middle_level
from umsrep.zoo import PRESETS
from umsrep.zoo.results import Measurement

OTHERS = {"imagenet": "ImageNet", "scratch": "scratch", "cbr-scratch": "scratch"}
ARCHITECTURES = {"imagenet": "tf_efficientnet_lite0", "scratch": "tf_efficientnet_lite0", "cbr-scratch": "cbr_tiny"}
FEWEST = 5
"""Patients whose resampling says anything; below, rows stand without an interval."""
Place = tuple[str, str, float, str]  # mode, set, fraction, task


def rows_of(cell: Cell) -> Mapping[str, np.ndarray]:
    """Return the statistics of a cell's test rows, computed and kept beside it where it was fine-tuned."""
    output = Path(cell.config.output)
    if not (output / ROWS).is_file():
        model = MultiTaskModel.from_pretrained(output / "model")
        test = build_sets(cell.config, model.encoder.contract)[2]
        assert test is not None
        for name in list(test.tasks):
            test.tasks[name] = at_middle_level(test.tasks[name])
        stored: dict[str, np.ndarray] = {}
        for name, values in collect(model, test).items():
            stored |= {f"test/{name}/{key}": value for key, value in values.items() if key != "index"}
            stored[f"test/{name}/row"] = np.array([test.items[i][1] for i in values["index"]])
        np.savez_compressed(output / ROWS, **stored)  # type: ignore[arg-type]
    with np.load(output / ROWS) as file:
        return dict(file)


def gather(cells: Sequence[Cell]) -> tuple[dict[Place, dict[str, Sampled]], dict[Place, dict[str, Any]]]:
    """Return each place's encoders with their values, of every seed (``seed N``) and their ``mean``, in all draws; and what holds there."""
    found: dict[Place, dict[str, dict[int, Statistic]]] = {}
    facts: dict[Place, dict[str, Any]] = {}
    for cell in track(cells, "reading cells", total=len(cells)):
        rows, config = rows_of(cell), cell.config
        manifest = load_manifest(config.data[0].path)
        for name, given in config.tasks.items():
            task = make_task(name, given)
            place = ("frozen" if cell.probe else "fine-tuned", cell.axes["set"], cell.fraction, name)
            values = {key.rpartition("/")[2]: value for key, value in rows.items() if key.startswith(f"test/{name}/")}
            numbers = values.pop("row")
            patients = manifest.columns.get("patient_id", [""] * len(manifest))
            own = {"task": task, "rows": numbers, "groups": [patients[i] or None for i in numbers]}
            if not np.array_equal(facts.setdefault(place, own)["rows"], numbers):
                raise InputError(f"{config.output}: tested on other rows than the cells before")
            found.setdefault(place, {}).setdefault(cell.axes["encoder"], {})[cell.seed] = statistic_of(task, values, calibration=False)
    sampled = {}
    for place, encoders in track(found.items(), "drawing patients", total=len(found)):
        metric = MAIN[facts[place]["task"].kind]

        draws = Draws(facts[place]["groups"], resamples=2000)
        sampled[place] = sample({encoder: functools.partial(over_seeds, own, metric) for encoder, own in encoders.items()}, draws)
    return sampled, facts


def over_seeds(statistics: Mapping[int, Statistic], metric: str, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return a metric of every seed's cell, and their mean, in draws given as weights [R, n]."""
    values = {f"seed {seed}": statistic(weights)[metric] for seed, statistic in statistics.items()}
    return {**values, "mean": np.mean(list(values.values()), axis=0)}


def measurements(preset: str, sampled: Mapping[Place, Mapping[str, Sampled]], facts: Mapping[Place, Any]) -> list[Measurement]:
    """Return the transfer rows of one preset's card."""
    rows = []
    for place, encoders in sampled.items():
        if preset not in encoders:
            continue
        mode, data, fraction, name = place
        kind, groups = facts[place]["task"].kind, facts[place]["groups"]
        draws = Draws(groups)

        def interval(drawn: np.ndarray, value: float, draws: Draws = draws) -> tuple[float, float] | None:
            found = estimate(value, drawn, n=len(draws.groups), patients=draws.patients())
            few = draws.patients() < FEWEST
            return None if few or found["method"] == "none" else (found["low"], found["high"])

        this = encoders[preset]
        for encoder, other in encoders.items():
            if encoder != preset and ARCHITECTURES.get(encoder) != PRESETS[preset].arch:
                continue
            seeds = [value for key, value in other.values.items() if key != "mean"]
            difference = this.values["mean"] - other.values["mean"]
            mine = encoder == preset
            rows.append(
                Measurement(
                    group="transfer", head=name, metric=MAIN[kind], data=data, split="transfer grid, 64 px", labels=fraction, mode=mode,
                    value=other.values["mean"], sd=float(np.std(seeds, ddof=1)) if len(seeds) > 1 else None, seeds=len(seeds),
                    interval=interval(other.draws["mean"], other.values["mean"]), images=len(groups),
                    patients=draws.patients() if any(groups) else None,  # the source names none
                    method=None if mine else OTHERS[encoder],
                    difference=None if mine else difference,
                    difference_interval=None if mine else interval(this.draws["mean"] - other.draws["mean"], difference),
                )
            )  # fmt: skip
    return rows


def main() -> None:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grids", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    cells = [cell for grid in options.grids for cell in load_benchmark(grid).cells]
    done = [cell for cell in cells if is_done(cell)]
    for cell in cells:
        if cell not in done:
            say(f"not done, left out: {cell.name}")
    sampled, facts = gather(done)
    report = {
        preset: [{k: v for k, v in dataclasses.asdict(m).items() if v is not None} for m in measurements(preset, sampled, facts)]
        for preset in PRESETS
    }
    options.out.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
