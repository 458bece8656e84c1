"""TRIPOD+AI and CLAIM, filled in as far as the run knows; what it cannot know is left to the authors and says so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from umsrep.errors import InputError
from umsrep.tasks.evaluation.checklist_data import DATA
from umsrep.tasks.evaluation.checklist_evaluation import EVALUATION
from umsrep.tasks.evaluation.checklist_model import MODEL
from umsrep.tasks.evaluation.checklist_sources import Answer, Fill, Sources
from umsrep.tasks.web_page import visible
from umsrep.zoo.card import metadata_of, read_card
from umsrep.zoo.presets import PRESETS

UNKNOWN = "not known to umsrep: fill in"
FILLED, PARTLY, OPEN = "filled", "partly: complete it", "fill in"
_MOST_FILE = 20_000_000


def answers(guideline: str) -> dict[str, Fill]:
    """Return what answers a guideline's items, by their number; an item that is missing is one that no run can know."""
    return {**DATA[guideline], **MODEL[guideline], **EVALUATION[guideline]}


def fill(found: Mapping[str, Any], model: str | Path | None = None) -> list[dict[str, Any]]:
    """Fill the checklists from a review, the model's card and, where the model folder lies in a run folder, the run.

    Args:
        found: From `umsrep.tasks.evaluation.review.review`, with its gallery where there is one.
        model: Preset or folder of the model; None, a Hub name or a folder without a card leave what those would tell open.

    Returns:
        For each guideline ``name``, ``source`` and ``items``: ``number``, ``section``, ``asks`` (our paraphrase), ``status`` ("filled",
        "partly: complete it" or "fill in") and ``answer``.

    Raises:
        InputError: for a card, config.yaml or environment.json that is there and cannot be read.
    """
    sources = gather(found, model)
    guidelines = json.loads(resources.files("umsrep.tasks.evaluation").joinpath("guidelines.json").read_text(encoding="utf-8"))
    return [
        {
            "name": guideline["name"],
            "source": guideline["source"],
            "items": [
                {"number": number, "section": section, "asks": asks, **_entry(answers(guideline["name"]).get(number), sources)}
                for number, section, asks in guideline["items"]
            ],
        }
        for guideline in guidelines["guidelines"]
    ]


def gather(found: Mapping[str, Any], model: str | Path | None) -> Sources:
    """Read what lies beside the model: its card, and config.yaml and environment.json of the run it lies in."""
    from umsrep.tasks.config_file import read_mapping

    card, run = "", None
    if model is not None:
        folder = Path(model)
        if str(model) in PRESETS or (folder / "README.md").is_file():
            card = read_card(str(model))
        parent = folder.resolve().parent
        if folder.is_dir() and all((parent / name).is_file() for name in ("config.yaml", "report.json")):
            run = parent
    config = read_mapping(run / "config.yaml") if run else None
    environment = _read_json(run / "environment.json") if run and (run / "environment.json").is_file() else None
    return Sources(found, card, metadata_of(card) if card else {}, config, environment)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_FILE:
            raise InputError(f"{path}: larger than {_MOST_FILE:,} bytes")
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds no JSON object")
    return values


def _entry(make: Fill | None, sources: Sources) -> dict[str, str]:
    answer: Answer | None = make(sources) if make is not None else None
    if answer is None:
        return {"status": OPEN, "answer": UNKNOWN}
    if answer.open:
        return {"status": PARTLY, "answer": f"{answer.text} Not known to umsrep: {answer.open}."}
    return {"status": FILLED, "answer": answer.text}


def markdown(checklist: list[dict[str, Any]], title: str) -> str:
    """Return the checklists as Markdown: a table a guideline. Cells are made harmless: no table, link or HTML of anybody's names."""
    lines = [
        f"# Checklists: {_plain(title)}",
        "",
        "What the run knows is filled in; what it cannot know is left to the authors. The items are short paraphrases of our own: use the "
        "official forms for a submission.",
    ]
    for guideline in checklist:
        open_items = sum(item["status"] != FILLED for item in guideline["items"])
        lines += [
            "",
            f"## {guideline['name']}",
            "",
            f"{guideline['source']}. {open_items} of {len(guideline['items'])} items need you.",
            "",
        ]
        lines += ["| item | section | asks for | state | answer |", "| --- | --- | --- | --- | --- |"]
        for item in guideline["items"]:
            cells = (item[key] for key in ("number", "section", "asks", "status", "answer"))
            lines.append("| " + " | ".join(map(_plain, cells)) + " |")
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    shown = " ".join(str(visible(text)).split())
    for character in "\\`*_[]|<>":
        shown = shown.replace(character, f"\\{character}")
    return shown
