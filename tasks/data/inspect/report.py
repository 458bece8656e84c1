"""The report of one data set: plain JSON values."""

from __future__ import annotations

import collections
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from umsrep.errors import InputError
from umsrep.tasks.data.inspect import columns as table
from umsrep.tasks.data.inspect.copies import copies
from umsrep.tasks.data.inspect.findings import Finding, table_findings
from umsrep.tasks.data.inspect.image_findings import picture_findings
from umsrep.tasks.data.inspect.pictures import histograms, mask_tasks, pictures
from umsrep.tasks.data.inspect.scan import Facts, scan
from umsrep.tasks.data.manifest import Manifest, load_manifest

SCHEMA_VERSION = 1


def inspect(
    data: str | Path, *, split_column: str = "split", encoder: str | None = "auto", workers: int = 2, name: str | None = None
) -> dict[str, Any]:
    """Look at every row of a data set: count, measure, compare, and suggest a configuration.

    Args:
        data: What `load_manifest` opens: a folder with metadata.csv, a MedMNIST npz ....
        split_column: Column with train, validation, test.
        encoder: Encoder whose kind of picture a sample is compared with (see `modality.check_modality`); ``auto``: the shipped preset that
            fits best; None: no comparison.
        workers: Threads that read pictures.
        name: How the suggested configuration names the set; default ``data``.

    Returns:
        JSON values:

        - ``schema_version``, ``data``, ``rows``, ``split_column``, ``splits`` (split to rows), ``patients`` (different ids; 0: not known),
          ``seconds``
        - ``annotated``: label or mask column to non-empty cells
        - ``groups``: of each split and site, see `columns.groups`
        - ``tasks``: ``denoising`` (all readable rows); each mask column, see `pictures.mask_tasks`; each label column, see
          `columns.label_tasks`
        - ``images``: see `pictures.pictures`; ``histograms``: see `pictures.histograms`
        - ``duplicates``: see `copies.copies`; ``licences``: licence to rows
        - ``modality``: see `modality.check_modality`, or None
        - ``suggested``: ``config`` (YAML or None) and ``notes``
        - ``problems`` and ``notes``: one line each, all of them; ``problem_kinds`` and ``note_kinds``: the kind of each

    Raises:
        InputError: if the table itself cannot be read, or the encoder that was asked for cannot be used.
    """
    start = time.perf_counter()
    manifest = load_manifest(data)
    columns = table.read_columns(manifest, split_column)
    facts = list(scan(manifest, columns.masks, workers=workers))
    found = [Finding(False, "reading the table", note) for note in manifest.notes]
    found += [*table_findings(manifest, columns), *picture_findings(manifest, columns, facts)]
    duplicates, doubled = copies(manifest, columns, facts)
    found += doubled
    readable = [row for row, one in enumerate(facts) if one.size is not None]
    modality = None
    if encoder is not None and readable:
        modality, strange = compare(manifest, readable, encoder)
        found += strange
    found += [
        Finding(False, "many classes", f"{manifest.table}: column {c} has more than 100 different values and is not taken for classes")
        for c in columns.skipped
    ]
    labels = table.label_tasks(manifest, columns)
    config, advice = _suggestion(name or str(data), manifest, columns, facts, labels, modality)
    return {
        "schema_version": SCHEMA_VERSION,
        "data": str(data),
        "rows": len(manifest),
        "split_column": split_column,
        "splits": dict(sorted(collections.Counter(columns.splits).items(), key=lambda item: table.split_order(item[0]))),
        "patients": len(set(columns.patients) - {""}),
        "annotated": {c: sum(map(bool, manifest.columns[c])) for c in [*columns.labels, *columns.masks]},
        "groups": table.groups(manifest, columns),
        "tasks": {"denoising": {"kind": "denoising", "rows": len(readable)}, **mask_tasks(columns, facts), **labels},
        "images": pictures(facts),
        "histograms": histograms(columns, facts),
        "duplicates": duplicates,
        "licences": table.licences(manifest, columns),
        "modality": modality,
        "suggested": {"config": config, "notes": advice},
        "problems": [f.text for f in found if f.problem],
        "problem_kinds": [f.kind for f in found if f.problem],
        "notes": [f.text for f in found if not f.problem],
        "note_kinds": [f.kind for f in found if not f.problem],
        "seconds": round(time.perf_counter() - start, 2),
    }


def compare(manifest: Manifest, readable: Sequence[int], encoder: str) -> tuple[dict[str, Any] | None, list[Finding]]:
    """Compare with one encoder's kind of picture, or for ``auto`` with each shipped preset's, and keep the best.

    A set of another kind than the named encoder's is a problem; that no shipped preset fits is a note. Single pictures are notes.
    """
    from umsrep.tasks.data.inspect import modality

    names = modality.presets_with_reference() if encoder == "auto" else [encoder]
    checked = [modality.check_modality(manifest, readable, name) for name in names]
    if not checked:
        return None, []
    best = min(checked, key=lambda c: (not c["compared"], len(c["flagged"]) / max(1, c["compared"])))
    kind = f"{best['encoder']}'s pictures" + (f" ({best['modality']})" if best["modality"] else "")
    if not best["compared"]:
        return best, [
            Finding(encoder != "auto", "modality", f"{manifest.table}: {best['encoder']}'s input contract takes none of the pictures")
        ]
    share = f"{len(best['flagged'])} of {best['compared']} pictures"
    if not best["fits"]:
        text = f"{manifest.table}: {share} are unlike {kind}: another modality" + (
            ", as of every shipped encoder" if encoder == "auto" else ""
        )
        return best, [Finding(encoder != "auto", "modality", text)]
    return best, [
        Finding(
            False,
            "unlike the modality",
            f"{manifest.where(row)}: unlike {kind}: score {score:.1f}, most are below {best['threshold']:.1f} ({share} that were compared)",
        )
        for row, score in best["flagged"]
    ]


def _suggestion(
    name: str, manifest: Manifest, columns: table.Columns, facts: Sequence[Facts], labels: dict[str, Any], modality: dict[str, Any] | None
) -> tuple[str | None, list[str]]:
    from umsrep.tasks.data.inspect.suggest import suggest
    from umsrep.zoo import hub

    encoder = size = None
    if modality is not None and modality["fits"] and not modality["refused"]:
        encoder = modality["encoder"]
        sides = hub.read_config(hub.resolve(encoder))["umsrep"]["contract"].get("size")
        size = sides[0] if isinstance(sides, list) and sides[0] == sides[1] else None
    try:
        return suggest(name, manifest, columns, facts, labels, encoder, size)
    except InputError as error:  # classes that no configuration takes, such as one name twice
        return None, [f"no configuration: {error}"]


_FEW = {"near copies in two splits": 5, "frame not chosen": 3, "file in two splits": 5}
"""Most lines of kinds that one mistake repeats row by row."""


def limited(texts: Sequence[str], kinds: Sequence[str], most: int = 20) -> list[str]:
    """Cut a list for reading: at most ``most`` lines of a kind (fewer of `_FEW`), then one that says how many more there are."""
    counts = collections.Counter(kinds)
    shown: collections.Counter[str] = collections.Counter()
    lines = []
    for text, kind in zip(texts, kinds, strict=True):
        shown[kind] += 1
        limit = min(most, _FEW.get(kind, most))
        if shown[kind] <= limit:
            lines.append(text)
        if shown[kind] == limit and counts[kind] > limit:
            lines.append(f"... and {counts[kind] - limit} more: {kind} (all in --json)")
    return lines
