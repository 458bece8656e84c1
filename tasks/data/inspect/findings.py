"""What is wrong with a data set (problems) and what is worth knowing (notes), one line each; here what the table alone says."""

from __future__ import annotations

import collections
import dataclasses
import posixpath
import re

from umsrep.errors import nearest
from umsrep.tasks.data.inspect.columns import Columns
from umsrep.tasks.data.manifest import SPLITS, Manifest


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        problem: True where training or its result would be wrong; False for a note.
        kind: Short name, the same for all findings of one kind.
        text: One line, with file and row where there is one.
    """

    problem: bool
    kind: str
    text: str


def table_findings(manifest: Manifest, columns: Columns) -> list[Finding]:
    """Check what the table alone says: splits, patients, classes, annotations."""
    checks = (_splits, _patients, _files, _classes, _unannotated)
    return [finding for check in checks for finding in check(manifest, columns)]


def _splits(manifest: Manifest, columns: Columns) -> list[Finding]:
    found = []
    for row, value in enumerate(columns.splits):
        if value and value not in SPLITS:
            text = f"{manifest.where(row)}: {columns.split_column} '{value}' is none of train, validation, test{nearest(value, SPLITS)}"
            found.append(Finding(True, "unknown split", text))
    counts = {split: columns.splits.count(split) for split in SPLITS}
    without = columns.splits.count("")
    if without:
        found.append(Finding(False, "no split", f"{manifest.table}: {without} rows have an empty {columns.split_column} and are left out"))
    if counts["test"] and not counts["train"] and not counts["validation"]:
        found.append(Finding(False, "empty split", f"{manifest.table}: only test rows: for evaluation, not for training"))
        return found
    for split, count in counts.items():
        if not count:
            text = f"{manifest.table}: no row with {columns.split_column} = {split} (rows: {counts})"
            found.append(Finding(True, "empty split", text))
    return found


def _patients(manifest: Manifest, columns: Columns) -> list[Finding]:
    found = []
    first: dict[tuple[str, str], int] = {}
    homes: dict[str, set[str]] = collections.defaultdict(set)
    for row, (patient, split) in enumerate(zip(columns.patients, columns.splits, strict=True)):
        if patient and split:
            first.setdefault((patient, split), row)
            homes[patient].add(split)
    for patient, splits in homes.items():
        if len(splits) > 1:
            rows = sorted(first[patient, split] for split in splits)
            places = ", ".join(f"'{columns.splits[r]}' (row {manifest.lines[r]})" for r in rows)
            text = (
                f"{manifest.where(rows[0])}: patient_id '{patient}' is in {columns.split_column} {places}; a patient belongs to one split"
            )
            found.append(Finding(True, "patient in two splits", text))
    unknown = sum(not p for p in columns.patients)
    if unknown:
        some = "no row has a patient_id" if unknown == len(columns.patients) else f"{unknown} rows have no patient_id"
        found.append(
            Finding(False, "unknown patients", f"{manifest.table}: {some}: whether patients are in two splits cannot be checked for them")
        )
    return found


def _files(manifest: Manifest, columns: Columns) -> list[Finding]:
    first: dict[str, int] = {}
    found: dict[str, Finding] = {}
    for row, (name, split) in enumerate(zip(manifest.columns["file_name"], columns.splits, strict=True)):
        name = posixpath.normpath(name)
        other = first.setdefault(name, row) if split else row
        if columns.splits[other] != split and name not in found:
            text = (
                f"{manifest.where(row)}: file_name '{name}' is in {columns.split_column} '{split}' and, at row {manifest.lines[other]}, in "
                f"'{columns.splits[other]}'; a file with all its frames belongs to one split"
            )
            found[name] = Finding(True, "file in two splits", text)
    return list(found.values())


def _classes(manifest: Manifest, columns: Columns) -> list[Finding]:
    found = []
    for column in columns.labels:
        values = manifest.columns[column]
        where = f"{manifest.table}: column {column}"
        seen: dict[str, set[str]] = {s: {v for v, split in zip(values, columns.splits, strict=True) if v and split == s} for s in SPLITS}
        for split in ("validation", "test"):
            for value in sorted(seen[split] - seen["train"]) if seen["train"] else ():
                number = sum(v == value and s == split for v, s in zip(values, columns.splits, strict=True))
                text = f"{where}: '{value}' is in {split} ({number} rows) but not in train; leave it out by `map: {{'{value}': null}}`"
                found.append(Finding(True, "class not in train", text))
        for value in sorted(seen["train"] - seen["test"]) if seen["test"] else ():
            found.append(
                Finding(False, "class not in test", f"{where}: '{value}' is in train but not in test: it is trained and never tested")
            )
        found += [
            Finding(problem, "label spelling", f"{where}: {text}")
            for problem, text in near_labels(collections.Counter(filter(None, values)))
        ]
    return found


def near_labels(counts: collections.Counter[str]) -> list[tuple[bool, str]]:
    """Find labels that may be one class written in two ways.

    Returns:
        (whether they differ only in case, spaces or punctuation, one line) for each pair; otherwise a rare label (under a tenth of the
        other's rows) that is one or two letters away from a longer one. Labels that differ in a digit are different classes.
    """
    found = []
    names = sorted(counts, key=lambda name: (-counts[name], name))
    for i, name in enumerate(names):
        for other in names[i + 1 :]:
            pair = f"'{other}' ({counts[other]} rows) and '{name}' ({counts[name]} rows)"
            if _plain(name) == _plain(other) != "":
                found.append((True, f"{pair} differ only in case, spaces or punctuation; write them alike"))
            elif (
                counts[other] < counts[name] / 10
                and min(len(name), len(other)) >= 5
                and re.findall(r"\d+", name) == re.findall(r"\d+", other)
                and _edits(name.casefold(), other.casefold()) <= 2
            ):
                found.append((False, f"{pair}: did you mean '{name}'?"))
    return found


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


def _edits(a: str, b: str) -> int:
    """Levenshtein's distance."""
    if abs(len(a) - len(b)) > 2:
        return 3
    before = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        now = [i]
        for j, y in enumerate(b, 1):
            now.append(min(before[j] + 1, now[-1] + 1, before[j - 1] + (x != y)))
        before = now
    return before[-1]


def _unannotated(manifest: Manifest, columns: Columns) -> list[Finding]:
    given = [*columns.labels, *columns.masks]
    number = sum(not any(manifest.columns[c][row] for c in given) for row in range(len(manifest)))
    if not number:
        return []
    return [
        Finding(
            False,
            "no annotation",
            f"{manifest.table}: {number} of {len(manifest)} rows have neither mask nor label: they train denoising, and the "
            "other tasks only with the block unlabelled",
        )
    ]
