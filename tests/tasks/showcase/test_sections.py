"""Sections show the cases that their rules name, with their numbers, and no picture that may not be shown."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.tasks.showcase.conftest import Tiny
from umsrep.errors import InputError
from umsrep.tasks.showcase.measuring import Measured
from umsrep.tasks.showcase.sections import classification, denoising, segmentation, spread


def files(measured: Measured) -> list[str]:
    names = measured.manifest.columns["file_name"]
    return [names[row] for row in measured.rows]


def licensed(tiny: Tiny, measured: Measured, licence: str) -> Measured:
    """The same rows as if they were of a set with a licence a row: all but the first have another than ``licence``."""
    columns = {**tiny.manifest.columns, "license": [licence] + ["CC BY-NC 4.0"] * (len(tiny.manifest) - 1)}
    return dataclasses.replace(measured, set="us_lung", manifest=dataclasses.replace(tiny.manifest, columns=columns))


def test_a_segmentation_is_shown_from_worst_to_best(tiny: Tiny) -> None:
    measured = tiny.measure("disc")
    measured.values["dice"][:] = np.linspace(0.9, 0.1, len(measured.rows))[:, None]
    section = segmentation(tiny.model, "disc", measured, "disc: tiny")
    names = files(measured)
    assert [c["file"] for c in section.cases] == [names[20], names[18], names[10], names[0]]
    assert [c["shown"] for c in section.cases] == [
        "worst; Dice 0.100",
        "percentile 10; Dice 0.180",
        "median; Dice 0.500",
        "best; Dice 0.900",
    ]
    assert section.panels[0].lines == ("1: worst", "Dice 0.100")
    assert section.said == ["Dice at percentile 0 / 10 / 50 / 90 / 100 of 21 images: 0.100 / 0.180 / 0.500 / 0.820 / 0.900."]


def test_pictures_that_may_not_be_shown_are_measured_and_left_out(tiny: Tiny) -> None:
    measured = licensed(tiny, tiny.measure("disc"), "CC BY 4.0")
    section = segmentation(tiny.model, "disc", measured, "t")
    assert [c["file"] for c in section.cases] == [files(measured)[0]]
    assert "of 21 images" in section.said[0]
    assert section.said[1] == "Pictures: 20 of 21 rows may not be shown (20 CC BY-NC 4.0)."
    none = segmentation(tiny.model, "disc", licensed(tiny, tiny.measure("disc"), "CC BY-ND 4.0"), "t")
    assert (none.cases, none.panels) == ([], [])
    assert len(none.said) == 2


def test_an_unknown_set_is_never_shown(tiny: Tiny) -> None:
    with pytest.raises(InputError, match="no licence is known"):
        segmentation(tiny.model, "disc", tiny.measure("disc", of="mine"), "t")


def test_classification_shows_right_answers_then_sure_errors_with_their_sets(tiny: Tiny) -> None:
    measured = tiny.measure("size")
    n, target = len(measured.rows), measured.values["target"]
    own = np.where(np.arange(n) % 5 == 4, 0.1, 0.9) + np.arange(n) / 1000  # every fifth is wrong, the earlier the surer
    large = np.where(target == 1, own, 1 - own)
    measured.values["probabilities"] = np.stack([1 - large, large], 1)
    section = classification(tiny.model, "size", measured, measured, "size: tiny")
    kinds = [c["shown"].split(";")[0] for c in section.cases]
    assert kinds == ["typical small", "surest small", "typical large", "surest large", *["error"] * 4]
    assert [c["file"] for c in section.cases[4:]] == [files(measured)[i] for i in (4, 9, 14, 19)]
    label = tiny.tasks["size"].classes[target[4]]  # type: ignore[attr-defined]
    other = {"small": "large", "large": "small"}[label]
    assert section.panels[4].lines[:3] == ("5: error", f"truth: {label}", f"says: {other}, 0.896")
    assert section.panels[4].lines[3].startswith("set: ")
    assert section.said[0] == f"{n // 5} of {n} images are wrong ('large' from probability 0.50 on)."
    assert section.said[1].startswith("Conformal sets that promise 90%")
    errors = classification(tiny.model, "size", measured, None, "t", only_errors=True)
    assert [c["file"] for c in errors.cases] == [c["file"] for c in section.cases[4:]]
    assert errors.rule == "The wrong answers of largest loss, one a patient"
    assert not any("set" in line for panel in errors.panels for line in panel.lines)


def test_without_errors_there_is_nothing_to_show_among_them(tiny: Tiny) -> None:
    measured = tiny.measure("size")
    measured.values["probabilities"] = np.eye(2)[measured.values["target"]]
    section = classification(tiny.model, "size", measured, None, "t", only_errors=True)
    assert section.cases == []
    assert section.said == [f"0 of {len(measured.rows)} images are wrong ('large' from probability 0.50 on).", section.said[1]]
    assert section.said[1] == "No picture that may be shown is wrong."


def test_a_denoiser_stands_beside_the_best_filter(tiny: Tiny) -> None:
    measured = tiny.measure("denoising")
    section = denoising(tiny.model, "denoising", measured, measured, tuned_on=2)
    order = np.argsort(measured.scores, kind="stable")
    assert [c["file"] for c in section.cases] == [files(measured)[order[i]] for i in (0, 12, 23)]
    assert len(section.panels) == 18
    assert section.titles[0] == "noisy"
    v, worst = measured.values, order[0]
    assert section.panels[0].lines == ("1: worst", f"{v['psnr_noisy'][worst]:.2f} dB")
    assert section.panels[1].lines == (f"{v['psnr'][worst]:.2f} dB",)
    assert section.said[0].startswith("Gaussian noise of level 25 ")
    assert f"the model {measured.scores.mean():.2f} dB" in section.said[1]


def test_the_spread_counts_what_is_undefined() -> None:
    assert spread(np.array([0.0, 1.0, np.nan]), "Dice") == (
        "Dice at percentile 0 / 10 / 50 / 90 / 100 of 2 images: 0.000 / 0.100 / 0.500 / 0.900 / 1.000; undefined in 1."
    )
