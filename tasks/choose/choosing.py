"""`choose`: score every candidate encoder on every task that a data set annotates."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from umsrep.errors import InputError, nearest
from umsrep.tasks.choose.annotations import Annotated, annotated_tasks, choose_rows
from umsrep.tasks.choose.budget import parse_budget, try_out
from umsrep.tasks.choose.candidates import Candidate, colour_channels, default_specs, open_candidates
from umsrep.tasks.choose.choice import Choice, EncoderFacts, TaskChoice, combine, order, rank_task
from umsrep.tasks.choose.cost import Cost, hardware, measure
from umsrep.tasks.choose.evidence import card_rows, modality_distance
from umsrep.tasks.choose.scores import Scored, score_classification, score_denoising, score_segmentation
from umsrep.tasks.choose.truth import Study, best_score, load_truth, statement
from umsrep.tasks.data.dataset import JointDataset, Source, Target
from umsrep.tasks.data.manifest import Manifest, load_manifest
from umsrep.tasks.feature_cache import default_cache, digest_images
from umsrep.tasks.features import extract, extract_maps
from umsrep.tasks.setup import make_task

LIMIT = 1000
"""Most training rows of a task that are scored, by default."""
DENSE_LIMIT = 60
"""Most training rows of a dense task, whose whole feature maps are held."""
RESAMPLES = 50


@dataclasses.dataclass(frozen=True)
class _Settings:
    limit: int
    resamples: int
    seed: int
    cache: Path | None
    workers: int
    progress: bool

    def title(self, text: str) -> str | None:
        return text if self.progress else None


def choose(
    data: str | Path,
    encoders: Sequence[str] | None = None,
    *,
    split_column: str = "split",
    targets: Mapping[str, Target] | None = None,
    tasks: Sequence[str] | None = None,
    image_size: int | None = None,
    limit: int = LIMIT,
    resamples: int = RESAMPLES,
    seed: int = 0,
    cache: str | Path | Literal["auto"] | None = "auto",
    workers: int = 2,
    source_accuracy: Mapping[str, float] | None = None,
    truth: Path | None = None,
    budget: str | None = None,
    output: Path | None = None,
    progress: bool = True,
) -> Choice:
    """Score candidate encoders on the training rows of a data set.

    Args:
        data: What `load_manifest` opens.
        encoders: See `umsrep.tasks.choose.candidates.open_candidates`; default the shipped presets, and their architectures with random
            weights as a floor.
        split_column: Column with train, validation, test.
        targets: Name of a classification task to where its target stands, as in `umsrep evaluate`.
        tasks: Only these; default all that the training rows annotate, and denoising.
        image_size: Side in pixels for all encoders; default each contract's own, 128 for architectures.
        limit: Most rows of a task, chosen by class and patient; dense tasks take at most `DENSE_LIMIT`.
        resamples: Bootstrap draws of patients; scores that take seconds have fewer (`umsrep.tasks.choose.scores.MOST_DRAWS`).
        seed: Of every choice and draw, of random weights, and of the noise.
        cache: Folder for features and scores; ``auto`` is `umsrep.tasks.feature_cache.default_cache`, None keeps nothing.
        workers: Threads.
        source_accuracy: Encoder (as written in ``encoders``) to its accuracy on what it was trained on, a baseline, where it is known.
        truth: File of scores against truth; default the one shipped.
        budget: ``K`` or ``KxSTEPS``: fine-tune the first K, see `umsrep.tasks.choose.budget.try_out`. Needs ``output``.
        output: Folder for the runs of ``budget``.
        progress: Show progress on a terminal.

    Raises:
        InputError: for an unknown encoder (with the nearest), data without annotations, one class only, fewer rows than are needed, or
            images that an encoder's contract refuses.
    """
    start = time.perf_counter()
    if limit < 10 or resamples < 0 or workers < 1 or (image_size is not None and image_size < 16):
        raise InputError("choose: limit is 10 or more, resamples 0 or more, workers 1 or more, image_size 16 or more")
    plan = parse_budget(budget) if budget is not None else None
    if plan is not None and output is None:
        raise InputError("choose: budget fine-tunes and needs a folder for its runs (--out DIR)")
    settings = _Settings(
        limit, resamples, seed, default_cache() if cache == "auto" else None if cache is None else Path(cache), workers, progress
    )
    studies = load_truth(truth)
    manifest = load_manifest(data)
    specs = list(encoders) if encoders is not None else default_specs()
    for name in source_accuracy or {}:
        if name not in specs:
            raise InputError(f"source accuracy: '{name}' is not among the encoders{nearest(name, specs)}")
    found = annotated_tasks(manifest, split_column=split_column, targets=targets, tasks=tasks, workers=workers)
    channels = colour_channels(manifest, manifest.rows("train", split_column))
    candidates = open_candidates(specs, channels=channels, image_size=image_size, seed=seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for candidate in candidates:
        candidate.encoder.to(device)
    costs = measure(candidates, title=settings.title("measuring time"))
    chosen = {task.name: _rows(task, manifest, settings) for task in found}
    scored = _scored(candidates, found, chosen, manifest, settings)
    known = {c.name: source_accuracy[c.spec] for c in candidates if c.spec in (source_accuracy or {})} if source_accuracy else {}
    baselines = {
        "parameters": {name: float(cost.parameters) for name, cost in costs.items()},
        **({"source_accuracy": known} if known else {}),
    }
    ranked = [rank_task(scored[task.name], baselines, best_score(studies, task.kind)) for task in found]
    choice = Choice(
        data=str(data),
        encoders=[_facts(c, costs[c.name], known.get(c.name), manifest, Path(str(data)).name, split_column, settings) for c in candidates],
        tasks=[_task(task, chosen[task.name], one, manifest, studies) for task, one in zip(found, ranked, strict=True)],
        combined=combine(ranked),
        hardware=hardware(device),
        settings={"limit": limit, "resamples": resamples, "seed": seed, "image_size": image_size, "channels": channels},
        notes=_notes(manifest, found, chosen, candidates, default=encoders is None),
    )
    if plan is not None and output is not None:
        ordered = [next(c for c in candidates if c.name == name) for name in order(choice.combined)]
        tried = try_out(
            plan, ordered, found, choice, manifest, data=str(data), split_column=split_column, output=output, seed=seed, workers=workers
        )
        choice = dataclasses.replace(choice, budget=tried)
    return dataclasses.replace(choice, seconds=round(time.perf_counter() - start, 1))


def _rows(task: Annotated, manifest: Manifest, settings: _Settings) -> list[int]:
    limit = settings.limit if task.kind == "classification" else min(settings.limit, DENSE_LIMIT)
    return choose_rows(task, manifest, limit, settings.seed)


def _scored(
    candidates: Sequence[Candidate], tasks: Sequence[Annotated], chosen: Mapping[str, list[int]], manifest: Manifest, settings: _Settings
) -> dict[str, dict[str, Scored]]:
    """Score every candidate on every task: task to encoder to scores. One candidate's maps are in memory at a time."""
    flat = [task for task in tasks if task.kind == "classification"]
    rows = sorted({task.rows[place] for task in flat for place in chosen[task.name]})
    digests = digest_images(manifest, rows, workers=settings.workers, title=settings.title("hashing images")) if settings.cache else None
    scored: dict[str, dict[str, Scored]] = {task.name: {} for task in tasks}
    for candidate in candidates:
        try:
            if flat:
                title = settings.title(f"features of {candidate.name}")
                options: dict[str, Any] = {"cache": settings.cache, "workers": settings.workers, "title": title}
                embedding = extract(candidate.encoder, manifest, rows, digests=digests, **options).embedding
                for task in flat:
                    scored[task.name][candidate.name] = _classification(
                        task, chosen[task.name], rows, embedding, candidate, manifest, settings
                    )
            for task in tasks:
                if task.kind != "classification":
                    scored[task.name][candidate.name] = _dense(task, chosen[task.name], candidate, manifest, settings)
        except InputError as error:
            raise InputError(f"encoder '{candidate.spec}': {error}") from error
    return scored


