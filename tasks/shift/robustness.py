"""What shifts cost a model: metrics at each severity, the drop against the unshifted images, and MedMNIST-C's balanced errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from umsrep.errors import InputError
from umsrep.tasks.data.dataset import Target
from umsrep.tasks.evaluate import evaluation_set
from umsrep.tasks.evaluation.evaluating import patients_of, thresholds_of
from umsrep.tasks.evaluation.metrics import LOWER_IS_BETTER, MAIN, statistic_of
from umsrep.tasks.evaluation.resample import Draws, Sampled, estimate, sample
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.shift.measuring import UNSHIFTED, collect_shifted, has_colour
from umsrep.tasks.shift.medmnistc import BASELINES, MAGNITUDES
from umsrep.tasks.shift.registry import SHIFTS, choose_shifts
from umsrep.tasks.shift.shift import SEVERITIES, Shift

LEAST_LOSS = 0.01
"""AlexNet's own loss under a corruption below which it is no scale to divide by (it even gains under two of pneumoniamnist's)."""
SHOWN = {"classification": ("auroc", "balanced_accuracy"), "segmentation": ("dice",), "denoising": ("psnr_gain",)}
"""Metrics of the printed table and the curves, by kind; the JSON has all."""


def evaluate_shifts(
    model: MultiTaskModel,
    data: str | Path,
    words: Sequence[str] = (),
    *,
    split: str = "test",
    split_column: str = "split",
    targets: Mapping[str, Target] | None = None,
    tasks: Sequence[str] | None = None,
    noise: str = "gaussian",
    level: float = 25.0,
    seed: int = 0,
    batch_size: int = 16,
    workers: int = 0,
    title: str | None = "shifting",
    lenient: bool = False,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Evaluate a model under distribution shifts.

    Args:
        model: See `umsrep.tasks.evaluate.evaluate`, as all that is not named here.
        data: See there.
        words: Shifts, as `choose_shifts` reads them; empty takes those of the model's modality.
        split: See there.
        split_column: See there.
        targets: See there.
        tasks: See there.
        noise: See there.
        level: See there.
        seed: Of the noise, the shifts and the draws.
        batch_size: See there.
        workers: See there.
        title: Of the progress bar, or None.
        lenient: See there.
        resamples: Bootstrap draws of whole patients for the intervals of drops; they weigh per-row statistics, no image runs again.

    Returns:
        Plain values: ``chosen`` (how the shifts were chosen), ``heads`` (name to kind, n, patients, metrics unshifted, ``overall``: the
        drop averaged over shifts), and ``shifts``: name to what it is and, for each head, ``severity`` (1-5 to metrics), ``mean`` over
        severities, ``drop`` (metric to its estimate, positive is worse) and, for classification, ``balanced_error``.

    Raises:
        InputError: as there, and for unknown shifts.
    """
    if batch_size < 1 or workers < 0:
        raise InputError(f"batch_size must be 1 or more and workers 0 or more, not {batch_size} and {workers}")
    contract, modality = model.encoder.contract, model.encoder.modality
    shifts = choose_shifts(words, modality=modality, channels=contract.channels)
    options: dict[str, Any] = {"split": split, "split_column": split_column, "targets": targets, "tasks": tasks}
    dataset = evaluation_set(model, data, noise=noise, level=level, seed=seed, lenient=lenient, **options)
    chosen = chosen_by(words, modality, contract.channels, len(shifts))
    if any(shift.colour for shift in shifts) and not has_colour(dataset):
        named = [shift.name for shift in shifts if shift.colour and shift.name in words]
        if named or all(shift.colour for shift in shifts):
            raise InputError(
                f"shift '{(named or [shifts[0].name])[0]}' changes colours, but the images looked at are grey in three channels"
            )
        shifts = [shift for shift in shifts if not shift.colour]
        chosen = f"{chosen_by(words, modality, contract.channels, len(shifts))}; those of colour are left out, as the images are grey"
    collected = collect_shifted(model, dataset, shifts, seed=seed, batch_size=batch_size, workers=workers, title=title)
    thresholds = thresholds_of(model)
    entries: dict[str, dict[str, Any]] = {shift.name: describe(shift) | {"heads": {}} for shift in shifts}
    heads: dict[str, dict[str, Any]] = {}
    known_set = baseline_of(dataset.sources[0].manifest.table)
    for name, base in collected[UNSHIFTED].items():
        task = dataset.tasks[name]
        draws = Draws(patients_of(dataset, base["index"].tolist()), resamples=resamples, seed=seed)
        statistics = {
            f"{shift}/{severity}": statistic_of(task, rows[name], thresholds.get(name), calibration=False)
            for (shift, severity), rows in collected.items()
        }
        sampled = sample(statistics, draws)
        clean = sampled["/".join(map(str, UNSHIFTED))]
        drops: dict[str, list[np.ndarray]] = {}
        for shift in shifts:
            at = [sampled[f"{shift.name}/{severity}"] for severity in SEVERITIES]
            found = under_shift(clean, at, draws)
            if task.kind == "classification":
                found["balanced_error"] = balanced_error(clean, at, shift.name, known_set)
            entries[shift.name]["heads"][name] = found
            for metric, drawn in _drop_draws(clean, at).items():
                drops.setdefault(metric, []).append(drawn)
        overall = {}
        for metric, every in drops.items():
            value = float(np.mean([entries[s.name]["heads"][name]["drop"][metric]["value"] for s in shifts]))
            together = np.mean(every, axis=0)
            overall[metric] = estimate(value, together, n=len(draws.groups), patients=draws.patients(), level=draws.level)
        heads[name] = {
            "kind": task.kind, "n": len(draws.groups), "patients": draws.patients(), "main": MAIN[task.kind],
            "unshifted": clean.values, "overall": overall,
        }  # fmt: skip
    return {
        "data": str(data), "split": split, "seed": seed, "resamples": resamples, "noise": noise, "level": level,
        "size": list(contract.size) if isinstance(contract.size, tuple) else contract.size,
        "chosen": chosen, "heads": heads, "shifts": entries,
    }  # fmt: skip


