"""The command catalog: every encoder on one page to choose by."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from umsrep.tasks.cli import show
from umsrep.tasks.cli.parser import Add


def add_commands(add: Add) -> None:
    """Add this command to the parser."""
    catalog = add("catalog", _catalog, "write one page to choose encoders by: filter, sort by measured rows, compare two")
    catalog.add_argument(
        "places", nargs="*", metavar="PLACE", help="besides the presets: folders of models, organisations or users on the Hub"
    )
    catalog.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder; the page is index.html in it")
    catalog.add_argument("--token", help="for private models on the Hub")


def _catalog(arguments: argparse.Namespace) -> None:
    from umsrep.tasks.catalog.entries import collect
    from umsrep.tasks.catalog.writing import write

    entries, problems = collect(arguments.places, token=arguments.token)
    for problem in problems:
        print(f"umsrep: left out: {show.clean(problem)}", file=sys.stderr)
    print(f"{write(entries, arguments.out)}: {len(entries)} encoder{'' if len(entries) == 1 else 's'}")
