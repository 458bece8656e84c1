"""The sections of a model's gallery: what was measured, which cases are shown by which rule, and their panels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from umsrep.tasks.classical import CLASSICAL
from umsrep.tasks.classification import Classification
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.evaluation.conformal import TooFewRows, calibrate, coverage
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.showcase.choosing import PERCENTILES, at_percentiles, classified
from umsrep.tasks.showcase.drawing import ERROR_WHITE, Colour, Panel, error_map, grey, legend, outlined
from umsrep.tasks.showcase.licences import attribution, permitted
from umsrep.tasks.showcase.measuring import Measured, arrays, best_filter, filtered, threshold_of

SIDE, SMALL, COLUMNS = 192, 160, 4
"""Pixels a side of a panel with outlines, of one without, and panels a row."""
ALPHA = 0.1
NAMES = {0: "worst", 50: "median", 100: "best"}


@dataclasses.dataclass
class Section:
    """One section of a page, with one sheet or none.

    Attributes:
        title: Heading.
        rule: How the cases were chosen.
        said: Sentences on what was measured.
        cases: Of each picture that is shown: its number, its attribution, ``shown`` (what stands under it).
        panels: In reading order.
        columns: Panels a row.
        titles: Over the columns.
        lines: Legend.
    """

    title: str
    rule: str
    said: list[str]
    cases: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    panels: list[Panel] = dataclasses.field(default_factory=list)
    columns: int = COLUMNS
    titles: tuple[str, ...] = ()
    lines: list[tuple[str, Colour, bool]] = dataclasses.field(default_factory=list)

    def case(self, measured: Measured, item: int, shown: Sequence[str]) -> int:
        """Credit a picture and return its number, from 1."""
        credit = attribution(measured.set, measured.manifest, measured.rows[item])
        self.cases.append({"number": len(self.cases) + 1, **credit, "shown": "; ".join(shown)})
        return len(self.cases)


def spread(scores: np.ndarray, what: str) -> str:
    """Say how a score is distributed over the rows where it is defined."""
    known = scores[np.isfinite(scores)]
    levels = (0, 10, 50, 90, 100)
    values = " / ".join(f"{v:.3f}" if abs(v) < 1.5 else f"{v:.2f}" for v in np.percentile(known, levels))
    undefined = f"; undefined in {len(scores) - len(known)}" if len(known) < len(scores) else ""
    return f"{what} at percentile {' / '.join(map(str, levels))} of {len(known)} images: {values}{undefined}."


def showable(measured: Measured) -> tuple[np.ndarray, str]:
    """Return which items may be shown, bool [n], and a sentence on the others."""
    kept, why = permitted(measured.set, measured.manifest, measured.rows)
    allowed = set(kept)
    return np.array([row in allowed for row in measured.rows]), why


def _named(percentile: float) -> str:
    return NAMES.get(int(percentile), f"percentile {percentile:g}")


def dice_of(task: Segmentation, measured: Measured, item: int) -> str:
    """Say the Dice of each class of one item."""
    values = measured.values["dice"][item]
    parts = ["in neither" if np.isnan(v) else f"{v:.3f}" for v in values]
    if len(parts) == 1:
        return f"Dice {parts[0]}"
    return "Dice " + ", ".join(f"{name} {part}" for name, part in zip(task.foreground, parts, strict=True))


def segmentation(model: MultiTaskModel, name: str, measured: Measured, title: str) -> Section:
    """Show a segmentation at the percentiles of its Dice, truth and prediction outlined."""
    task = measured.dataset.tasks[name]
    assert isinstance(task, Segmentation)
    allowed, why = showable(measured)
    section = Section(title, "", [spread(measured.scores, "Dice")])
    if why:
        section.said.append(f"Pictures: {why}")
    if not allowed.any():
        return section
    chosen = at_percentiles(np.where(allowed, measured.scores, np.nan))
    section.rule = f"The images at percentile {', '.join(f'{p:g}' for p in PERCENTILES)} of Dice" + (
        " (mean over the classes that are there)" if len(task.foreground) > 1 else ""
    )
    section.lines = legend(task.foreground)
    for (p, item), drawn in zip(chosen, arrays(model, name, measured, [i for _, i in chosen]), strict=True):
        shown = [_named(p), dice_of(task, measured, item)]
        number = section.case(measured, item, shown)
        picture = outlined(drawn["image"], drawn["truth"], drawn["predicted"], SIDE)
        section.panels.append(Panel(picture, (f"{number}: {shown[0]}", *shown[1:])))
    return section


def classification(
    model: MultiTaskModel, name: str, measured: Measured, calibration: Measured | None, title: str, *, only_errors: bool = False
) -> Section:
    """Show a classifier's typical and sure right answers of each class, and its confident errors.

    Args:
        model: The model.
        name: Of the head.
        measured: The rows.
        calibration: Rows that the conformal sets come from, or None for no sets.
        title: Heading.
        only_errors: Show the errors alone.
    """
    task = measured.dataset.tasks[name]
    assert isinstance(task, Classification)
    allowed, why = showable(measured)
    p, target, classes = measured.values["probabilities"], measured.values["target"], task.classes
    threshold = threshold_of(model, name)
    everything = classified(p, target, [""] * len(p), wrong=0, threshold=threshold)
    at = "the most probable class counts" if threshold is None else f"'{classes[1]}' from probability {threshold:.2f} on"
    section = Section(title, "", [f"{everything.errors} of {everything.n} images are wrong ({at})."])
    sets = _sets(section, calibration, p, target)
    if why:
        section.said.append(f"Pictures: {why}")
    items = np.flatnonzero(allowed)
    if not len(items):
        return section
    names = measured.manifest.columns.get("patient_id", [""] * len(measured.manifest))
    cluster = [names[measured.rows[i]] for i in items]
    few = len(classes) == 2
    wrong = 4 if few else 8 - len(classes) % 4
    found = classified(p[items], target[items], cluster, wrong=wrong, threshold=threshold)
    chosen: list[tuple[str, int]] = []
    if not only_errors:
        for k, label in enumerate(classes):
            if k in found.typical:
                chosen.append((f"typical {label}", int(items[found.typical[k]])))
            if few and k in found.surest and found.surest[k] != found.typical[k]:
                chosen.append((f"surest {label}", int(items[found.surest[k]])))
    chosen += [("error", int(items[i])) for i in found.wrong]
    usual = (
        "" if only_errors else "Of each class the right answer of median loss" + (" and that of least loss; then " if few else "; then ")
    )
    section.rule = f"{usual}the wrong answers of largest loss, one a patient"
    section.rule = section.rule[0].upper() + section.rule[1:]
    if not chosen:
        section.said.append("No picture that may be shown is wrong.")
        return section
    for (kind, item), drawn in zip(chosen, arrays(model, name, measured, [i for _, i in chosen]), strict=True):
        best = int(p[item].argmax()) if threshold is None else int(p[item, 1] >= threshold)
        shown = [kind, f"truth: {classes[target[item]]}", f"says: {classes[best]}, {p[item, best]:.3f}"]
        if sets is not None:
            inside = [c for c, held in zip(classes, sets[item], strict=True) if held]
            many = f"{len(inside)} of {len(classes)} classes"
            shown.append(f"set: {(many if len(inside) > 3 else ' or '.join(inside)) if inside else 'empty'}")
        number = section.case(measured, item, shown)
        section.panels.append(Panel(grey(drawn["image"], SMALL), (f"{number}: {kind}", *shown[1:])))
    return section


def _sets(section: Section, calibration: Measured | None, p: np.ndarray, target: np.ndarray) -> np.ndarray | None:
    """Return conformal sets, bool [n, K], and say how often they hold the truth."""
    if calibration is None:
        return None
    try:
        rule = calibrate(calibration.values["probabilities"], calibration.values["target"], ALPHA)
    except TooFewRows:
        return None
    sets = rule.sets(p)
    section.said.append(
        f"Conformal sets that promise {1 - ALPHA:.0%} (from {len(calibration.rows)} validation rows of {calibration.set}) hold the "
        f"truth in {coverage(sets, target).mean():.0%}, and {sets.sum(1).mean():.2f} classes on average."
    )
    return sets


def denoising(model: MultiTaskModel, name: str, measured: Measured, tuning: Measured, *, tuned_on: int) -> Section:
    """Show a denoiser at the percentiles of its gain, beside the best classical filter."""
    task = measured.dataset.tasks[name]
    assert isinstance(task, Denoising)
    tuned, sigma = best_filter(name, task, tuning.dataset, tuned_on)
    allowed, why = showable(measured)
    v, gains = measured.values, measured.scores
    title = CLASSICAL[tuned.name].title
    noise = f"{task.noise.capitalize()} noise of level {task.level:g} (of 255 grey levels)"
    said = [f"{noise}. {spread(gains, 'Gain in PSNR (dB)')}", *([f"Pictures: {why}"] if why else [])]
    drawn = arrays(model, name, measured, range(len(measured.rows)))
    beside = [filtered(tuned, sigma, one["noisy"], one["image"]) for one in drawn]
    better = sum(float(a) > b for a, (_, b) in zip(v["psnr"], beside, strict=True))
    mean = float(np.mean([b for _, b in beside]) - v["psnr_noisy"].mean(dtype=np.float64))
    said.append(
        f"{title}, the best of {len(CLASSICAL)} classical filters on {tuned_on} validation images, gains {mean:.2f} dB on average, "
        f"the model {gains.mean():.2f} dB; the model is better on {better} of {len(gains)} images."
    )
    columns = ("noisy", "model", title, "clean", "error of model", "error of filter")
    section = Section("", "The images at percentile 0, 50 and 100 of the gain in PSNR", said, columns=6, titles=columns)
    section.said.append(f"Error: black is 0, white {ERROR_WHITE:g} (of 0-1) and more. Pixels as the model sees them.")
    for p, item in at_percentiles(np.where(allowed, gains, np.nan), (0, 50, 100)):
        one, (by_filter, psnr_filter) = drawn[item], beside[item]
        side = len(one["image"])
        psnrs = (f"{v['psnr_noisy'][item]:.2f} dB", f"{v['psnr'][item]:.2f} dB", f"{psnr_filter:.2f} dB")
        number = section.case(measured, item, [_named(p), *(f"{c} {x}" for c, x in zip(columns, psnrs, strict=False))])
        pictures = [grey(x, side) for x in (one["noisy"], one["denoised"], by_filter, one["image"])]
        pictures += [error_map(x, one["image"], side) for x in (one["denoised"], by_filter)]
        texts = [(f"{number}: {_named(p)}", psnrs[0]), (psnrs[1],), (psnrs[2],), (), (), ()]
        section.panels += [Panel(picture, text) for picture, text in zip(pictures, texts, strict=True)]
    return section
