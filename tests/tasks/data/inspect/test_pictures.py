"""Sums over the rows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from tests.tasks.runs import put, rewrite
from tests.tiny import write_tiny_data
from umsrep.tasks.data.inspect.columns import read_columns
from umsrep.tasks.data.inspect.page import image_facts
from umsrep.tasks.data.inspect.pictures import histograms, mask_tasks, pictures, quartiles
from umsrep.tasks.data.inspect.scan import Facts, scan
from umsrep.tasks.data.manifest import load_manifest


def test_sums_of_the_tiny_folder(tiny_data: Path) -> None:
    manifest = load_manifest(tiny_data)
    columns = read_columns(manifest, "split")
    facts = list(scan(manifest, columns.masks))
    summed = pictures([*facts, Facts()])
    assert (summed["read"], summed["unreadable"], summed["sizes"]) == (24, 1, {"48x40": 24})
    assert (summed["units"], summed["colours"], summed["width"]) == ({"8-bit": 24}, {"grey": 24}, [48.0] * 5)
    counts = histograms(columns, facts)
    splits = ("train", "validation", "test")
    assert [(h["split"], h["site"], h["unit"]) for h in counts] == [(s, c, "8-bit") for s in splits for c in "AB"]
    total = np.sum([h["counts"] for h in counts], axis=0)
    pixels = np.concatenate([np.asarray(Image.open(p)).ravel() for p in (tiny_data / "images").iterdir()])
    assert total.tolist() == np.bincount(pixels, minlength=256).tolist()
    masks = mask_tasks(columns, facts)["mask_file_name"]
    turned = dataclasses.replace(columns, splits=columns.splits[::-1], sites=columns.sites[::-1])
    assert tuple(mask_tasks(turned, facts[::-1])["mask_file_name"]["areas"]) == splits
    assert (masks["rows"], masks["empty"], masks["values"]) == (21, 0, {"0": 21, "1": 21, "255": 1})
    areas = [float((np.asarray(Image.open(tiny_data / "masks" / f"{n:02d}.png")) == 1).mean()) for n in range(16, 20)]
    assert masks["areas"]["validation"] == {"1": {"masks": 4, "quartiles": quartiles(areas)}}
    assert masks["ignored"] == 40 / (21 * 40 * 48)
    assert masks["prevalence"] == {"A": {"1": 1.0}, "B": {"1": 1.0}}


def test_quartiles() -> None:
    assert quartiles([]) is None
    assert quartiles([0, 1, 2, 3, 4]) == [0, 1, 2, 3, 4]


def test_row_and_column_spacing_are_both_told(tmp_path: Path) -> None:
    folder = rewrite(write_tiny_data(tmp_path / "data"), lambda records: [{**r, "pixel_spacing": "0.5\\0.25"} for r in records])
    rewrite(folder, put(0, "pixel_spacing", "0.5"))
    manifest = load_manifest(folder)
    summed = pictures(list(scan(manifest, [])))
    assert (summed["with_spacing"], summed["anisotropic"]) == (24, 23)
    assert summed["spacing_mm"] == [0.5] * 5
    assert summed["column_spacing_mm"] == [0.25, 0.25, 0.25, 0.25, 0.5]
    line = dict(image_facts(summed, {}))["pixel spacing"]
    assert "between rows 0.5 to 0.5 mm" in line
    assert "between columns 0.25 to 0.5 mm" in line
    assert "they differ in 23" in line
