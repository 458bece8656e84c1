"""What `umsrep predict` writes: pictures at the original size and one JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.dicoms import write_dicom
from tests.tasks.runs import ARCH
from umsrep.errors import InputError
from umsrep.heads import ClassificationHead, SegmentationHead
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.outputs import _write_one, predict_files
from umsrep.tasks.predict import Prediction
from umsrep.tasks.trainer import Report
from umsrep.zoo import Encoder, InputContract
from umsrep.zoo.input_contract import ContractWarning


@pytest.fixture(scope="module")
def model(trained: Report) -> MultiTaskModel:
    return MultiTaskModel.from_pretrained(trained.model)


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def resave(source: Path, target: Path, size: tuple[int, int]) -> None:
    with Image.open(source) as image:
        image.resize(size).save(target)


def test_class_names_do_not_make_file_names(tmp_path: Path) -> None:
    names = ["overlay", "nodule/mass", "..", "a b"]
    mask = np.zeros((4, 16, 16), dtype=np.uint8)
    mask[1, :4] = 1
    prediction = Prediction("segmentation", tuple(names), mask=mask, probabilities=mask.astype(np.float32))
    entry = _write_one(tmp_path, "x", "many", prediction, np.zeros((16, 16), dtype=np.float32))
    assert list(entry["masks"]) == names
    files = [*entry["masks"].values(), entry["overlay"]]
    assert len(set(files)) == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(files)
    np.testing.assert_array_equal(read(tmp_path / entry["masks"]["nodule/mass"]), mask[1])


def test_files_of_the_original_size(model: MultiTaskModel, tiny_data: Path, tmp_path: Path) -> None:
    resave(tiny_data / "images" / "01.png", tmp_path / "large.png", (70, 90))
    files = [tiny_data / "images" / "00.png", tmp_path / "large.png"]
    summary = predict_files(model, files, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "predictions.json").read_text()) == summary
    assert [entry["file"] for entry in summary] == [str(f) for f in files]
    names = {p.name for p in (tmp_path / "out").iterdir()}
    pictures = {f"{n}.{k}.png" for n in ("00", "large") for k in ("denoising", "disc", "disc.overlay")}
    assert names == {"predictions.json"} | pictures
    direct = model.predict(files)
    for entry, path, result in zip(summary, files, direct, strict=True):
        size = read(path).shape
        for name in (entry["denoising"]["image"], entry["disc"]["mask"], entry["disc"]["overlay"]):
            assert read(tmp_path / "out" / name).shape[:2] == size
        mask = read(tmp_path / "out" / entry["disc"]["mask"])
        assert result["disc"].mask is not None
        np.testing.assert_array_equal(mask, result["disc"].mask)
        clean = read(tmp_path / "out" / entry["denoising"]["image"])
        assert result["denoising"].image is not None
        assert np.abs(clean / 255 - result["denoising"].image).max() <= 0.5 / 255 + 1e-6
        assert read(tmp_path / "out" / entry["disc"]["overlay"]).shape == (*size, 3)
        assert entry["size"]["label"] == result["size"].label
        assert entry["size"]["threshold"] == result["size"].threshold
        assert sum(entry["size"]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert entry["disc"]["area_fraction"]["disc"] == pytest.approx((mask == 1).mean(), abs=1e-6)
        assert sum(entry["disc"]["mean_probability"].values()) == pytest.approx(1, abs=1e-4)


def test_same_names_get_numbers(model: MultiTaskModel, tiny_data: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(tiny_data / "images" / "00.png", tmp_path / folder / "x.png")
    shutil.copy(tiny_data / "images" / "00.png", tmp_path / "a" / "x-2.png")
    files = [tmp_path / "a" / "x.png", tmp_path / "a" / "x-2.png", tmp_path / "b" / "x.png"]
    summary = predict_files(model, files, tmp_path / "out", tasks=["disc"])
    masks = [entry["disc"]["mask"] for entry in summary]
    assert masks == ["x.disc.png", "x-2.disc.png", "x-3.disc.png"]
    assert all((tmp_path / "out" / name).is_file() for name in masks)


def test_binary_overlapping_and_several_labels(tmp_path: Path, tiny_data: Path) -> None:
    torch.manual_seed(0)
    heads: dict[str, Any] = {
        "one": SegmentationHead(["lesion"]),
        "many": SegmentationHead(["a", "b"], multi_label=True),
        "labels": ClassificationHead(["x", "y"], multi_label=True),
    }
    model = MultiTaskModel(Encoder.create(ARCH, contract=InputContract(size=32)), heads)
    (entry,) = predict_files(model, [tiny_data / "images" / "00.png"], tmp_path / "out", flips=True)
    assert set(entry["many"]["masks"]) == {"a", "b"}
    for name in (*entry["many"]["masks"].values(), entry["many"]["overlay"], entry["one"]["mask"], entry["one"]["overlay"]):
        assert read(tmp_path / "out" / name).shape[:2] == (40, 48)
    mask = read(tmp_path / "out" / entry["one"]["mask"])
    assert entry["one"]["area_fraction"]["lesion"] == pytest.approx((mask == 1).mean(), abs=1e-6)
    for name, file in entry["many"]["masks"].items():
        plane = read(tmp_path / "out" / file)
        assert entry["many"]["area_fraction"][name] == pytest.approx(plane.mean(), abs=1e-6)
    assert isinstance(entry["labels"]["label"], list)
    assert entry["labels"]["threshold"] == [0.5, 0.5]
    json.dumps(entry, allow_nan=False)


def test_an_unreadable_image_or_folder(model: MultiTaskModel, tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent"):
        predict_files(model, [tiny_data / "images" / "00.png", tmp_path / "absent.png"], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir()), "nothing of the batch is written"
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write the predictions"):
        predict_files(model, [tiny_data / "images" / "00.png"], tmp_path / "file")


@pytest.mark.parametrize("size", [0, -1])
def test_an_impossible_batch_size(size: int, model: MultiTaskModel, tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="batch_size must be 1 or more"):
        predict_files(model, [tiny_data / "images" / "00.png"], tmp_path / "out", batch_size=size)


def test_spacing_frame_and_bent_rules_stand_in_the_entry(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = MultiTaskModel(Encoder.create(ARCH, contract=InputContract(size=32)), {"lesion": SegmentationHead(["lesion"])})
    random = np.random.default_rng(0)
    pixels = random.integers(0, 4096, (40, 48), dtype=np.uint16)
    file = write_dicom(tmp_path / "a.dcm", pixels, 12, PixelSpacing=["0.4", "0.3"])
    Image.fromarray(pixels).save(tmp_path / "b.png")
    (plain,) = predict_files(model, [file], tmp_path / "out")
    assert plain["spacing_mm"] == [0.4, 0.3]
    assert set(plain) == {"file", "spacing_mm", "lesion"}
    with pytest.warns(ContractWarning, match="'unit' bent"):
        one, other = predict_files(model, [file, tmp_path / "b.png"], tmp_path / "lenient", lenient=True, frame=0)
    assert one["frame"] == other["frame"] == 0
    assert "bent" not in one
    assert other["bent"] == [
        "contract rule 'unit' bent: undeclared depth, scaled by the smallest n-bit range that holds the image's maximum"
    ]
    assert "spacing_mm" not in other
    assert one["lesion"]["mean_probability"] == other["lesion"]["mean_probability"], "the same values mean the same"
