"""The page: complete, self-contained, and with nothing of anybody's names taken for markup."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

from umsrep.tasks.choose import Choice
from umsrep.tasks.choose.budget import ALL, Budget, Round
from umsrep.tasks.choose.page import render


class Tags(HTMLParser):
    """Checks that tags close in order, and collects attributes."""

    void = frozenset({"meta", "img", "source"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_it_is_self_contained_and_well_formed(choice: Choice) -> None:
    choice = dataclasses.replace(choice, tasks=choice.tasks[:1])
    text = render(choice, [])
    tags = Tags(text)
    assert tags.open == []
    addresses = [value for name, value in tags.attributes if name in ("src", "srcset", "href")]
    assert addresses
    assert all(value and value.startswith("data:image/svg+xml") for value in addresses)
    assert "<script" not in text
    assert all(value for name, value in tags.attributes if name == "alt")
    assert "prefers-color-scheme: dark" in text
    for task in choice.tasks:
        assert task.name in text
    assert choice.warning in text.replace("&#39;", "'").replace("&lt;", "<")
    assert "not measured yet" in text or "Kendall tau" in text


def test_foreign_text_is_escaped_and_what_was_tried_is_shown(choice: Choice) -> None:
    regrets: dict[str, dict[str, dict[str, object]]] = {ALL: {"combined ranking": {"choice": ["a"], "lost": 0.25, "steps": 2}}}
    budget = Budget([Round(2, {ALL: {"a": 0.5}})], "a", {ALL: "mean"}, regrets, 1.0, ["task <b> was left out"])
    hostile = dataclasses.replace(
        choice, data="<script>alert(1)</script>\x1b[31m", notes=["<img src=x>"], budget=budget, tasks=choice.tasks[-1:]
    )
    text = render(hostile, [])
    assert "<script" not in text
    assert "<img src=x>" not in text
    assert "\x1b" not in text
    assert re.search(r"quality lost", text)
    assert "task &lt;b&gt; was left out" in text
