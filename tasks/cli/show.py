"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from umsrep.errors import InputError


def stdout() -> Any:
    """Return a console on standard output; a pipe has no width, and names must not be cut to fit eighty columns."""
    from rich.console import Console

    # what is printed comes from other people's tables and cards: brackets in it are no styles
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160, markup=False, emoji=False, highlight=False)


def clean(text: str) -> str:
    """Replace what could steer a terminal, such as escape sequences, by question marks; lines and tabs stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def names(text: str | None) -> list[str] | None:
    """Split a list separated by commas; None stays None."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def print_json(value: Any) -> None:
    """Print JSON alone on standard output."""
    from umsrep.tasks.runfolder import plain

    print(json.dumps(plain(value), indent=2, allow_nan=False, default=str))  # foreign cards hold dates, and numbers that JSON has not


def write(path: Path, text: str) -> None:
    """Write a text file, with an `InputError` where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


def print_metrics(metrics: dict[str, dict[str, float]]) -> None:
    """Print a table of metrics for each head."""
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
    stdout().print(table)
