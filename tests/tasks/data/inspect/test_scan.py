"""The facts of single rows."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tasks.runs import put, rewrite
from tests.tiny import write_tiny_data
from umsrep.tasks.data.inspect.scan import read_row, scan, thumbnail
from umsrep.tasks.data.manifest import load_manifest


def test_histogram_and_areas_are_exact(tiny_data: Path) -> None:
    manifest = load_manifest(tiny_data)
    facts = read_row(manifest, 0, ["mask_file_name"])
    pixels = np.asarray(Image.open(tiny_data / "images" / "00.png"))
    mask = np.asarray(Image.open(tiny_data / "masks" / "00.png"))
    assert facts.histogram is not None
    assert facts.histogram.tolist() == [int((pixels == v).sum()) for v in range(256)]
    assert facts.masks["mask_file_name"].pixels == {v: int((mask == v).sum()) for v in (0, 1, 255)}
    contrast = (pixels[mask == 1].mean() - pixels[mask != 1].mean()) / 255
    assert abs(facts.masks["mask_file_name"].contrast[1] - contrast) < 1e-9
    assert (facts.size, facts.unit, facts.colour) == ((48, 40), "8-bit", "grey")
    assert facts.mean is not None
    assert abs(facts.mean - pixels.mean() / 255) < 1e-9


def test_rows_come_in_order_with_few_in_flight(tiny_data: Path) -> None:
    manifest = load_manifest(tiny_data)
    before = threading.active_count()
    many = scan(manifest, [], workers=3)
    first = next(many)
    assert first.fingerprint == read_row(manifest, 0, []).fingerprint
    assert [f.fingerprint for f in many] == [read_row(manifest, r, []).fingerprint for r in range(1, 24)]
    stopped = scan(manifest, [], workers=3)
    next(stopped)
    stopped.close()  # what Ctrl-C does
    assert threading.active_count() == before


def test_undeclared_depth_and_colour(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    grey = np.asarray(Image.open(folder / "images" / "00.png"))
    Image.fromarray(grey.astype(np.uint16) * 16).save(folder / "images" / "00.png")
    Image.fromarray(np.stack([grey, grey, grey // 2], axis=2)).save(folder / "images" / "01.png")
    manifest = load_manifest(folder)
    deep, red = read_row(manifest, 0, ["mask_file_name"]), read_row(manifest, 1, [])
    assert (deep.unit, deep.mean, deep.histogram) == ("undeclared uint16", None, None)
    assert deep.high == int(grey.max()) * 16
    assert deep.masks["mask_file_name"].contrast == {}
    assert red.colour == "RGB"
    assert np.asarray(thumbnail(manifest, 0)).max() == 255
    assert thumbnail(manifest, 1, side=24).size == (24, 20)


def test_a_colour_mask_is_a_fault(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    Image.new("RGB", (48, 40)).save(folder / "masks" / "00.png")
    rewrite(folder, put(1, "mask_file_name", "masks/none.png"))
    manifest = load_manifest(folder)
    for row in (0, 1):
        facts = read_row(manifest, row, ["mask_file_name"])
        assert [kind for kind, _ in facts.faults] == ["unreadable mask"]
        assert f"row {row + 2} " in facts.faults[0][1]


def test_masks_of_a_hub_data_set_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = write_tiny_data(tmp_path / "data")
    ours, theirs = load_manifest(folder), load_manifest(f"hf:{folder}")
    facts = read_row(theirs, 0, ["mask_file_name"])
    assert facts.faults == []
    assert facts.masks == read_row(ours, 0, ["mask_file_name"]).masks
