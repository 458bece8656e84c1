"""Reliability diagrams and shifts as inline SVG, each with the same numbers as a table."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from umsrep.tasks.catalog.rows import condition_and_remark, is_lower_better, licence_of, place_of, table, value_text
from umsrep.tasks.evaluation.charts import SERIES, Chart, interval_bar, legend, style_of
from umsrep.zoo.card_sections import count_text, shown
from umsrep.zoo.results import Measurement, Reliability, Results, metric

_TENTHS = [0, 0.2, 0.4, 0.6, 0.8, 1]
_SEVERITY = re.compile(r"[\s,;:(]*\bseverity\s*=?\s*(\d+(?:\.\d+)?)(?:\s+of\s+\d+)?\)?", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A drawing with heading, legend (may be empty), a line under it, and its numbers as a table."""

    title: str
    drawing: Markup
    legend: Markup
    text: str
    numbers: dict[str, Any]


# ---- calibration ---------------------------------------------------------------------------------------------------
def reliability(results: Results) -> list[Picture]:
    """Draw a diagram for each head and data set, its classes as lines; of more than six classes six a picture."""
    groups: dict[tuple[str, str, str | None], list[Reliability]] = {}
    for one in results.reliability:
        groups.setdefault((one.head, one.data, one.split), []).append(one)
    return [_diagram(part, results) for group in groups.values() for part in _chunks(group)]


