"""All shifts by name, and the choice among them by name, family or modality."""

from __future__ import annotations

from collections.abc import Sequence

from umsrep.errors import InputError, nearest
from umsrep.tasks.shift import acquisition, medmnistc, strong
from umsrep.tasks.shift.shift import FAMILIES, MODALITIES, Shift

SHIFTS: dict[str, Shift] = {shift.name: shift for shift in (*strong.shifts(), *medmnistc.shifts(), *acquisition.SHIFTS_OF_ACQUISITION)}
"""Every shift by name; docs/shifts.md is the table."""


def find_shift(name: str) -> Shift:
    """Return a shift by its name, or raise an `InputError` that names the nearest."""
    if name not in SHIFTS:
        raise InputError(f"no shift is called '{name}'{nearest(name, SHIFTS)}")
    return SHIFTS[name]


def choose_shifts(words: Sequence[str], *, modality: str | None = None, channels: int = 1) -> list[Shift]:
    """Choose shifts.

    Args:
        words: Names; families; modalities, which bring the shifts for every kind of image with them; ``all``, every shift there is; or
            nothing: those of ``modality``.
        modality: Of the model; None, where it is unknown, leaves the shifts for every kind of image.
        channels: Of the images: shifts of colour are left out, unless named, where they are not 3.

    Returns:
        In the order of `SHIFTS`, each once.

    Raises:
        InputError: for a word that is none of these, a shift of colour named for grey images, or where none is left.
    """
    names: set[str] = set()
    for word in words or [modality or "any"]:
        if word in SHIFTS:
            if SHIFTS[word].colour and channels != 3:
                raise InputError(f"shift '{word}' changes colours, but the images have {channels} channel(s), not 3")
            names.add(word)
        elif word in (*FAMILIES, *MODALITIES, "all") or not words:
            names |= {
                s.name
                for s in SHIFTS.values()
                if (channels == 3 or not s.colour) and (word in ("all", s.family) or (word not in FAMILIES and s.suits(word)))
            }
        else:
            raise InputError(f"no shift, family or modality is called '{word}'{nearest(word, (*SHIFTS, *FAMILIES, *MODALITIES, 'all'))}")
    if not names:
        raise InputError(f"no shift is left of '{','.join(words)}' for images of {channels} channel(s)")
    return [s for s in SHIFTS.values() if s.name in names]
