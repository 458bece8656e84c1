"""The page as a file, and in a real browser: its controls, its reachability by keys, its names for screen readers, its contrasts."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import browser
from tests.browser import Page
from tests.tasks.catalog.made_up import entries
from umsrep.errors import InputError
from umsrep.tasks.catalog.entries import collect
from umsrep.tasks.catalog.writing import write

FIRST, SECOND, THIRD, LAST = (e.listed.name for e in entries(4))
needs_browser = pytest.mark.skipif(browser.find() is None, reason=f"needs one of {', '.join(browser.NAMES)} on PATH")
CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
LANDMARKS = ("banner", "navigation", "main", "search", "contentinfo")
PARTS = ("heading", "table", "rowheader", "columnheader", "status", "image")
NAMED = ("button", "link", "checkbox", "combobox", "spinbutton", "textbox", "table", "region", "image", "navigation", "search")


def test_it_is_written_and_replaces_only_its_own(tmp_path: Path) -> None:
    path = write(entries(1), tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "index.html"
    assert write(entries(2), path.parent) == path
    path.write_text("<h1>My thesis</h1>")
    with pytest.raises(InputError, match=r"index\.html: is no catalog"):
        write(entries(1), path.parent)
    assert path.read_text() == "<h1>My thesis</h1>"
    with pytest.raises(InputError, match="cannot be written"):
        write(entries(1), path)


# ---- in a browser --------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def chromium() -> Iterator[Page]:
    with browser.browse() as page:
        yield page


@pytest.fixture
def page(chromium: Page, tmp_path: Path) -> Iterator[Page]:
    """The page of four encoders, freshly loaded; at the end nothing may have been asked of a network or logged as an error."""
    path = write(entries(4), tmp_path)
    chromium.size(1240, 900)
    chromium.scheme("light")
    chromium.requests.clear()
    chromium.console.clear()
    yield chromium.open(path.as_uri())
    assert chromium.run("performance.getEntriesByType('resource').length") == 0
    assert {r.partition("#")[0] for r in chromium.requests} <= {path.as_uri(), "about:blank"}
    assert path.as_uri() in chromium.requests
    assert chromium.console == []


def names(page: Page) -> list[str]:
    """The encoders in the table, from top to bottom."""
    return list(
        page.run("[...document.querySelectorAll('#found tbody tr')].filter(r => !r.hidden).map(r => r.querySelector('a').textContent)")
    )


def text(page: Page, selector: str) -> str:
    return str(page.run(f"document.querySelector({selector!r}).textContent.replace(/\\s+/g, ' ').trim()"))


def choose(page: Page, selector: str, words: str) -> None:
    """Choose the option of a list that holds these words, by keys alone."""
    page.run(f"document.querySelector({selector!r}).focus()")
    page.key("Home", 36)
    for _ in range(80):
        if words in page.run(f"document.querySelector({selector!r}).selectedOptions[0].textContent"):
            return
        page.key("ArrowDown", 40)
    raise AssertionError(f"no option with {words}")


@needs_browser
def test_filters_combine_and_say_how_many_are_left(page: Page) -> None:
    assert names(page) == [FIRST, SECOND, THIRD, LAST]
    assert text(page, "#count") == "4 of 4 encoders shown."
    assert page.run("document.querySelector('#count').getAttribute('aria-live')") == "polite"
    page.click("input[value=cxr]")
    assert names(page) == [FIRST, LAST]
    assert text(page, "#count") == "2 of 4 encoders shown."
    assert page.run("[...document.querySelectorAll('details.entry')].filter(e => !e.hidden).length") == 2
    page.click("input[value=us]")
    assert names(page) == [FIRST, SECOND, LAST]
    page.click("input[value=segmentation]")
    assert names(page) == [FIRST, SECOND]
    page.click("input[value='apache-2.0']")
    assert names(page) == [SECOND]
    page.click("button[type=reset]")
    page.wait("document.querySelector('#count').textContent === '4 of 4 encoders shown.'")
    page.click("#parameters")
    page.type("2.5")
    assert names(page) == [FIRST, SECOND]
    page.click("button[type=reset]")
    page.click("#mebibytes")
    page.type("5")
    assert names(page) == [FIRST, SECOND]
    assert text(page, "#count") == "2 of 4 encoders shown. 1 left out because its size is not recorded."


@needs_browser
def test_sorting_by_a_row_keeps_what_was_not_measured_last_and_names_it(page: Page) -> None:
    value = {e.listed.name: next((m.value or 0 for m in e.results.measurements if m.data == "elsewhere"), None) for e in entries(4)}
    best = sorted((n for n in value if value[n] is not None), key=lambda n: -(value[n] or 0))
    choose(page, "#sort", "elsewhere, 13 places")
    assert names(page) == [*best, LAST]
    assert text(page, "#row") == "lungs: Dice – 3 measured"
    said = "4 of 4 encoders shown. Sorted by lungs: Dice, elsewhere, 13 places: 30 images of 222 patients; higher is better, best first. "
    assert text(page, "#count") == f"{said}1 not measured there, shown last."
    cells = page.run("[...document.querySelectorAll('#found .value')].map(c => c.textContent)")
    assert cells[-1] == "not measured"
    assert re.fullmatch(
        r"0\.\d{3} \(0\.\d{3} to 0\.\d{3}\)elsewhere, 13 places: 30 images of 222 patients; data: licence not recorded", cells[0]
    )
    assert page.run("document.querySelectorAll('#found .value svg').length") == 3
    assert page.run("document.querySelector('#measured').getAttribute('aria-sort')") == "descending"
    page.click("#reverse")
    assert names(page) == [*best[::-1], LAST]
    assert "worst first" in text(page, "#count")
    page.click("#reverse")
    choose(page, "#sort", "invented_cxr, test: 447")
    choose(page, "#row", "HD95")
    assert "lower is better, best first. 3 not measured there" in text(page, "#count")
    assert names(page)[0] == FIRST
    choose(page, "#sort", "name")
    assert names(page) == [FIRST, SECOND, THIRD, LAST]
    assert "finding: AUROC" in text(page, "#found tbody .value")


@needs_browser
def test_two_are_compared_side_by_side(page: Page) -> None:
    page.click("[data-pick='0']")
    page.click("[data-pick='1']")
    assert page.run("[...document.querySelectorAll('[data-pick]')].map(b => b.getAttribute('aria-pressed'))") == [
        "true",
        "true",
        "false",
        "false",
    ]
    heads = page.run("[...document.querySelectorAll('#comparison table.both thead')][0].innerText.trim().split(/\\t|\\n/)")
    assert [h for h in heads if h.strip()] == ["What", FIRST, SECOND]
    shown = text(page, "#comparison table.both")
    assert "parameters1,000,0002,000,000" in shown
    assert "elsewhere, 13 places: 30 images of 222 patients lungs: Dice" in shown.replace("patientslungs", "patients lungs")
    assert "2 rows were measured of both on the same images." in text(page, "#comparison")
    assert "Measured of one only, which does not compare" in text(page, "#comparison details summary")
    assert page.run("document.querySelectorAll('#comparison .sides figure svg.chart').length") == 3, "reliability of the first alone"
    page.wait(f"document.querySelector('#said').textContent.startsWith('Comparing {FIRST} with {SECOND}')")
    page.click("[data-pick='2']")
    assert THIRD in text(page, "#comparison caption"), "a third takes the place of the second"
    page.click("[data-pick='0']")
    assert text(page, "#comparison") == "Choose two encoders here, or by their buttons in the table."
    choose(page, "#left", LAST)
    assert text(page, "#comparison caption") == f"{LAST} beside {THIRD}"
    assert "No row was measured of both" in text(page, "#comparison")


@needs_browser
def test_a_comparison_and_an_encoder_have_addresses(page: Page) -> None:
    address = page.run("location.href")
    page.open(f"{address}#compare={SECOND},{FIRST}")
    assert text(page, "#comparison caption") == f"{SECOND} beside {FIRST}"
    page.click("#found a[href='#e-2']")
    page.wait("document.querySelector('#e-2').open && document.activeElement === document.querySelector('#e-2 summary')")
    page.open(f"{address}#e-1")
    assert page.run("document.querySelector('#e-1').open") is True


@needs_browser
def test_a_snippet_is_copied_and_a_refusal_leaves_it_selected(page: Page) -> None:
    page.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    page.click("#e-0 > summary")
    page.click("#e-0 .copy[data-copy='s-0-1']")
    page.wait("document.querySelector('#said').textContent !== ''")
    assert text(page, "#said") == f"Copied the timm snippet of {FIRST}."
    assert page.run("navigator.clipboard.readText()") == entries(4)[0].code["timm"]
    page.run("navigator.clipboard.writeText = () => Promise.reject(new Error('no'))")
    page.click("#e-0 .copy[data-copy='s-0-0']")
    page.wait("document.querySelector('#said').textContent.includes('press Ctrl+C')")
    assert page.run("getSelection().toString().trim()") == entries(4)[0].code["umsrep"]


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_system_and_the_switch_and_all_text_has_contrast(page: Page, scheme: str) -> None:
    page.scheme(scheme)
    page.open(page.run("localStorage.removeItem('umsrep-theme'), location.href"))
    other = {"light": "dark", "dark": "light"}[scheme]
    page.click("[data-pick='0']")
    page.click("[data-pick='1']")
    backs = []
    for name in (scheme, other):
        assert page.run("document.querySelector('#theme').getAttribute('aria-pressed')") == str(name == "dark").lower()
        found = page.run(CONTRAST)
        assert len(found) > 200
        assert [what for ratio, what in found if ratio < 4.5] == []
        backs.append(page.run("getComputedStyle(document.body).backgroundColor"))
        page.click("#theme")
    assert sorted(backs, key=len)[0] != sorted(backs, key=len)[1]
    page.click("#theme")
    page.open(page.run("location.href"))
    assert page.run("getComputedStyle(document.body).backgroundColor") == backs[1], "the choice is kept"
    page.run("localStorage.removeItem('umsrep-theme')")


@needs_browser
def test_tab_reaches_every_control_in_order_with_a_visible_focus(page: Page) -> None:
    wanted = page.run(
        "[...document.querySelectorAll('a, button, select, input, summary, [tabindex=\"0\"]')].filter(e => e.checkVisibility()).length"
    )
    seen: list[Any] = []
    for number in range(wanted + 1):
        page.key("Tab", 9)
        at = page.run(
            "(() => { const e = document.activeElement, s = getComputedStyle(e); if (e === document.body) return null; e.dataset.seen ??= "
            f"'{number}'; return [e.dataset.seen, e.textContent.trim(), s.outlineStyle, e.getBoundingClientRect().width > 0]; }})()"
        )
        if at is None or at[0] != str(number):
            break
        seen.append(at)
        assert at[2] in ("solid", "auto"), at
        assert at[3], at
    assert len(seen) == wanted
    assert [one[1] for one in seen[:2]] == ["Skip to the encoders", "Dark colours"]
    page.run("document.querySelector('.skip').focus()")
    page.key("Enter", 13, "\r")
    page.wait("document.activeElement.id === 'found'")
    page.run("document.querySelector('input[value=us]').focus()")
    page.key(" ", 32, " ")
    assert names(page) == [SECOND]
    page.run("document.querySelector('[data-pick=\"1\"]').focus()")
    page.key("Enter", 13, "\r")
    assert page.run("document.querySelector('#left').value") == "1"


@needs_browser
def test_every_control_and_picture_has_a_name_and_the_page_its_landmarks(page: Page) -> None:
    page.run("for (const d of document.querySelectorAll('details')) d.open = true")
    nodes = [n for n in page.call("Accessibility.getFullAXTree")["nodes"] if not n.get("ignored")]
    roles = [n["role"]["value"] for n in nodes]
    for role in (
        "banner",
        "navigation",
        "main",
        "search",
        "contentinfo",
        "heading",
        "table",
        "rowheader",
        "columnheader",
        "status",
        "image",
    ):
        assert role in roles, role
    nameless = [n["role"]["value"] for n in nodes if n["role"]["value"] in NAMED and not n.get("name", {}).get("value", "").strip()]
    assert nameless == []
    levels = page.run("[...document.querySelectorAll('h1, h2, h3, h4')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels)), "no level of headings is left out"
    buttons = [n["name"]["value"] for n in nodes if n["role"]["value"] == "button" and n["name"]["value"].startswith("Copy")]
    assert len(buttons) == len(set(buttons)) > 6, "each says what it copies"


@needs_browser
def test_without_javascript_everything_but_the_controls_is_there(page: Page) -> None:
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    page.open(page.run("location.href"))
    assert page.run("document.querySelector('#filters').checkVisibility() || document.querySelector('.copy').checkVisibility()") is False
    assert page.run("document.querySelector('noscript p').checkVisibility()") is True
    assert names(page) == [FIRST, SECOND, THIRD, LAST]
    assert page.run("document.querySelectorAll('details.entry table').length") > 20
    page.call("Emulation.setScriptExecutionDisabled", value=False)


@needs_browser
@pytest.mark.parametrize("width", [1240, 390])
@pytest.mark.parametrize("count", [1, 40])
def test_nothing_runs_over_the_edge_with_one_encoder_or_forty(chromium: Page, tmp_path: Path, width: int, count: int) -> None:
    chromium.size(width, 900)
    chromium.open(write(collect()[0] if count == 1 else entries(count), tmp_path).as_uri())
    chromium.run("for (const d of [...document.querySelectorAll('details.entry')].slice(0, 3)) d.open = true")
    if count > 1:
        for number in ("0", "1"):
            chromium.click(f"[data-pick='{number}']")
    assert chromium.run("document.documentElement.scrollWidth") <= width
    assert chromium.run("document.querySelectorAll('#found tbody tr').length") >= count