def _chunks(group: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (group[start : start + SERIES] for start in range(0, len(group), SERIES))


def _diagram(classes: Sequence[Reliability], results: Results) -> Picture:
    first = classes[0]
    chart = Chart(x=(0, 1), y=(0, 1), labels=("confidence", "frequency"), ticks=(_TENTHS, _TENTHS))
    chart.line([(0, 0), (1, 1)], style="chance")
    most = max(b.count for one in classes for b in one.bins)
    for k, one in enumerate(classes):
        chart.line([(b.confidence, b.frequency) for b in one.bins], style=style_of(k))
        for b in one.bins:
            chart.dots([(b.confidence, b.frequency)], style=style_of(k), radius=2.5 + 5 * math.sqrt(b.count / most))
    names = [one.class_ or "all classes" for one in classes]
    place = place_of(first.data, first.split)
    errors = [
        f"{metric(m.metric).label} {value_text(m)}"
        for m in results.measurements
        if m.group == "calibration" and m.method is None and (m.head, m.data, m.split) == (first.head, first.data, first.split)
    ]
    counts = {sum(b.count for b in one.bins) for one in classes}
    rows = f"{counts.pop():,} rows" if len(counts) == 1 else "rows as in the table"
    text = (
        f"{'; '.join([*errors, rows, licence_of(results, first.data)])}. Dashed: perfect; above it too cautious, below too sure. "
        "Larger dots: more rows."
    )
    title = f"Reliability of {first.head} on {place}"
    numbers = table(
        f"{title}: its bins",
        ("class", "mean confidence", "frequency", "rows"),
        [
            (name, f"{b.confidence:.3f}", f"{b.frequency:.3f}", f"{b.count:,}")
            for name, o in zip(names, classes, strict=True)
            for b in o.bins
        ],
    )
    named = legend(names) if len(names) > 1 or first.class_ else Markup("")
    return Picture(title, chart.svg(f"{title}. {text} The numbers follow as a table."), named, text, numbers)


# ---- shift ---------------------------------------------------------------------------------------------------------
def split_severity(m: Measurement) -> tuple[str, str | None, float] | None:
    """Return what was shifted how (the words around it), the split without it, and how strongly; None where no severity is named."""
    for text, is_note in ((m.note, True), (m.split, False)):
        if text and (found := _SEVERITY.search(text)):
            words = f"{text[: found.start()]} {text[found.end() :]}".strip(" ,;:")
            return (words or "shift", m.split, float(found[1])) if is_note else (words or "shift", None, float(found[1]))
    return None


def shifts(results: Results) -> tuple[list[Picture], list[dict[str, Any]]]:
    """Draw the group "shift".

    Returns:
        Pictures of rows that name a severity (quality over severity, a line for each shift, 0 being unshifted where that was measured),
        and tables of the others with a drawing in each row: the same images changed in several ways, and other places.
    """
    lines: dict[tuple[Any, ...], dict[str, list[tuple[float, Measurement]]]] = {}
    places: dict[tuple[str, str, str, str | None], list[Measurement]] = {}
    for m in results.measurements:
        if m.group != "shift" or m.method is not None:
            continue
        if (named := split_severity(m)) is None:
            places.setdefault((m.head, m.metric, m.data, m.split), []).append(m)
        else:
            words, split, severity = named
            lines.setdefault((m.head, m.metric, m.data, split), {}).setdefault(words, []).append((severity, m))
    drawn = [_severities(key, dict(part), results) for key, found in lines.items() for part in _chunks(list(found.items()))]
    changed = [_changed(rows, results) for rows in places.values() if len(rows) > 1]
    elsewhere: dict[tuple[str, str], list[Measurement]] = {}
    for (head, name, _, _), rows in places.items():
        if len(rows) == 1:
            elsewhere.setdefault((head, name), []).extend(rows)
    return drawn, [*(_elsewhere(rows, results) for rows in elsewhere.values()), *changed]


def _unshifted(head: str, name: str, results: Results) -> list[Measurement]:
    """Return the numbers on held-out data of this head and metric, in the order of the card."""
    return [m for m in results.measurements if m.group == "results" and m.method is None and (m.head, m.metric) == (head, name)]


def _severities(key: tuple[Any, ...], found: dict[str, list[tuple[float, Measurement]]], results: Results) -> Picture:
    head, name, data, split = key
    clean = next((m for m in _unshifted(head, name, results) if m.data == data and split in (None, m.split)), None)
    rows = {words: sorted([*([(0.0, clean)] if clean else []), *each], key=lambda pair: pair[0]) for words, each in found.items()}
    everything = [m for each in rows.values() for _, m in each]
    ends = [e for m in everything for e in (m.interval or (m.value,)) if e is not None] or [0.0, 1.0]
    severities = sorted({s for each in rows.values() for s, _ in each})
    room = 0.05 * (max(ends) - min(ends))
    chart = Chart(
        x=(severities[0] - 0.2, severities[-1] + 0.2),
        y=(min(ends) - room, max(ends) + room),
        labels=("severity", metric(name).label),
        ticks=(severities, None),
    )
    for k, each in enumerate(rows.values()):
        style = style_of(k)
        chart.line([(s, m.value) for s, m in each], style=style)
        chart.whiskers([(s, *(m.interval or (None, None))) for s, m in each], style=f"{style} thin")
        chart.dots([(s, m.value) for s, m in each], style=style, radius=3.5)
    title = f"{head}: {metric(name).label} under shift, {place_of(data, split)}"
    counts = list(dict.fromkeys(filter(None, map(count_text, everything))))
    text = f"{'; '.join(counts) or 'number of images not stated'}; {licence_of(results, data)}. Thin lines: 95 % intervals."
    text += " Severity 0: not shifted." if clean else ""
    numbers = table(
        title,
        ("shift", "severity", "value (95 % interval)", "measured on"),
        [(words, f"{s:g}", value_text(m), count_text(m) or "not stated") for words, each in rows.items() for s, m in each],
    )
    return Picture(title, chart.svg(f"{title}. {text} The numbers follow as a table."), legend(list(rows)), text, numbers)


def _elsewhere(rows: Sequence[Measurement], results: Results) -> dict[str, Any]:
    """Return a table whose rows are places, beside the first number on held-out data of the same head and metric."""
    clean = next(iter(_unshifted(rows[0].head, rows[0].metric, results)), None)
    every = [*([clean] if clean else []), *rows]
    names = [f"{place_of(m.data, m.split)}{' – held-out, not shifted' if m is clean else ''}" for m in every]
    return _forest(f"{_what(rows[0])} elsewhere", "data", names, every, clean, results)


def _changed(rows: Sequence[Measurement], results: Results) -> dict[str, Any]:
    """Return a table of the same images changed in several ways, worst first."""
    clean = next((m for m in rows if condition_and_remark(m)[0].lower() in ("unchanged", "unshifted", "clean")), None)
    sign = -1 if is_lower_better(rows[0].metric) else 1
    ordered = sorted(rows, key=lambda m: (m is not clean, m.value is None, sign * (m.value or 0.0)))
    names = [condition_and_remark(m)[0] or "not named" for m in ordered]
    return _forest(f"{_what(rows[0])} under shift, {place_of(rows[0].data, rows[0].split)}", "shift", names, ordered, clean, results)


def _what(m: Measurement) -> str:
    return f"{m.head}: {metric(m.metric).label}"


def _forest(
    caption: str, first: str, names: Sequence[str], rows: Sequence[Measurement], clean: Measurement | None, results: Results
) -> dict[str, Any]:
    """Return a table with a drawing of the value and its interval in each row, a dashed line at the number that is not shifted."""
    ends = [e for m in rows for e in (*(m.interval or ()), m.value) if e is not None] or [0.0, 1.0]
    room = 0.06 * (max(ends) - min(ends))
    span = (min(ends) - room, max(ends) + room)
    name = rows[0].metric
    counts, licences = [count_text(m) or "number of images not stated" for m in rows], [licence_of(results, m.data) for m in rows]
    common = [each[0] for each in (counts, licences) if len(set(each)) == 1]
    cells: dict[str, list[Any]] = {
        first: list(names),
        "value (95 % interval)": [value_text(m) for m in rows],
        f"from {shown(name, span[0])} to {shown(name, span[1])}{', dashed: not shifted' if clean else ''}": [
            interval_bar(*_ends(m), span, reference=clean.value if clean else None, width=180) for m in rows
        ],
        "note": [condition_and_remark(m)[1] for m in rows],
        "measured on": [] if len(set(counts)) == 1 else counts,
        "data licence": [] if len(set(licences)) == 1 else [text.removeprefix("data: ") for text in licences],
    }
    kept = {heading: column for heading, column in cells.items() if any(column)}
    return table("; ".join([caption, *common]), kept, zip(*kept.values(), strict=True))


def _ends(m: Measurement) -> tuple[float | None, float | None, float | None]:
    low, high = m.interval or (None, None)
    return low, m.value, high
