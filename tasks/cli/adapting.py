"""Commands that adapt a finished model to a target without labels: `evaluate --adapt`, and adapt, which saves the adapted model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from umsrep.errors import InputError
from umsrep.tasks.cli import show
from umsrep.tasks.cli.parser import Add
from umsrep.tasks.cli.targets import read_targets


def add_commands(add: Add) -> None:
    """Add the command to the parser."""
    adapt = add("adapt", _adapt, "save a copy of a model whose batch norms have a target's statistics (AdaBN); no label is read")
    adapt.add_argument("model", help="preset, org/repo or folder")
    adapt.add_argument("target", help="folder with metadata.csv, or a MedMNIST npz; only images are read")
    adapt.add_argument("--method", default="adabn", choices=("adabn",), help="tent leaves no model to save: see evaluate --adapt tent")
    adapt.add_argument("--out", type=Path, required=True, help="a new or empty folder for the adapted model")
    adapt.add_argument("--split", default="train", help="train, validation, test or all (default train; a table without splits: all)")
    adapt.add_argument("--split-column", default="split")
    adapt.add_argument("--images", type=int, metavar="N", help="at most so many images, evenly spaced (default all)")
    adapt.add_argument("--noise", default="gaussian", help="for a model that only denoises: what is added to the images")
    adapt.add_argument("--level", type=float, default=25.0, help="likewise, in 8-bit grey levels (default 25)")
    adapt.add_argument("--batch-size", type=int, default=16)
    adapt.add_argument("--workers", type=int, default=2)
    adapt.add_argument("--lenient", action="store_true", help="bend rules of the input contract that can be bent, and warn")
    adapt.add_argument("--json", action="store_true", help="print JSON")


def add_options(evaluate: argparse.ArgumentParser) -> None:
    """Add the options of an evaluation with adaptation to the parser of evaluate."""
    evaluate.add_argument(
        "--adapt",
        choices=("adabn", "tent"),
        help="also after adapting a copy to the unlabelled images: adabn (statistics of the norms), tent (adapts while it predicts)",
    )
    evaluate.add_argument(
        "--adapt-split", metavar="S", help="with --adapt adabn: the split whose images are seen, or all (default: the evaluated one)"
    )
    evaluate.add_argument("--adapt-images", type=int, metavar="N", help="with --adapt adabn: at most so many images, evenly spaced")
    evaluate.add_argument("--adapt-rate", type=float, metavar="R", help="with --adapt tent: learning rate (default 0.001)")


def check_options(arguments: argparse.Namespace) -> None:
    """Refuse options that would have no effect."""
    if arguments.adapt is not None and (arguments.shifts is not None or arguments.review is not None):
        raise InputError("umsrep evaluate: --adapt does not go together with --shifts or --review")
    for option, method in (("adapt_split", "adabn"), ("adapt_images", "adabn"), ("adapt_rate", "tent")):
        if getattr(arguments, option) is not None and arguments.adapt != method:
            raise InputError(f"umsrep evaluate: --{option.replace('_', '-')} needs --adapt {method}")


def evaluate_before_and_after(arguments: argparse.Namespace, model: Any) -> None:
    """Run `umsrep evaluate --adapt` and print its table or JSON."""
    from umsrep.tasks.adapt.evaluating import evaluate_adapted
    from umsrep.tasks.runfolder import plain

    found = evaluate_adapted(
        model,
        arguments.data,
        arguments.adapt,
        adapt_split=arguments.adapt_split,
        adapt_images=arguments.adapt_images,
        learning_rate=1e-3 if arguments.adapt_rate is None else arguments.adapt_rate,
        split=arguments.split,
        split_column=arguments.split_column,
        targets=read_targets(arguments.rest),
        tasks=show.chosen(arguments.tasks),
        noise=arguments.noise,
        level=arguments.level,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        lenient=arguments.lenient,
        resamples=arguments.resamples,
    )
    if arguments.json == "-":
        show.print_json(plain(found))
        return
    if arguments.json:
        import json

        show.write(Path(arguments.json), json.dumps(plain(found), indent=2) + "\n")
    _print_both(found)
    print(f"\n{found['method']} on {found['images']}; no label was used to adapt, and the model on disk is unchanged.")
    if found["transductive"] and found["method"] == "adabn":
        print("The rows that are measured were seen (without labels) before: name other rows with --adapt-split where there are some.")
    if found["note"]:
        print(f"umsrep: {found['note']}", file=sys.stderr)


def _print_both(found: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("head", "metric", "unadapted", "95 %", found["method"], "95 %")
    for head, before in found["unadapted"].items():
        after = found["adapted"].get(head, {})
        metrics = [metric for metric in before if metric != "intervals"]
        for number, metric in enumerate(metrics):
            cells = [cell for side in (before, after) for cell in (_value(side, metric), _interval(side, metric))]
            table.add_row(head if number == 0 else "", metric, *cells, end_section=number == len(metrics) - 1)
    show.stdout().print(table)


def _value(metrics: dict[str, Any], metric: str) -> str:
    value = metrics.get(metric)
    return "-" if value is None else f"{value:.0f}" if metric == "n" else f"{value:.4f}"


def _interval(metrics: dict[str, Any], metric: str) -> str:
    low, high = metrics.get("intervals", {}).get(metric, (None, None))
    return "" if low is None or low != low else f"{low:.3f} to {high:.3f}"


def _adapt(arguments: argparse.Namespace) -> None:
    from umsrep.tasks.adapt.saving import save_adapted
    from umsrep.tasks.adapt.target import target_images
    from umsrep.tasks.model import MultiTaskModel
    from umsrep.zoo import hub

    out = arguments.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out}: exists already and is not empty; name another folder")
    source = hub.resolve(arguments.model)
    model = MultiTaskModel.from_pretrained(source)
    images = target_images(
        model,
        arguments.target,
        split=arguments.split,
        split_column=arguments.split_column,
        limit=arguments.images,
        noise=arguments.noise,
        level=arguments.level,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        lenient=arguments.lenient,
    )
    norms = save_adapted(model, images, out, origin=arguments.model)
    if arguments.json:
        show.print_json({"model": str(out), "norms": norms, "images": len(images.dataset)})
        return
    print(f"{norms} batch norms took their statistics from {images.what}; no weight changed and no label was read.")
    print(f"Model: {out}\nMeasure it where there are labels before you use it: adaptation can make a model worse.")
