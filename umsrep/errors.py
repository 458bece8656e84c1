"""The one error family for wrong input, and the "did you mean" that its messages carry."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST_MESSAGE = 2_000
"""Characters of a message; a longer one (a cell of a megabyte, the names of 20,000 classes) loses its middle."""


class InputError(ValueError):
    """The user's data, configuration, network or rights are at fault; one line: what, where, and the remedy.

    Files choose part of what messages say (names, cells, keys). So that this can neither forge lines nor steer a terminal, everything
    that is not printable (line ends, escape sequences, marks that turn the direction of writing) is shown by its escape.

    The command line turns it into exit code 2 without a traceback. Every other exception is a defect of ours (exit code 1).
    """

    def __init__(self, message: str = "") -> None:
        """Take the message and make it one printable line."""
        super().__init__(printable(message))


def printable(text: str) -> str:
    """Return a text on one line with escapes for what is not printable, and without its middle where it is very long."""
    if len(text) > LONGEST_MESSAGE:
        kept = LONGEST_MESSAGE // 2 - 25
        text = f"{text[:kept]} ... ({len(text) - 2 * kept:,} characters) ... {text[-kept:]}"
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - 4]} ..."


def nearest(name: str, options: Iterable[str], *, most: int = 3) -> str:
    """Say which known names are nearest to an unknown one.

    Args:
        name: What the user wrote.
        options: The names that exist.
        most: How many names to give at the most.

    Returns:
        ``"; did you mean 'a' or 'b'?"`` or, where nothing is near, ``"; known: a, b, c"`` (all of them when 20 or fewer).
    """
    known = sorted(set(options))
    close = difflib.get_close_matches(str(name), known, n=most, cutoff=0.5)
    if close:
        return "; did you mean " + " or ".join(f"'{c}'" for c in close) + "?"
    if not known:
        return ""
    shown = known if len(known) <= 20 else [*known[:20], f"... ({len(known)} in all)"]
    return "; known: " + ", ".join(shown)
