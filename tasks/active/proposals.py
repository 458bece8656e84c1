"""Proposed rows and the reasons for them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umsrep.tasks.active.checks import highest
from umsrep.tasks.active.medal import Distance, Picks
from umsrep.tasks.active.pool import Pool
from umsrep.tasks.active.state import key_of
from umsrep.tasks.data.manifest import Manifest


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A row to annotate.

    Attributes:
        rank: From 1, the order in which rows were taken.
        line: Of the table.
        file_name: As in the table.
        frame: As in the table, or "".
        patient_id: As in the table, or "".
        entropy: In nats, None where no probability is known; of masks the mean over pixels.
        entropy_rank: Among the rows that could be proposed, 1 the most uncertain.
        distance: What the row was taken for, in the feature space; None for entropy and random.
        reason: In words.
    """

    rank: int
    line: int
    file_name: str
    frame: str
    patient_id: str
    entropy: float | None
    entropy_rank: int | None
    distance: float | None
    reason: str


def make_proposals(
    manifest: Manifest,
    pool: Pool,
    free: NDArray[np.bool_],
    method: str,
    picks: Picks,
    scores: NDArray[np.float64] | None,
    distance: Distance,
    seed: int,
) -> tuple[Proposal, ...]:
    """Say for each pick why it was taken."""
    places = np.flatnonzero(free)
    ranks = {int(places[i]): rank for rank, i in enumerate(highest(scores[places], len(places)), 1)} if scores is not None else {}
    before = len(free) - len(places)
    patients = manifest.columns.get("patient_id")
    found = []
    for rank, (place, apart) in enumerate(zip(picks.rows.tolist(), picks.distances.tolist(), strict=True), 1):
        row, value = pool.rows[place], None if scores is None else float(scores[place])
        unsure = f"entropy {value:.4g} (rank {ranks[place]} of {len(places)})" if value is not None else ""
        reason = {
            "medal": f"{unsure}; {'mean distance' if distance == 'mean' else 'distance to the centroid'} {apart:.4g} "
            f"of {before + rank - 1} row(s) labelled or proposed",
            "entropy": unsure,
            "core-set": f"distance {apart:.4g} to the nearest labelled row" if before + rank > 1 else "nearest to the mean of all rows",
            "random": f"drawn at random (seed {seed})",
            "orb": _orb_reason(apart, rank, seed),
        }[method]
        name, frame = key_of(manifest, row)
        patient = patients[row] if patients else ""
        known = None if math.isnan(apart) else float(apart)
        found.append(Proposal(rank, manifest.lines[row], name, frame, patient, value, ranks.get(place), known, reason))
    return tuple(found)


def _orb_reason(apart: float, rank: int, seed: int) -> str:
    if math.isnan(apart):
        return "no ORB keypoints (blank or smooth): taken last"
    return f"ORB: first, drawn at random (seed {seed})" if rank == 1 and apart == 0 else f"ORB: mean distance {apart:.4g} to those before"


def csv_line(proposal: Proposal) -> dict[str, Any]:
    """Return a line of the CSV; what is not known is empty."""
    return {key: "" if value is None else value for key, value in dataclasses.asdict(proposal).items()}
