"""The argument parser: one line for every error."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from umsrep.errors import InputError

Run = Callable[[argparse.Namespace], int | None]


class Add(Protocol):
    """Makes the parser of a command."""

    def __call__(self, name: str, run: Run, text: str) -> argparse.ArgumentParser:
        """Take the name, what runs it, and one line of help."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Raise what `main` prints as one line."""
        raise InputError(f"{message} (see {self.prog} --help)")
