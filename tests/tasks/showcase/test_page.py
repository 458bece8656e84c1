"""Pages come from what was stored, and the repository's are those of the shipped weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from umsrep.tasks.showcase.licences import PERMITTED
from umsrep.tasks.showcase.page import index, page
from umsrep.zoo.presets import PRESETS

DOCS = Path(__file__).resolve().parents[3] / "docs"
STORED = sorted((DOCS / "gallery").glob("*.json"))


def stored() -> dict[str, Any]:
    case = {"number": 1, "set": "us_lung", "file": "images/a|b.jpg", "licence": "CC BY 2.0", "source": "https://doi.org/1"}
    shown = {"title": "lung: us_lung", "rule": "The rule", "said": ["One.", "Two."], "picture": "m-1-lung.jpg"}
    bare = {"title": "nerve: x", "rule": "", "said": ["Nothing may be shown."], "cases": []}
    return {
        "name": "m",
        "summary": "ultrasound",
        "sha256": "0" * 64,
        "sections": [shown | {"cases": [case | {"shown": "worst [1]"}]}, bare],
    }


def test_a_page_holds_command_rule_numbers_and_the_credit_of_every_picture() -> None:
    text = page(stored())
    assert "python scripts/make_gallery.py m --data" in text
    assert "![lung: us_lung: 1 worst (1)](m-1-lung.jpg)" in text
    assert "*The rule.* Pictures: us_lung (CC BY 2.0), changed." in text
    assert "- One.\n- Two.\n" in text
    assert "## nerve: x\n\n- Nothing may be shown." in text
    assert "| lung: us_lung 1 | us_lung | images/a\\|b.jpg | CC BY 2.0 | https://doi.org/1 | worst (1) |" in text
    assert "https://creativecommons.org/licenses/by/2.0/" in text
    assert "Born et al." in text
    assert "never for diagnosis" in text


def test_the_index_links_every_model_and_states_the_rules() -> None:
    text = index([stored()])
    assert "| [m](gallery/m.md) | 1 | lung: us_lung |" in text
    assert "radiopaedia.org" in text
    assert all(name in text for name in PERMITTED)  # also those without a link


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_the_repositorys_pages_are_generated_small_and_of_the_shipped_weights(path: Path) -> None:
    gallery = json.loads(path.read_text(encoding="utf-8"))
    assert path.with_suffix(".md").read_text(encoding="utf-8") == page(gallery)
    assert gallery["name"] == path.stem
    assert gallery["sha256"] == PRESETS[path.stem].sha256, f"other weights are shipped: run scripts/make_gallery.py {path.stem} again"
    pictures = {section["picture"] for section in gallery["sections"] if "picture" in section}
    assert pictures == {p.name for p in path.parent.glob(f"{path.stem}-[0-9]*.jpg")}
    assert all(case["licence"] in PERMITTED for section in gallery["sections"] for case in section["cases"])


def test_the_repositorys_gallery_is_complete_and_small() -> None:
    assert STORED
    assert (DOCS / "gallery.md").read_text(encoding="utf-8") == index([json.loads(p.read_text(encoding="utf-8")) for p in STORED])
    sizes = [path.stat().st_size for path in (DOCS / "gallery").glob("*.jpg")]
    assert max(sizes) <= 150_000
    assert sum(sizes) <= 1_000_000
