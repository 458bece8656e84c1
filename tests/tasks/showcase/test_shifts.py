"""Noise, elsewhere, other kinds: with and without a guard."""

from __future__ import annotations

import dataclasses

import numpy as np

from tests.tasks.showcase.conftest import Tiny
from umsrep.tasks.guarding import make_guard, open_rows
from umsrep.tasks.showcase.measuring import cleaned_style, measure, noisy_style
from umsrep.tasks.showcase.shifts import noise, other_kinds, unlabelled


def guarded(tiny: Tiny) -> Tiny:
    def images(count: int) -> list[object]:
        return list(open_rows(tiny.model, tiny.manifest, tiny.rows[-count:]))

    tiny.model.guard = make_guard(tiny.model, images(16), images(24))  # type: ignore[arg-type]
    return tiny


def test_noise_shows_the_worst_and_the_median_and_both_denoised(tiny: Tiny) -> None:
    dirty = noisy_style(0.3)
    task = tiny.tasks["disc"]
    clean, noisy, cleaned = (
        measure(tiny.model, "disc", task, "doppler", tiny.manifest, tiny.rows, style=style)
        for style in (None, dirty, cleaned_style(tiny.model, dirty))
    )
    noisy.values["dice"][:] = np.linspace(0.9, 0.1, len(noisy.rows))[:, None]
    section = noise(tiny.model, "disc", clean, noisy, cleaned, 0.3)
    names = tiny.manifest.columns["file_name"]
    assert [c["file"] for c in section.cases] == [names[noisy.rows[20]], names[noisy.rows[10]]]
    assert len(section.panels) == 4
    assert section.panels[0].lines == ("1: worst, with noise", "Dice 0.100")
    assert "0.500 with noise" in section.said[0]
    alone = noise(tiny.model, "disc", clean, noisy, None, 0.3)
    assert len(alone.panels) == 2
    assert "denoise-first" not in alone.said[0]


def test_pictures_without_a_truth_go_by_the_guards_score(tiny: Tiny) -> None:
    section = unlabelled(guarded(tiny).model, "disc", "doppler", tiny.manifest, tiny.rows, "disc: elsewhere")
    scores = [float(c["shown"].split("guard ")[1].split(" ")[0]) for c in section.cases]
    assert scores == sorted(scores)
    assert len(scores) == 4
    assert section.panels[3].lines[1].endswith(("flagged", "no flag"))
    assert section.said[1].startswith("The guard flags ")


def test_without_a_guard_the_page_says_so(tiny: Tiny) -> None:
    section = unlabelled(tiny.model, "disc", "doppler", tiny.manifest, tiny.rows, "t")
    assert section.said[1] == "doppler: this model has no guard."
    assert "guard" not in section.cases[0]["shown"]


def test_of_another_kind_the_least_strange_is_shown_and_of_the_own_the_strangest(tiny: Tiny) -> None:
    guarded(tiny)
    bare = dataclasses.replace(tiny.manifest, columns={**tiny.manifest.columns, "license": ["CC BY-NC 4.0"] * 24})
    sets = {"doppler": (tiny.manifest, tiny.rows), "us_nerve": (tiny.manifest, tiny.rows), "us_lung": (bare, tiny.rows)}
    section = other_kinds(tiny.model, "doppler", sets, 8)
    scores = [float(c["shown"].split("guard ")[1].split(" ")[0]) for c in section.cases]
    assert scores[0] > scores[1]  # the same eight pictures
    assert [c["set"] for c in section.cases] == ["doppler", "us_nerve"]
    assert section.said[-1] == "us_lung: 24 of 24 rows may not be shown (24 CC BY-NC 4.0)."
    assert any(line.startswith("size: ") for line in section.panels[0].lines)
