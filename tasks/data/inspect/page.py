"""The report as one HTML page that needs nothing else: thumbnails and histograms are in it, and all text is escaped."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from umsrep.errors import InputError
from umsrep.tasks.data.inspect.report import limited
from umsrep.tasks.data.inspect.scan import thumbnail
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.web_page import render_page

_EXAMPLES = 8
_MOST_GROUPS = 12


def render(report: dict[str, Any], manifest: Manifest) -> str:
    """Make the page.

    Args:
        report: From `umsrep.tasks.data.inspect.inspect`.
        manifest: The same set, for the thumbnails.

    Returns:
        HTML; no script, no address of another file.
    """
    from umsrep import __version__

    tasks = report["tasks"]
    return render_page(
        "umsrep.tasks.data.inspect",
        report=report,
        version=__version__,
        title=Path(report["data"]).name or report["data"],
        tiles=_tiles(report),
        problems=limited(report["problems"], report["problem_kinds"]),
        notes=limited(report["notes"], report["note_kinds"]),
        labels={n: t for n, t in tasks.items() if t["kind"] == "classification"},
        masks={n: t for n, t in tasks.items() if t["kind"] == "segmentation"},
        label_columns=[n for n, t in tasks.items() if t["kind"] == "classification"],
        mask_columns=[n for n, t in tasks.items() if t["kind"] == "segmentation"],
        image_facts=image_facts(report["images"], report["licences"]),
        histograms=[{"path": _path(h["counts"]), "caption": _caption(h)} for h in report["histograms"]],
        modality=modality_line(report["modality"]),
        galleries=_galleries(report, manifest),
    )


def image_facts(images: dict[str, Any], licences: dict[str, int]) -> list[tuple[str, str]]:
    """Return name and value of what the pictures are, as text for people."""

    def counts(values: dict[str, int]) -> str:
        return ", ".join(f"{name} ({number})" for name, number in values.items()) or "–"

    more = images["different_sizes"] - len(images["sizes"])
    facts = [
        ("readable", f"{images['read']} of {images['read'] + images['unreadable']}"),
        ("width x height", counts(images["sizes"]) + (f" and {more} more sizes" if more > 0 else "")),
        ("stored unit", counts(images["units"])),
        ("stored values", ", ".join(f"{unit}: {low:g} to {high:g}" for unit, (low, high) in images["range"].items()) or "–"),
        ("colour", counts(images["colours"])),
    ]
    if images["inverted"]:
        facts.append(("white to black", f"{images['inverted']} (shown and loaded the right way round)"))
    if images["with_spacing"]:
        texts = []
        for direction, key in (("between rows", "spacing_mm"), ("between columns", "column_spacing_mm")):
            low, _, middle, _, high = images[key]
            texts.append(f"{direction} {low:g} to {high:g} mm (middle {middle:g})")
        differ = f"; they differ in {images['anisotropic']}" if images["anisotropic"] else ""
        facts.append(("pixel spacing", f"{images['with_spacing']} pictures, {', '.join(texts)}{differ}"))
    if licences:
        facts.append(("licences", counts(licences)))
    return facts


def modality_line(modality: dict[str, Any] | None) -> str:
    """Say in one sentence what the comparison with an encoder's pictures gave; empty without one."""
    if modality is None:
        return ""
    if not modality["compared"]:
        return f"{modality['encoder']}'s input contract takes none of the pictures."
    verdict = "they fit" if modality["fits"] else "another kind of picture"
    return (
        f"{len(modality['flagged'])} of {modality['compared']} pictures are unlike {modality['encoder']}'s ({modality['modality']}): "
        f"{verdict}. Middle score {modality['median']:.2f}; above {modality['threshold']:.2f} a picture counts as unlike."
    )


def _tiles(report: dict[str, Any]) -> list[dict[str, Any]]:
    tiles = [{"name": "images", "value": report["rows"], "mood": ""}]
    tiles += [{"name": split or "in no split", "value": number, "mood": ""} for split, number in report["splits"].items()]
    if report["patients"]:
        tiles.append({"name": "patients", "value": report["patients"], "mood": ""})
    problems, notes = len(report["problems"]), len(report["notes"])
    tiles.append({"name": "problems" if problems != 1 else "problem", "value": problems, "mood": "bad" if problems else "good"})
    tiles.append({"name": "notes" if notes != 1 else "note", "value": notes, "mood": ""})
    return tiles


def _path(counts: Sequence[int]) -> str:
    """Draw a histogram as one closed SVG path in 256 x 90; square-root heights, or black borders would hide all else."""
    top = max(max(counts), 1) ** 0.5
    width = 256 / len(counts)
    steps = [f"V{88 - 84 * count**0.5 / top:.1f}H{(i + 1) * width:g}" for i, count in enumerate(counts)]
    return f"M0 90{''.join(steps)}V90Z"


def _caption(histogram: dict[str, Any]) -> str:
    place = " · ".join(filter(None, (histogram["split"] or "no split", histogram["site"], histogram["unit"])))
    return f"{place}: {histogram['images']} images, middle grey {histogram['mean']:.2f}"


def _galleries(report: dict[str, Any], manifest: Manifest) -> list[dict[str, Any]]:
    """Choose pictures to show: some of each split and site by a hash of their names, those unlike the encoder's, and copies."""
    galleries = []
    rows: dict[tuple[str, str], list[int]] = {}
    sites = manifest.columns.get("site", [""] * len(manifest))
    for row, key in enumerate(zip(manifest.column(report["split_column"]), sites, strict=True)):
        rows.setdefault(key, []).append(row)
    for group in report["groups"][:_MOST_GROUPS]:
        some = rows.get((group["split"], group["site"]), [])
        chosen = sorted(some, key=lambda r: zlib.crc32(manifest.columns["file_name"][r].encode()))[:_EXAMPLES]
        title = "Examples: " + " · ".join(filter(None, (group["split"] or "no split", group["site"])))
        galleries.append({"title": title, "pictures": _pictures(manifest, chosen)})
    if report["modality"] and report["modality"]["fits"] and report["modality"]["flagged"]:
        chosen = [row for row, _ in report["modality"]["flagged"][: 2 * _EXAMPLES]]
        galleries.append({"title": "Unlike the others", "pictures": _pictures(manifest, chosen)})
    copies = [row for group in report["duplicates"]["exact"] for row in group] + [r for p in report["duplicates"]["near"] for r in p[:2]]
    if copies:
        galleries.append({"title": "Copies and near copies", "pictures": _pictures(manifest, copies[: 2 * _EXAMPLES])})
    return [g for g in galleries if g["pictures"]]


def _pictures(manifest: Manifest, rows: Sequence[int]) -> list[dict[str, str]]:
    shown = []
    for row in rows:
        try:
            picture = thumbnail(manifest, row)
        except InputError:  # listed among the problems
            continue
        memory = io.BytesIO()
        picture.save(memory, "JPEG", quality=80)
        labels = [manifest.columns[c][row] for c in ("label",) if c in manifest.columns and manifest.columns[c][row]]
        caption = f"row {manifest.lines[row]} {Path(manifest.columns['file_name'][row]).name}" + (f": {labels[0]}" if labels else "")
        shown.append({"src": f"data:image/jpeg;base64,{base64.b64encode(memory.getvalue()).decode()}", "caption": caption})
    return shown
