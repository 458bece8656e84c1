"""Data sets that the ``datasets`` library reads become manifests; all of it on local folders, without a network."""

from __future__ import annotations

import io
import pickle
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny import write_tiny_data
from umsrep.errors import InputError
from umsrep.tasks.data.manifest import load_manifest
from umsrep.zoo.input_contract import InputContract
from umsrep.zoo.stored import read_stored

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def test_an_image_folder_with_our_table(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    ours, theirs = load_manifest(folder), load_manifest(f"hf:{folder}")
    assert theirs.columns["split"] == ours.columns["split"]
    assert theirs.columns["label"] == ours.columns["label"]
    assert [bool(m) for m in theirs.columns["mask_file_name"]] == [bool(m) for m in ours.columns["mask_file_name"]]
    for row in (0, 23):
        for column, image in (("file_name", theirs.image(row)), ("mask_file_name", theirs.mask("mask_file_name", row))):
            with Image.open(ours.file(column, row)) as expected:
                np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))
    again = pickle.loads(pickle.dumps(theirs))
    np.testing.assert_array_equal(np.asarray(again.image(5)), np.asarray(theirs.image(5)))


def parquet_set(folder: Path, *splits: str, colour_mask: bool = False) -> Path:
    """Three rows a split with embedded images, a class label, a list and a second image column."""
    features = datasets.Features(
        {
            "scan": datasets.Image(),
            "mask": datasets.Image(),
            "dx": datasets.ClassLabel(names=["normal", "sick"]),
            "boxes": datasets.Sequence(datasets.Value("int32")),
        }
    )
    mask = np.ones((9, 10, 3) if colour_mask else (9, 10), dtype=np.uint8)
    for k, split in enumerate(splits):
        scans = [Image.fromarray(np.full((9, 10), 10 * k + i, np.uint8)) for i in range(3)]
        masks = [None, Image.fromarray(mask), Image.fromarray(mask)]
        rows = [{"scan": scans[i], "mask": masks[i], "dx": i % 2, "boxes": [i]} for i in range(3)]
        folder.mkdir(exist_ok=True)
        datasets.Dataset.from_list(rows, features=features).to_parquet(str(folder / f"{split}-00000-of-00001.parquet"))
    return folder


def test_parquet_splits_class_names_and_masks(tmp_path: Path) -> None:
    manifest = load_manifest(f"hf:{parquet_set(tmp_path / 'd', 'train', 'validation', 'test')}?label=dx")
    assert manifest.columns["split"] == ["train"] * 3 + ["validation"] * 3 + ["test"] * 3
    assert manifest.columns["label"] == ["normal", "sick", "normal"] * 3
    assert manifest.columns["mask_file_name"][:3] == ["", "train/1", "train/2"]
    assert manifest.columns["boxes"][:2] == ["[0]", "[1]"]
    assert [int(np.asarray(manifest.image(row))[0, 0]) for row in range(9)] == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    assert "test/2" in manifest.where(8)


def test_a_set_of_one_split_names_the_remedy_which_works(tmp_path: Path) -> None:
    folder = parquet_set(tmp_path / "d", "train")
    with pytest.raises(InputError, match=r"no splits but 'train'.*\?train=train\[:70%\]"):
        load_manifest(f"hf:{folder}")
    manifest = load_manifest(f"hf:{folder}?train=train[:1]&validation=train[1:2]&test=train[2:]")
    assert manifest.columns["split"] == ["train", "validation", "test"]
    assert [int(np.asarray(manifest.image(row))[0, 0]) for row in range(3)] == [0, 1, 2]


def test_faults_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = parquet_set(tmp_path / "d", "train", "test")
    faults = {
        "hf:org/name": "cannot be opened: Couldn't reach 'org/name' on the Hub",
        "hf:a b": "no name of a data set",
        f"hf:{tmp_path}/absent": "no such folder",
        f"hf:{folder}?lable=dx": "'lable=dx' is no option; did you mean 'label'",
        f"hf:{folder}?label=dxx": "no such column; did you mean 'dx'",
        f"hf:{folder}?image=dx": "holds no images",
        f"hf:{folder}?train=tain": "cannot be opened",
        f"hf:{folder}?config=x": "cannot be opened",
    }
    for name, message in faults.items():
        with pytest.raises(InputError) as caught:
            load_manifest(name)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="a mask is a grey or palette image"):
        load_manifest(f"hf:{parquet_set(tmp_path / 'c', 'train', 'test', colour_mask=True)}").mask("mask_file_name", 1)
    shutil.rmtree(folder)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"pip install 'umsrep\[datasets\]'"):
        load_manifest("hf:org/name")


def test_pictures_mean_the_same_as_from_files(tmp_path: Path) -> None:
    """Depth, inversion and orientation are the file's: a 12-bit TIFF declares its depth, a 16-bit one here is WhiteIsZero."""
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 65
    packed = b"".join(struct.pack(">L", (int(a) << 12 | int(b)) << 8)[:3] for a, b in values.reshape(-1, 2))
    ours: list[Path] = []
    for name, content, bits, photometric in (("a.tif", packed, 12, 1), ("b.tif", values.tobytes(), 16, 0)):
        path = tmp_path / "d" / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tags = {256: 8, 257: 8, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 8, 279: len(content)}
        entries = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in tags.items())
        path.write_bytes(struct.pack("<2sHL", b"II", 42, 8 + len(content)) + content + struct.pack("<H", len(tags)) + entries + bytes(4))
        ours.append(path)
    shutil.copytree(tmp_path / "d" / "train", tmp_path / "d" / "test")
    manifest = load_manifest(f"hf:{tmp_path / 'd'}")
    contracts = (InputContract(channels=1), InputContract(channels=1, unit="16-bit"))
    for path, row, contract in zip(ours, range(2), contracts, strict=True):
        assert torch.equal(contract.load(manifest.image(row)), contract.load(path))
    assert read_stored(manifest.image(1)).inverted
    assert read_stored(manifest.image(0)).unit == "12-bit"


def test_a_format_that_starts_a_program_is_not_opened(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image()})
    (tmp_path / "d").mkdir()
    memory = io.BytesIO()
    Image.new("L", (9, 9)).save(memory, "EPS")
    for split in ("train", "test"):
        rows = datasets.Dataset.from_list([{"image": {"bytes": memory.getvalue(), "path": None}}], features=features)
        rows.to_parquet(str(tmp_path / "d" / f"{split}-00000-of-00001.parquet"))
    with pytest.raises(InputError, match=r"row 1: image: damaged or unreadable image \(cannot identify"):
        load_manifest(f"hf:{tmp_path / 'd'}").image(0)
