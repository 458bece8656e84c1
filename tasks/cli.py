"""The command line: parse, call, print. Exit 0 done, 2 the user's input is at fault (one line), 1 a defect of ours."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from umsrep.errors import InputError, nearest


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Words after ``umsrep``; None takes the process's own.

    Returns:
        The exit code.
    """
    return _guarded(lambda: _dispatch(list(sys.argv[1:] if argv is None else argv)))


def finetune_main(argv: Sequence[str]) -> int:
    """Run ``finetune`` alone, for ``accelerate launch -m umsrep.tasks.finetune``."""
    return _guarded(lambda: _dispatch(["finetune", *argv]))


def _guarded(run: Callable[[], int]) -> int:
    try:
        return run()
    except InputError as error:
        print(f"umsrep: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("umsrep: interrupted; `umsrep finetune --resume` continues a run from its last epoch", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `umsrep list | head`
        sys.stderr.close()
        return 0


def _dispatch(argv: list[str]) -> int:
    parser = _parser()
    commands = _commands(parser)
    if argv and not argv[0].startswith("-") and argv[0] not in commands:
        raise InputError(f"unknown command '{argv[0]}'{nearest(argv[0], commands)}")
    arguments, rest = parser.parse_known_args(argv)
    allowed = {"finetune": "--", "evaluate": "--targets."}.get(arguments.command)
    wrong = [word for word in rest if allowed is None or (word.startswith("--") and not word.startswith(allowed))]
    if wrong:
        options = [o for a in commands[arguments.command]._actions for o in a.option_strings]
        raise InputError(f"umsrep {arguments.command}: unknown argument '{wrong[0]}'{nearest(wrong[0], options)}")
    arguments.rest = rest
    code: int = arguments.run(arguments) or 0
    return code


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    actions = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(actions[0].choices)


def _parser() -> argparse.ArgumentParser:
    from umsrep import __version__

    parser = _Parser(prog="umsrep", description="Shared encoders for medical images. For research only, never for clinical use.")
    parser.add_argument("--version", action="version", version=f"umsrep {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    def add(name: str, run: Callable[[argparse.Namespace], int | None], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    demo = add("demo", _demo, "fine-tune three heads jointly on simulated Doppler spectra, in under three minutes")
    demo.add_argument("--out", type=Path, default=Path("runs/demo"), help="run folder (default runs/demo; replaced)")
    demo.add_argument("--json", action="store_true", help="print the metrics as JSON")

    listing = add("list", _list, "list the encoders that are shipped")
    listing.add_argument("pattern", nargs="?", default="*", help="shell wildcard")
    listing.add_argument("--modality", help="cxr, us, doppler ...")
    listing.add_argument("--json", action="store_true", help="print JSON")

    card = add("card", _card, "show the card of a preset or a model folder, or lint one")
    card.add_argument("name", nargs="?", help="preset or folder")
    card.add_argument("--lint", type=Path, metavar="PATH", help="check this card file or folder")

    inspect = add("inspect", _inspect, "say what is in a data folder, and what is wrong with it")
    inspect.add_argument("data", help="folder with metadata.csv, or a MedMNIST npz")
    inspect.add_argument("--split-column", default="split")
    inspect.add_argument("--json", action="store_true", help="print JSON")

    finetune = add("finetune", _finetune, "fine-tune heads jointly; every key of the configuration can also be given as --key.key VALUE")
    finetune.add_argument("--config", required=True, help="YAML file")
    finetune.add_argument("--resume", action="store_true", help="continue the run in its output folder")

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
    evaluate.add_argument("--json", nargs="?", const="-", metavar="F", help="write JSON to F, or to standard output")

    predict = add("predict", _predict, "predict on images: masks, overlays, denoised images and a JSON file")
    predict.add_argument("model", help="preset, org/repo or folder")
    predict.add_argument("images", nargs="+", help="PNG, JPEG, TIFF or .npy files")
    predict.add_argument("--out", type=Path, required=True, help="folder for the results")
    predict.add_argument("--tasks", help="heads, separated by commas (default all)")
    predict.add_argument("--tile", type=int, help="side of overlapping tiles, for large images at their own resolution")
    predict.add_argument("--flips", action="store_true", help="average with the mirrored image")
    predict.add_argument("--batch-size", type=int, default=8)
    predict.add_argument("--json", action="store_true", help="also print the JSON")

    export = add("export", _export, "export a model with named outputs")
    export.add_argument("model", help="preset, org/repo or folder")
    export.add_argument("--format", default="onnx", choices=("onnx", "torch"))
    export.add_argument("--out", type=Path, required=True, help="file")

    publish = add("publish", _publish, "upload a model folder to the Hugging Face Hub")
    publish.add_argument("folder", type=Path)
    publish.add_argument("repo", help="ORG/REPO")
    publish.add_argument("--private", action="store_true")
    publish.add_argument("--revision", help="branch")
    publish.add_argument("--message", help="commit message")
    return parser


# ---- commands ------------------------------------------------------------------------------------------------------
def _demo(arguments: argparse.Namespace) -> None:
    from umsrep.tasks.demo import run_demo
    from umsrep.tasks.runfolder import plain

    report = run_demo(arguments.out)
    if arguments.json:
        _print_json(plain(dataclasses.asdict(report)))
        return
    _print_metrics({f"{name} (test)": metrics for name, metrics in report.test.items()})
    print(f"\nPictures: {report.output / 'samples.png'}, {report.output / 'curves.png'}\nModel: {report.model}")
    print("The data of this demo is simulated; its numbers say nothing about patients.")


def _list(arguments: argparse.Namespace) -> None:
    from umsrep.zoo.presets import PRESETS, list_encoders

    known = sorted({p.modality for p in PRESETS.values()})
    if arguments.modality is not None and arguments.modality not in known:
        raise InputError(f"no encoder for modality '{arguments.modality}'{nearest(arguments.modality, known)}")
    names = list_encoders(arguments.pattern, modality=arguments.modality)
    if arguments.json:
        _print_json([{"name": name, **dataclasses.asdict(PRESETS[name])} for name in names])
        return
    from rich.table import Table

    table = Table("name", "modality", "arch", "licence", "summary")
    for name in names:
        preset = PRESETS[name]
        table.add_row(name, preset.modality, preset.arch, preset.license, preset.summary)
    _stdout().print(table if names else f"no encoder matches '{arguments.pattern}'")


def _card(arguments: argparse.Namespace) -> int:
    from umsrep.zoo.card import lint_card, read_card

    if arguments.lint is not None:
        problems = lint_card(read_card(str(arguments.lint)))
        for problem in problems:
            print(f"{arguments.lint}: {problem}", file=sys.stderr)
        if not problems:
            print(f"{arguments.lint}: well formed")
        return 2 if problems else 0
    if arguments.name is None:
        raise InputError("umsrep card: give a name, or --lint PATH")
    text = read_card(arguments.name)
    if sys.stdout.isatty():
        from rich.markdown import Markdown

        _stdout().print(Markdown(text.partition("\n---\n")[2] or text))
    else:
        print(text, end="")
    return 0


def _inspect(arguments: argparse.Namespace) -> int:
    from umsrep.tasks.data.inspect import inspect

    report = inspect(arguments.data, split_column=arguments.split_column)
    if arguments.json:
        _print_json(report)
    else:
        from rich.table import Table

        annotated = ", ".join(f"{k} {v}" for k, v in report["annotated"].items())
        print(f"{report['data']}: {report['rows']} rows; annotations: {annotated or 'none'}")
        table = Table("split", "site", "rows", "patients", "masks", "labels")
        for entry in report["groups"]:
            labels = ", ".join(f"{k} {v}" for k, v in entry["labels"].items())
            table.add_row(entry["split"], entry["site"], *(str(entry[k]) for k in ("rows", "patients", "masks")), labels)
        _stdout().print(table)
        for problem in report["problems"]:
            print(problem, file=sys.stderr)
    return 2 if report["problems"] else 0


def _finetune(arguments: argparse.Namespace) -> None:
    from umsrep.tasks.config import load_config
    from umsrep.tasks.trainer import fit

    report = fit(load_config(arguments.config, arguments.rest), resume=arguments.resume)
    from accelerate import PartialState

    if PartialState().is_main_process:
        _print_metrics(
            {f"{n} ({s})": m for s, every in (("validation", report.validation), ("test", report.test)) for n, m in every.items()}
        )
        print(f"\nRun folder: {report.output}\nModel (epoch {report.epoch}): {report.model}")


def _evaluate(arguments: argparse.Namespace) -> None:
    from umsrep.tasks.config import TargetConfig, apply_overrides, text_keys
    from umsrep.tasks.data.dataset import Target
    from umsrep.tasks.evaluate import evaluate
    from umsrep.tasks.model import MultiTaskModel
    from umsrep.tasks.runfolder import plain

    targets: dict[str, Target] = {}
    for name, values in apply_overrides({"targets": {}}, arguments.rest)["targets"].items():
        known = [f.name for f in dataclasses.fields(TargetConfig)]
        for key in values if isinstance(values, dict) else [values]:
            if key not in known or not isinstance(values, dict):
                raise InputError(f"--targets.{name}: unknown key '{key}'{nearest(str(key), known)}")
        column = values.get("column")
        targets[name] = Target(tuple(column) if isinstance(column, list) else column, text_keys(values.get("map") or {}))
    model = MultiTaskModel.from_pretrained(arguments.model)
    metrics = evaluate(
        model,
        arguments.data,
        split=arguments.split,
        split_column=arguments.split_column,
        targets=targets,
        tasks=_names(arguments.tasks),
        noise=arguments.noise,
        level=arguments.level,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
    )
    if arguments.tasks is None and (left_out := [name for name in model.heads if name not in metrics]):
        print(f"umsrep: not evaluated, as this data is not annotated for them: {', '.join(left_out)}", file=sys.stderr)
    if arguments.json == "-":
        _print_json(plain(metrics))
        return
    if arguments.json:
        _write(Path(arguments.json), json.dumps(plain(metrics), indent=2) + "\n")
    _print_metrics(metrics)


def _predict(arguments: argparse.Namespace) -> None:
    from umsrep.tasks.model import MultiTaskModel
    from umsrep.tasks.outputs import predict_files

    summary = predict_files(
        MultiTaskModel.from_pretrained(arguments.model),
        arguments.images,
        arguments.out,
        tasks=_names(arguments.tasks),
        batch_size=arguments.batch_size,
        tile=arguments.tile,
        flips=arguments.flips,
    )
    if arguments.json:
        _print_json(summary)
    else:
        print(f"{len(summary)} image(s): {arguments.out / 'predictions.json'}")


def _export(arguments: argparse.Namespace) -> None:
    from umsrep.tasks.model import MultiTaskModel

    print(MultiTaskModel.from_pretrained(arguments.model).export(arguments.out, format=arguments.format))


def _publish(arguments: argparse.Namespace) -> None:
    from umsrep.zoo import hub

    print(
        hub.push(arguments.folder, arguments.repo, private=arguments.private, revision=arguments.revision, commit_message=arguments.message)
    )


# ---- printing ------------------------------------------------------------------------------------------------------
def _stdout() -> Any:
    from rich.console import Console

    # a pipe has no width: names must not be cut to fit eighty columns
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, allow_nan=False))


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


def _print_metrics(metrics: dict[str, dict[str, float]]) -> None:
    from rich.table import Table

    table = Table("head", "metric", "value")
    for name, values in metrics.items():
        for number, (metric, value) in enumerate(values.items()):
            table.add_row(
                name if number == 0 else "",
                metric,
                f"{value:.0f}" if metric == "n" else f"{value:.4f}",
                end_section=number == len(values) - 1,
            )
    _stdout().print(table)
