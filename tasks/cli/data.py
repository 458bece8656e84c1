"""Commands about data folders: inspect."""

from __future__ import annotations

import argparse
import sys

from umsrep.tasks.cli import show
from umsrep.tasks.cli.parser import Add


def add_commands(add: Add) -> None:
    """Add these commands to the parser."""
    inspect = add("inspect", _inspect, "say what is in a data folder, and what is wrong with it")
    inspect.add_argument("data", help="folder with metadata.csv, or a MedMNIST npz")
    inspect.add_argument("--split-column", default="split")
    inspect.add_argument("--json", action="store_true", help="print JSON")


def _inspect(arguments: argparse.Namespace) -> int:
    from umsrep.tasks.data.inspect import inspect

    report = inspect(arguments.data, split_column=arguments.split_column)
    if arguments.json:
        show.print_json(report)
    else:
        from rich.table import Table

        annotated = ", ".join(f"{k} {v}" for k, v in report["annotated"].items())
        print(f"{report['data']}: {report['rows']} rows; annotations: {annotated or 'none'}")
        table = Table("split", "site", "rows", "patients", "masks", "labels")
        for entry in report["groups"]:
            labels = ", ".join(f"{k} {v}" for k, v in entry["labels"].items())
            table.add_row(entry["split"], entry["site"], *(str(entry[k]) for k in ("rows", "patients", "masks")), labels)
        show.stdout().print(table)
        for problem in report["problems"]:
            print(problem, file=sys.stderr)
    return 2 if report["problems"] else 0
