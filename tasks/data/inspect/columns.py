"""Which columns of a manifest say what, and the counts that the table alone gives."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

from umsrep.tasks.data.manifest import SPLITS, Manifest

MASK = "mask_file_name"
LICENCES = ("license", "licence", "image_license", "image_licence")
_MOST_CLASSES = 100


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns of a manifest by what they mean.

    Attributes:
        split_column: Name of the column with train, validation, test.
        splits: Its values, one a row.
        sites: Site of each row, or empty texts.
        patients: Patient of each row, or empty texts.
        masks: ``mask_file_name`` and ``mask_file_name.<class>``.
        labels: ``label``, ``label_<name>`` and ``label.<name>`` with 1 to 100 different values: a class each. A column of numbers
            that says the same as one of words (``label.0`` and ``label.mass``, ``label`` and ``label_name``, as `medmnist:` gives them) is
            left out.
        skipped: Label columns with more different values than that (free text, numbers).
        licence: Column of licences, or None.
    """

    split_column: str
    splits: list[str]
    sites: list[str]
    patients: list[str]
    masks: list[str]
    labels: list[str]
    skipped: list[str]
    licence: str | None

    @property
    def multi_label(self) -> list[str]:
        """The columns ``label.<number>``, which are answered yes or no side by side (MedMNIST)."""
        return [c for c in self.labels if c.startswith("label.")]


def read_columns(manifest: Manifest, split_column: str) -> Columns:
    """Sort a manifest's columns.

    Raises:
        InputError: if there is no such split column.
    """
    empty = [""] * len(manifest)
    named = [c for c in manifest.columns if c == "label" or c.startswith(("label_", "label."))]
    words = [c for c in named if c.startswith("label.") and not c.removeprefix("label.").isdigit()]
    repeated = {
        c for c in named if c not in words and c.startswith("label.") and any(manifest.columns[c] == manifest.columns[w] for w in words)
    }
    if {"label", "label_name"} <= set(named):
        pairs = set(zip(manifest.columns["label"], manifest.columns["label_name"], strict=True))
        if len(pairs) == len({number for number, _ in pairs}) == len({word for _, word in pairs}):
            repeated.add("label")
    named = [c for c in named if c not in repeated]
    classes = {c: len(set(manifest.columns[c]) - {""}) for c in named}
    return Columns(
        split_column=split_column,
        splits=manifest.column(split_column),
        sites=manifest.columns.get("site", empty),
        patients=manifest.columns.get("patient_id", empty),
        masks=[c for c in manifest.columns if c == MASK or c.startswith(f"{MASK}.")],
        labels=[c for c in named if 0 < classes[c] <= _MOST_CLASSES],
        skipped=[c for c in named if classes[c] > _MOST_CLASSES],
        licence=next((c for c in LICENCES if c in manifest.columns), None),
    )


def groups(manifest: Manifest, columns: Columns) -> list[dict[str, Any]]:
    """Count rows, patients, masks and labels of each split and site, splits in their natural order."""
    rows: dict[tuple[str, str], list[int]] = collections.defaultdict(list)
    for row, key in enumerate(zip(columns.splits, columns.sites, strict=True)):
        rows[key].append(row)
    return [
        {
            "split": split,
            "site": site,
            "rows": len(some),
            "patients": len({columns.patients[r] for r in some} - {""}),
            "masks": {c: sum(bool(manifest.columns[c][r]) for r in some) for c in columns.masks},
            "labels": {
                c: dict(sorted(collections.Counter(manifest.columns[c][r] or "(none)" for r in some).items())) for c in columns.labels
            },
        }
        for (split, site), some in sorted(rows.items(), key=lambda g: (split_order(g[0][0]), g[0]))
    ]


def split_order(split: str) -> int:
    """Return the place of a split among train, validation and test; others come after them."""
    return SPLITS.index(split) if split in SPLITS else len(SPLITS)


def label_tasks(manifest: Manifest, columns: Columns) -> dict[str, Any]:
    """Say how the classes of each label column are spread.

    Returns:
        Column to ``classes`` (class to rows), ``splits`` (split to class to rows), ``prevalence`` (site to class to fraction of the
        labelled rows there), and ``imbalance`` (rows of the largest class of train over those of the smallest; None without train).
    """
    tasks = {}
    for column in columns.labels:
        values = manifest.columns[column]
        by_split: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        by_site: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        for value, split, site in zip(values, columns.splits, columns.sites, strict=True):
            if value:
                by_split[split][value] += 1
                by_site[site][value] += 1
        train = by_split.get("train")
        tasks[column] = {
            "kind": "classification",
            "rows": sum(map(bool, values)),
            "classes": dict(sorted(collections.Counter(filter(None, values)).items())),
            "splits": {s: dict(sorted(c.items())) for s, c in sorted(by_split.items(), key=lambda g: split_order(g[0]))},
            "prevalence": {site: {v: n / c.total() for v, n in sorted(c.items())} for site, c in sorted(by_site.items())},
            "imbalance": max(train.values()) / min(train.values()) if train else None,
        }
    return tasks


def licences(manifest: Manifest, columns: Columns) -> dict[str, int]:
    """Count the rows of each licence, the commonest first; "(none)" where the cell is empty. Empty without such a column."""
    if columns.licence is None:
        return {}
    return dict(collections.Counter(v or "(none)" for v in manifest.columns[columns.licence]).most_common())
