"""Manifests: what is read, and that every fault names its file and row."""

from __future__ import annotations

import pickle
import time
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
    (tmp_path / "one16.dcm").write_bytes(b"DICM")
    with pytest.raises(InputError, match=r"one16\.dcm: a file; a data set is a folder"):
        load_manifest(tmp_path / "one16.dcm")
    with pytest.raises(InputError, match=r"no metadata\.csv"):
        load_manifest(tmp_path)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "images/../../x.png", "..\\x.png", "C:\\x.png"])
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


@pytest.mark.parametrize("second", ["cine.dcm", "./cine.dcm"])
def test_a_file_and_its_frames_belong_to_one_split(second: str, tmp_path: Path) -> None:
    columns = {"file_name": ["cine.dcm", second, second], "frame": ["0", "1", "2"], "split": ["train", "", "train"]}
    Manifest(tmp_path, tmp_path / "t.csv", columns, [2, 3, 4]).check_patients()
    columns["split"][1] = "test"
    with pytest.raises(InputError, match=r"row 3 \(.*cine\.dcm\): file_name 'cine\.dcm' is in split 'test' and, at row 2, in 'train'"):
        Manifest(tmp_path, tmp_path / "t.csv", columns, [2, 3, 4]).check_patients()


def test_unknown_patients_and_rows_without_split_pass(tmp_path: Path) -> None:
    columns = {"file_name": ["a", "b", "c", "d"], "split": ["train", "test", "", "train"], "patient_id": ["", "", "7", "7"]}
    Manifest(tmp_path, tmp_path / "t.csv", columns, [2, 3, 4, 5]).check_patients()
    Manifest(tmp_path, tmp_path / "t.csv", {"file_name": ["a"], "split": ["train"]}, [2]).check_patients()


def test_images_in_memory(tmp_path: Path) -> None:
    arrays = np.zeros((2, 8, 8), dtype=np.uint8)
    arrays[1] = 9
    manifest = Manifest(tmp_path, tmp_path / "x.npz", {"file_name": ["train/0", "train/1"]}, [0, 1], arrays)
    assert np.array_equal(np.asarray(manifest.image(1)), arrays[1])


def test_a_path_of_windows_names_the_remedy(tmp_path: Path) -> None:
    manifest = load_manifest(write(tmp_path / "data", "file_name\nimages\\00.png\n"))
    with pytest.raises(InputError, match=r"row 2 .*write / instead of \\ between"):
        manifest.image(0)


