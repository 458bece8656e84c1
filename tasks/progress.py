"""Progress on standard error: a bar on a terminal, nothing elsewhere (where lines are logged instead)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console(stderr=True)
T = TypeVar("T")
_REDRAW = 0.1
"""Seconds between redraws of a bar."""


def track(items: Iterable[T], title: str | None, total: int | None = None) -> Iterator[T]:
    """Go through items under a progress bar on standard error; no bar without a title or a terminal.

    It is drawn between the items, not by a thread of its own: loader processes are forked while it is shown, and one forked while a
    thread held the terminal's lock could never print.
    """
    if title is None or not console.is_interactive:
        yield from items
        return
    bar = Progress(
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()),
        console=console,
        transient=True,
        auto_refresh=False,
        redirect_stdout=sys.stdout.isatty(),  # what goes into a file or pipe is no business of the terminal
    )
    with bar:
        task = bar.add_task(title, total=total)
        drawn = 0.0
        for done, item in enumerate(items, 1):
            yield item
            bar.advance(task)
            if time.monotonic() - drawn >= _REDRAW or done == total:
                bar.refresh()
                drawn = time.monotonic()


def say(message: str) -> None:
    """Print one line to standard error."""
    console.print(message, markup=False, highlight=False, soft_wrap=True)
