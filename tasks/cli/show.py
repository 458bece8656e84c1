"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator
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


class _Lines(logging.Handler):
    """Prints what is logged as lines of ours on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        print(f"umsrep: {record.levelname.lower()}: {clean(record.getMessage())}", file=sys.stderr)


@contextlib.contextmanager
def logged(name: str) -> Iterator[None]:
    """Print what this logger says as lines on standard error, and nowhere else."""
    logger, handler = logging.getLogger(name), _Lines()
    passed_on = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = passed_on


def names(text: str | None) -> list[str] | None:
    """Split a list separated by commas; None stays None."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def chosen(text: str | None) -> list[str] | None:
    """Split a list as `names` does, and refuse one that names nothing."""
    if (found := names(text)) == []:
        raise InputError(f"'{text}' names no task; leave --tasks out to take all")
    return found


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


def print_metrics(metrics: dict[str, dict[str, Any]]) -> None:
    """Print a table of metrics for each head, with their intervals where these stand under ``intervals``."""
    from rich.table import Table

    known = any("intervals" in values for values in metrics.values())
    table = Table("head", "metric", "value", *(["95 % interval"] if known else []))
    for name, values in metrics.items():
        intervals = values.get("intervals", {})
        shown = {metric: value for metric, value in values.items() if metric != "intervals"}
        for number, (metric, value) in enumerate(shown.items()):
            low, high = intervals.get(metric) or (None, None)
            cells = [name if number == 0 else "", metric, f"{value:.0f}" if metric in ("n", "patients") else f"{value:.4f}"]
            if known:
                cells.append("" if low is None or low != low else f"{low:.4f} to {high:.4f}")
            table.add_row(*cells, end_section=number == len(shown) - 1)
    stdout().print(table)
