"""Turn a finished run into a shipped preset: half-precision weights, and a card made from one results file.

    python scripts/make_preset.py --name NAME --model runs/NAME/model
    python scripts/make_preset.py --name NAME --review cxr_guangzhou=reviews/gz --review cxr_external=reviews/ext:shift \
        --shifts cxr_guangzhou=shifts.json --transfer docs/results/transfer.json --interference us=runs/us/results.json
    python scripts/make_preset.py --name NAME --card-only

The first form writes ``zoo/weights/NAME``, with a guard made anew from the run's training and validation rows (run it where the run
was). The second replaces the measurements of ``model_cards/NAME.json`` (docs/cards.md) by those of reviews (``DATA, SPLIT=``: under
another name of the split; ``:shift``: of another place than the training's; ``:shift:METHOD``: of another model there),
evaluations under shifts, the transfer study, grids of variants fine-tuned on another set (``--variants``), and grids with joint and
single tasks; pyramid and cost come from the model, times (``--time``) from this machine.
scripts/measure_preset.sh does this for the shipped ones. All write ``model_cards/NAME.md`` from that file. The checksum that is printed
belongs into ``zoo/presets.py``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from umsrep.errors import InputError
from umsrep.tasks.card_rows import (
    read_json,
    reliability_of_review,
    rows_of_interference,
    rows_of_review,
    rows_of_shifts,
    rows_of_transfer,
    rows_of_variants,
)
from umsrep.tasks.config_file import load_config
from umsrep.tasks.description import cost_of_model, features_of
from umsrep.tasks.guard import attach
from umsrep.tasks.guarding import FALSE_ALARMS, guard_of_run
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.setup import build_sets
from umsrep.zoo import hub
from umsrep.zoo.card import build_card
from umsrep.zoo.card_lint import lint_card
from umsrep.zoo.results import Group, Measurement, Reliability, Timing, load_results

VARIANTS = {"full": None, "imagenet": "ImageNet"}
"""Of benchmarks/grids/pneumoniamnist.yaml: what a card shows, and what it starts from."""
ROOT = Path(__file__).resolve().parents[1]


def pair(text: str) -> tuple[str, Path]:
    """Read DATA=PATH."""
    data, divider, path = text.partition("=")
    if not divider:
        raise argparse.ArgumentTypeError(f"'{text}' is not DATA=PATH")
    return data, Path(path)


def measured(options: argparse.Namespace) -> tuple[list[Measurement], list[Reliability]]:
    """Return all rows and curves that the options name."""
    rows: list[Measurement] = []
    curves: list[Reliability] = []
    for name, path in options.review:
        data, _, split = name.partition(", ")
        folder, _, given = path.name.partition(":")
        given, _, method = given.partition(":")
        if given not in ("", "shift"):
            raise InputError(f"'{path.name}': a review is of the training's place, or :shift, or :shift:METHOD; not :{given}")
        group: Group = "shift" if given == "shift" else "results"
        review = read_json(path.with_name(folder) / "review.json")
        made = rows_of_review(review, data=data, split=split or None, group=group)
        if not method:  # the curves of another model would pass for this one's
            curves += reliability_of_review(review, data=data, split=split or None)
        rows += [dataclasses.replace(row, method=method) for row in made] if method else made
    for data, path in options.shifts:
        rows += rows_of_shifts(read_json(path), data=data)
    if options.transfer is not None:
        rows += rows_of_transfer(options.transfer, options.name)
    for name, path in options.variants:
        data, _, split = name.partition(", ")
        rows += rows_of_variants(path, data=data, split=split or "test", names=VARIANTS)
    for data, path in options.interference:
        rows += rows_of_interference(path, data=data, note=options.interference_note, joint=options.joint)
    return rows, curves


def timings_of(model: MultiTaskModel, rounds: int = 50) -> tuple[Timing, ...]:
    """Return median milliseconds of one image of the contract's size on one core of this processor."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cpu = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "CPU")
    _, *size = cost_of_model(model).size
    image = np.random.default_rng(0).random(size, dtype=np.float32)
    tensor = model.encoder.contract.load(image)[None]
    work: dict[str, Callable[[], object]] = {
        "encoder, pyramid and embedding": lambda: model.encoder.forward_both(tensor),
        "predict: contract, encoder, all heads": lambda: model.predict([image], guard="off"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in work}
    with torch.inference_mode():
        for turn in range(rounds + 3):
            for name, run in work.items():
                started = time.perf_counter()
                run()
                if turn >= 3:  # the first turns choose kernels
                    seconds[name].append(time.perf_counter() - started)
    torch.set_num_threads(threads)
    hardware = f"one core of {cpu}, float32, batch 1, torch {torch.__version__.partition('+')[0]}"
    return tuple(Timing(name, 1e3 * statistics.median(taken), hardware) for name, taken in seconds.items())


def main() -> None:
    """Parse, convert, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True)
    parser.add_argument("--model", type=Path, help="the model folder of a run")
    for name in ("--review", "--shifts", "--interference", "--variants"):
        parser.add_argument(name, type=pair, action="append", default=[], metavar="DATA=PATH")
    parser.add_argument("--interference-note", default="64 px")
    parser.add_argument("--joint", default="joint", help="variant of an interference grid that trains all tasks")
    parser.add_argument("--transfer", type=Path, help="a report of benchmarks/study_transfer.py")
    parser.add_argument("--false-alarms", type=float, default=FALSE_ALARMS, help="of the guard that is made with --model")
    parser.add_argument("--card-only", action="store_true", help="only write the card again")
    parser.add_argument("--time", action="store_true", help="measure times too (on an idle machine), instead of keeping those of the card")
    arguments = parser.parse_args()
    folder = ROOT / "zoo" / "weights" / arguments.name
    if arguments.model is not None:
        MultiTaskModel.from_pretrained(arguments.model).save_pretrained(folder, half=True)
        (folder / hub.CARD_FILE).unlink()  # the card lives in model_cards/
        run = load_config(arguments.model.parent / "config.yaml")
        model = MultiTaskModel.from_pretrained(folder)
        guard = guard_of_run(model, *build_sets(run, model.encoder.contract), say=print, false_alarms=arguments.false_alarms)
        if guard is not None:
            attach(folder, guard[0])
    path = ROOT / "model_cards" / f"{arguments.name}.json"
    results = load_results(path)
    if not arguments.card_only:
        model = MultiTaskModel.from_pretrained(folder)
        cost = cost_of_model(model)
        if arguments.time:
            cost = dataclasses.replace(cost, timings=timings_of(model))
        elif results.cost is not None:
            cost = dataclasses.replace(cost, timings=results.cost.timings)
        results = dataclasses.replace(results, features=features_of(model.encoder, decoders=True), cost=cost)
    rows, curves = measured(arguments)
    if rows:
        results = dataclasses.replace(results, measurements=tuple(rows), reliability=tuple(curves))
    config = hub.read_config(folder)
    card = build_card(arguments.name, config, results)
    if problems := lint_card(card, config=config, results=results, location=arguments.name):
        raise InputError("; ".join(map(str, problems)))
    path.write_text(json.dumps(results.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    (ROOT / "model_cards" / f"{arguments.name}.md").write_text(card, encoding="utf-8")
    for name, checksum in config["umsrep"]["sha256"].items():
        print(f"{name}: {(folder / name).stat().st_size / 2**20:.1f} MiB, sha256 {checksum}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
