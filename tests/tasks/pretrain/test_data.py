"""Which images a run learns from."""

from __future__ import annotations

import itertools
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from tests.tasks.runs import put, rewrite, without
from tests.tiny import write_tiny_data
from umsrep.errors import InputError
from umsrep.tasks.data.augment import Augment
from umsrep.tasks.data.sampler import TaskAwareBatchSampler
from umsrep.tasks.pretrain.config import PretrainData
from umsrep.tasks.pretrain.data import ViewSet, endless, make_loader, open_images, stack
from umsrep.tasks.pretrain.views import Masked, Whole
from umsrep.zoo import InputContract

CONTRACT = InputContract(size=32)


def test_training_rows_alone(tiny_data: Path) -> None:
    images = open_images(PretrainData(str(tiny_data)), seed=0)
    assert (len(images.rows), len(images.validation), images.label) == (16, 4, "label")
    assert {images.manifest.columns["split"][row] for row in images.rows} == {"train"}
    assert len(open_images(PretrainData(str(tiny_data), fraction=0.5), seed=0).rows) == 8
    assert open_images(PretrainData(str(tiny_data), label=""), seed=0).label is None


def test_a_table_without_splits(tmp_path: Path) -> None:
    folder = rewrite(write_tiny_data(tmp_path / "d"), without("split", "label"))
    with pytest.raises(InputError, match="no column 'split'"):
        open_images(PretrainData(str(folder)), seed=0)
    images = open_images(PretrainData(str(folder), split_column=None), seed=0)
    assert (len(images.rows), images.validation, images.label) == (24, [], None)


def test_a_folder_of_pictures(tiny_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    shutil.copytree(tiny_data / "images", folder / "test")
    shutil.copytree(tiny_data / "images", folder / "train")
    shutil.copytree(tiny_data / "images", tmp_path / "flat")
    assert len(open_images(PretrainData(str(tmp_path / "flat")), seed=0).rows) == 24
    images = open_images(PretrainData(str(folder)), seed=0)
    assert {images.manifest.columns["file_name"][row].split("/")[0] for row in images.rows} == {"train"}, "a folder test is never used"


def test_wrong_data_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "d")
    with pytest.raises(InputError, match="no column 'findings'"):
        open_images(PretrainData(str(folder), label="findings"), seed=0)
    with pytest.raises(InputError, match="no such data folder"):
        open_images(PretrainData(str(tmp_path / "absent")), seed=0)
    rewrite(folder, put(0, "split", "test"))
    with pytest.raises(InputError, match="patient_id '000' is in split"):
        open_images(PretrainData(str(folder)), seed=0)


def test_items_depend_on_seed_epoch_and_index_alone(tiny_data: Path) -> None:
    images = open_images(PretrainData(str(tiny_data)), seed=0)
    data = ViewSet([images], [(0, row) for row in images.rows], CONTRACT, Masked(CONTRACT, Augment(), 8, 0.5), seed=3, lenient=False)
    again = pickle.loads(pickle.dumps(data))  # as a loader process gets it
    one, two = data[5], again[5]
    assert isinstance(one, dict)
    assert isinstance(two, dict)
    assert all(torch.equal(one[k], two[k]) for k in one)
    again.epoch = 1
    later = again[5]
    assert isinstance(later, dict)
    assert not torch.equal(one["hidden"], later["hidden"]) or not torch.equal(one["image"], later["image"])


def test_a_wrong_file_is_named_with_its_row(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "d")
    Image.fromarray(np.full((40, 48), 3000, dtype=np.uint16)).save(folder / "images" / "01.png")
    (folder / "images" / "02.png").write_bytes(b"no picture")
    images = open_images(PretrainData(str(folder)), seed=0)
    data = ViewSet([images], [(0, row) for row in images.rows], CONTRACT, Whole(CONTRACT), seed=0, lenient=False)
    for index, match in ((1, r"row 3 \(images/01.png\).*unit"), (2, r"row 4 \(images/02.png\)")):
        batch = stack([data[0], data[index]])
        assert isinstance(batch, InputError)
        with pytest.raises(InputError, match=match):
            raise batch
    assert isinstance(stack([data[0], data[3]]), dict)


def test_endless_batches_are_of_other_epochs(tiny_data: Path) -> None:
    images = open_images(PretrainData(str(tiny_data)), seed=0)
    data = ViewSet([images], [(0, row) for row in images.rows], CONTRACT, Masked(CONTRACT, Augment(), 8, 0.5), seed=3, lenient=False)
    sampler = TaskAwareBatchSampler({"all": np.ones(16, dtype=bool)}, 8, seed=0)
    first = next(iter(make_loader(data, sampler, workers=0, pinned=False)))
    given = list(itertools.islice(endless(Accelerator(), data, sampler, 0), 5))
    assert [len(batch["index"]) for batch in given] == [8] * 5, "two batches an epoch, and it goes on"
    assert sorted(torch.cat([b["index"] for b in given[:2]]).tolist()) == list(range(16))
    assert not torch.equal(first["index"], given[0]["index"])
