"""Leave-one-site-out: from one grid to a set for each site, trained without it and tested on all its rows."""

from __future__ import annotations

import collections
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from umsrep.errors import InputError
from umsrep.tasks.config_file import read_mapping
from umsrep.tasks.data.manifest import SPLITS, Manifest, load_manifest

KEY = "leave_one_out"
LEFT_OUT = "left_out"
"""Name of the test on the rows of the site that was left out."""


def expand(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return a grid whose ``leave_one_out`` has become its axis ``sets``.

    ``leave_one_out: site`` takes every value of the column in the base's data sets in turn; ``{column: site, values: [A, B]}`` only those.
    The set ``without_A`` trains and validates on rows of other values (in their own splits), and tests on all rows of A, whatever
    their split, as ``left_out``. Rows without a value always train: they are not known to be of A, nor known not to be.

    Args:
        values: Of the file.
        path: Of it, for messages.

    Raises:
        InputError: naming what is missing or wrong: an axis of sets beside it, no such column, fewer than two values, a patient with two
            values, a value without which nothing is left to train or validate on.
    """
    given = values.get(KEY)
    if given is None:
        return dict(values)
    column, wanted = _read(given, path)
    base = values.get("base")
    data = base.get("data") if isinstance(base, Mapping) else None
    if "sets" in values:
        raise InputError(f"{path}: {KEY} makes the sets; leave the axis 'sets' out")
    if not isinstance(data, list) or not data or not all(isinstance(one, Mapping) and isinstance(one.get("path"), str) for one in data):
        raise InputError(f"{path}: {KEY} needs base.data, a list of data sets with their paths")
    opened = [load_manifest(one["path"]) for one in data]
    found = list(dict.fromkeys(v for m in opened for v in sorted(set(m.columns.get(column, ()))) if v))
    if len(found) < 2:
        raise InputError(f"{path}: {KEY}: column '{column}' has {len(found)} value(s) in base.data; leaving one out needs two or more")
    for manifest in opened:
        _check_patients(manifest, column)
    for value in wanted or ():
        if value not in found:
            raise InputError(f"{path}: {KEY}: no row with {column} '{value}'; there are {', '.join(found)}")
    sets: dict[str, Any] = {}
    for value in wanted or found:
        for split in SPLITS[:2]:
            if not any(_left(m, one.get("split_column", "split"), split, column, value) for m, one in zip(opened, data, strict=True)):
                raise InputError(
                    f"{path}: {KEY}: without {column} '{value}' no row is left in {split}; name a split_column in which every {column} "
                    f"has rows to train and validate on, or the values to leave out, as {KEY}: {{column: {column}, values: [...]}}"
                )
        own = [{**one, **({"leave_out": {column: [value]}} if column in m.columns else {})} for m, one in zip(opened, data, strict=True)]
        tests: dict[str, Any] = {}
        for m, one in zip(opened, data, strict=True):
            if value in m.columns.get(column, ()):
                name = LEFT_OUT if not tests else f"{LEFT_OUT}_{len(tests) + 1}"
                shared = {key: one[key] for key in ("split_column", "tasks", "targets") if key in one}
                tests[name] = {"path": one["path"], "split": "all", "only": {column: [value]}, **shared}
        name = f"without_{_slug(value)}"
        sets[name if name not in sets else f"{name}_{len(sets)}"] = {"data": own, "tests": tests}
    return {**{key: value for key, value in values.items() if key != KEY}, "sets": sets}


def _read(given: Any, path: Path) -> tuple[str, list[str] | None]:
    if isinstance(given, str) and given:
        return given, None
    if isinstance(given, Mapping) and isinstance(given.get("column"), str) and set(given) <= {"column", "values"}:
        values = given.get("values")
        if values is None or (isinstance(values, list) and values):
            return given["column"], None if values is None else [str(v) for v in values]
    raise InputError(f"{path}: {KEY} must be a column, or {{column: site, values: [A, B]}}, not {given!r}")


def _left(manifest: Manifest, split_column: str, split: str, column: str, value: str) -> bool:
    sites = manifest.columns.get(column, [""] * len(manifest))
    return any(s == split and v != value for s, v in zip(manifest.split_values(split_column), sites, strict=True))


def _check_patients(manifest: Manifest, column: str) -> None:
    """Refuse a patient with rows of two values: leaving one of them out would leave the patient in training."""
    values: dict[str, set[str]] = collections.defaultdict(set)
    pairs = zip(manifest.columns.get("patient_id", ()), manifest.columns.get(column, ()), strict=False)
    for patient, value in pairs:
        if patient and value:
            values[patient].add(value)
    for patient, several in values.items():
        if len(several) > 1:
            raise InputError(
                f"{manifest.table}: patient '{patient}' has rows of {column} {' and '.join(sorted(several))}; none can be left out"
            )


def _slug(value: str) -> str:
    return re.sub(r"[^\w.-]+", "-", value).strip("-") or "site"


def write_expanded(path: str | Path, column: str) -> Path:
    """Write the grid that leaves out each value of a column into the grid's output folder, for processes that share it.

    Returns:
        The file; running it again goes on where it stopped.

    Raises:
        InputError: as `expand`; if the file cannot be written.
    """
    import yaml

    path = Path(path)
    values = expand({**read_mapping(path, "benchmark"), KEY: column}, path)
    if not isinstance(values.get("output"), str):
        raise InputError(f"{path}: output must be a folder, not {values.get('output')!r}")
    written = Path(values["output"]) / f"without_each_{_slug(column)}.yaml"
    try:
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{written}: cannot be written ({error.strerror})") from error
    return written
