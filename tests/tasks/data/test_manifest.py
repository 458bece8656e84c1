"""Manifests: what is read, and that every fault names its file and row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.tasks.runs import put, rewrite
from tests.tiny import write_tiny_data
from umsrep.errors import InputError
from umsrep.tasks.data.manifest import Manifest, load_manifest


def write(folder: Path, text: str | bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "metadata.csv").write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return folder


def test_tiny_folder_is_read_as_it_was_written(tiny_data: Path) -> None:
    manifest = load_manifest(tiny_data)
    assert len(manifest) == 24
    assert manifest.lines == list(range(2, 26)), "the header is line 1"
    assert manifest.columns["file_name"][3] == "images/03.png"
    assert manifest.image(3) == tiny_data / "images" / "03.png"
    assert manifest.columns["mask_file_name"][2] == "", "an empty cell stays empty"
    assert set(manifest.columns) >= {"finding_left", "site"}, "further columns are kept"
    assert [len(manifest.rows(split)) for split in ("train", "validation", "test")] == [16, 4, 4]
    assert manifest.where(3) == f"{tiny_data / 'metadata.csv'} row 5 (images/03.png)"
    manifest.check_patients()


def test_cells_are_stripped_and_lines_count_line_breaks_in_quotes(tmp_path: Path) -> None:
    folder = write(tmp_path, '\ufefffile_name,note\r\n a.png ,"one\r\ntwo"\r\n\r\nb.png,x\r\n')
    manifest = load_manifest(folder)
    assert manifest.columns["file_name"] == ["a.png", "b.png"]
    assert manifest.lines == [3, 5], "row numbers are those of the last line of the record in the file"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'file_name'"),
        ("filename,label\na.png,x\n", "did you mean 'filename'"),
        ("file_name,label,label\na.png,x,y\n", "column 'label' occurs twice"),
        ("file_name,label\na.png,x\nb.png\n", "row 3: 1 cells, but the header has 2"),
        ("file_name,label\na.png,x,y\n", "row 2: 3 cells"),
        ("file_name,label\n", "no rows"),
        ("file_name,label\na.png,x\n,y\n", "row 3: empty file_name"),
        ('file_name,label\n"a.png,x\n', "row 2: unexpected end of data"),
        ("file_name,label\nR\xf6ntgen.png,x\n".encode("latin-1"), "not UTF-8 text"),
    ],
)
def test_faulty_tables_are_refused_in_one_line(text: str | bytes, message: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "data", text)
    with pytest.raises(InputError) as caught:
        load_manifest(folder)
    assert message in str(caught.value)
    assert str(folder / "metadata.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_folder_and_missing_table_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such data folder"):
        load_manifest(tmp_path / "absent")
    with pytest.raises(InputError, match=r"no metadata\.csv"):
        load_manifest(tmp_path)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "images/../../x.png", "images\\00.png"])
def test_a_path_may_not_lead_out_of_the_folder(name: str, tmp_path: Path) -> None:
    manifest = load_manifest(write(tmp_path / "data", f"file_name\n{name}\n"))
    with pytest.raises(InputError, match=r"row 2 .*leads out of the data folder"):
        manifest.image(0)


def test_missing_file_is_named_with_its_row(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    (folder / "images" / "04.png").unlink()
    with pytest.raises(InputError, match=r"row 6 \(images/04\.png\): file_name 'images/04\.png': no such file"):
        load_manifest(folder).image(4)


def test_splits(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    manifest = load_manifest(folder)
    with pytest.raises(InputError, match="unknown split 'val'; known: test, train, validation"):
        manifest.rows("val")
    with pytest.raises(InputError, match="no column 'splt'; did you mean 'split'"):
        manifest.rows("train", "splt")
    rewrite(folder, put(1, "split", "training"))
    with pytest.raises(InputError, match=r"row 3 .*split 'training' is none of train, validation, test; did you mean 'train'"):
        load_manifest(folder).rows("test")
    only_train = Manifest(tmp_path, tmp_path / "t.csv", {"file_name": ["a"], "split": ["train"]}, [2])
    with pytest.raises(InputError, match=r"t\.csv: no row with split = test"):
        only_train.rows("test")


def test_a_patient_belongs_to_one_split(tmp_path: Path) -> None:
    folder = rewrite(write_tiny_data(tmp_path / "data"), put(3, "split", "test"))
    with pytest.raises(InputError, match=r"row 5 \(images/03\.png\): patient_id '001' is in split 'test' and, at row 4, in 'train'"):
        load_manifest(folder).check_patients()


def test_unknown_patients_and_rows_without_split_pass(tmp_path: Path) -> None:
    columns = {"file_name": ["a", "b", "c", "d"], "split": ["train", "test", "", "train"], "patient_id": ["", "", "7", "7"]}
    Manifest(tmp_path, tmp_path / "t.csv", columns, [2, 3, 4, 5]).check_patients()
    Manifest(tmp_path, tmp_path / "t.csv", {"file_name": ["a"], "split": ["train"]}, [2]).check_patients()


def test_images_in_memory(tmp_path: Path) -> None:
    arrays = np.zeros((2, 8, 8), dtype=np.uint8)
    arrays[1] = 9
    manifest = Manifest(tmp_path, tmp_path / "x.npz", {"file_name": ["train/0", "train/1"]}, [0, 1], arrays)
    assert np.array_equal(np.asarray(manifest.image(1)), arrays[1])
