"""Which pictures of the data sets may stand in the documentation, and how they are credited."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from umsrep.errors import InputError, nearest
from umsrep.tasks.data.manifest import Manifest

PERMITTED = ("CC0 1.0", "CC BY 2.0", "CC BY 4.0", "no restrictions", "simulated")
"""Share-alike, non-commercial and no-derivatives licences are not among them."""
PLACES_OUT = {"radiopaedia.org": "its own terms are CC BY-NC-SA, whatever a table says"}
CHANGES = "resized to the model's input, in part with noise added, outlined, and stored as JPEG"


@dataclasses.dataclass(frozen=True)
class Credit:
    """What a set asks for.

    Attributes:
        licence: Of its pictures; None where each row has its own.
        text: Credit line: authors, title, address.
        column: Where a row's licence stands.
        sources: Columns that say where a row comes from, the first that is filled counts.
    """

    licence: str | None
    text: str
    column: str = ""
    sources: tuple[str, ...] = ()


CREDITS = {
    "cxr_guangzhou": Credit(
        "CC BY 4.0",
        "Kermany, Zhang, Goldbaum: Labeled Optical Coherence Tomography and Chest X-Ray Images for Classification, Mendeley Data 2018, "
        "https://doi.org/10.17632/rscbjbr9sj.2; lung masks: V7 Labs, COVID-19 X-ray dataset, 2020, CC BY 4.0, "
        "https://github.com/v7labs/covid-19-xray-dataset",
    ),
    "cxr_nih": Credit(
        "no restrictions",
        "Data provider: NIH Clinical Center, https://nihcc.app.box.com/v/ChestXray-NIHCC; Wang et al., ChestX-ray8, CVPR 2017, "
        "https://doi.org/10.1109/CVPR.2017.369",
    ),
    "cxr_external": Credit(
        None,
        "Cohen et al., COVID-19 Image Data Collection, arXiv:2003.11597",
        "image_license",
        ("doi", "url"),
    ),
    "us_nerve": Credit("CC BY 4.0", "Kandaouroff: usgra-seg, 2025, https://github.com/tmkand/usgra-seg"),
    "us_lung": Credit(
        None,
        "collected by Born et al., Appl. Sci. 11:672, 2021, https://github.com/jannisborn/covid19_pocus_ultrasound",
        "license",
        ("doi", "url"),
    ),
    "nuclei": Credit(
        "CC0 1.0",
        "BBBC038v1, Caicedo et al., Nature Methods 16:1247, 2019; Broad Bioimage Benchmark Collection, https://bbbc.broadinstitute.org/BBBC038",
    ),
    "doppler": Credit("simulated", "made by umsrep's Doppler simulator: no patient, no scanner"),
}


def credit(name: str) -> Credit:
    """Return how a set is credited, or raise an `InputError` that names those known."""
    if name not in CREDITS:
        raise InputError(f"no licence is known of the set '{name}', so that none of its pictures may be shown{nearest(name, CREDITS)}")
    return CREDITS[name]


def permitted(name: str, manifest: Manifest, rows: Sequence[int]) -> tuple[list[int], str]:
    """Choose the rows whose pictures may be shown.

    Args:
        name: Of the set, a key of `CREDITS`.
        manifest: Its table.
        rows: Some of its rows.

    Returns:
        Those that may be shown, and a sentence that says which may not ("" where all may).

    Raises:
        InputError: for an unknown set, or a table without the column of licences.
    """
    about = credit(name)
    if about.licence is not None:
        return (list(rows), "") if about.licence in PERMITTED else ([], f"{name}: {about.licence} does not permit it.")
    licences, kept = manifest.column(about.column), []
    out: collections.Counter[str] = collections.Counter()
    for row in rows:
        place = next((p for p in PLACES_OUT if _host(manifest, about, row) in (p, f"www.{p}")), None)
        if place is None and licences[row] in PERMITTED:
            kept.append(row)
        elif place is not None and "NC" not in licences[row]:
            out[f"{licences[row] or 'no licence'}, but from {place}: {PLACES_OUT[place]}"] += 1
        else:
            out[licences[row] or "no licence"] += 1
    left_out = "; ".join(f"{count} {licence}" for licence, count in sorted(out.items()))
    return kept, f"{sum(out.values())} of {len(rows)} rows may not be shown ({left_out})." if out else ""


def _host(manifest: Manifest, about: Credit, row: int) -> str:
    hosts = [urlsplit(manifest.columns[c][row]).hostname for c in about.sources if c in manifest.columns]
    return hosts[-1] or "" if hosts else ""  # of doi and url the last, where the picture was found


def attribution(name: str, manifest: Manifest, row: int) -> dict[str, Any]:
    """Return what must stand beside a picture: ``set``, ``file``, ``licence`` and, where rows differ, ``source``.

    Raises:
        InputError: for a row that may not be shown.
    """
    about = credit(name)
    kept, why = permitted(name, manifest, [row])
    if not kept:
        raise InputError(f"{manifest.where(row)} may not be shown: {why}")
    found = {"set": name, "file": manifest.columns["file_name"][row], "licence": about.licence or manifest.columns[about.column][row]}
    source = next((manifest.columns[c][row] for c in about.sources if c in manifest.columns and manifest.columns[c][row]), "")
    return found | ({"source": source} if source else {})