@pytest.mark.parametrize("kind", ["file", "folder", "circle"])
def test_a_link_may_not_lead_out_of_the_folder(kind: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.png").write_bytes(b"secret")
    folder = write(tmp_path / "data", "file_name\nimages/x.png\n")
    if kind == "file":
        (folder / "images").mkdir()
        (folder / "images" / "x.png").symlink_to(outside / "x.png")
    elif kind == "folder":
        (folder / "images").symlink_to(outside)
    else:
        (folder / "images").symlink_to(folder / "images")
    with pytest.raises(InputError, match=r"row 2 \(images/x\.png\): .* (leads out of the data folder|is no usable path)"):
        load_manifest(folder).image(0)


def test_links_within_the_folder_and_a_linked_folder_are_followed(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", "file_name\na.png\nb.png\n")
    (folder / "a.png").write_bytes(b"x")
    (folder / "b.png").symlink_to("a.png")
    (tmp_path / "alias").symlink_to(folder)
    manifest = load_manifest(tmp_path / "alias")
    assert manifest.image(0) == tmp_path / "alias" / "a.png"
    assert manifest.image(1) == tmp_path / "alias" / "b.png"


def test_a_file_that_comes_after_the_listing_is_found(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", "file_name\na.png\nb.png\n")
    (folder / "a.png").write_bytes(b"x")
    manifest = load_manifest(folder)
    assert manifest.image(0).name == "a.png"  # type: ignore[union-attr]
    with pytest.raises(InputError, match="no such file"):
        manifest.image(1)
    (folder / "b.png").write_bytes(b"x")
    assert manifest.image(1) == folder / "b.png"


def cells(tmp_path: Path, **columns: str) -> Manifest:
    return Manifest(tmp_path, tmp_path / "t.csv", {"file_name": ["a"], **{k: [v] for k, v in columns.items()}}, [2])


def test_frames(tmp_path: Path) -> None:
    assert cells(tmp_path).frame(0) is None
    assert [cells(tmp_path, frame=text).frame(0) for text in ("", "0", "15", "3.0")] == [None, 0, 15, 3]
    for text in ("-1", "1.5", "x", "1e3", "\u0663"):
        with pytest.raises(InputError, match=r"t\.csv row 2 \(a\): frame '.*' is no whole number from 0"):
            cells(tmp_path, frame=text).frame(0)


def test_spacings(tmp_path: Path) -> None:
    assert cells(tmp_path).spacing(0) is None
    assert [cells(tmp_path, pixel_spacing=text).spacing(0) for text in ("", "0.5", "0.139\\0.14")] == [None, (0.5, 0.5), (0.139, 0.14)]
    for text in ("0", "-1", "nan", "inf", "x", "1\\2\\3", "1\\", "1,2"):
        with pytest.raises(InputError, match=r"t\.csv row 2 \(a\): pixel_spacing '.*' is neither"):
            cells(tmp_path, pixel_spacing=text).spacing(0)


def test_licences_choose_rows(tmp_path: Path) -> None:
    columns = {"file_name": list("abcd"), "license": ["CC BY 4.0", "CC BY-NC 4.0", "", "cc-by 4.0"]}
    manifest = Manifest(tmp_path, tmp_path / "t.csv", columns, [2, 3, 4, 5])
    kept, note = manifest.licensed(["CC-BY 4.0"])
    assert kept == [0, 3]
    assert note.endswith("2 of 4 rows left out for their license: (none) (1), CC BY-NC 4.0 (1)")
    assert manifest.licensed(["CC BY 4.0", ""])[0] == [0, 2, 3]
    with pytest.raises(InputError, match=r"no row with license 'CC0'; there are \(none\) \(1\), CC BY 4\.0 \(1\), CC BY-NC"):
        manifest.licensed(["CC0"])
    with pytest.raises(InputError, match=r"no column 'licence', which data\.licenses goes by; did you mean 'license'"):
        manifest.licensed(["CC0"], "licence")


@pytest.mark.parametrize(
    ("name", "column", "licence", "rows"), [("us_lung", "license", "cc by 4.0", 320), ("cxr_external", "image_license", "CC BY", 1)]
)
def test_licences_of_real_sets(name: str, column: str, licence: str, rows: int, shared_data: Path) -> None:
    kept, _ = load_manifest(shared_data / name).licensed([licence], column)
    assert len(kept) == rows


def test_a_pickled_manifest_leaves_listings_behind(tiny_data: Path) -> None:
    manifest = load_manifest(tiny_data)
    size = len(pickle.dumps(manifest))
    manifest.image(0)
    assert len(pickle.dumps(manifest)) == size
    assert pickle.loads(pickle.dumps(manifest)).image(0) == manifest.image(0)


@pytest.mark.slow
def test_a_hundred_thousand_rows_open_in_seconds(tmp_path: Path) -> None:
    names = [f"images/{i:06d}.png" for i in range(100_000)]
    rest = ",train,1,2,3,4,5,6,7,8,9"
    folder = write(
        tmp_path / "d", "file_name,patient_id,split,a,b,c,d,e,f,g,h,i\n" + "".join(f"{n},p{k}{rest}\n" for k, n in enumerate(names))
    )
    (folder / "images").mkdir()
    for name in names:
        (folder / name).touch()
    start = time.process_time()
    manifest = load_manifest(folder)
    manifest.check_patients()
    assert manifest.rows("train") == list(range(100_000))
    assert manifest.image(99_999) == folder / names[-1]
    for row in range(len(manifest)):
        manifest.image(row)
    assert time.process_time() - start < 5
