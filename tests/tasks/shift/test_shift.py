"""For which images a shift is meant."""

from __future__ import annotations

import dataclasses

import pytest

from umsrep.tasks.shift.registry import find_shift


def test_a_shift_suits_its_modalities_and_one_without_any_suits_all() -> None:
    scatter, gamma = find_shift("scatter"), find_shift("strong-gamma-up")
    assert [scatter.suits(m) for m in ("cxr", "us", None)] == [True, False, False]
    assert [gamma.suits(m) for m in ("cxr", "oct", None)] == [True, True, True]


def test_a_shift_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        find_shift("scatter").name = "other"  # type: ignore[misc]