def describe(shift: Shift) -> dict[str, Any]:
    """Return what a shift is, in plain values."""
    return {
        "family": shift.family, "modalities": list(shift.modalities), "meaning": shift.meaning,
        "magnitudes": [list(m) if isinstance(m, tuple) else m for m in shift.magnitudes],
        "source": shift.source, "geometric": shift.geometric, "colour": shift.colour,
    }  # fmt: skip


def chosen_by(words: Sequence[str], modality: str | None, channels: int, count: int) -> str:
    """Say how the shifts were chosen, in one line."""
    colours = "" if channels == 3 else "; those of colour are left out, as the model takes grey images"
    if words:
        return f"{count} shifts of {', '.join(words)}{'' if all(word in SHIFTS for word in words) else colours}"
    if modality is None:
        return f"{count} shifts for every kind of image, as the model does not say its modality{colours}; --shifts cxr, us ... adds its own"
    return f"{count} shifts for '{modality}', the model's modality, and for every kind of image{colours}"


def _sign(metric: str) -> float:
    return -1.0 if metric.partition("/")[0] in LOWER_IS_BETTER else 1.0


def _metrics(clean: Sampled, at: Sequence[Sampled]) -> list[str]:
    return [metric for metric in clean.values if all(metric in s.values for s in at)]


def _drop_draws(clean: Sampled, at: Sequence[Sampled]) -> dict[str, np.ndarray]:
    return {m: _sign(m) * (clean.draws[m] - np.mean([s.draws[m] for s in at], axis=0)) for m in _metrics(clean, at)}


def under_shift(clean: Sampled, at: Sequence[Sampled], draws: Draws) -> dict[str, Any]:
    """Return one head's numbers under one shift.

    The drop is the unshifted metric minus its mean over severities (the other way round where lower is better), with the interval of that
    difference over the same draws of patients; a mean over severities of which one is undefined is undefined.
    """
    drawn = _drop_draws(clean, at)
    mean = {m: float(np.mean([s.values[m] for s in at])) for m in drawn}

    def drop(metric: str, value: float, of_draws: np.ndarray) -> dict[str, Any]:
        shared: dict[str, Any] = {"n": len(draws.groups), "patients": draws.patients(), "level": draws.level}
        return estimate(_sign(metric) * (clean.values[metric] - value), of_draws, method="paired bootstrap", **shared)

    at_each = {
        str(k): {m: drop(m, s.values[m], _sign(m) * (clean.draws[m] - s.draws[m])) for m in drawn if "/" not in m}
        for k, s in zip(SEVERITIES, at, strict=True)
    }
    return {
        "severity": {str(k): s.values for k, s in zip(SEVERITIES, at, strict=True)},
        "mean": mean,
        "drop": {m: drop(m, mean[m], drawn[m]) for m in drawn},
        "drop_at": at_each,
    }


def baseline_of(table: Path) -> str | None:
    """Return the MedMNIST set of an npz file for which AlexNet's errors are known, by its name (pneumoniamnist.npz, ..._224.npz)."""
    name = table.stem.partition("_")[0].lower()
    return name if table.suffix == ".npz" and name in BASELINES else None


def balanced_error(clean: Sampled, at: Sequence[Sampled], shift: str, known_set: str | None) -> dict[str, Any]:
    """Return errors 1 - balanced accuracy as MedMNIST-C defines them (arXiv 2406.17536, equations 1 to 3).

    Args:
        clean: Unshifted.
        at: At each severity.
        shift: Its name.
        known_set: The data, if it is a MedMNIST set with known errors of AlexNet.

    Returns:
        ``clean``, ``mean`` over severities, ``difference`` (mean - clean); ``be``, mean over AlexNet's; ``rbe``, difference over
        AlexNet's. The two are null, with a ``note``, where AlexNet's error is not known for this data and corruption; ``rbe`` also where
        AlexNet loses less than 0.01, as nothing can then be divided by.
    """
    error = float(np.mean([1 - s.values["balanced_accuracy"] for s in at]))
    unshifted = 1 - clean.values["balanced_accuracy"]
    result: dict[str, Any] = {"clean": unshifted, "mean": error, "difference": error - unshifted, "be": None, "rbe": None}
    origin, _, corruption = shift.partition("-")
    # what is not among chestmnist's own corruptions here is pneumoniamnist's
    owner = "pneumoniamnist" if known_set == "chestmnist" and corruption not in MAGNITUDES["chestmnist"] else known_set
    if known_set is None or origin != owner or corruption not in BASELINES[known_set]:
        return result | {"note": "AlexNet's error is known only for MedMNIST's own sets under their own corruptions"}
    alexnet = BASELINES[known_set]
    loss = alexnet[corruption] - alexnet["clean"]
    result["be"] = error / alexnet[corruption]
    if loss < LEAST_LOSS:
        return result | {"note": f"no rbe: AlexNet's own loss is {loss:.4f}, which is no scale; see the difference"}
    return result | {"rbe": (error - unshifted) / loss, "alexnet_loss": loss}
