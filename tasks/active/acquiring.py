"""`acquire`: propose the rows of a data set to annotate next, with reasons, and remember them."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from umsrep.errors import InputError, nearest
from umsrep.heads import ClassificationHead, DenoisingHead
from umsrep.tasks.active.checks import check_count, highest
from umsrep.tasks.active.core_set import pick_uncovered
from umsrep.tasks.active.medal import DISTANCES, Distance, Picks, pick_farthest
from umsrep.tasks.active.orb import pick_by_orb
from umsrep.tasks.active.pool import Pool, find_pool
from umsrep.tasks.active.proposals import Proposal, csv_line, make_proposals
from umsrep.tasks.active.signals import Images, class_probabilities, embeddings, orb_vectors, pixel_entropy, probe_probabilities
from umsrep.tasks.active.state import add_round, key_of, match, read_state, state_folder
from umsrep.tasks.active.uncertainty import entropy
from umsrep.tasks.data.dataset import Target
from umsrep.tasks.data.manifest import Manifest, load_manifest
from umsrep.tasks.evaluate import tasks_of
from umsrep.tasks.feature_cache import default_cache, digest_images
from umsrep.tasks.model import MultiTaskModel
from umsrep.zoo import Encoder

Strategy = Literal["medal", "entropy", "core-set", "random"]
STRATEGIES: tuple[Strategy, ...] = ("medal", "entropy", "core-set", "random")


@dataclasses.dataclass(frozen=True)
class Acquired:
    """A round of proposals.

    Attributes:
        number: From 1.
        task: Its name.
        columns: Where the annotation is to be filled in.
        strategy: As asked for.
        method: What was done: ``orb`` where nothing was labelled and no model could say anything.
        proposals: The rows, in order.
        labelled: Annotated training rows before this round.
        pending: Rows proposed before that are still not annotated, and are not proposed again.
        pool: Rows that could be proposed.
        file: The CSV.
        notes: What the user should know, one line each.
    """

    number: int
    task: str
    columns: tuple[str, ...]
    strategy: str
    method: str
    proposals: tuple[Proposal, ...]
    labelled: int
    pending: int
    pool: int
    file: Path
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dataclasses.asdict(self) | {"file": str(self.file)}


def acquire(
    data: str | Path,
    budget: int,
    *,
    strategy: Strategy = "medal",
    model: str | MultiTaskModel | None = None,
    task: str | None = None,
    encoder: str | None = None,
    split_column: str = "split",
    targets: Mapping[str, Target] | None = None,
    candidates: int | None = None,
    distance: Distance = "mean",
    seed: int = 0,
    again: bool = False,
    state: str | Path | None = None,
    image_size: int | None = None,
    cache: str | Path | Literal["auto"] | None = "auto",
    batch_size: int = 32,
    workers: int = 2,
    progress: bool = True,
) -> Acquired:
    """Propose unlabelled training rows to annotate next, and add the round to the state of the data set.

    Entropies come from ``model``; with ``encoder`` alone from a linear probe on the labelled rows (classification with one label).
    Distances are those of embeddings, of ``encoder`` where it is given, else of the model's own. Rows that were proposed before count as
    labelled for distances. Where nothing is labelled, medal starts by ORB descriptors; so do entropy and core-set where no model or
    encoder is given.

    Args:
        data: What `load_manifest` opens. Only rows with split ``train`` are looked at.
        budget: How many rows.
        strategy: medal, entropy, core-set or random.
        model: Preset, folder, org/repo, or an opened model.
        task: Head's name; without a model see `umsrep.tasks.active.pool.find_pool`.
        encoder: As in `umsrep choose --encoders`.
        split_column: Column with train, validation, test.
        targets: Task's name to where its annotation stands.
        candidates: medal: see `umsrep.tasks.active.medal_select`.
        distance: medal: "mean" or "centroid".
        seed: Of random, and of the first row of ORB.
        again: Also propose rows that were proposed before and are still not annotated.
        state: Folder of the state; default ``acquire`` in the data folder.
        image_size: Side in pixels for the encoder; default its own, 128 for architectures.
        cache: Folder of features; "auto": `umsrep.tasks.feature_cache.default_cache`; None keeps nothing.
        batch_size: Images in one pass.
        workers: Threads that read images.
        progress: Show bars.

    Raises:
        InputError: for wrong data, a state that no longer fits the table, too few rows, or a strategy that needs a model or labels.
    """
    if strategy not in STRATEGIES:
        raise InputError(f"strategy '{strategy}'{nearest(str(strategy), STRATEGIES)}")
    if distance not in DISTANCES:
        raise InputError(f"distance '{distance}'{nearest(str(distance), DISTANCES)}")
    budget = check_count(budget, "budget")
    if seed < 0:
        raise InputError(f"seed must be 0 or more, not {seed}")
    if image_size is not None and encoder is None:
        raise InputError("an image size goes with an encoder; a model has its own")
    manifest = load_manifest(data)
    folder = state_folder(manifest, state)
    opened = MultiTaskModel.from_pretrained(model) if isinstance(model, str) else model
    if opened is not None:
        task = _head(opened, task)
    pool = find_pool(
        manifest,
        split_column=split_column,
        name=task,
        task=tasks_of(opened)[task] if opened is not None and task is not None else None,
        targets=targets,
    )
    past = read_state(folder)
    known = match(past, manifest, pool.rows, workers=workers, title="checking the state" if progress else None)
    asked = np.array([any(one.columns == pool.columns for one in known.get(row, ())) for row in pool.rows], dtype=bool)
    pending = asked & ~pool.labelled
    free = ~pool.labelled if again else ~pool.labelled & ~asked
    _check_budget(budget, int(free.sum()), int(pending.sum()), manifest, again)
    looked = () if strategy == "random" else pool.rows  # random looks at no image but those it draws
    digests = digest_images(manifest, looked, workers=workers, title="hashing images" if progress else None)
    place = default_cache() if cache == "auto" else None if cache is None else Path(cache)
    images = Images(manifest, pool.rows, tuple(digests), place, workers, batch_size, progress)
    if candidates is not None and strategy != "medal":
        raise InputError(f"candidates go with strategy medal, not {strategy}")
    chosen = _Choice(manifest, pool, free, opened, encoder, image_size, images, seed)
    method, picks, scores = chosen.run(strategy, budget, candidates, distance)
    taken = [pool.rows[i] for i in picks.rows.tolist()]
    proposals = make_proposals(manifest, pool, free, method, picks, scores, distance, seed)
    number = len(past.rounds) + 1
    entry = {
        "number": number,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "task": pool.task,
        "columns": list(pool.columns),
        "strategy": strategy,
        "method": method,
        "distance": distance if method == "medal" else None,
        "seed": seed,
        "model": str(model) if isinstance(model, str) else None if model is None else "(opened model)",
        "encoder": encoder,
        "table": manifest.table.name,
        "split_column": split_column,
        "labelled": int(pool.labelled.sum()),
        "pool": int(free.sum()),
        "rows": [
            dict(zip(("file_name", "frame"), key_of(manifest, row), strict=True)) | {"sha256": sha256}
            for row, sha256 in zip(taken, digest_images(manifest, taken, workers=workers), strict=True)
        ],
    }
    file = add_round(past, entry, [csv_line(one) for one in proposals])
    left = int((pending & ~np.isin(np.arange(len(pending)), picks.rows)).sum())
    found = Acquired(
        number, pool.task, pool.columns, strategy, method, proposals, int(pool.labelled.sum()), left, int(free.sum()), file, pool.notes
    )
    return dataclasses.replace(found, notes=(*found.notes, *chosen.notes))


def _check_budget(budget: int, free: int, pending: int, manifest: Manifest, again: bool) -> None:
    if budget > free:
        more = f"; {pending} proposed before are not annotated yet (--again proposes them too)" if pending and not again else ""
        raise InputError(f"{manifest.table}: budget {budget}, but only {free} unlabelled training row(s) are left{more}")


def _head(model: MultiTaskModel, name: str | None) -> str:
    """Return the head that is asked for, or the only one that annotations are made for."""
    if name is not None:
        model.check_tasks([name])
        if isinstance(model.heads[name], DenoisingHead):
            raise InputError(f"head '{name}' denoises: nothing has to be annotated for it; name another with --task")
        return name
    names = [name for name, head in model.heads.items() if not isinstance(head, DenoisingHead)]
    if len(names) != 1:
        has = f"several heads to annotate for ({', '.join(names)}); name one with --task" if names else "no head to annotate for"
        raise InputError(f"the model has {has}")
    return names[0]


@dataclasses.dataclass
class _Choice:
    """One round's choice: what is known of the rows is computed when a strategy asks for it."""

    manifest: Manifest
    pool: Pool
    free: NDArray[np.bool_]
    model: MultiTaskModel | None
    encoder: str | None
    image_size: int | None
    images: Images
    seed: int
    notes: tuple[str, ...] = ()

    def run(
        self, strategy: Strategy, budget: int, candidates: int | None, distance: Distance
    ) -> tuple[str, Picks, NDArray[np.float64] | None]:
        """Return what was done, the picks, and the entropies [rows] where they are known."""
        before = ~self.free  # labelled, or proposed and on its way
        something = self.model is not None or self.encoder is not None
        if strategy == "random":
            rows = np.random.default_rng(self.seed).permutation(np.flatnonzero(self.free))[:budget]
            return "random", Picks(rows, np.full(budget, np.nan)), None
        blind = not self.pool.labelled.any() and self.model is None and (strategy != "core-set" or self.encoder is None)
        if blind or (strategy == "medal" and not before.any()):
            self.notes += (f"no training row is labelled for '{self.pool.task}': the first rows are chosen by ORB descriptors",)
            return "orb", pick_by_orb(orb_vectors(self.images), self.free, before, budget, self.seed), None
        if not something:
            raise InputError(f"strategy {strategy} needs a model (--model) or an encoder (--encoder) once rows are labelled")
        if strategy == "core-set":
            return "core-set", pick_uncovered(self._features(), before, self.free, budget), None
        scores = self._entropies()
        if strategy == "entropy":
            places = np.flatnonzero(self.free)
            return "entropy", Picks(places[highest(scores[places], budget)], np.full(budget, np.nan)), scores
        allowed = np.where(self.free, scores, -np.inf)
        return "medal", pick_farthest(self._features(), before, allowed, budget, candidates=candidates, distance=distance), scores

    def _features(self) -> NDArray[np.float32]:
        found = embeddings(self._encoder(), self.images)
        if not np.isfinite(found).all():
            row = self.pool.rows[int((~np.isfinite(found).all(axis=1)).argmax())]
            raise InputError(f"{self.manifest.where(row)}: its embedding is not finite; the encoder's weights are at fault")
        return found

    def _encoder(self) -> Encoder:
        if self.encoder is None:
            assert self.model is not None
            return self.model.encoder
        from umsrep.tasks.choose.candidates import colour_channels, open_candidates

        channels = colour_channels(self.manifest, self.pool.rows)
        return open_candidates([self.encoder], channels=channels, image_size=self.image_size)[0].encoder

    def _entropies(self) -> NDArray[np.float64]:
        if self.model is None:
            if self.pool.cells is None:
                raise InputError(
                    f"task '{self.pool.task}': without a model entropies are known for classification with one label; give --model"
                )
            self.notes += ("entropies are those of a linear probe on the labelled rows' embeddings (no --model)",)
            probabilities = probe_probabilities(self._features(), self.pool.labelled, self.pool.cells, self.pool.columns)
            return entropy(probabilities, multi_label=False)
        head = self.model.heads[self.pool.task]
        if not isinstance(head, ClassificationHead):
            return pixel_entropy(self.model, self.pool.task, self.images)
        probabilities = class_probabilities(self.model, self.pool.task, embeddings(self.model.encoder, self.images))
        if not np.isfinite(probabilities).all():
            raise InputError(f"head '{self.pool.task}': its probabilities are not finite; the model's weights are at fault")
        return entropy(probabilities, multi_label=head.multi_label)
