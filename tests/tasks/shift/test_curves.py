"""Pictures of an evaluation under shift: one a shift, which name their axes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from umsrep.tasks.shift.curves import draw_curves, draw_drops
from umsrep.tasks.shift.registry import find_shift
from umsrep.tasks.shift.robustness import describe


def found() -> dict[str, Any]:
    """Two shifts on a head whose Dice falls, with an interval at two severities only."""

    def one(value: float, low: float, high: float) -> dict[str, float]:
        return {"value": value, "low": low, "high": high}

    shifts = {}
    for name, loss in (("scatter", 0.05), ("detector", 0.1)):
        at = {str(k): {"dice": one(loss * k, loss * k - 0.02, loss * k + 0.02 if k < 3 else math.nan)} for k in range(1, 6)}
        head = {
            "severity": {str(k): {"dice": 0.9 - loss * k} for k in range(1, 6)},
            "drop_at": at,
            "drop": {"dice": one(3 * loss, 0.1, 0.4)},
        }
        shifts[name] = describe(find_shift(name)) | {"heads": {"lungs": head}}
    return {"heads": {"lungs": {"kind": "segmentation", "n": 7, "main": "dice", "unshifted": {"dice": 0.9}}}, "shifts": shifts}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *words: Any, **options: Any) -> None:
        figures.append(figure)
        save(figure, *words, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def test_a_curve_for_each_shift(drawn: list[Figure], tmp_path: Path) -> None:
    files = draw_curves(found(), tmp_path)
    assert [f.name for f in files] == ["shift-scatter.png", "shift-detector.png"]
    assert all(f.read_bytes().startswith(b"\x89PNG") for f in files)
    (axes,) = drawn[0].axes
    assert axes.get_title() == "lungs (n = 7)"
    assert axes.get_xlabel() == "severity (added scatter over primary)"
    assert [t.get_text() for t in axes.get_xticklabels()][:2] == ["0", "1\n0.25"]
    assert axes.lines[0].get_ydata() == pytest.approx([0.9, 0.85, 0.8, 0.75, 0.7, 0.65])
    legend = axes.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["Dice"]


def test_drops_are_sorted(drawn: list[Figure], tmp_path: Path) -> None:
    draw_drops(found(), tmp_path / "drops.png")
    assert (tmp_path / "drops.png").stat().st_size > 0
    (axes,) = drawn[0].axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["scatter", "detector"]
    assert axes.get_title() == "lungs: drop of Dice"
