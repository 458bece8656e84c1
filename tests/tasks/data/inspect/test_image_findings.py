"""What the pictures and masks say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tiny import write_tiny_data
from umsrep.tasks.data.inspect.columns import read_columns
from umsrep.tasks.data.inspect.findings import Finding
from umsrep.tasks.data.inspect.image_findings import likely_unit, picture_findings
from umsrep.tasks.data.inspect.scan import scan
from umsrep.tasks.data.manifest import load_manifest


def found(folder: Path) -> dict[str, Finding]:
    manifest = load_manifest(folder)
    columns = read_columns(manifest, "split")
    return {f.kind: f for f in picture_findings(manifest, columns, list(scan(manifest, columns.masks)))}


def test_the_tiny_folder_is_clean(tiny_data: Path) -> None:
    assert found(tiny_data) == {}


def test_depth_size_colour_and_constant(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    images = folder / "images"
    Image.fromarray(np.full((40, 48), 3000, np.uint16)).save(images / "00.png")
    Image.fromarray(np.arange(40 * 48, dtype=np.uint16).reshape(40, 48) * 2).save(images / "01.png")
    Image.new("RGB", (48, 40), (200, 10, 10)).save(images / "02.png")
    Image.open(images / "03.png").resize((480, 400)).save(images / "03.png")
    Image.open(folder / "masks" / "03.png").resize((480, 400), Image.Resampling.NEAREST).save(folder / "masks" / "03.png")
    report = found(folder)
    assert report["undeclared depth"].problem
    assert "(values 0 to 3838)" in report["undeclared depth"].text
    assert "encoder.unit: 12-bit" in report["undeclared depth"].text
    assert "8-bit 22, undeclared uint16 2" in report["several units"].text
    assert "row 5 (images/03.png): longest side 480" in report["odd size"].text
    assert "row 4 (images/02.png): in colour, the other 23 are grey" in report["mixed colour"].text
    assert not any(report[kind].problem for kind in ("several units", "odd size", "mixed colour", "constant image"))


@pytest.mark.parametrize(("low", "high", "unit"), [(0, 4095, "12-bit"), (0, 4096, "16-bit"), (-1024, 3071, "HU"), (0, 70000, "HU")])
def test_likely_unit(low: float, high: float, unit: str) -> None:
    assert likely_unit(low, high) == unit


@pytest.mark.parametrize(
    ("values", "problem", "text"),
    [
        ((0, 255), True, "holds only 0 and 255, and 255 means ignore"),
        ((0, 128), True, "holds 0, 128"),
        ((0, 1, 85, 170), True, "holds 0, 1, 85, 170"),
        ((0, 2), False, "never 1"),
        ((0, 0), False, "21 of 21 masks hold no class but 0"),
    ],
)
def test_mask_values(values: tuple[int, ...], problem: bool, text: str, tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    for path in (folder / "masks").iterdir():
        mask = np.zeros((40, 48), np.uint8)
        for place, value in enumerate(values):
            mask[place * 10 :] = value
        Image.fromarray(mask).save(path)
    manifest = load_manifest(folder)
    columns = read_columns(manifest, "split")
    lines = [
        f for f in picture_findings(manifest, columns, list(scan(manifest, ["mask_file_name"]))) if f.kind in ("mask values", "empty masks")
    ]
    assert [f.problem for f in lines if text in f.text] == [problem], lines


def test_inverted_test_part(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    for number in range(20, 24):
        path = folder / "images" / f"{number}.png"
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    report = found(folder)
    assert "brighter than the rest of its image in 100% of train but 0% of test" in report["contrast inverted"].text
    assert "in test" in report["brightness differs"].text
