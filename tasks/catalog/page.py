"""The catalog as one HTML page that needs nothing else; all text is escaped, and only the page's own script may run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from markupsafe import Markup

from umsrep.tasks.catalog import rows
from umsrep.tasks.catalog.entries import Entry
from umsrep.tasks.catalog.pictures import reliability, shifts
from umsrep.tasks.web_page import render_page, visible
from umsrep.zoo.card import RESEARCH_ONLY
from umsrep.zoo.results import GuardResults, Results

MARK = '<meta name="generator" content="umsrep catalog">'
NOT_STATED = "not stated"
GROUPS = {
    "results": "On held-out data",
    "transfer": "Transfer to other tasks, against ImageNet and scratch",
    "interference": "Interference: joint training against controls",
    "shift": "Shift",
    "calibration": "Calibration",
    "subgroups": "Subgroups",
}
_MODALITIES = {"cxr": "chest X-ray", "us": "ultrasound", "doppler": "spectral Doppler"}
_KINDS = ("denoising", "segmentation", "classification")


def render(entries: Sequence[Entry]) -> str:
    """Make the page; the same entries give the same text.

    Args:
        entries: From `umsrep.tasks.catalog.entries.collect`.

    Returns:
        HTML. Its policy lets no other script run than its own, and fetches nothing.
    """
    from umsrep import __version__

    entries = sorted(entries, key=lambda e: e.listed.name)
    sortable = rows.columns(entries)
    own = resources.files("umsrep.tasks.catalog")
    script, style = (Markup(own.joinpath(name).read_text(encoding="utf-8")) for name in ("page.js", "page.css"))
    return render_page(
        "umsrep.tasks.catalog",
        mark=Markup(MARK),
        version=__version__,
        research_only=RESEARCH_ONLY,
        script=script,
        style=style,
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        entries=[_view(entry) for entry in entries],
        choices=_choices(entries),
        places=_places(sortable),
        data=_clean(
            {
                "entries": [_data(entry, number, sortable) for number, entry in enumerate(entries)],
                "columns": [{"place": c.place, "label": c.label, "lower": c.lower} for c in sortable],
            }
        ),
    )


def _clean(value: Any) -> Any:
    """Apply `visible` to all text within values that go to the script as JSON."""
    if isinstance(value, Mapping):
        return {_clean(k): _clean(v) for k, v in value.items()}
    return [_clean(v) for v in value] if isinstance(value, list | tuple) else visible(value)


# ---- finding -------------------------------------------------------------------------------------------------------
def _choices(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Return the groups of boxes to filter by, each value with its words and how many encoders have it."""
    values: dict[str, list[str]] = {
        "modality": [e.listed.modality or NOT_STATED for e in entries],
        "kind": [kind for e in entries for kind in _kinds(e)],
        "licence": [_licence(e) for e in entries],
    }
    legends = {"modality": "Modality (any of)", "kind": "Heads (all of)", "licence": "Licence of the weights (any of)"}
    words = {"none": "none: encoder only"}
    return [
        {
            "name": name,
            "legend": legends[name],
            "values": [
                {"value": value, "text": _modality(value) if name == "modality" else words.get(value, value), "n": every.count(value)}
                for value in (sorted(set(every), key=lambda v: (v in ("none", NOT_STATED, "unknown"), v)))
            ],
        }
        for name, every in values.items()
    ]


def _places(sortable: Sequence[rows.Column]) -> list[tuple[str, int]]:
    """Return the sets of images, and how many encoders were measured on each."""
    found: dict[str, set[int]] = {}
    for column in sortable:
        found.setdefault(column.place, set()).update(column.cells)
    return [(place, len(measured)) for place, measured in found.items()]


def _kinds(entry: Entry) -> list[str]:
    kinds = set(entry.listed.heads.values())
    return [k for k in _KINDS if k in kinds] + sorted(kinds - set(_KINDS)) or ["none"]


def _modality(code: str) -> str:
    return f"{_MODALITIES[code]} ({code})" if code in _MODALITIES else code


def _licence(entry: Entry) -> str:
    return entry.results.license if entry.complete else entry.listed.license or "unknown"


