"""The command that ranks candidate encoders for a data set: choose."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umsrep.errors import InputError
from umsrep.tasks.cli import show
from umsrep.tasks.cli.parser import Add

if TYPE_CHECKING:
    from umsrep.tasks.choose import Choice


def add_commands(add: Add) -> None:
    """Add this command to the parser."""
    choose = add("choose", _choose, "score candidate encoders on a data set before training, and say how far to trust the ranking")
    choose.add_argument("data", help="folder with metadata.csv, or a MedMNIST npz")
    choose.add_argument(
        "--encoders",
        help="separated by commas: presets, folders, org/repo, timm/NAME (its weights from the Hub), ARCH=FILE.safetensors, or ARCH alone "
        "(random weights); default: the presets and their architectures with random weights",
    )
    choose.add_argument("--tasks", help="separated by commas (default: all that the training rows annotate)")
    choose.add_argument("--split-column", default="split")
    choose.add_argument(
        "--image-size", type=int, metavar="N", help="side in pixels for all (default: each encoder's own, 128 for architectures)"
    )
    choose.add_argument(
        "--limit", type=int, default=1000, metavar="N", help="most training rows of a task, by class and patient (default 1000)"
    )
    choose.add_argument("--resamples", type=int, default=50, metavar="N", help="random halves of the patients for intervals (default 50)")
    choose.add_argument("--source-accuracy", metavar="E=V,...", help="accuracy of encoders on what they were trained on, as a baseline")
    choose.add_argument("--truth", type=Path, metavar="F", help="scores against truth, of a benchmark (default: the shipped file)")
    choose.add_argument(
        "--budget", metavar="K[xSTEPS]", help="fine-tune the first K by successive halving, from STEPS (default 100); needs --out"
    )
    choose.add_argument("--out", type=Path, metavar="DIR", help="write choice.json and choice.html there")
    choose.add_argument("--cache", type=Path, metavar="DIR", help="where features are kept (default $UMSREP_CACHE or ~/.cache/umsrep)")
    choose.add_argument("--seed", type=int, default=0)
    choose.add_argument("--workers", type=int, default=2)
    choose.add_argument("--json", action="store_true", help="print JSON")


def _choose(arguments: argparse.Namespace) -> None:
    from umsrep.tasks.choose import choose
    from umsrep.tasks.choose.truth import load_truth
    from umsrep.tasks.cli.targets import read_targets

    if arguments.out is not None and arguments.out.exists() and not arguments.out.is_dir():
        raise InputError(f"--out {arguments.out}: is a file, not a folder")
    choice = choose(
        arguments.data,
        show.names(arguments.encoders),
        split_column=arguments.split_column,
        targets=read_targets(arguments.rest),
        tasks=show.chosen(arguments.tasks),
        image_size=arguments.image_size,
        limit=arguments.limit,
        resamples=arguments.resamples,
        seed=arguments.seed,
        cache=arguments.cache if arguments.cache is not None else "auto",
        workers=arguments.workers,
        source_accuracy=_accuracies(arguments.source_accuracy),
        truth=arguments.truth,
        budget=arguments.budget,
        output=arguments.out,
    )
    if arguments.out is not None:
        import json

        from umsrep.tasks.choose.page import render
        from umsrep.tasks.runfolder import plain

        show.write(arguments.out / "choice.json", json.dumps(plain(choice.to_dict()), indent=2, allow_nan=False) + "\n")
        show.write(arguments.out / "choice.html", render(choice, load_truth(arguments.truth)))
        print(show.clean(f"written: {arguments.out / 'choice.html'}, choice.json"), file=sys.stderr)
    if arguments.json:
        show.print_json(choice.to_dict())
    else:
        _print(choice)


def _accuracies(text: str | None) -> dict[str, float] | None:
    """Read ``E=V,...``; the last ``=`` divides, as names may hold one."""
    found = {}
    for word in show.names(text) or []:
        name, equals, value = word.rpartition("=")
        try:
            found[name] = float(value)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise InputError(f"--source-accuracy '{word}': write ENCODER=VALUE, for example {name or 'NAME'}=0.75")
    return found or None


def _print(choice: Choice) -> None:
    from umsrep.tasks.choose import table

    console = show.stdout()
    for task in choice.tasks:
        rows = f"{task.rows} of {task.annotated} training rows" + (f", {task.patients} patients" if task.patients else "")
        print(
            show.clean(
                f"\n{task.name} ({task.kind}: {', '.join(task.classes) or 'noise of 25 grey levels'}); {rows}; {table.basis_text(task)}"
            )
        )
        console.print(_table(*table.score_rows(task)))
        print(show.clean(table.size_text(task)))
        for score, reasons in task.failures.items():
            for reason in dict.fromkeys(reasons.values()):
                names = ", ".join(name for name, why in reasons.items() if why == reason)
                print(show.clean(f"{score}: {names}: {reason}"))
    print("\nAll tasks together (a shared rank means that the difference lies within its interval)")
    console.print(_table(*table.combined_rows(choice)))
    print(f"ms: {choice.hardware}")
    for line in table.card_lines(choice):
        print(show.clean(line))
    if choice.budget is not None:
        print("\nTried out by fine-tuning, validation rows")
        console.print(_table(*table.round_rows(choice)))
        print(show.clean(f"left after successive halving: {choice.budget.best}"))
        console.print(_table(*table.budget_rows(choice)))
        for line in choice.budget.notes:
            print(show.clean(f"note: {line}"))
    print("\nHow well scores predicted the truth so far")
    for line in dict.fromkeys(line for task in choice.tasks for line in task.truth):
        print(show.clean(f"  {line}"))
    for line in choice.notes:
        print(show.clean(f"note: {line}"))
    print(f"\n{choice.warning}")


def _table(header: list[str], rows: list[list[str]]) -> Any:
    from rich.table import Table

    table = Table()
    for name in header:
        table.add_column(name, overflow="fold", no_wrap=name == "encoder")
    for row in rows:
        table.add_row(*map(show.clean, row))
    return table