def _classification(
    task: Annotated,
    places: Sequence[int],
    rows: Sequence[int],
    embedding: np.ndarray,
    candidate: Candidate,
    manifest: Manifest,
    settings: _Settings,
) -> Scored:
    at = {row: i for i, row in enumerate(rows)}
    some = embedding[[at[task.rows[place]] for place in places]]
    labels = np.array([task.labels[place] for place in places])
    return score_classification(
        some,
        labels.astype(np.int64),
        _patients(task, places, manifest),
        probabilities=None if candidate.source is None else candidate.source.probabilities(some),
        resamples=settings.resamples,
        seed=settings.seed,
        cache=settings.cache,
        workers=settings.workers,
        title=settings.title(f"{task.name}: {candidate.name}"),
    )


def _dense(task: Annotated, places: Sequence[int], candidate: Candidate, manifest: Manifest, settings: _Settings) -> Scored:
    source = Source(manifest, [task.rows[place] for place in places], [task.name], {task.name: task.target})
    dataset = JointDataset([source], {task.name: make_task(task.name, task.config)}, candidate.encoder.contract, seed=settings.seed)
    title = settings.title(f"{task.name}: maps of {candidate.name}")
    maps = extract_maps(candidate.encoder, dataset, task.name, cache=settings.cache, workers=settings.workers, title=title)
    score = score_segmentation if task.kind == "segmentation" else score_denoising
    return score(
        maps,
        _patients(task, places, manifest),
        resamples=settings.resamples,
        seed=settings.seed,
        cache=settings.cache,
        workers=settings.workers,
        title=settings.title(f"{task.name}: {candidate.name}"),
    )


