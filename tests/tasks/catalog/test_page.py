"""The page's text: whole, escaped, with what must stand beside every number."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser

import pytest

from tests.tasks.catalog.made_up import entries, entry
from umsrep.tasks.catalog.page import render
from umsrep.zoo.card import RESEARCH_ONLY
from umsrep.zoo.results import Measurement, Results


class Tags(HTMLParser):
    """Checks that tags close in order, and collects them with their attributes."""

    void = frozenset({"meta", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.all: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("count", [1, 4])
def test_it_is_self_contained_and_well_formed(count: int) -> None:
    text = render(entries(count))
    tags = Tags(text)
    assert tags.open == []
    assert not [value for _, a in tags.all for name, value in a.items() if name in ("src", "srcset", "action", "style", "onclick")]
    assert all((a["href"] or "").startswith("#") for tag, a in tags.all if tag == "a")
    ids = [a["id"] for _, a in tags.all if "id" in a]
    assert len(ids) == len(set(ids))
    assert {(a["href"] or "")[1:] for tag, a in tags.all if tag == "a"} <= set(ids)
    assert RESEARCH_ONLY in text.partition("<main>")[0]
    script = text.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in text
    assert render(entries(count)) == text


def test_every_number_of_every_group_stands_on_it_with_its_conditions() -> None:
    text = render(entries(2))
    for heading in ("On held-out data", "Transfer to other tasks", "Interference", "Shift", "Calibration", "Subgroups"):
        assert re.search(rf"<h4>{heading}", text)
    for m in entries(2)[0].results.measurements:
        if m.value is not None:
            digits = 2 if m.metric in ("hd95", "psnr_gain") else 3
            assert f"{m.value:.{digits}f}" in text, m
    assert "447 images of 222 patients; data: CC BY 4.0" in text
    assert "What `predict` flags" in text
    text = render([entry(0, results=Results(), complete=False, code={}, mebibytes=None)])
    assert (
        "<b>Not measured:</b> on held-out data; transfer to other tasks; interference; shift; calibration; subgroups; reliability." in text
    )
    assert "There is no results file" in text
    assert "Its card does not tell enough for a snippet." in text
    assert "There is one encoder here" in text


def test_strangers_text_is_never_markup() -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'</script>\x1b[31m\u202e"
    rows = tuple(Measurement("shift", evil, evil, evil, 0.5, split=evil, note=f"{evil}, severity {k}", interval=(0.4, 0.6)) for k in (1, 2))
    rows += (Measurement("results", evil, evil, evil, 0.5, split=evil, note=evil),)
    one = entry(1, evil, results=Results(license=evil, verdict=evil, limits=(evil,), conditions=evil, measurements=rows), place=evil)
    one = dataclasses.replace(one, listed=dataclasses.replace(one.listed, modality=evil, arch=evil, heads={evil: evil}, license=evil))
    text = render([one, entry(0)])
    tags = Tags(text)
    assert [tag for tag, _ in tags.all].count("script") == 2
    assert "img" not in [tag for tag, _ in tags.all]
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "alert(1)&lt;/script&gt;" in text
