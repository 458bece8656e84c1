"""What the pictures and masks say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.tasks.runs import Records, rewrite
from tests.tiny import write_tiny_data
from tests.zoo.test_dicom import write as write_dicom
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


def dicoms(folder: Path, windowed: int, values: int) -> Path:
    """24 rows of 16-bit DICOM of so many different values, the first with a window of their own."""
    write_tiny_data(folder)

    def change(records: Records) -> Records:
        for row, record in enumerate(records):
            window: dict[str, Any] = {"WindowCenter": values / 2, "WindowWidth": values} if row < windowed else {}
            write_dicom(folder / f"{row}.dcm", (np.arange(256).reshape(16, 16) % values + row).astype(np.uint16), **window)
            record |= {"file_name": f"{row}.dcm", "mask_file_name": "", "mask_file_name.disc": ""}
        return records

    return rewrite(folder, change)


def test_a_window_in_part_of_the_files_is_a_problem(tmp_path: Path) -> None:
    report = found(dicoms(tmp_path / "some", 20, 200))
    assert report["window in part of the files"].problem
    assert "row 22 (20.dcm) and 3 more rows: no window or VOI LUT of its own, which 20 of 24" in report["window in part of the files"].text
    assert "flat under unit: auto" in report  # the four without
    assert not {"window in part of the files", "flat under unit: auto"} & set(found(dicoms(tmp_path / "all", 24, 200)))


def test_pictures_that_fill_little_of_their_range_are_noted(tmp_path: Path) -> None:
    line = found(dicoms(tmp_path / "data", 0, 200))["flat under unit: auto"]
    assert not line.problem
    assert "fill 0.3% of what 16-bit may be" in line.text
    assert "encoder.window" in line.text
    assert "encoder.percentiles" in line.text


def test_a_grey_picture_as_mask_is_a_problem(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    rows, columns = np.mgrid[:40, :48]
    for name, mask in (("00", rows * 48 + columns), ("01", (rows * 7 + columns * 5) % 20), ("03", rows // 2)):
        Image.fromarray((mask % 251).astype(np.uint8)).save(folder / "masks" / f"{name}.png")
    line = found(folder)["mask values"]
    assert line.problem
    assert "row 2 (images/00.png) and 1 more rows: " in line.text  # twenty even stripes are no grey picture
    assert "holds 251 values, like a grey picture" in line.text


def test_anisotropic_pixels_are_noted(tmp_path: Path) -> None:
    folder = rewrite(write_tiny_data(tmp_path / "data"), lambda records: [{**r, "pixel_spacing": "0.5\\0.25"} for r in records])
    line = found(folder)["anisotropic pixels"]
    assert not line.problem
    assert "row 2 (images/00.png) and 23 more rows: rows are 0.5 mm apart and columns 0.25 mm" in line.text
