"""Charts as inline SVG: one drawing that follows the page's colours, light or dark, with real text in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeGuard

from markupsafe import Markup

from umsrep.tasks.web_page import visible

Point = tuple[float | None, float | None]
SERIES = 6
"""Styles of lines that the page's stylesheet knows (``s0`` to ``s5``): colour and dashes, so that neither is needed alone."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 40


class Chart:
    """Axes and what is drawn on them; ``str`` of `svg` goes into a page as it is.

    Points with None or NaN are left out, and break a line; what lies outside the axes is cut off at their edge.
    """

    def __init__(
        self,
        *,
        x: tuple[float, float],
        y: tuple[float, float],
        labels: tuple[str, str],
        size: tuple[int, int] = (360, 290),
        ticks: tuple[Sequence[float] | None, Sequence[float] | None] = (None, None),
    ) -> None:
        """Draw the axes.

        Args:
            x: Lowest and highest value of the horizontal axis; a span of nothing is widened.
            y: Of the vertical axis.
            labels: Under the horizontal axis, and beside the vertical one.
            size: Width and height in pixels; the page scales the drawing to its column.
            ticks: Where to write numbers; None for about five round ones.
        """
        self._x, self._y, self._size = _span(x), _span(y), size
        self._parts: list[Markup] = []
        self._axes(labels, ticks)

    def _px(self, value: float) -> float:
        low, high = self._x
        return _LEFT + (value - low) / (high - low) * (self._size[0] - _LEFT - _RIGHT)

    def _py(self, value: float) -> float:
        low, high = self._y
        return self._size[1] - _BOTTOM - (value - low) / (high - low) * (self._size[1] - _TOP - _BOTTOM)

    def _axes(self, labels: tuple[str, str], ticks: tuple[Sequence[float] | None, Sequence[float] | None]) -> None:
        width, height = self._size
        for value in round_ticks(*self._x) if ticks[0] is None else ticks[0]:
            at = self._px(value)
            self._add('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>', at, at, _TOP, height - _BOTTOM)
            self._add('<text x="{}" y="{}" text-anchor="middle">{}</text>', at, height - _BOTTOM + 14, tick_text(value))
        for value in round_ticks(*self._y) if ticks[1] is None else ticks[1]:
            at = self._py(value)
            self._add('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>', _LEFT, width - _RIGHT, at, at)
            self._add('<text x="{}" y="{}" text-anchor="end">{}</text>', _LEFT - 6, at + 4, tick_text(value))
        self._add('<path class="axis" d="M{} {}V{}H{}"/>', _LEFT, _TOP, height - _BOTTOM, width - _RIGHT)
        self._add('<text x="{}" y="{}" text-anchor="middle">{}</text>', (_LEFT + width - _RIGHT) / 2, height - 8, labels[0])
        middle = (_TOP + height - _BOTTOM) / 2
        self._add('<text transform="translate(12 {}) rotate(-90)" text-anchor="middle">{}</text>', middle, labels[1])

    def _add(self, template: str, *values: float | str) -> None:
        self._parts.append(Markup(template).format(*(_number(v) if isinstance(v, int | float) else visible(v) for v in values)))

    def line(self, points: Iterable[Point], *, style: str = "s0", steps: bool = False) -> Chart:
        """Draw a line through points; with ``steps`` it first goes sideways, then up or down."""
        path, pen = [], "M"
        for x, y in points:
            if not (_known(x) and _known(y)):
                pen = "M"
                continue
            at_x, at_y = _number(self._px(_clip(x, self._x))), _number(self._py(_clip(y, self._y)))
            path.append(f"H{at_x}V{at_y}" if steps and pen == "L" else f"{pen}{at_x} {at_y}")
            pen = "L"
        if path:
            self._add('<path class="line {}" d="{}"/>', style, "".join(path))
        return self

    def dots(self, points: Iterable[Point], *, style: str = "s0", radius: float = 4.5) -> Chart:
        """Draw a dot at each point."""
        for x, y in points:
            if _known(x) and _known(y):
                at = self._px(_clip(x, self._x)), self._py(_clip(y, self._y))
                self._add('<circle class="dot {}" cx="{}" cy="{}" r="{}"/>', style, *at, radius)
        return self

    def whiskers(self, bars: Iterable[tuple[float | None, float | None, float | None]], *, style: str = "s0") -> Chart:
        """Draw an upright line at each (x, low, high)."""
        for x, low, high in bars:
            if _known(x) and _known(low) and _known(high):
                at = self._px(_clip(x, self._x))
                ends = self._py(_clip(low, self._y)), self._py(_clip(high, self._y))
                self._add('<line class="line {}" x1="{}" x2="{}" y1="{}" y2="{}"/>', style, at, at, *ends)
        return self

    def bars(self, edges: Sequence[float], heights: Sequence[float | None], *, style: str = "s0") -> Chart:
        """Draw a histogram: one bar between each two edges."""
        floor = self._py(_clip(0.0, self._y))
        for left, right, height in zip(edges[:-1], edges[1:], heights, strict=True):
            if _known(height) and height:
                start, end, top = self._px(left), self._px(right), self._py(_clip(height, self._y))
                self._add(
                    '<rect class="bar {}" x="{}" y="{}" width="{}" height="{}"/>', style, start + 0.5, top, end - start - 1, floor - top
                )
        return self

    def rule(self, *, x: float | None = None, y: float | None = None) -> Chart:
        """Draw a thin line across at an x or a y."""
        if _known(x) and self._x[0] <= x <= self._x[1]:
            return self._rule(self._px(x), self._px(x), _TOP, self._size[1] - _BOTTOM)
        if _known(y) and self._y[0] <= y <= self._y[1]:
            return self._rule(_LEFT, self._size[0] - _RIGHT, self._py(y), self._py(y))
        return self

    def _rule(self, x1: float, x2: float, y1: float, y2: float) -> Chart:
        self._add('<line class="rule" x1="{}" x2="{}" y1="{}" y2="{}"/>', x1, x2, y1, y2)
        return self

    def svg(self, description: str) -> Markup:
        """Return the drawing; ``description`` is what a screen reader says instead."""
        inside = Markup("").join(self._parts)
        return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
            *self._size, visible(description), inside
        )


