"""Reasons in words, and the line of the CSV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from umsrep.tasks.active.medal import Picks
from umsrep.tasks.active.pool import Pool
from umsrep.tasks.active.proposals import csv_line, make_proposals
from umsrep.tasks.data.manifest import Manifest


@pytest.fixture
def made() -> tuple[Manifest, Pool, np.ndarray]:
    columns = {"file_name": ["a", "b", "c", "d"], "patient_id": ["1", "", "3", "4"]}
    manifest = Manifest(Path("set"), Path("set/metadata.csv"), columns, [2, 3, 4, 5])
    pool = Pool((0, 1, 2, 3), np.array([True, False, False, False]), "size", ("label",))
    return manifest, pool, ~pool.labelled


def test_every_method_gives_its_reason(made: tuple[Manifest, Pool, np.ndarray]) -> None:
    manifest, pool, free = made
    scores = np.array([0.9, 0.1, 0.5, 0.3])
    picks = Picks(np.array([2, 1]), np.array([4.0, 2.0]))
    first, second = make_proposals(manifest, pool, free, "medal", picks, scores, "mean", 0)
    assert (first.rank, first.line, first.file_name, first.patient_id) == (1, 4, "c", "3")
    assert (first.entropy, first.entropy_rank, first.distance) == (0.5, 1, 4.0)
    assert first.reason == "entropy 0.5 (rank 1 of 3); mean distance 4 of 1 row(s) labelled or proposed"
    assert second.reason == "entropy 0.1 (rank 3 of 3); mean distance 2 of 2 row(s) labelled or proposed"
    centroid = make_proposals(manifest, pool, free, "medal", picks, scores, "centroid", 0)[0].reason
    assert centroid.endswith("distance to the centroid 4 of 1 row(s) labelled or proposed")
    unknown = Picks(picks.rows, np.array([np.nan, np.nan]))
    assert make_proposals(manifest, pool, free, "entropy", unknown, scores, "mean", 0)[0].reason == "entropy 0.5 (rank 1 of 3)"
    assert make_proposals(manifest, pool, free, "random", unknown, None, "mean", 7)[0].reason == "drawn at random (seed 7)"
    assert make_proposals(manifest, pool, free, "core-set", picks, None, "mean", 0)[0].reason == "distance 4 to the nearest labelled row"
    mixed = Picks(np.array([1, 2, 3]), np.array([0.0, 1.5, np.nan]))
    reasons = [one.reason for one in make_proposals(manifest, pool, free, "orb", mixed, None, "mean", 2)]
    assert reasons == [
        "ORB: first, drawn at random (seed 2)",
        "ORB: mean distance 1.5 to those before",
        "no ORB keypoints (blank or smooth): taken last",
    ]


def test_what_is_not_known_is_an_empty_cell(made: tuple[Manifest, Pool, np.ndarray]) -> None:
    manifest, pool, free = made
    picks = Picks(np.array([1]), np.array([np.nan]))
    line = csv_line(make_proposals(manifest, pool, free, "random", picks, None, "mean", 0)[0])
    assert line["entropy"] == line["entropy_rank"] == line["distance"] == line["patient_id"] == ""
    assert line["rank"] == 1
