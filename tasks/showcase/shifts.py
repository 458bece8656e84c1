"""The sections of a gallery on what a model was not made for: noise, pictures from elsewhere, pictures of another kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from umsrep.heads import SegmentationHead
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.guarding import spread_rows, usable_guard
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.predict import Prediction
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.showcase.choosing import at_percentiles
from umsrep.tasks.showcase.drawing import Panel, legend, outlined
from umsrep.tasks.showcase.licences import attribution, permitted
from umsrep.tasks.showcase.measuring import Measured, arrays, look
from umsrep.tasks.showcase.sections import SIDE, Section, dice_of, showable

Seen = tuple[np.ndarray, dict[str, Prediction]]


def noise(model: MultiTaskModel, name: str, clean: Measured, noisy: Measured, cleaned: Measured | None, sigma: float) -> Section:
    """Show a segmentation under noise at the worst and the median Dice, and the same after the model's own denoising.

    Args:
        model: The model.
        name: Of the head.
        clean: Rows as they are.
        noisy: The same rows with noise.
        cleaned: The same noisy rows, denoised first; None where the model cannot.
        sigma: Of the noise, of 0-1.
    """
    task = clean.dataset.tasks[name]
    assert isinstance(task, Segmentation)
    means = [float(np.nanmean(m.scores)) for m in (clean, noisy, *([cleaned] if cleaned else []))]
    said = f"Mean Dice of {len(clean.rows)} images: {means[0]:.3f} as they are, {means[1]:.3f} with noise"
    section = Section(
        f"{name} under noise",
        "The images of lowest and of median Dice under noise",
        [f"Gaussian noise of sigma {sigma:g} (of 0-1). {said}" + (f", {means[2]:.3f} after `--denoise-first`." if cleaned else ".")],
        lines=legend(task.foreground),
    )
    allowed, _ = showable(noisy)
    if not allowed.any():
        return section
    chosen = at_percentiles(np.where(allowed, noisy.scores, np.nan), (0, 50))
    for p, item in chosen:
        which = "worst" if p == 0 else "median"
        versions = [("with noise", noisy)] + ([("with noise, denoised first", cleaned)] if cleaned else [])
        shown = [which, *(f"{text}: {dice_of(task, m, item)}" for text, m in (("as it is", clean), *versions))]
        number = section.case(noisy, item, shown)
        for text, m in versions:
            (drawn,) = arrays(model, name, m, [item])
            lines = (f"{number}: {which}, {text}", dice_of(task, m, item))
            section.panels.append(Panel(outlined(drawn["image"], drawn["truth"], drawn["predicted"], SIDE), lines))
    return section


def unlabelled(model: MultiTaskModel, name: str, of: str, manifest: Manifest, rows: Sequence[int], title: str) -> Section:
    """Show a segmentation on pictures from elsewhere that have no truth, at percentiles of the guard's score."""
    head = model.heads[name]
    assert isinstance(head, SegmentationHead)
    kept, why = permitted(of, manifest, rows)
    section = Section(title, "", ["There is no truth to compare with."], lines=legend(_foreground(head), truth=False))
    if why:
        section.said.append(f"Pictures: {why}")
    if not kept:
        return section
    seen = look(model, manifest, kept)
    scores = _scores(seen)
    section.said += _verdict(model, of, scores)
    order = scores if scores is not None else np.arange(len(seen), dtype=np.float64)
    section.rule = "Percentile 0, 50, 90 and 100 of the guard's score" if scores is not None else "Rows chosen by a hash of their names"
    for p, item in at_percentiles(order, (0, 50, 90, 100)):
        _add(section, model, [name], of, manifest, kept[item], seen[item], f"percentile {p:g}" if scores is not None else of)
    return section


def other_kinds(model: MultiTaskModel, own: str, sets: Mapping[str, tuple[Manifest, Sequence[int]]], count: int) -> Section:
    """Show what a model says of pictures of another kind: of each set the one that its guard finds least strange.

    Args:
        model: The model.
        own: Which of ``sets`` is of the model's kind; of that one the strangest is shown.
        sets: Name of each set to its table and rows.
        count: Pictures of each set, chosen by a hash of their names, one a patient.
    """
    classes = next((_foreground(h) for h in model.heads.values() if isinstance(h, SegmentationHead)), ())
    section = Section("Pictures of another kind", "", [], lines=legend(classes, truth=False))
    guarded = usable_guard(model, "warn") is not None
    section.rule = (
        f"Of {count} images a set that whose score is lowest, which the guard catches last; of {own}, the model's own kind, the highest"
        if guarded
        else "The first of each set by a hash of its name"
    )
    for name, (manifest, rows) in sets.items():
        kept, why = permitted(name, manifest, rows)
        kept = spread_rows(manifest, kept, count)
        if not kept:
            section.said.append(f"{name}: {why}")
            continue
        seen = look(model, manifest, kept)
        scores = _scores(seen)
        section.said += _verdict(model, name, scores)
        item = 0 if scores is None else int(scores.argmax() if name == own else scores.argmin())
        _add(section, model, list(model.heads), name, manifest, kept[item], seen[item], name)
    return section


def _foreground(head: SegmentationHead) -> tuple[str, ...]:
    return tuple(head.classes) if head.multi_label or len(head.classes) == 1 else tuple(head.classes[1:])


def _scores(seen: Sequence[Seen]) -> np.ndarray | None:
    found = [next(iter(said.values())).out_of_distribution for _, said in seen]
    return None if any(score is None for score in found) else np.array(found, dtype=np.float64)


def _verdict(model: MultiTaskModel, of: str, scores: np.ndarray | None) -> list[str]:
    if scores is None:
        return [f"{of}: this model has no guard."]
    assert model.guard is not None
    return [f"The guard flags {int((scores > model.guard.threshold).sum())} of {len(scores)} images of {of}."]


def _add(
    section: Section, model: MultiTaskModel, heads: Sequence[str], of: str, manifest: Manifest, row: int, seen: Seen, text: str
) -> None:
    """Add a picture with the outlines of the first segmentation among some heads, the classifiers' answers and the guard's verdict."""
    image, said = seen
    one = next(iter(said.values()))
    mask = next((said[h].mask for h in heads if h in said and said[h].kind == "segmentation"), None)
    shown = [text]
    if one.out_of_distribution is not None:
        assert model.guard is not None
        sign, verdict = (">", "flagged") if one.flagged else ("≤", "no flag")
        shown.append(f"guard {one.out_of_distribution:.2f} {sign} {model.guard.threshold:.2f}: {verdict}")
    for h in heads:
        if h in said and said[h].kind == "classification" and isinstance(said[h].label, str):
            values = said[h].probabilities
            assert values is not None
            shown.append(f"{h}: {said[h].label}, {values[said[h].classes.index(str(said[h].label))]:.3f}")
    number = len(section.cases) + 1
    section.cases.append({"number": number, **attribution(of, manifest, row), "shown": "; ".join(shown)})
    flat = None if mask is None else mask if mask.ndim == 2 else (mask * np.arange(1, len(mask) + 1)[:, None, None]).max(0)
    section.panels.append(Panel(outlined(image, None, flat, SIDE), (f"{number}: {shown[0]}", *shown[1:])))