def interval_bar(
    low: float | None,
    value: float | None,
    high: float | None,
    span: tuple[float, float],
    *,
    reference: float | None = None,
    width: int = 220,
) -> Markup:
    """Draw one row of a forest plot: a dot with its interval, and a thin line at a reference value.

    The numbers stand beside it in the table, so it is hidden from screen readers.
    """
    bottom, top = _span(span)

    def at(number: float) -> str:
        return _number(6 + (_clip(number, (bottom, top)) - bottom) / (top - bottom) * (width - 12))

    parts = [Markup('<line class="grid" x1="6" x2="{}" y1="9" y2="9"/>').format(width - 6)]
    if _known(reference):
        parts.append(Markup('<line class="rule" x1="{0}" x2="{0}" y1="0" y2="18"/>').format(at(reference)))
    if _known(low) and _known(high):
        parts.append(Markup('<line class="line s0 thick" x1="{}" x2="{}" y1="9" y2="9"/>').format(at(low), at(high)))
    if _known(value):
        parts.append(Markup('<circle class="dot s0" cx="{}" cy="9" r="4.5"/>').format(at(value)))
    return Markup('<svg class="forest" viewBox="0 0 {} 18" width="{}" height="18" aria-hidden="true">{}</svg>').format(
        width, width, Markup("").join(parts)
    )


def sparkline(values: Sequence[float | None], span: tuple[float, float], *, width: int = 120) -> Markup:
    """Draw a few numbers as a small line with a dot at its first; the numbers stand beside it, so it is hidden from screen readers."""
    bottom, top = _span(span)
    step, rise = (width - 12) / max(1, len(values) - 1), 20 / (top - bottom)
    points = [(6 + k * step, 22 - (value - bottom) * rise) for k, value in enumerate(values) if _known(value)]
    path = "L".join(f"{_number(x)} {_number(y)}" for x, y in points)
    dot = Markup('<circle class="dot s0" cx="{}" cy="{}" r="3"/>').format(*map(_number, points[0])) if points else Markup("")
    return Markup('<svg class="forest" viewBox="0 0 {0} 24" width="{0}" height="24" aria-hidden="true">{1}{2}</svg>').format(
        width, Markup('<path class="line s0" d="M{}"/>').format(path) if points else Markup(""), dot
    )


def round_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return about so many round numbers (1, 2, 2.5 or 5 times a power of ten) from low to high."""
    low, high = _span((low, high))
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(step * number, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_text(value: float) -> str:
    """Write a number of an axis, without noise of rounding."""
    return f"{value:g}".replace("-", "−")


def style_of(number: int) -> str:
    """Return the style of the so-manieth line; they repeat."""
    return f"s{number % SERIES}"


def legend(names: Sequence[str], styles: Sequence[str] | None = None) -> Markup:
    """Return the names of lines, each behind a piece of its line."""
    styles = [style_of(n) for n in range(len(names))] if styles is None else styles
    items = [
        Markup(
            '<li><svg viewBox="0 0 26 8" width="26" height="8" aria-hidden="true"><path class="line {}" d="M0 4H26"/></svg> {}</li>'
        ).format(style, visible(name))
        for name, style in zip(names, styles, strict=True)
    ]
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(items))


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _span(ends: tuple[float, float]) -> tuple[float, float]:
    low, high = float(ends[0]), float(ends[1])
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _clip(value: float, ends: tuple[float, float]) -> float:
    return min(max(value, ends[0]), ends[1])


def _number(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
