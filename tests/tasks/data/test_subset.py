"""Fractions: whole patients, nested, decided by the seed alone."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from umsrep.errors import InputError
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.data.subset import take_fraction


def manifest(patients: list[str]) -> Manifest:
    columns = {"file_name": [f"{i}.png" for i in range(len(patients))], "patient_id": patients}
    return Manifest(Path("d"), Path("d/metadata.csv"), columns, list(range(2, len(patients) + 2)))


MANY = manifest([f"p{i // 3}" for i in range(300)])


def test_whole_patients_and_about_the_fraction() -> None:
    for fraction in (0.01, 0.1, 0.5, 0.9):
        rows = take_fraction(MANY, range(300), fraction, seed=1)
        assert fraction * 300 <= len(rows) < fraction * 300 + 3
        assert rows == sorted(rows)
        patients = {r // 3 for r in rows}
        assert len(rows) == 3 * len(patients)


def test_smaller_fractions_lie_within_larger_ones() -> None:
    sets = [set(take_fraction(MANY, range(300), f, seed=4)) for f in (0.01, 0.1, 0.4, 1.0)]
    assert all(a < b for a, b in itertools.pairwise(sets))


def test_the_seed_decides() -> None:
    assert take_fraction(MANY, range(300), 0.1, seed=0) == take_fraction(MANY, range(300), 0.1, seed=0)
    assert take_fraction(MANY, range(300), 0.1, seed=0) != take_fraction(MANY, range(300), 0.1, seed=1)


def test_unknown_patients_are_not_one_patient() -> None:
    assert len(take_fraction(manifest([""] * 100), range(100), 0.1, seed=0)) == 10


def test_only_the_rows_given() -> None:
    assert set(take_fraction(MANY, range(30, 90), 0.5, seed=0)) <= set(range(30, 90))


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.5, float("nan")])
def test_no_fraction(fraction: float) -> None:
    with pytest.raises(InputError, match="fraction must be above 0 and at most 1"):
        take_fraction(MANY, range(300), fraction, seed=0)
