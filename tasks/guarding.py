"""Making a guard from a model and its data, measuring it, and using it in prediction (`umsrep.tasks.guard`, docs/guard.md)."""

from __future__ import annotations

import collections
import dataclasses
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, get_args

import numpy as np
import torch
from torch import Tensor

from umsrep.errors import InputError, nearest
from umsrep.heads import ClassificationHead
from umsrep.tasks.guard import LOG, Guard, GuardMode, Score, energy, fingerprint, needed, threshold_of
from umsrep.tasks.progress import track
from umsrep.tasks.reference import Reference, pyramid_statistics
from umsrep.zoo.results import GuardRate, GuardResults

if TYPE_CHECKING:
    from umsrep.tasks.data.dataset import JointDataset
    from umsrep.tasks.data.manifest import Manifest
    from umsrep.tasks.model import MultiTaskModel
    from umsrep.tasks.predict import Prediction
    from umsrep.zoo.input_contract import LoadedImage

FALSE_ALARMS = 0.05
NEIGHBOURS = 5
DIRECTIONS = 16
ROWS = 256
"""Most training pictures in the bank, and most held-out ones that the threshold or a rate comes from."""
LEAST_BANK = 16
"""Fewest training pictures that a guard is made from."""
_BATCH = 32
_REFERENCE_FALSE_ALARMS = 0.01


# ---- scores --------------------------------------------------------------------------------------------------------
def observed(model: MultiTaskModel, score: Score, head: str | None, maps: Sequence[Tensor], outputs: Mapping[str, Tensor]) -> np.ndarray:
    """Return what a guard's score is made from: the pyramid's statistics [B, D] for knn, the energies [B] of a head."""
    if score == "knn":
        return np.asarray(pyramid_statistics(maps).cpu().numpy())
    assert head is not None
    classes = model.heads[head]
    assert isinstance(classes, ClassificationHead)
    return energy(outputs[head], multi_label=classes.multi_label or len(classes.classes) == 1)