def _patients(task: Annotated, places: Sequence[int], manifest: Manifest) -> list[str]:
    patients = manifest.columns.get("patient_id", [""] * len(manifest))
    return [patients[task.rows[place]] for place in places]


def _facts(
    candidate: Candidate, cost: Cost, accuracy: float | None, manifest: Manifest, data: str, split_column: str, settings: _Settings
) -> EncoderFacts:
    train = manifest.rows("train", split_column)
    title = settings.title(f"pictures beside those of {candidate.name}")
    source = candidate.source
    return EncoderFacts(
        name=candidate.name,
        spec=candidate.spec,
        arch=candidate.encoder.arch,
        modality=candidate.encoder.modality,
        random=candidate.random,
        embedding_dim=candidate.encoder.embedding_dim,
        cost=cost,
        source=None if source is None else f"{source.name}, {len(source.bias)} classes",
        source_accuracy=accuracy,
        distance=modality_distance(candidate, manifest, train, cache=settings.cache, workers=settings.workers, title=title),
        card=card_rows(candidate, data),
    )


def _task(task: Annotated, places: Sequence[int], ranked: Any, manifest: Manifest, studies: list[Study]) -> TaskChoice:
    return TaskChoice(
        name=task.name,
        kind=task.kind,
        classes=list(task.config.classes or []),
        rows=len(places),
        annotated=len(task.rows),
        patients=len(set(_patients(task, places, manifest)) - {""}),
        scores=ranked.scores,
        failures=ranked.failures,
        basis=ranked.basis,
        used=ranked.used,
        ranking=ranked.ranking,
        truth=statement(studies, task.kind, list(ranked.scores)),
    )


def _notes(
    manifest: Manifest, tasks: Sequence[Annotated], chosen: Mapping[str, list[int]], candidates: Sequence[Candidate], *, default: bool
) -> list[str]:
    notes = [*manifest.notes, *(note for task in tasks for note in task.notes)]
    for task in tasks:
        if len(chosen[task.name]) < len(task.rows):
            how = "by class and patient" if task.kind == "classification" else "by patient"
            notes.append(f"task '{task.name}': {len(chosen[task.name])} of {len(task.rows)} annotated training rows, chosen {how}")
    widest = max(candidate.encoder.embedding_dim for candidate in candidates)
    full = [task.name for task in tasks if task.kind == "classification" and len(chosen[task.name]) <= widest]
    if full:
        notes.append(
            f"H-score of {', '.join(full)}: with fewer rows than features ({widest:,}) it may reach its bound whatever the encoder"
        )
    if default:
        notes.append("without --encoders: the shipped presets, and their architectures with random weights as a floor")
    if not any(manifest.columns.get("patient_id", [])):
        notes.append("no patient_id is known: each row counts as a patient of its own, so intervals are too narrow if patients repeat")
    return notes
