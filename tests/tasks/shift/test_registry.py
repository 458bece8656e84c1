"""The list of shifts, and the choice among them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from umsrep.errors import InputError
from umsrep.tasks.shift import SHIFTS, acquisition, choose_shifts, medmnistc, strong
from umsrep.tasks.shift.registry import find_shift
from umsrep.tasks.shift.shift import FAMILIES, MODALITIES

ROOT = Path(__file__).resolve().parents[3]


def test_every_shift_is_listed_once_and_says_what_it_is() -> None:
    made = [*strong.shifts(), *medmnistc.shifts(), *acquisition.SHIFTS_OF_ACQUISITION]
    assert len(made) == len(SHIFTS) == 118
    for name, shift in SHIFTS.items():
        assert shift.name == name
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name), "it becomes the name of a file"
        assert shift.family in FAMILIES
        assert set(shift.modalities) <= set(MODALITIES)
        assert shift.meaning
        assert shift.source
        assert len(shift.magnitudes) == 5
        assert not (shift.geometric and shift.colour)
    assert not set(SHIFTS) & {*FAMILIES, *MODALITIES, "all"}, "a word must mean one thing"


def test_magnitudes_run_one_way() -> None:
    for shift in SHIFTS.values():
        table = np.array([m if isinstance(m, tuple) else (m,) for m in shift.magnitudes], dtype=float)
        steps = np.diff(table, axis=0)
        assert ((steps >= 0).all(0) | (steps <= 0).all(0)).all(), shift.name
        assert (steps != 0).any(1).all(), shift.name


def test_choice_of_shifts() -> None:
    grey = choose_shifts([], modality="cxr", channels=1)
    assert {"scatter", "strong-gamma-up", "pneumoniamnist-jpeg"} <= {s.name for s in grey}
    assert not any(s.colour or not s.suits("cxr") for s in grey)
    assert all(not s.modalities for s in choose_shifts([], modality=None))
    assert len(choose_shifts(["all"], channels=3)) == len(SHIFTS)
    assert [s.name for s in choose_shifts(["scatter", "dose"])] == ["dose", "scatter"]
    with pytest.raises(InputError, match="'pathmnist-saturate' changes colours"):
        choose_shifts(["pathmnist-saturate"], channels=1)
    with pytest.raises(InputError, match="no shift, family or modality is called 'x-ray'"):
        choose_shifts(["x-ray"])


def test_families_and_modalities_choose_their_own() -> None:
    for family in FAMILIES:
        assert {s.family for s in choose_shifts([family], channels=3)} == {family}
    for modality in MODALITIES:
        assert all(s.suits(modality) for s in choose_shifts([modality], channels=3))
    assert choose_shifts(["scatter", "scatter"]) == [find_shift("scatter")]


def test_the_page_of_shifts_lists_them_all() -> None:
    page = (ROOT / "docs" / "shifts.md").read_text(encoding="utf-8")
    assert not [name for name in SHIFTS if f"`{name}`" not in page]