@torch.inference_mode()
def observe(model: MultiTaskModel, images: Iterable[LoadedImage], *, head: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Show images to a model.

    Args:
        model: Evaluated, and left as it was. Its contract has a size.
        images: As its contract opened them.
        head: Classification head whose energies are wanted.

    Returns:
        The pyramid's statistics, float32 [N, D]; the energies [N], or an empty array without a head.
    """
    from umsrep.tasks.predict import evaluation_mode

    contract, device = model.encoder.contract, next(model.parameters()).device
    blocks = [np.zeros((0, 2 * sum(model.encoder.channels)), dtype=np.float32)]
    energies = [np.zeros(0)]
    waiting: list[Tensor] = []

    def flush() -> None:
        outputs, maps, _ = model.run(torch.stack(waiting).to(device), [head] if head else [], seen=True)
        blocks.append(observed(model, "knn", None, maps, outputs))
        if head is not None:
            energies.append(observed(model, "energy", head, maps, outputs))
        waiting.clear()

    with evaluation_mode(model):
        for image in images:
            x = contract.normalise(contract.fit(image.unit_CHW))
            contract.check_range(x, where=image.name)
            waiting.append(x)
            if len(waiting) == _BATCH:
                flush()
        if waiting:
            flush()
    return np.concatenate(blocks), np.concatenate(energies)


# ---- making --------------------------------------------------------------------------------------------------------
def make_guard(
    model: MultiTaskModel,
    train: Iterable[LoadedImage],
    held_out: Iterable[LoadedImage],
    *,
    score: Score = "knn",
    head: str | None = None,
    false_alarms: float = FALSE_ALARMS,
    neighbours: int = NEIGHBOURS,
    source: str = "training pictures",
    reference: Reference | None = None,
) -> Guard:
    """Make a guard; nothing of the model changes.

    Args:
        model: With the encoder that the guard is for; its contract has a size.
        train: Training pictures, `LEAST_BANK` or more: the bank of neighbours.
        held_out: Pictures like those that the model will see, which it was not trained on: they give the threshold.
        score: What flags.
        head: Classification head of the energy; may be left out where there is one only.
        false_alarms: Fraction of pictures like the held-out ones that may be flagged.
        neighbours: k.
        source: What it is made from, and the licence of that.
        reference: Made from the training pictures already; None makes one.

    Raises:
        InputError: for too few pictures, a contract without a size, an unknown head, or numbers out of range.
    """
    if model.encoder.contract.size is None:
        raise InputError("no guard can be made: the encoder's contract has no size, so that its pictures cannot be compared")
    if not 1 <= neighbours <= LEAST_BANK:
        raise InputError(f"neighbours must be 1 to {LEAST_BANK}, not {neighbours}")
    head = _head(model, score, head)
    bank, _ = observe(model, train)
    if len(bank) < LEAST_BANK:
        raise InputError(f"a guard needs {LEAST_BANK} training pictures or more, not {len(bank)}")
    new, energies = observe(model, held_out, head=head)
    threshold_of(new[:, 0], false_alarms)  # whether there are enough
    if reference is None:
        made = Reference.fit(bank, directions=min(DIRECTIONS, len(bank) // 4), source=source, weights="")
        limit = float(np.quantile(made.scores(new), 1 - _REFERENCE_FALSE_ALARMS))  # as scripts/make_reference.py chooses it
        reference = dataclasses.replace(made, threshold=limit)
    kept = reference.coordinates(bank).astype(np.float16).astype(np.float32)  # stored in half precision: measure what will be read
    guard = Guard(reference, kept, neighbours, np.inf, false_alarms, len(new), fingerprint(model.encoder), score, head)
    scores = guard.scores(new if score == "knn" else energies)
    return dataclasses.replace(guard, threshold=threshold_of(scores, false_alarms))


def _head(model: MultiTaskModel, score: Score, head: str | None) -> str | None:
    """Return the head whose energy is taken."""
    if score not in get_args(Score):
        raise InputError(f"score must be knn or energy, not {score!r}")
    if score == "knn":
        if head is not None:
            raise InputError("the head is for the score energy; knn looks at the encoder alone")
        return None
    classifiers = [name for name, h in model.heads.items() if isinstance(h, ClassificationHead)]
    if head is None and len(classifiers) == 1:
        return classifiers[0]
    if head not in classifiers:
        said = f"'{head}' is no classification head{nearest(head, classifiers)}" if head else "name the head"
        raise InputError(f"score energy: {said}; this model has {', '.join(classifiers) or 'none'}")
    return head


def spread_rows(manifest: Manifest, rows: Sequence[int], count: int, *, least: int = 0) -> list[int]:
    """Choose at most ``count`` rows by a hash of their names, one a patient as far as that leaves ``least``.

    Pictures of one patient are alike, and the rule for the threshold counts each as a draw of its own.
    """
    patients = manifest.columns.get("patient_id", [""] * len(manifest))

    def key(row: int) -> int:
        return zlib.crc32(f"{manifest.columns['file_name'][row]} {manifest.frame(row)}".encode())

    ordered = sorted(rows, key=key)
    had: collections.Counter[str] = collections.Counter()
    first: list[int] = []
    rest: list[int] = []
    for row in ordered:
        had[patients[row]] += 1
        (rest if patients[row] and had[patients[row]] > 1 else first).append(row)
    chosen = first if len(first) >= least else [*first, *rest]
    return sorted(chosen[:count])


def open_rows(model: MultiTaskModel, manifest: Manifest, rows: Sequence[int], *, title: str | None = None) -> Iterable[LoadedImage]:
    """Open rows of a data set one by one; an error names the row."""
    for row in track(rows, title, total=len(rows)):
        try:
            yield model.encoder.contract.open(manifest.image(row), frame=manifest.frame(row))
        except InputError as error:
            raise InputError(f"{manifest.where(row)}: {error}") from error


def guard_of_run(
    model: MultiTaskModel,
    train: JointDataset,
    validation: JointDataset,
    test: JointDataset | None,
    *,
    say: Callable[[str], None],
    false_alarms: float = FALSE_ALARMS,
) -> tuple[Guard, GuardResults] | None:
    """Make the guard of a finished run from its rows, and measure it on its test rows; None, saying why, where there are too few."""
    bank = _chosen(train, ROWS)
    held_out = _chosen(validation, needed(false_alarms))
    if len(bank) < LEAST_BANK or len(held_out) < needed(false_alarms):
        few = f"{len(bank)} training and {len(held_out)} validation pictures"
        say(f"no out-of-distribution guard: {few} are too few (it needs {LEAST_BANK} and {needed(false_alarms)})")
        return None
    title = "making the guard"
    pictures, usual = _opened(train, bank, title), _opened(validation, held_out, title)
    guard = make_guard(model, pictures, usual, false_alarms=false_alarms, source="training pictures of the run")
    if len(held_out) + 1 < 2 / false_alarms:
        say(
            f"the guard's threshold is the largest of {len(held_out)} validation pictures: one odd picture among them makes it blind; "
            "`umsrep guard MODEL DATA --false-alarms 0.1` allows more"
        )
    rates = []
    if test is not None:
        rates.append(rate(guard, model, "test rows of the run", "like the training data", _opened(test, _chosen(test, 0), title)))
    return guard, described(guard, "validation rows of the run", rates)


def _chosen(dataset: JointDataset, least: int) -> list[int]:
    """Choose items of a data set as `spread_rows` does, every source in the proportion of its rows."""
    if len(dataset) == 0:
        return []
    numbers: dict[int, dict[int, int]] = collections.defaultdict(dict)
    for index, (s, row) in enumerate(dataset.items):
        numbers[s][row] = index
    chosen = []
    for s, rows in numbers.items():
        share = len(rows) / len(dataset)
        count = max(1, round(ROWS * share))
        chosen += [rows[row] for row in spread_rows(dataset.sources[s].manifest, list(rows), count, least=round(least * share))]
    return sorted(chosen)


def _opened(dataset: JointDataset, indices: Sequence[int], title: str) -> Iterable[LoadedImage]:
    for index in track(indices, title, total=len(indices)):
        yield dataset.opened(index)


# ---- measuring -----------------------------------------------------------------------------------------------------
def rate(guard: Guard, model: MultiTaskModel, data: str, kind: str, images: Iterable[LoadedImage]) -> GuardRate:
    """Measure how many images of a set are flagged, with the exact 95 % interval (Clopper and Pearson) of that fraction.

    Raises:
        InputError: for a set without images.
    """
    statistics, energies = observe(model, images, head=guard.head)
    scores = guard.scores(statistics if guard.score == "knn" else energies)
    if not len(scores):
        raise InputError(f"{data}: no images to measure the guard on")
    return rate_of(int((scores > guard.threshold).sum()), len(scores), data, kind)


def rate_of(flagged: int, images: int, data: str, kind: str) -> GuardRate:
    """Return a rate with its interval, from quantiles of the beta distribution."""
    from scipy.special import betaincinv

    low = float(betaincinv(flagged, images - flagged + 1, 0.025)) if flagged else 0.0
    high = float(betaincinv(flagged + 1, images - flagged, 0.975)) if flagged < images else 1.0
    return GuardRate(data, kind, images, flagged, (low, high))


def described(guard: Guard, data: str, rates: Sequence[GuardRate]) -> GuardResults:
    """Return what a card says of a guard."""
    score = f"energy of {guard.head}" if guard.score == "energy" else f"distance to the nearest training images (k = {guard.neighbours})"
    return GuardResults(score, guard.threshold, guard.false_alarms, guard.calibrated, data, tuple(rates))


# ---- using ---------------------------------------------------------------------------------------------------------
def usable_guard(model: MultiTaskModel, mode: GuardMode) -> Guard | None:
    """Return the guard that prediction shall use: the model's, if it is wanted, there, and made for this encoder and contract.

    A guard that was made for others is left out with a line in the log.

    Raises:
        InputError: for an unknown mode; under "refuse" for a model without a usable guard.
    """
    if mode not in get_args(GuardMode):
        raise InputError(f"guard must be off, warn or refuse, not {mode!r}")
    if mode == "off":
        return None
    if model.guard is not None and model.guard.fingerprint == fingerprint(model.encoder):
        return model.guard
    found = "the model has no guard" if model.guard is None else "the model's guard was made for another encoder or contract"
    if mode == "refuse":
        raise InputError(f"guard refuse: {found}; make one with `umsrep guard MODEL DATA`")
    if model.guard is not None:
        LOG.warning("%s: images are not checked for being unlike the training images", found)
    return None


def tell_flagged(
    images: Sequence[LoadedImage], results: Sequence[Mapping[str, Prediction]], guard: Guard | None, mode: GuardMode, *, first: int = 0
) -> None:
    """Log the images that the guard flagged; under "refuse" raise an `InputError` that names one.

    Args:
        images: As they were opened.
        results: Their predictions.
        guard: From `usable_guard`.
        mode: "warn" or "refuse".
        first: Number of the first image among all that are predicted; arrays have no other name.
    """
    for number, (image, result) in enumerate(zip(images, results, strict=True), first):
        one = next(iter(result.values()), None)
        if guard is None or one is None or not one.flagged or one.out_of_distribution is None:
            continue
        name = f"{image.name} (number {number})" if image.name.startswith("<") else image.name
        line = f"{name}: unlike the training images (guard score {one.out_of_distribution:.3g}, threshold {guard.threshold:.3g})"
        if mode == "refuse":
            raise InputError(f"{line}; no prediction is given under guard refuse")
        LOG.warning("%s: do not rely on this prediction", line)
