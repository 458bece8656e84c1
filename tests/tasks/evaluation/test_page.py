"""The page: complete, self-contained, readable without sight, and with nothing of anybody's names taken for markup."""

from __future__ import annotations

import html
import itertools
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tasks.evaluation.reviews import EVIL, whole_review
from umsrep.errors import InputError
from umsrep.tasks.evaluation.checklist import fill
from umsrep.tasks.evaluation.page import render
from umsrep.tasks.pictures import save_png


class Page(HTMLParser):
    """Collects tags with their attributes, headings in order, and that tags close in order."""

    void = frozenset({"meta", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of every such tag."""
        return [attributes for name, attributes in self.seen if name == tag]


def with_gallery(found: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Add a picture a head, and the checklists."""
    (folder / "gallery").mkdir(exist_ok=True)
    save_png(folder / "gallery/worst-0-0.png", np.zeros((8, 8), dtype=np.uint8))
    one = {"row": 3, "picture": "gallery/worst-0-0.png", "caption": "row 3: truth normal"}
    found["gallery"] = {name: {"worst": [one], "random": [], "worst_note": "a note", "random_note": ""} for name in found["tasks"]}
    found["checklist"] = fill(found)
    return found


@pytest.mark.parametrize("evil", [False, True])
def test_it_is_self_contained_well_formed_and_escaped(tmp_path: Path, evil: bool) -> None:
    text = render(with_gallery(whole_review(evil=evil), tmp_path), tmp_path)
    page = Page(text)
    assert page.open == []
    assert not {"script", "iframe", "link", "object", "form"} & {tag for tag, _ in page.seen}
    for tag, attributes in page.seen:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "srcset", "href", "data", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/png;base64,", "#")), (tag, value)
    assert "://" not in text
    assert "url(" not in text
    assert "\u202e" not in text
    assert "default-src 'none'" in text
    assert (html.escape(EVIL.removesuffix("\u202e"), quote=True).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in text) is evil


def test_it_reads_without_sight_and_without_script(tmp_path: Path) -> None:
    page = Page(render(with_gallery(whole_review(), tmp_path), tmp_path))
    assert page.all("html")[0]["lang"] == "en"
    levels = [int(tag[1]) for tag, _ in page.seen if tag in ("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(cell.get("scope") in ("col", "row") for cell in page.all("th"))
    assert page.all("img")
    assert all(image.get("alt") for image in page.all("img"))
    for drawing in page.all("svg"):
        assert drawing.get("aria-label") or drawing.get("aria-hidden") == "true"
    regions = [part for part in page.all("div") if part.get("role") == "region"]
    assert regions
    assert all(part.get("tabindex") == "0" and part.get("aria-label") for part in regions)
    targets = {attributes["id"] for _, attributes in page.seen if "id" in attributes}
    links = [link["href"] for link in page.all("a")]
    assert links
    assert all(link is not None and link.removeprefix("#") in targets for link in links)


def test_it_says_what_a_reviewer_asks_for(tmp_path: Path) -> None:
    text = html.unescape(render(with_gallery(whole_review(), tmp_path), tmp_path))
    assert "prefers-color-scheme: dark" in text
    order = ["Limits", "What was evaluated", "Main results", "pneumonia: classification", "lungs: segmentation", "Methods"]
    places = [text.index(f">{word}</{'b' if word == 'Limits' else 'h2'}>") for word in order]
    assert places == sorted(places)
    for word in (
        "For research only",
        "a" * 64,
        "c" * 64,
        "40 images of 20 patients",
        "pneumonia: AUROC 0.900 (0.870 to 0.930)",
        "ROC",
        "Precision and recall",
        "Reliability",
        "Temperature 1.700",
        "Coverage of the sets of method lac",
        "mondrian: refused",
        "Decision curve",
        "sex x view",
        "Against another model",
        "total variation",
        "only in the truth",
        "percentile bootstrap over whole patients",
        "not known to umsrep: fill in",
    ):
        assert word in text, word


def test_no_file_and_no_patient_is_on_the_page_unless_a_caption_names_them(tmp_path: Path) -> None:
    assert "secret" not in render(with_gallery(whole_review(), tmp_path), tmp_path)


def test_a_review_with_nothing_optional_has_a_page() -> None:
    found = whole_review()
    found |= {"calibration_data": None, "notes": []}
    found["data"]["sites"] = {}
    found["settings"] |= {"groups": [], "compare": None}
    for task in found["tasks"].values():
        task |= {"subgroups": [], "intersections": [], "sites": None, "comparisons": []}
    found["tasks"]["pneumonia"] |= {"calibration": None, "temperature": None, "conformal": None, "decision_curve": {}, "curves": {}}
    found["tasks"]["denoising"]["classical"] = None
    text = render(found)
    assert Page(text).open == []
    assert "whether it holds elsewhere was not tested" in text


def test_pictures_outside_the_folder_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "review"
    folder.mkdir()
    save_png(tmp_path / "other.png", np.zeros((8, 8), dtype=np.uint8))
    found = with_gallery(whole_review(), folder)
    for name in ("../other.png", str(tmp_path / "other.png"), "gallery/../review.json"):
        found["gallery"]["lungs"]["worst"][0]["picture"] = name
        with pytest.raises(InputError, match="no PNG in this folder"):
            render(found, folder)
    found["gallery"]["lungs"]["worst"][0]["picture"] = "gallery/worst-9-9.png"
    with pytest.raises(InputError, match="missing"):
        render(found, folder)
