"""The one error family for wrong input, and the "did you mean" that its messages carry."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """The user's data, configuration, network or rights are at fault; one line: what, where, and the remedy.

    The command line turns it into exit code 2 without a traceback. Every other exception is a defect of ours (exit code 1).
    """


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
    close = difflib.get_close_matches(name, known, n=most, cutoff=0.5)
    if close:
        return "; did you mean " + " or ".join(f"'{c}'" for c in close) + "?"
    if not known:
        return ""
    shown = known if len(known) <= 20 else [*known[:20], f"... ({len(known)} in all)"]
    return "; known: " + ", ".join(shown)
