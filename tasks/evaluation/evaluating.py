"""`umsrep evaluate` with an interval over patients beside every number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from umsrep.errors import InputError
from umsrep.heads import ClassificationHead
from umsrep.tasks.data.dataset import JointDataset, Target
from umsrep.tasks.evaluate import collect, evaluation_set, summarise
from umsrep.tasks.evaluation.metrics import intervals_of
from umsrep.tasks.model import MultiTaskModel

RESAMPLES = 1000


def patients_of(dataset: JointDataset, index: Sequence[int]) -> list[str | None]:
    """Return the patient of each item of a data set; None where it is unknown. Patients of different sources are different."""
    found: list[str | None] = []
    for i in index:
        source, row = dataset.items[i]
        manifest = dataset.sources[source].manifest
        name = manifest.columns["patient_id"][row] if "patient_id" in manifest.columns else ""
        found.append((name if len(dataset.sources) == 1 else f"{source}/{name}") if name else None)
    return found


def thresholds_of(model: MultiTaskModel) -> dict[str, tuple[float, ...] | None]:
    """Return each classification head's decision thresholds."""
    return {name: head.thresholds for name, head in model.heads.items() if isinstance(head, ClassificationHead)}


def evaluate_with_intervals(
    model: MultiTaskModel,
    data: str | Path,
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
    title: str | None = "evaluating",
    lenient: bool = False,
    resamples: int = RESAMPLES,
    interval_level: float = 0.95,
) -> dict[str, dict[str, Any]]:
    """Evaluate as `umsrep.tasks.evaluate.evaluate` does, and add intervals.

    Args:
        model: See there, as the following.
        data: See there.
        split: See there.
        split_column: See there.
        targets: See there.
        tasks: See there.
        noise: See there.
        level: See there.
        seed: Of the noise and of the draws.
        batch_size: See there.
        workers: See there.
        title: See there.
        lenient: See there.
        resamples: Bootstrap draws of whole patients.
        interval_level: Coverage of the intervals.

    Returns:
        Head's name to its metrics, ``patients`` (a row without patient_id counts as one), and ``intervals``: metric to [low, high], NaN
        where there is none (fewer than 10 rows, one patient).

    Raises:
        InputError: as there.
    """
    if batch_size < 1 or workers < 0:
        raise InputError(f"batch_size must be 1 or more and workers 0 or more, not {batch_size} and {workers}")
    options = {"split": split, "split_column": split_column, "targets": targets, "tasks": tasks, "noise": noise, "level": level}
    dataset = evaluation_set(model, data, seed=seed, lenient=lenient, **options)  # type: ignore[arg-type]
    rows = collect(model, dataset, batch_size=batch_size, workers=workers, title=title)
    thresholds = thresholds_of(model)
    patients = {name: patients_of(dataset, values["index"].tolist()) for name, values in rows.items()}
    found = intervals_of(rows, dataset.tasks, patients, thresholds, resamples=resamples, seed=seed, level=interval_level)
    result: dict[str, dict[str, Any]] = {}
    for name, metrics in summarise(rows, dataset.tasks, thresholds).items():
        intervals = {m: [found[name][m]["low"], found[name][m]["high"]] for m in metrics if m in found[name]}
        known = {group or i for i, group in enumerate(patients[name])}
        result[name] = {**metrics, "patients": float(len(known)), "intervals": intervals}
    return result
