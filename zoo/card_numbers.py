"""Checking a model card against its numbers: tables, metadata and sentences must be those that were measured."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from umsrep.zoo.card import NO_LIMITS, NO_VERDICT, SECTIONS, build_card, metadata_of
from umsrep.zoo.card_sections import THIS_MODEL, UNDEFINED, VALUE, caption, shown
from umsrep.zoo.results import METRICS, Results

CHECKSUM = re.compile(r"\b([0-9a-f]{64})\b\s+(\S+)")


class Problem(NamedTuple):
    """One thing that is wrong: the line it stands on, counted from 1, and what it is."""

    line: int
    message: str

    def __str__(self) -> str:
        """Write it in one line."""
        return f"line {self.line}: {self.message}"


def _tables(text: str) -> Iterator[tuple[int, str, tuple[str, ...], tuple[str, ...]]]:
    """Yield (line, heading or caption above, header, cells) of every row of every table."""
    above: str = ""
    header: tuple[str, ...] = ()
    for number, line in prose(text):
        if not line.startswith("|"):
            above, header = line.lstrip("# ") or above, ()
            continue
        cells = tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
        if not header:
            header = cells
        elif set("".join(cells)) != {"-"}:
            yield number, above, header, cells


def lint_numbers(text: str) -> Iterator[Problem]:
    """Compare the tables with the evaluation results in the card's own metadata, intervals too."""
    wanted: dict[tuple[str, str], list[tuple[Any, str]]] = {}
    labels = {m.hub: name for name, m in METRICS.items()}
    line = line_of(text, "model-index:")
    index = metadata_of(text).get("model-index")
    for result, row in _index_rows(index):
        try:
            title = caption(result["task"]["name"], result["dataset"]["name"], result["dataset"].get("split"))
            known, slash, part = row["type"].partition("/")
            interval = (row.get("args") or {}).get("interval")
            low_high = (float(interval[0]), float(interval[1])) if interval is not None else None
            written = shown(labels.get(known, known) + slash + part, row["value"], low_high)
            wanted.setdefault((title, row["name"]), []).append((row["value"], written))
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            if index_fault(index):
                continue  # complained about with the metadata; what is whole is compared nevertheless
            what = row.get("name") if isinstance(row, Mapping) else row
            yield Problem(line, f"metadata: model-index: {str(what)[:80]} is no number with a name ({type(error).__name__}: {error})")
    found: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for number, above, header, cells in _tables(text):
        row = dict(zip(header, cells, strict=False))
        key = (above.partition(": ")[0], row.get("metric", ""))
        if key in wanted and row.get("method", THIS_MODEL) == THIS_MODEL:
            found.setdefault(key, []).append((number, row.get(VALUE, "")))
    for key, number, stands in ((key, *one) for key, rows in found.items() for one in rows):
        if stands in (written for _, written in wanted[key]):
            continue
        if stands == UNDEFINED and sum(other != UNDEFINED for _, other in found[key]) >= len(wanted[key]):
            continue  # the metadata hold no undefined numbers, as those of a subgroup of one class
        value, written = wanted[key][0]
        if stands.split(" ")[0] != written.split(" ")[0]:
            yield Problem(number, f"{key[1]} of {key[0]} is {stands.split(' ')[0]} here, but {value} in the metadata")
        else:
            yield Problem(number, f"{key[1]} of {key[0]} is {stands} here, but the metadata give {written}")
    for title, label in sorted(wanted.keys() - found.keys()):
        yield Problem(2, f"metadata: {label} of {title} stands in no table")


def _index_rows(index: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (result, metric) of a model-index as far as it has the form of one; the rest is complained about with the metadata."""

    def entries(value: Any, key: str) -> list[Any]:
        found = value.get(key) if isinstance(value, Mapping) else None
        return found if isinstance(found, list) else []

    for model in index if isinstance(index, list) else []:
        for result in entries(model, "results"):
            for row in entries(result, "metrics"):
                yield result, row


def lint_results(text: str, config: Mapping[str, Any], results: Results) -> Iterator[Problem]:
    """Compare every row of every table, and the metadata, with a card built from the results."""
    name = next((line[2:] for _, line in prose(text) if line.startswith("# ")), "")
    wanted = build_card(name, config, results)
    ours, theirs = metadata_of(wanted), metadata_of(text)
    for key in ours.keys() | theirs.keys():
        if key == "license" and results.license == "unknown":
            continue  # the results do not say, so the author may
        if ours.get(key) != theirs.get(key):
            yield Problem(line_of(text, f"{key}:"), f"metadata: {key} is not what the results give")
    rows = {(above, cells): number for number, above, _, cells in _tables(text)}
    expected = {(above, cells): None for _, above, _, cells in _tables(wanted)}
    missing = [row for row in expected if row not in rows]
    for (above, cells), number in rows.items():
        if (above, cells) not in expected:
            near = [c for place, c in missing if place == above and c[:1] == cells[:1]]
            most = max(near, key=lambda c: sum(a == b for a, b in zip(c, cells, strict=False)), default=None)
            hint = ""
            if most is not None:
                hint = f"; they give '{_row(most)}'"
                missing.remove((above, most))
            yield Problem(number, f"'{_row(cells)}' under '{above}' is not in the results{hint}")
    for above, cells in missing:
        yield Problem(line_of(text, above), f"the results have '{_row(cells)}' under '{above}', the card has not")

    yield from _lint_prose(text, wanted)


def _lint_prose(text: str, wanted: str) -> Iterator[Problem]:
    """Find the sentences and commands that the results give and the card has not; further ones may stand there."""
    stands = _section_lines(text)
    for section, lines in _section_lines(wanted).items():
        if section == SECTIONS[8]:  # the snippets follow the place
            continue
        for line in lines:
            ours = line in (NO_VERDICT, NO_LIMITS) or line.startswith("|") or CHECKSUM.search(line)  # said by nobody, or compared above
            if line and not ours and line not in stands.get(section, []):
                yield Problem(line_of(text, f"## {section}"), f"the results say '{line[:200]}' under '{section}', the card does not")


def _section_lines(text: str) -> dict[str, list[str]]:
    """Return the lines of each section, code included."""
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    return {title: body.splitlines() for title, body in zip(parts[1::2], parts[2::2], strict=True)}


def _row(cells: tuple[str, ...]) -> str:
    return " | ".join(cells).strip(" |")


def index_fault(index: Any) -> str:
    """Say why the Hub's client cannot read a model-index; nothing if it can."""
    from huggingface_hub.repocard_data import model_index_to_eval_results

    try:
        model_index_to_eval_results(index)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines outside metadata and code blocks."""
    fenced, start = False, re.match(r"\A---\n.*?\n---\n", text, flags=re.DOTALL)
    skipped = text[: start.end()].count("\n") if start else 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced and number > skipped:
            yield number, line


def line_of(text: str, start: str) -> int:
    """Return the first line that starts with (or, for a heading, ends with) ``start``; 1 if there is none."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(start) or (line.startswith("#") and line.endswith(start)):
            return number
    return 1
