"""Commands that train and use models: demo, finetune, evaluate, predict."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umsrep.tasks.cli import adapting, reviewing, shifting, show
from umsrep.tasks.cli.parser import Add
from umsrep.tasks.cli.targets import read_targets

if TYPE_CHECKING:
    from umsrep.tasks.model import MultiTaskModel

_LENIENT = "where an image breaks a rule of the input contract that can be bent, bend it and warn, instead of refusing"
_UNIT = "what stored values mean where neither file nor model says: 12-bit, 16-bit, ..."


@contextlib.contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Print each bent rule of an input contract once, as one line on standard error."""
    from umsrep.zoo.input_contract import ContractWarning

    seen: set[str] = set()
    usual = warnings.showwarning

    def show_once(message: Warning | str, category: type[Warning], *rest: Any, **options: Any) -> None:
        if not issubclass(category, ContractWarning):
            usual(message, category, *rest, **options)
        elif str(message) not in seen:
            seen.add(str(message))
            print(f"umsrep: warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", ContractWarning)
        warnings.showwarning = show_once
        yield


def add_commands(add: Add) -> None:
    """Add these commands to the parser."""
    demo = add("demo", _demo, "fine-tune three heads jointly on simulated Doppler spectra, in under three minutes")
    demo.add_argument("--out", type=Path, default=Path("runs/demo"), help="run folder (default runs/demo; replaced)")
    demo.add_argument("--json", action="store_true", help="print the metrics as JSON")

    finetune = add("finetune", _finetune, "fine-tune heads jointly; every key of the configuration can also be given as --key.key VALUE")
    finetune.add_argument("--config", required=True, help="YAML file")
    finetune.add_argument("--resume", action="store_true", help="continue the run in its output folder")
    finetune.add_argument(
        "--find-batch-size",
        action="store_true",
        help="try sizes of batches on this device first, and take the fastest that makes the same step (batch_size x accumulate)",
    )

    evaluate = add("evaluate", _evaluate, "evaluate a model on a split of a data set")
    evaluate.add_argument("model", help="preset, org/repo or folder")
    evaluate.add_argument("data", help="folder with metadata.csv, or a MedMNIST npz")
    evaluate.add_argument("--split", default="test")
    evaluate.add_argument("--split-column", default="split")
    evaluate.add_argument("--tasks", help="heads, separated by commas (default: those the data is annotated for)")
    evaluate.add_argument("--noise", default="gaussian", help="for denoising")
    evaluate.add_argument("--level", type=float, default=25.0, help="for denoising, in 8-bit grey levels (default 25)")
    evaluate.add_argument("--batch-size", type=int, default=16)
    evaluate.add_argument("--workers", type=int, default=2)
    evaluate.add_argument("--unit", help=_UNIT)
    evaluate.add_argument("--lenient", action="store_true", help=_LENIENT)
    evaluate.add_argument("--json", nargs="?", const="-", metavar="F", help="write JSON to F, or to standard output")
    shifting.add_options(evaluate)
    reviewing.add_options(evaluate)
    adapting.add_options(evaluate)

    predict = add("predict", _predict, "predict on images: masks, overlays, denoised images and a JSON file")
    predict.add_argument("model", help="preset, org/repo or folder")
    predict.add_argument("images", nargs="+", help="PNG, JPEG, TIFF, .npy, DICOM or NIfTI files")
    predict.add_argument("--out", type=Path, required=True, help="folder for the results")
    predict.add_argument("--tasks", help="heads, separated by commas (default all)")
    predict.add_argument("--tile", type=int, help="side of overlapping tiles, for large images at their own resolution")
    predict.add_argument("--flips", action="store_true", help="average with the mirrored image")
    predict.add_argument("--denoise-first", action="store_true", help="give the other heads the image that the denoising head makes")
    predict.add_argument("--batch-size", type=int, default=8)
    predict.add_argument("--frame", type=int, metavar="N", help="which image of files that hold several (frames, slices), from 0")
    predict.add_argument("--unit", help=_UNIT)
    predict.add_argument("--lenient", action="store_true", help=_LENIENT)
    predict.add_argument(
        "--guard",
        default="warn",
        choices=("off", "warn", "refuse"),
        help="what to do with an image unlike the training images: warn (default), refuse (exit 2), or off: do not look",
    )
    predict.add_argument("--json", action="store_true", help="also print the JSON")


