"""Sums over the rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from umsrep.tasks.data.inspect.columns import read_columns
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
    assert [(h["split"], h["site"], h["unit"]) for h in counts] == sorted(
        (s, c, "8-bit") for s in ("train", "validation", "test") for c in "AB"
    )
    total = np.sum([h["counts"] for h in counts], axis=0)
    pixels = np.concatenate([np.asarray(Image.open(p)).ravel() for p in (tiny_data / "images").iterdir()])
    assert total.tolist() == np.bincount(pixels, minlength=256).tolist()
    masks = mask_tasks(columns, facts)["mask_file_name"]
    assert (masks["rows"], masks["empty"], masks["values"]) == (21, 0, {"0": 21, "1": 21, "255": 1})
    areas = [float((np.asarray(Image.open(tiny_data / "masks" / f"{n:02d}.png")) == 1).mean()) for n in range(16, 20)]
    assert masks["areas"]["validation"] == {"1": {"masks": 4, "quartiles": quartiles(areas)}}
    assert masks["ignored"] == 40 / (21 * 40 * 48)
    assert masks["prevalence"] == {"A": {"1": 1.0}, "B": {"1": 1.0}}


def test_quartiles() -> None:
    assert quartiles([]) is None
    assert quartiles([0, 1, 2, 3, 4]) == [0, 1, 2, 3, 4]
