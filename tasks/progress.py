"""Progress on standard error: a bar on a terminal, nothing elsewhere (where lines are logged instead)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console(stderr=True)
T = TypeVar("T")


def track(items: Iterable[T], title: str | None, total: int | None = None) -> Iterator[T]:
    """Go through items under a progress bar on standard error; no bar without a title or a terminal."""
    if title is None or not console.is_terminal:
        yield from items
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=total, note="")
        for item in items:
            yield item
            bar.advance(task)


def say(message: str) -> None:
    """Print one line to standard error."""
    console.print(message, markup=False, highlight=False, soft_wrap=True)