def _demo(arguments: argparse.Namespace) -> None:
    from umsrep.tasks.demo import run_demo
    from umsrep.tasks.runfolder import plain

    report = run_demo(arguments.out)
    if arguments.json:
        show.print_json(plain(dataclasses.asdict(report)))
        return
    show.print_metrics({f"{name} (test)": metrics for name, metrics in report.test.items()})
    print(f"\nPictures: {report.output / 'samples.png'}, {report.output / 'curves.png'}\nModel: {report.model}")
    print("The data of this demo is simulated; its numbers say nothing about patients.")


@_one_line_warnings()
def _finetune(arguments: argparse.Namespace) -> None:
    from umsrep.tasks.config_file import load_config
    from umsrep.tasks.trainer import fit

    config = load_config(arguments.config, arguments.rest)
    if arguments.find_batch_size:
        from umsrep.tasks.batch_size import find_batch_size

        config = find_batch_size(config, resume=arguments.resume)
    report = fit(config, resume=arguments.resume)
    from accelerate import PartialState

    if PartialState().is_main_process:
        show.print_metrics(
            {f"{n} ({s})": m for s, every in (("validation", report.validation), ("test", report.test)) for n, m in every.items()}
        )
        print(f"\nRun folder: {report.output}\nModel (epoch {report.epoch}): {report.model}")


def _open(arguments: argparse.Namespace) -> MultiTaskModel:
    from umsrep.tasks.model import MultiTaskModel

    model = MultiTaskModel.from_pretrained(arguments.model)
    if arguments.unit is not None:
        model.name_unit(arguments.unit)
    return model


@_one_line_warnings()
def _evaluate(arguments: argparse.Namespace) -> None:
    from umsrep.tasks.evaluation.evaluating import evaluate_with_intervals
    from umsrep.tasks.runfolder import plain

    shifting.check_options(arguments)
    reviewing.check_options(arguments)
    adapting.check_options(arguments)
    model = _open(arguments)
    if arguments.review is not None:
        reviewing.run_review(arguments, model)
        return
    if arguments.shifts is not None:
        shifting.evaluate_under_shifts(arguments, model)
        return
    if arguments.adapt is not None:
        adapting.evaluate_before_and_after(arguments, model)
        return
    metrics = evaluate_with_intervals(
        model,
        arguments.data,
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
    if arguments.tasks is None and (left_out := [name for name in model.heads if name not in metrics]):
        print(f"umsrep: not evaluated, as this data is not annotated for them: {', '.join(left_out)}", file=sys.stderr)
    if arguments.json == "-":
        show.print_json(plain(metrics))
        return
    if arguments.json:
        show.write(Path(arguments.json), json.dumps(plain(metrics), indent=2) + "\n")
    show.print_metrics(metrics)


@_one_line_warnings()
def _predict(arguments: argparse.Namespace) -> None:
    from umsrep.tasks.outputs import predict_files

    with show.logged("umsrep.guard"):
        summary = predict_files(
            _open(arguments),
            arguments.images,
            arguments.out,
            tasks=show.chosen(arguments.tasks),
            batch_size=arguments.batch_size,
            tile=arguments.tile,
            flips=arguments.flips,
            frame=arguments.frame,
            lenient=arguments.lenient,
            guard=arguments.guard,
            denoise_first=arguments.denoise_first,
        )
    if arguments.json:
        show.print_json(summary)
    else:
        print(f"{len(summary)} image(s): {arguments.out / 'predictions.json'}")
