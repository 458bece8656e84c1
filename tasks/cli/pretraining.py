"""Commands that make encoders: pretrain, convert."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from umsrep.tasks.cli import show
from umsrep.tasks.cli.parser import Add

if TYPE_CHECKING:
    from umsrep.tasks.pretrain.outcome import PretrainReport
    from umsrep.tasks.trainer import Report


def add_commands(add: Add) -> None:
    """Add these commands to the parser."""
    pretrain = add("pretrain", _pretrain, "pretrain an encoder; every key of the configuration can also be given as --key.key VALUE")
    pretrain.add_argument("--config", required=True, help="YAML file; method: supervised, denoising, masked, moco or dino")
    pretrain.add_argument("--resume", action="store_true", help="continue the run in its output folder")
    pretrain.add_argument("--json", action="store_true", help="print the report as JSON")

    convert = add("convert", _convert, "make an encoder folder of a checkpoint that others publish")
    convert.add_argument("checkpoint", help=".safetensors, or a file of torch.save that holds tensors alone (never unpickled)")
    convert.add_argument(
        "--layout", default="auto", help="how its tensors are named (docs/pretraining.md); default: the only one that fits"
    )
    convert.add_argument("--arch", help="timm's name of the architecture, where the layout has several")
    convert.add_argument("--out", type=Path, required=True, help="the new folder")
    convert.add_argument("--modality", help="cxr, us, ...")
    convert.add_argument("--size", type=int, help="side in pixels that images are resized to (default: none, the file's own)")
    convert.add_argument("--unit", default="auto", help="of stored values, as in the input contract")
    convert.add_argument("--mean", type=_numbers, help="of the input in 0-1, separated by commas (default: the layout's)")
    convert.add_argument("--std", type=_numbers, help="likewise")
    convert.add_argument("--license", default="unknown", help="of the weights, for the card")
    convert.add_argument("--json", action="store_true", help="print what was done as JSON")


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no list of numbers separated by commas") from None


def _convert(arguments: argparse.Namespace) -> None:
    from umsrep.zoo.convert import convert

    names = ("layout", "arch", "modality", "size", "unit", "mean", "std", "license")
    done = convert(arguments.checkpoint, arguments.out, **{name: getattr(arguments, name) for name in names})
    if arguments.json:
        show.print_json(dataclasses.asdict(done))
    else:
        print("\n".join(done.lines()))


def _pretrain(arguments: argparse.Namespace) -> None:
    from accelerate import PartialState

    from umsrep.tasks.config import FineTuneConfig
    from umsrep.tasks.pretrain.config_file import load_pretrain_config

    config = load_pretrain_config(arguments.config, arguments.rest)
    report: Report | PretrainReport
    if isinstance(config, FineTuneConfig):
        from umsrep.tasks.trainer import fit

        report = fit(config, resume=arguments.resume)
    else:
        from umsrep.tasks.pretrain.loop import pretrain

        report = pretrain(config, resume=arguments.resume)
    if not PartialState().is_main_process:
        return
    if arguments.json:
        show.print_json(dataclasses.asdict(report))
        return
    if isinstance(config, FineTuneConfig):
        every = {f"{name} (validation)": metrics for name, metrics in report.validation.items()}  # type: ignore[union-attr]
    else:
        every = _table(report)  # type: ignore[arg-type]
    if every:
        show.print_metrics(every)
    print(f"\nRun folder: {report.output}\nEncoder: {Path(report.model)}")


def _table(report: PretrainReport) -> dict[str, dict[str, float]]:
    """Return k-NN metrics, after and before, for `show.print_metrics`."""
    return {
        f"{name} ({when})": values
        for name in report.knn
        for when, values in (("k-NN", report.knn[name]), ("before", report.knn_before[name]))
    }
