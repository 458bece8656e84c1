"""What cards measured, and how far pictures are from an encoder's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.tasks.runs import ARCH
from umsrep.tasks.choose.candidates import Candidate, open_candidates
from umsrep.tasks.choose.evidence import card_rows, modality_distance
from umsrep.tasks.data.inspect.modality import REFERENCE_FILE, Reference
from umsrep.tasks.data.manifest import load_manifest
from umsrep.tasks.features import extract
from umsrep.tasks.trainer import Report
from umsrep.zoo import hub


def test_without_a_folder_nothing_is_known(tiny_data: Path) -> None:
    [one] = open_candidates([ARCH], channels=1, image_size=32)
    assert card_rows(one, "discs") == []
    assert modality_distance(one, load_manifest(tiny_data), [0, 1], cache=None) is None


def test_the_nearest_rows_of_a_card_are_named() -> None:
    [preset] = open_candidates(["ums-cxr-efficientnet-lite0"], channels=1)
    rows = {row["kind"]: row for row in card_rows(preset, "us_lung")}
    assert set(rows) == {"denoising", "segmentation", "classification"}
    assert rows["segmentation"]["data"] == "cxr_guangzhou"
    assert not rows["segmentation"]["same_data"]
    assert {row["same_data"] for row in card_rows(preset, "CXR_Guangzhou")} == {True}
    external = {row["kind"]: row for row in card_rows(preset, "cxr_nih")}
    assert external["segmentation"]["data"] == "cxr_guangzhou"  # not measured on that set


def _with_reference(report: Report, data: Path, folder: Path) -> tuple[Candidate, Reference]:
    import shutil

    shutil.copytree(report.model, folder)
    [one] = open_candidates([str(folder)], channels=1)
    pyramid = extract(one.encoder, load_manifest(data), range(24)).pyramid
    weights = hub.read_config(folder)["umsrep"]["sha256"][hub.ENCODER_FILE]
    reference = Reference.fit(pyramid, directions=3, source="discs", weights=weights)
    Reference(**{**vars(reference), "threshold": 1e9}).save(folder / REFERENCE_FILE)
    return one, reference


def test_distance_is_zero_on_the_references_own_pictures(trained: Report, tiny_data: Path, tmp_path: Path) -> None:
    one, reference = _with_reference(trained, tiny_data, tmp_path / "model")
    manifest = load_manifest(tiny_data)
    near = modality_distance(one, manifest, range(24), cache=None)
    assert near is not None
    assert (near.pictures, near.flagged, near.reference) == (24, 0.0, "discs")
    pyramid = extract(one.encoder, manifest, range(24)).pyramid.astype(np.float64)
    expected = ((pyramid.mean(0) - reference.mean) ** 2 + (pyramid.std(0) - reference.scale) ** 2) / reference.scale.astype(np.float64) ** 2
    assert near.frechet == pytest.approx(np.sqrt(expected.mean()), rel=1e-4)
    half = modality_distance(one, manifest, range(0, 24, 2), cache=None)  # only small discs
    assert half is not None
    assert half.frechet > near.frechet


@pytest.mark.slow
def test_ultrasound_is_farther_from_a_chest_encoder_than_radiographs(unpacked: Callable[[str], Path]) -> None:
    [preset] = open_candidates(["ums-cxr-efficientnet-lite0"], channels=1)
    found = {}
    for name in ("cxr_external", "us_lung"):
        manifest = load_manifest(unpacked(name))
        found[name] = modality_distance(preset, manifest, range(len(manifest)), cache=None)
    assert found["us_lung"].frechet > found["cxr_external"].frechet  # type: ignore[union-attr]
