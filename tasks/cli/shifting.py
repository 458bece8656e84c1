"""Commands about distribution shifts: `evaluate --shifts`, and shift, which writes shifted sets."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from umsrep.errors import InputError
from umsrep.tasks.cli import show
from umsrep.tasks.cli.parser import Add
from umsrep.tasks.cli.targets import read_targets


def add_commands(add: Add) -> None:
    """Add these commands to the parser."""
    shift = add("shift", _shift, "write a shifted copy of a data set as a data folder, or list the shifts (docs/shifts.md)")
    shift.add_argument("data", nargs="?", help="folder with metadata.csv, or a MedMNIST npz")
    shift.add_argument("--name", help="which shift; --list shows them")
    shift.add_argument("--severity", type=int, default=3, help="1 to 5 (default 3)")
    shift.add_argument("--seed", type=int, default=0)
    shift.add_argument("--out", type=Path, help="new or empty folder")
    shift.add_argument("--split", help="only this split (default all rows)")
    shift.add_argument("--split-column", default="split")
    shift.add_argument("--unit", help="what the values of 16-bit files mean where these do not say: 12-bit, 16-bit")
    shift.add_argument("--list", nargs="?", const="all", metavar="WHICH", help="list shifts: all, a modality (cxr, us ...) or a family")
    shift.add_argument("--json", action="store_true", help="print JSON")


def add_options(evaluate: argparse.ArgumentParser) -> None:
    """Add the options of an evaluation under shift to the parser of evaluate."""
    evaluate.add_argument(
        "--shifts",
        nargs="?",
        const="",
        metavar="WHICH",
        help="also under distribution shifts at five severities: names, families or modalities separated by commas, or all "
        "(default: those for the model's modality)",
    )
    evaluate.add_argument("--shift-seed", type=int, default=0, metavar="S", help="with --shifts: of their noise and places (default 0)")
    evaluate.add_argument("--resamples", type=int, default=1000, metavar="R", help="bootstrap draws for intervals (default 1000)")
    evaluate.add_argument("--out", type=Path, metavar="DIR", help="with --shifts: a new folder for a curve of each and shifts.json")


def check_options(arguments: argparse.Namespace) -> None:
    """Refuse, before a model is loaded, options that do not go together, and an output folder that is in use."""
    if arguments.shifts is None:
        if arguments.out is not None:
            raise InputError("umsrep evaluate: --out needs --shifts")
        return
    for other in ("review", "adapt"):
        if getattr(arguments, other, None) is not None:
            raise InputError(f"umsrep evaluate: give --shifts or --{other}, one run each")
    out = arguments.out
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out}: exists already and is not empty; name another folder")


def evaluate_under_shifts(arguments: argparse.Namespace, model: Any) -> None:
    """Run `umsrep evaluate --shifts` and print its table or JSON."""
    from umsrep.tasks.runfolder import plain
    from umsrep.tasks.shift.robustness import evaluate_shifts

    out = arguments.out
    found = evaluate_shifts(
        model,
        arguments.data,
        show.names(arguments.shifts) or [],
        split=arguments.split,
        split_column=arguments.split_column,
        targets=read_targets(arguments.rest),
        tasks=show.chosen(arguments.tasks),
        noise=arguments.noise,
        level=arguments.level,
        seed=arguments.shift_seed,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        lenient=arguments.lenient,
        resamples=arguments.resamples,
    )
    if out is not None:
        from umsrep.tasks.shift.curves import draw_curves, draw_drops

        show.write(out / "shifts.json", json.dumps(plain(found), indent=2) + "\n")
        draw_curves(found, out)
        draw_drops(found, out / "drops.png")
    if arguments.json == "-":
        show.print_json(found)
        return
    if arguments.json:
        show.write(Path(arguments.json), json.dumps(plain(found), indent=2) + "\n")
    _print(found)
    if out is not None:
        print(show.clean(f"written: {out / 'drops.png'}, a curve of each shift and shifts.json beside it"))


def _print(found: dict[str, Any]) -> None:
    from rich.table import Table

    from umsrep.tasks.shift.robustness import SHOWN

    print(show.clean(f"{found['chosen']}; seed {found['seed']}"))
    for head, facts in found["heads"].items():
        for metric in SHOWN[facts["kind"]]:
            table = Table("shift", "1", "2", "3", "4", "5", "mean", "drop (95 % interval)", title=_title(head, metric, facts))
            for name, shift in found["shifts"].items():
                under = shift["heads"][head]
                cells = [_number(under["severity"][str(k)][metric]) for k in range(1, 6)]
                table.add_row(name, *cells, _number(under["mean"][metric]), _interval(under["drop"][metric]))
            table.add_section()
            table.add_row("mean over shifts", *[""] * 6, _interval(facts["overall"][metric]))
            show.stdout().print(table)


def _title(head: str, metric: str, facts: dict[str, Any]) -> str:
    return show.clean(f"{head}: {metric}, unshifted {_number(facts['unshifted'][metric])} (n = {facts['n']}, patients {facts['patients']})")


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"


def _interval(one: dict[str, Any]) -> str:
    if one["method"] == "none":
        return _number(one["value"])
    return f"{one['value']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f})"


def _shift(arguments: argparse.Namespace) -> None:
    if arguments.list is not None:
        _list(arguments)
        return
    for option, value in (("DATA", arguments.data), ("--name", arguments.name), ("--out", arguments.out)):
        if value is None:
            raise InputError(f"umsrep shift: {option} is missing (umsrep shift DATA --name N --out DIR, or --list)")
    from umsrep.tasks.shift.writing import write_shifted

    report = write_shifted(
        arguments.data,
        arguments.out,
        arguments.name,
        arguments.severity,
        seed=arguments.seed,
        split=arguments.split,
        split_column=arguments.split_column,
        unit=arguments.unit,
    )
    for note in report["notes"]:
        print(show.clean(f"umsrep: note: {note}"), file=sys.stderr)
    if arguments.json:
        show.print_json(report)
    else:
        print(show.clean(f"{report['rows']} images under {arguments.name}, severity {arguments.severity}: {arguments.out}"))


def _list(arguments: argparse.Namespace) -> None:
    from rich.table import Table

    from umsrep.tasks.shift import choose_shifts
    from umsrep.tasks.shift.robustness import describe

    shifts = choose_shifts(show.names(arguments.list) or ["all"], channels=3)
    if arguments.json:
        show.print_json({shift.name: describe(shift) for shift in shifts})
        return
    table = Table("shift", "for", "severities 1 to 5", "meaning", "")
    for shift in shifts:
        marks = ", ".join(word for word, is_so in (("moves masks", shift.geometric), ("needs colours", shift.colour)) if is_so)
        values = "  ".join(", ".join(f"{v:g}" for v in m) if isinstance(m, tuple) else f"{m:g}" for m in shift.magnitudes)
        table.add_row(shift.name, ", ".join(shift.modalities) or "all", values, shift.meaning, marks)
    show.stdout().print(table)