def _data(entry: Entry, number: int, sortable: Sequence[rows.Column]) -> dict[str, Any]:
    """Return what the page's script knows of an encoder."""
    return {
        "name": entry.listed.name,
        "modality": entry.listed.modality or NOT_STATED,
        "kind": _kinds(entry),
        "licence": _licence(entry),
        "parameters": entry.listed.parameters,
        "mebibytes": entry.mebibytes,
        "facts": _facts(entry),
        "cells": {k: rows.as_data(column, number, entry) for k, column in enumerate(sortable) if number in column.cells},
    }


# ---- one encoder ---------------------------------------------------------------------------------------------------
def _view(entry: Entry) -> dict[str, Any]:
    """Return what the template shows of an encoder."""
    results = entry.results
    drawn, elsewhere = shifts(results)
    groups = {key: [m for m in results.measurements if m.group == key] for key in GROUPS}
    return {
        "entry": entry,
        "results": results,
        "modality": _MODALITIES.get(entry.listed.modality or "", entry.listed.modality or NOT_STATED),
        "kinds": _kinds(entry),
        "licence": _licence(entry),
        "parameters": _millions(entry.listed.parameters),
        "mebibytes": _mebibytes(entry.mebibytes),
        "first": rows.first_lines(entry),
        "facts": _facts(entry),
        "groups": [
            # own rows under shift are drawn, with the same numbers beside
            (key, GROUPS[key], rows.tables([m for m in found if key != "shift" or m.method], results))
            for key, found in groups.items()
            if found or (key == "calibration" and results.reliability)
        ],
        "missing": [GROUPS[key].partition(",")[0].partition(":")[0].lower() for key, found in groups.items() if not found],
        "reliability": reliability(results),
        "shifts": drawn,
        "elsewhere": elsewhere,
        "guard": _guard(results.guard),
    }


def _facts(entry: Entry) -> list[tuple[str, str]]:
    """Return name and value of what does not come from a measurement."""
    listed, results = entry.listed, entry.results
    macs = f"{listed.macs:,} at {' x '.join(map(str, listed.macs_size or []))}" if listed.macs else "not recorded"
    return [
        ("where", entry.place),
        ("modality", _modality(listed.modality or NOT_STATED)),
        ("architecture", listed.arch or NOT_STATED),
        ("input, height x width", f"{entry.size[0]} x {entry.size[1]} pixels" if entry.size else NOT_STATED),
        ("heads", ", ".join(n if n == k else f"{n} ({k})" for n, k in listed.heads.items()) or "none: encoder only"),
        ("parameters", f"{listed.parameters:,}" if listed.parameters is not None else "not recorded"),
        ("multiply-accumulates an image", macs),
        ("weight files", _mebibytes(entry.mebibytes)),
        ("licence of the weights", _licence(entry)),
        ("started from", results.base_model or NOT_STATED),
        ("trained on", _training_data(results) or "not recorded"),
        *((t.what, f"{t.milliseconds:.4g} ms on {t.hardware}") for t in (results.cost.timings if results.cost else ())),
    ]


def _training_data(results: Results) -> str:
    def one(d: Any) -> str:
        counts = ((d.images, "images"), (d.patients, "patients"))
        return f"{d.name} ({', '.join([*(f'{n:,} {word}' for n, word in counts if n is not None), d.license or rows.NO_LICENCE])})"

    return "; ".join(map(one, results.data))


def _guard(guard: GuardResults | None) -> dict[str, Any] | None:
    if guard is None or not guard.rates:
        return None
    lines = [
        (r.data, r.kind, f"{r.flagged / r.images:.3f} ({r.interval[0]:.3f} to {r.interval[1]:.3f})", f"{r.flagged} of {r.images} images")
        for r in guard.rates
        if r.images
    ]
    return rows.table(
        "What `predict` flags as unlike the training images", ("images", "kind", "fraction flagged (95 % interval)", "flagged"), lines
    )


def _millions(number: int | None) -> str:
    return "not recorded" if number is None else f"{number / 1e6:.3g} M"


def _mebibytes(number: float | None) -> str:
    return "not recorded" if number is None else f"{number:.1f} MiB"
