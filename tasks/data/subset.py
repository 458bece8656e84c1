"""Some of the rows: a fraction of the training rows, by patient, as label-fraction studies train on; those of some sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from umsrep.errors import InputError
from umsrep.tasks.data.manifest import Manifest


def take_fraction(manifest: Manifest, rows: Sequence[int], fraction: float, *, seed: int) -> list[int]:
    """Choose rows of whole patients, at random, until a fraction of the rows is reached.

    The choice depends on the seed and the patients alone. Smaller fractions of one seed lie within larger ones, so that a curve over
    fractions compares like with like. A row without patient_id counts as a patient of its own.

    Args:
        manifest: The table.
        rows: Rows to choose from.
        fraction: Above 0, at most 1.
        seed: Of the choice.

    Returns:
        The chosen rows, in their order in ``rows``; the last patient may exceed the fraction.

    Raises:
        InputError: for a fraction that is none.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"fraction must be above 0 and at most 1, not {fraction}")
    if fraction == 1:
        return list(rows)
    patients = manifest.columns.get("patient_id", [""] * len(manifest))
    groups: dict[str, list[int]] = {}
    for row in rows:
        groups.setdefault(patients[row] or f"\0{row}", []).append(row)
    wanted = fraction * len(rows)
    chosen: set[int] = set()
    names = sorted(groups)
    for k in np.random.default_rng(seed).permutation(len(names)):
        if len(chosen) >= wanted:
            break
        chosen.update(groups[names[k]])
    return [row for row in rows if row in chosen]


def rows_where(manifest: Manifest, conditions: Mapping[str, Sequence[str]]) -> set[int]:
    """Return the rows whose every named column holds one of the values.

    Raises:
        InputError: for an unknown column, or values of which none occurs.
    """
    kept = set(range(len(manifest)))
    for column, values in conditions.items():
        cells = manifest.column(column)
        if not set(cells) & set(values):
            raise InputError(f"{manifest.table}: no row with {column} {' or '.join(map(repr, values))}")
        kept &= {row for row, cell in enumerate(cells) if cell in values}
    return kept
