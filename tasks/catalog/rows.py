"""Measured rows: which of them may be compared across encoders, and how they are written."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from umsrep.tasks.catalog.entries import Entry
from umsrep.tasks.evaluation.metrics import LOWER_IS_BETTER
from umsrep.zoo.card_sections import count_text, measurement_columns, shown
from umsrep.zoo.results import Measurement, Results, metric

NO_LICENCE = "licence not recorded"


class Key(NamedTuple):
    """What must be equal for two numbers to stand beside each other; images that are not stated are not those of a row that states them."""

    data: str
    split: str | None
    images: int | None
    patients: int | None
    head: str
    metric: str
    labels: float | None
    mode: str | None
    condition: str


def key_of(m: Measurement) -> Key:
    """Return the key of a number."""
    return Key(m.data, m.split, m.images, m.patients, m.head, m.metric, m.labels, m.mode, condition_and_remark(m)[0])


def condition_and_remark(m: Measurement) -> tuple[str, str]:
    """Split a note at its first colon or semicolon: what must be equal to compare, and what is said of this one number."""
    condition, *remark = re.split(r"[:;]\s*", m.note or "", maxsplit=1)
    return condition.strip(), "".join(remark)


@dataclasses.dataclass(frozen=True)
class Column:
    """A row that encoders can be sorted by.

    Attributes:
        key: What is equal in all of them.
        cells: For each entry by its number: the measurement of this model itself.
    """

    key: Key
    cells: dict[int, Measurement]

    @property
    def place(self) -> str:
        """On which images."""
        return f"{place_of(self.key.data, self.key.split)}: {self.count}"

    @property
    def count(self) -> str:
        """How many."""
        return count_text(next(iter(self.cells.values()))) or "number of images not stated"

    @property
    def label(self) -> str:
        """What was measured of which head, and how."""
        labels = "" if self.key.labels is None else f"{100 * self.key.labels:g} % of the labels"
        how = ", ".join(filter(None, (labels, self.key.mode, self.key.condition)))
        return f"{self.key.head}: {metric(self.key.metric).label}{f' ({how})' if how else ''}"

    @property
    def lower(self) -> bool:
        """Whether lower is better."""
        return is_lower_better(self.key.metric)


def is_lower_better(name: str) -> bool:
    """Say whether a smaller number of this metric is the better one."""
    return name.partition("/")[0] in LOWER_IS_BETTER


def columns(entries: Sequence[Entry]) -> list[Column]:
    """Return what any entry measured of itself; first the images that most entries were measured on, then in the order of the cards."""
    found: dict[Key, dict[int, Measurement]] = {}
    for number, entry in enumerate(entries):
        for m in entry.results.measurements:
            if m.method is None:
                found.setdefault(key_of(m), {}).setdefault(number, m)
    widest: dict[tuple[Any, ...], int] = {}
    for key, cells in found.items():
        widest[key[:4]] = max(widest.get(key[:4], 0), len(cells))
    places = sorted(widest, key=lambda place: -widest[place])  # stable
    return [Column(key, cells) for place in places for key, cells in found.items() if key[:4] == place]


def as_data(column: Column, number: int, entry: Entry) -> dict[str, Any]:
    """Return one cell for the page's script: the number, its text, and what is said of it."""
    m = column.cells[number]
    return {
        "value": m.value,
        "interval": m.interval,
        "text": value_text(m),
        "licence": licence_of(entry.results, m.data),
        "remark": condition_and_remark(m)[1],
    }


def value_text(m: Measurement) -> str:
    """Write a number with its interval, or with its standard deviation over seeds; what there is not is said."""
    text = shown(m.metric, m.value, m.interval)
    if m.sd is not None:
        text += f", sd {shown(m.metric, m.sd)}"
    if m.seeds is not None:
        text += f" over {m.seeds} seed{'' if m.seeds == 1 else 's'}"
    return text if m.interval or m.sd is not None or m.value is None else f"{text} (no interval)"


def place_of(data: str, split: str | None) -> str:
    """Write a data set with its split."""
    return ", ".join(filter(None, (data, split)))


def licence_of(results: Results, data: str) -> str:
    """Return the licence of a data set, as far as the model's own file tells it."""
    found = next((d.license for d in results.data if d.name == data and d.license), None)
    return f"data: {found}" if found else f"data: {NO_LICENCE}"


def table(caption: str, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> dict[str, Any]:
    """Return a table for the template; the first cell of a row is its heading."""
    return {"caption": caption, "header": list(header), "rows": [list(row) for row in rows]}


def tables(measurements: Iterable[Measurement], results: Results) -> list[dict[str, Any]]:
    """Return a table for each head and data set, with the columns that it has on the card; on how many images is always said."""
    groups: dict[tuple[str, str, str | None], list[Measurement]] = {}
    for m in measurements:
        groups.setdefault((m.head, m.data, m.split), []).append(m)
    found = []
    for (head, data, split), rows in groups.items():
        common, kept = measurement_columns(rows)
        count = common or ("" if "measured on" in kept else "number of images not stated")
        words = ": ".join(filter(None, (f"{head} on {place_of(data, split)}", count)))
        found.append(table(f"{words}; {licence_of(results, data)}", kept, zip(*kept.values(), strict=True)))
    return found


def first_lines(entry: Entry) -> list[Mapping[str, str]]:
    """Return the first number of each head, as `umsrep list` shows it, with its place."""
    heads: dict[str, Measurement] = {}
    for m in entry.results.measurements:
        if m.method is None and m.group not in ("transfer", "interference"):
            heads.setdefault(m.head, m)
    return [
        {
            "what": f"{m.head}: {metric(m.metric).label}",
            "text": value_text(m),
            "on": f"{place_of(m.data, m.split)}: {count_text(m) or 'number of images not stated'}; {licence_of(entry.results, m.data)}",
        }
        for m in heads.values()
    ]
