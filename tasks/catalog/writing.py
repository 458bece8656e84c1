"""The catalog as a folder with one file, which replaces only what is a catalog."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from umsrep.errors import InputError
from umsrep.tasks.catalog.entries import Entry
from umsrep.tasks.catalog.page import MARK, render

PAGE = "index.html"


def write(entries: Sequence[Entry], folder: Path) -> Path:
    """Write ``index.html`` into a folder, made where absent.

    Raises:
        InputError: if it cannot be written, or a file of that name is no catalog.
    """
    path = folder / PAGE
    try:
        if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
            raise InputError(f"{path}: is no catalog of umsrep and is left as it is: give another --out")
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(render(entries), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    return path
