"""Distance from an encoder's kind of picture."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tasks.runs import ARCH
from tests.tiny import write_tiny_data
from umsrep.errors import InputError
from umsrep.tasks.data.inspect import inspect
from umsrep.tasks.data.inspect.modality import (
    REFERENCE_FILE,
    Reference,
    check_modality,
    embed_rows,
    load_reference,
    presets_with_reference,
    sample,
)
from umsrep.tasks.data.manifest import load_manifest
from umsrep.zoo import Encoder, InputContract, hub


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """A model folder with a random tiny encoder and a reference made from the tiny data."""
    torch.manual_seed(0)
    encoder = Encoder.create(ARCH, contract=InputContract(size=32), modality="discs").eval()
    made = encoder.save_pretrained(tmp_path_factory.mktemp("model") / "discs")
    manifest = load_manifest(tiny_data)
    _, embeddings = embed_rows(encoder, manifest, range(24), None)
    reference = Reference.fit(embeddings[:16], directions=4, source="tiny", weights=hub.sha256(made / hub.ENCODER_FILE))
    dataclasses.replace(reference, threshold=1.05 * float(reference.scores(embeddings).max())).save(made / REFERENCE_FILE)
    return made


def test_scores_are_one_inside_and_large_outside(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    basis = generator.normal(size=(5, 64))

    def some(number: int) -> np.ndarray:
        return np.asarray(generator.normal(size=(number, 5)) @ basis + 0.05 * generator.normal(size=(number, 64)) + 3).astype(np.float32)

    reference = Reference.fit(some(400), directions=5, source="synthetic", weights="0")
    reference = dataclasses.replace(reference, threshold=2.0)
    inside, outside = reference.scores(some(200)), reference.scores(generator.normal(size=(50, 64)) + 3)
    assert 0.8 < inside.mean() < 1.3
    assert outside.min() > 10 * inside.max()
    assert np.allclose(reference.scores(reference.mean[None]), 0)
    reference.save(tmp_path / REFERENCE_FILE)
    read = Reference.load(tmp_path / REFERENCE_FILE)
    assert (read.threshold, read.residual, read.source) == (reference.threshold, reference.residual, "synthetic")
    assert np.array_equal(read.directions, reference.directions)


def test_own_pictures_fit_and_others_do_not(folder: Path, tiny_data: Path, tmp_path: Path) -> None:
    own = check_modality(load_manifest(tiny_data), range(24), str(folder))
    assert (own["fits"], own["flagged"], own["compared"], own["modality"]) == (True, [], 24, "discs")
    other = write_tiny_data(tmp_path / "data")
    for number, path in enumerate(sorted((other / "images").iterdir())):
        if number != 3:
            Image.fromarray(np.kron(np.indices((5, 6)).sum(0) % 2, np.ones((8, 8))).astype(np.uint8) * 255).save(path)
    found = check_modality(load_manifest(other), range(24), str(folder))
    assert not found["fits"]
    assert sorted(row for row, _ in found["flagged"]) == [r for r in range(24) if r != 3]
    report = inspect(other, encoder=str(folder))
    assert any("23 of 24 pictures are unlike" in p and "another modality" in p for p in report["problems"])
    json.dumps(report, allow_nan=False)
    one = inspect(tiny_data, encoder=str(folder))
    assert one["problems"] == []
    assert f"name: {folder}" in one["suggested"]["config"]
    assert "image_size: 32" in one["suggested"]["config"]


def test_damaged_and_foreign_references(folder: Path, tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained(folder)
    copy = encoder.save_pretrained(tmp_path / "copy")
    with pytest.raises(InputError, match="no such file"):
        load_reference(copy)
    (copy / REFERENCE_FILE).write_bytes((folder / REFERENCE_FILE).read_bytes()[:-9])
    with pytest.raises(InputError, match="damaged reference"):
        load_reference(copy)
    reference = Reference.load(folder / REFERENCE_FILE)
    dataclasses.replace(reference, weights="0" * 64).save(copy / REFERENCE_FILE)
    with pytest.raises(InputError, match="made for other weights"):
        load_reference(copy)
    dataclasses.replace(reference, residual=float("nan")).save(copy / REFERENCE_FILE)
    with pytest.raises(InputError, match="damaged reference"):
        load_reference(copy)
    config = json.loads((copy / "config.json").read_text())
    config["umsrep"]["sha256"][REFERENCE_FILE] = "0" * 64
    (copy / "config.json").write_text(json.dumps(config))
    (copy / REFERENCE_FILE).write_bytes((folder / REFERENCE_FILE).read_bytes())
    with pytest.raises(InputError, match="sha256 is not the one"):
        load_reference(copy)


def test_the_sample_does_not_depend_on_the_order_of_the_table(tiny_data: Path) -> None:
    manifest = load_manifest(tiny_data)
    turned = dataclasses.replace(manifest, columns={k: v[::-1] for k, v in manifest.columns.items()})
    assert len(sample(manifest, range(24), 5)) == 5
    chosen = {manifest.columns["file_name"][r] for r in sample(manifest, range(24), 5)}
    assert {turned.columns["file_name"][r] for r in sample(turned, range(24), 5)} == chosen


@pytest.mark.parametrize("name", presets_with_reference())
def test_shipped_references_fit_their_weights(name: str) -> None:
    reference = load_reference(hub.WEIGHTS / name)
    assert (hub.WEIGHTS / name / REFERENCE_FILE).stat().st_size < 200_000
    assert reference.threshold > 1
    assert np.allclose(reference.directions @ reference.directions.T, np.eye(len(reference.directions)), atol=0.01)
