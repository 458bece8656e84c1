"""The page holds all it needs and escapes what it is told."""

from __future__ import annotations

import html.parser
from pathlib import Path

from tests.tasks.runs import put, rewrite
from tests.tiny import write_tiny_data
from umsrep.tasks.data.inspect import inspect
from umsrep.tasks.data.inspect.page import render
from umsrep.tasks.data.manifest import load_manifest

EVIL = "<script>alert('1')</script>\"><img src=x onerror=alert(1)>"


class Tags(html.parser.HTMLParser):
    """Collects tags and their attributes, and that they are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_nothing_leaves_the_page_and_text_is_escaped(tmp_path: Path) -> None:
    folder = rewrite(write_tiny_data(tmp_path / EVIL.replace("/", "")), put(0, "label", EVIL))
    rewrite(folder, put(1, "site", EVIL))
    rewrite(folder, put(2, "split", EVIL))
    page = render(inspect(folder, encoder=None), load_manifest(folder))
    tags = Tags(page)
    assert tags.open == []
    assert "script" not in {tag for tag, _ in tags.seen}
    assert "&lt;script&gt;" in page
    for tag, attributes in tags.seen:
        assert not any(name.startswith("on") or name == "href" for name in attributes)
        if tag == "img":
            assert (attributes["src"] or "").startswith("data:image/jpeg;base64,")
    assert "://" not in page
    assert "url(" not in page
    assert len(page) < 300_000


def test_it_shows_what_the_report_says(tiny_data: Path) -> None:
    report = inspect(tiny_data, encoder=None)
    page = render(report, load_manifest(tiny_data))
    tags = [tag for tag, _ in Tags(page).seen]
    assert tags.count("svg") == len(report["histograms"]) == 6
    assert tags.count("img") == 8 + 8 + 4 * 2  # of each split and site at most eight: 8 + 8, 2 + 2, 2 + 2
    assert "kind: segmentation" in page
    assert "Prevalence per site" in page


def test_what_steers_terminals_or_turns_text_is_shown_as_question_marks(tmp_path: Path) -> None:
    folder = rewrite(write_tiny_data(tmp_path / "data"), put(0, "label", "a\x1b[31mb\u202ec"))
    page = render(inspect(folder, encoder=None), load_manifest(folder))
    assert "a?[31mb?c" in page
    assert not set("\x1b\u202e") & set(page)
