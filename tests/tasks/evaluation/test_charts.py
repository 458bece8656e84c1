"""Charts: where points land, what is left out, and that no name becomes markup."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from tests.tasks.evaluation.reviews import EVIL
from umsrep.tasks.evaluation.charts import Chart, interval_bar, legend, round_ticks, sparkline, style_of, tick_text


def _chart(**changes: object) -> Chart:
    values: dict[str, object] = {"x": (0, 1), "y": (0, 1), "labels": ("x", "y"), "size": (158, 150)}
    return Chart(**(values | changes))  # type: ignore[arg-type]  # a mix of types by name


def test_points_land_where_the_axes_say_and_y_grows_upwards() -> None:
    # 158 - 46 - 12 = 100 pixels wide from 46, 150 - 10 - 40 = 100 high from 110 upwards
    svg = _chart().line([(0, 0), (0.5, 0.25), (1, 1)]).dots([(0.5, 0.5)]).svg("d")
    assert 'd="M46 110L96 85L146 10"' in svg
    assert 'cx="96" cy="60"' in svg


def test_unknown_points_break_a_line_and_what_lies_outside_stays_at_the_edge() -> None:
    svg = _chart().line([(0, 0), (0.2, None), (0.4, math.nan), (0.6, 5), (1, -5)]).svg("d")
    assert 'd="M46 110M106 10L146 110"' in svg
    assert "nan" not in svg


def test_steps_go_sideways_first() -> None:
    assert 'd="M46 110H146V10"' in _chart().line([(0, 0), (1, 1)], steps=True).svg("d")


def test_bars_stand_on_zero_and_empty_ones_are_not_drawn() -> None:
    svg = _chart(y=(0, 4)).bars([0, 0.5, 1], [2, 0]).svg("d")
    assert svg.count("<rect") == 1
    assert 'x="46.5" y="60" width="49" height="50"' in svg


def test_it_is_xml_with_a_description_and_names_are_text() -> None:
    svg = _chart(labels=(EVIL, EVIL)).rule(x=0.5).rule(y=2).whiskers([(0.5, 0.1, 0.9), (0.5, None, 1)]).svg(EVIL)
    root = ElementTree.fromstring(svg)  # parsed, so nothing of the labels became a tag
    assert {child.tag for child in root.iter()} <= {"svg", "line", "text", "path"}
    assert root.attrib["role"] == "img"
    assert "alert" in root.attrib["aria-label"]
    assert "\u202e" not in svg
    assert len(re.findall('class="rule"', svg)) == 1  # the one at y = 2 lies outside


@pytest.mark.parametrize(
    ("ends", "ticks"),
    [((0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]), ((0, 23), [0, 5, 10, 15, 20]), ((-0.03, 0.011), [-0.03, -0.02, -0.01, 0, 0.01])],
)
def test_ticks_are_round(ends: tuple[float, float], ticks: list[float]) -> None:
    assert round_ticks(*ends) == pytest.approx(ticks)


def test_ticks_of_nothing_and_of_very_large_and_small_numbers() -> None:
    assert round_ticks(3, 3)
    assert all(tick_text(t) for ends in ((1e-9, 3e-9), (1e9, 7e9)) for t in round_ticks(*ends))
    assert tick_text(-0.5) == "−0.5"


def test_a_row_of_a_forest_plot_marks_reference_interval_and_value() -> None:
    svg = interval_bar(0.2, 0.5, 0.8, (0, 1), reference=0.25, width=112)
    assert 'x1="26" x2="86" y1="9"' in svg  # 6 + 0.2 * 100 to 6 + 0.8 * 100
    assert 'cx="56"' in svg
    assert 'x1="31" x2="31"' in svg
    assert 'aria-hidden="true"' in svg
    assert "circle" not in interval_bar(None, None, None, (0, 1))


def test_a_small_line_leaves_out_what_is_unknown() -> None:
    assert 'd="M6 22L60 12L114 2"' in sparkline([0, 0.5, 1], (0, 1))
    assert "path" not in sparkline([None], (0, 1))


def test_styles_repeat_and_a_legend_escapes() -> None:
    assert style_of(0) == style_of(6) == "s0"
    text = legend(["a", EVIL])
    assert "<script" not in text
    assert text.count("<li>") == 2
