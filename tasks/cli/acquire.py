"""The command that proposes the rows to annotate next: acquire."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from umsrep.tasks.cli import show
from umsrep.tasks.cli.parser import Add

if TYPE_CHECKING:
    from umsrep.tasks.active import Acquired


def add_commands(add: Add) -> None:
    """Add this command to the parser."""
    command = add("acquire", _acquire, "propose the training rows to annotate next, with reasons, and remember them")
    command.add_argument("data", help="folder with metadata.csv; with --state also a MedMNIST npz")
    command.add_argument("--strategy", default="medal", choices=("medal", "entropy", "core-set", "random"), help="default medal")
    command.add_argument("--budget", type=int, required=True, metavar="N", help="how many rows")
    command.add_argument(
        "--model", help="preset, org/repo or folder with the head that is to be trained further; gives entropies and distances"
    )
    command.add_argument(
        "--task", metavar="NAME", help="head to annotate for; without a model classification, segmentation or a name under --targets"
    )
    command.add_argument(
        "--encoder",
        metavar="NAME",
        help="gives distances instead of the model's, as in `choose --encoders`; alone, a linear probe on labelled rows gives entropies",
    )
    command.add_argument("--split-column", default="split")
    command.add_argument("--candidates", type=int, metavar="M", help="medal: the M most uncertain rows (default 50, or 5 times the budget)")
    command.add_argument("--distance", default="mean", choices=("mean", "centroid"), help="medal: to all labelled rows, or to their mean")
    command.add_argument("--again", action="store_true", help="also propose rows that were proposed before and are not annotated yet")
    command.add_argument("--state", type=Path, metavar="DIR", help="where rounds are kept (default: acquire in the data folder)")
    command.add_argument("--image-size", type=int, metavar="N", help="side in pixels for --encoder (default its own, or 128)")
    command.add_argument("--cache", type=Path, metavar="DIR", help="where features are kept (default $UMSREP_CACHE or ~/.cache/umsrep)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--workers", type=int, default=2)
    command.add_argument("--json", action="store_true", help="print JSON")


def _acquire(arguments: argparse.Namespace) -> None:
    from umsrep.tasks.active import acquire
    from umsrep.tasks.cli.targets import read_targets

    try:
        found = acquire(
            arguments.data,
            arguments.budget,
            strategy=arguments.strategy,
            model=arguments.model,
            task=arguments.task,
            encoder=arguments.encoder,
            split_column=arguments.split_column,
            targets=read_targets(arguments.rest),
            candidates=arguments.candidates,
            distance=arguments.distance,
            seed=arguments.seed,
            again=arguments.again,
            state=arguments.state,
            image_size=arguments.image_size,
            cache=arguments.cache if arguments.cache is not None else "auto",
            workers=arguments.workers,
        )
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt("interrupted; no rows were proposed, and finished features are kept: run it again") from error
    for line in found.notes:
        print(show.clean(f"umsrep: note: {line}"), file=sys.stderr)
    if arguments.json:
        show.print_json(found.to_dict())
    else:
        _print(found)


def _print(found: Acquired) -> None:
    from rich.table import Table

    table = Table()
    for name in ("rank", "row", "file", "patient", "reason"):
        table.add_column(name, overflow="fold")
    for one in found.proposals:
        file = f"{one.file_name} frame {one.frame}" if one.frame else one.file_name
        table.add_row(*map(show.clean, (str(one.rank), str(one.line), file, one.patient_id, one.reason)))
    print(
        show.clean(
            f"round {found.number}: {len(found.proposals)} of {found.pool} unlabelled training rows to annotate for '{found.task}' "
            f"({', '.join(found.columns)}) by {found.method}; {found.labelled} labelled, {found.pending} proposed before and not annotated"
        )
    )
    show.stdout().print(table)
    print(show.clean(f"written: {found.file}"))
