"""A review as a folder: review.json, the page, the checklists and the gallery."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from umsrep.errors import InputError
from umsrep.tasks.data.dataset import Target
from umsrep.tasks.evaluate import evaluation_set
from umsrep.tasks.evaluation.checklist import fill, markdown
from umsrep.tasks.evaluation.gallery import WORST, draw_gallery
from umsrep.tasks.evaluation.page import render
from umsrep.tasks.evaluation.page_elsewhere import check_shifts, left_out_entry
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.runfolder import plain

REVIEW_FILE, PAGE_FILE, CHECKLIST_FILE = "review.json", "review.html", "checklist.md"
SCHEMA_VERSION = 1
_MOST_REVIEW = 2_000_000_000


def write_review(
    found: Mapping[str, Any],
    folder: str | Path,
    *,
    model: MultiTaskModel | str | Path,
    data: str | Path | None = None,
    pictures: int = WORST,
    ids: bool = False,
    lenient: bool = False,
) -> dict[str, Any]:
    """Write a review into a folder: review.json, review.html, checklist.md and gallery/.

    Args:
        found: From `umsrep.tasks.evaluation.review.review`.
        folder: Made if absent; an earlier review in it is replaced.
        model: That was reviewed, or its preset, folder or Hub name. Only a name leads to its card and run, for the checklists.
        data: That were reviewed; default where the review says they are.
        pictures: Worst rows of a head to draw; 0 for no gallery.
        ids: Name files and patients under the pictures; they may be private. (review.json names them in any case.)
        lenient: As the review was made.

    Returns:
        The review with ``gallery`` and ``checklist``, as it stands in review.json.

    Raises:
        InputError: if the folder holds something else, cannot be written, or the data are no longer those that were reviewed.
    """
    out = check_folder(folder)
    name = None if isinstance(model, MultiTaskModel) else str(model)
    network = model if isinstance(model, MultiTaskModel) else MultiTaskModel.from_pretrained(str(model))
    settings, where = found["settings"], found["data"]
    whole: dict[str, Any] = plain(found)
    try:
        out.mkdir(parents=True, exist_ok=True)
        dataset = evaluation_set(
            network,
            where["path"] if data is None else data,
            split=where["split"],
            split_column=where["split_column"],
            targets=_targets(where["targets"]),
            tasks=list(found["tasks"]),
            noise=settings["noise"],
            level=settings["level"],
            seed=settings["seed"],
            lenient=lenient,
        )
        whole["gallery"] = plain(draw_gallery(whole, network, dataset, out, worst=pictures, ids=ids))
        whole["checklist"] = fill(whole, name)
        write_pages(whole, out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from error
    return whole


def _targets(found: Mapping[str, Any]) -> dict[str, Target]:
    return {
        name: Target(tuple(one["column"]) if isinstance(one["column"], list) else one["column"], dict(one.get("map") or {}))
        for name, one in found.items()
    }


def check_folder(folder: str | Path) -> Path:
    """Return a folder that a review may be written into.

    Raises:
        InputError: if it is a file, or holds something and no review.
    """
    out = Path(folder)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, not a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / REVIEW_FILE).is_file():
        raise InputError(f"{out}: holds something other than a review; choose another folder")
    return out


def write_pages(whole: Mapping[str, Any], out: Path) -> None:
    """Write the page, the checklists and, last and in one piece, review.json."""
    page = render(whole, out)
    (out / PAGE_FILE).write_text(page, encoding="utf-8")
    title = f"{whole['model']['name']} on {whole['data']['path']}"
    (out / CHECKLIST_FILE).write_text(markdown(whole.get("checklist", []), title), encoding="utf-8")
    aside = out / f".{REVIEW_FILE}"
    aside.write_text(json.dumps(whole, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(aside, out / REVIEW_FILE)


def read_review(folder: str | Path) -> dict[str, Any]:
    """Read the review.json of a folder.

    Raises:
        InputError: if there is none, or it is no review of a version that this umsrep reads.
    """
    path = Path(folder) / REVIEW_FILE if Path(folder).is_dir() else Path(folder)
    if not path.is_file():
        raise InputError(f"{path}: no such file; `umsrep evaluate MODEL DATA --review DIR` writes a review")
    if path.stat().st_size > _MOST_REVIEW:
        raise InputError(f"{path}: larger than {_MOST_REVIEW:,} bytes")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(found, dict) or found.get("kind") != "umsrep review":
        raise InputError(f"{path}: is no review of umsrep")
    if found.get("schema_version") != SCHEMA_VERSION:
        raise InputError(f"{path}: has schema_version {found.get('schema_version')!r}; this umsrep reads {SCHEMA_VERSION}")
    return found


def render_again(
    folder: str | Path,
    *,
    shifts: str | Path | None = None,
    left_out: Sequence[str | Path] = (),
    model: str | Path | None = None,
) -> Path:
    """Write the page and the checklists of a review again, from its review.json alone.

    Args:
        folder: With review.json and its gallery.
        shifts: JSON of `umsrep evaluate MODEL DATA --shifts --json F`, which becomes part of the review.
        left_out: Folders of other reviews, each of a model trained without a site and tested on it; a row of a table each.
        model: Preset or folder of the model, to fill the checklists anew; None leaves them as they are.

    Returns:
        The page.

    Raises:
        InputError: see `read_review`; also for a file of shifts that is none, and a review that misses what its version has.
    """
    whole = read_review(folder)
    out = Path(folder) if Path(folder).is_dir() else Path(folder).parent
    if shifts is not None:
        whole["shifts"] = check_shifts(_read_json(Path(shifts)), whole, str(shifts))
    if left_out:
        whole["left_out"] = [left_out_entry(read_review(other)) for other in left_out]
    if model is not None:
        whole["checklist"] = fill(whole, model)
    try:
        write_pages(whole, out)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f"{out / REVIEW_FILE}: misses what a review has ({type(error).__name__}: {error})") from error
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from error
    return out / PAGE_FILE


def _read_json(path: Path) -> Any:
    try:
        return plain(json.loads(path.read_text(encoding="utf-8")))  # Python writes NaN, which is no JSON
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
