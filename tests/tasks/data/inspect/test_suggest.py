"""The suggested configuration can be read back, and trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.tasks.runs import Records, put, rewrite
from tests.tiny import write_tiny_data
from umsrep import fit
from umsrep.tasks.config_file import load_config
from umsrep.tasks.data.inspect import inspect


def suggested(folder: Path) -> tuple[str, list[str]]:
    report = inspect(folder, encoder=None)["suggested"]
    return report["config"], report["notes"]


def test_it_names_all_tasks(tiny_data: Path, tmp_path: Path) -> None:
    text, notes = suggested(tiny_data)
    (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
    config = load_config(tmp_path / "run.yaml")
    assert {name: task.kind for name, task in config.tasks.items()} == {
        "denoising": "denoising",
        "segmentation": "segmentation",
        "classification": "classification",
    }
    assert config.tasks["segmentation"].classes == ["background", "class_1"]
    assert config.tasks["classification"].classes == ["large", "small"]
    assert config.tasks["classification"].class_weights is None
    assert config.image_size == 64
    assert any("name them" in note for note in notes)


def test_it_trains(tmp_path: Path) -> None:
    def uneven(records: Records) -> None:
        for number, record in enumerate(records[:16]):
            record["label"] = "rare" if number in (1, 9) else "common"
        for record in records[16:]:
            record["label"] = "rare" if record["label"] == "small" else "common"
        records[22]["label"] = "unseen"

    folder = rewrite(write_tiny_data(tmp_path / "data"), uneven)
    text, notes = suggested(folder)
    assert any("7.0 times" in note for note in notes)
    (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
    small = [
        "--encoder.arch",
        "test_efficientnet",
        "--output",
        str(tmp_path / "run"),
        "--image_size",
        "32",
        "--max_steps",
        "1",
        "--workers",
        "0",
    ]
    config = load_config(tmp_path / "run.yaml", small)
    assert config.tasks["classification"].class_weights == "balanced"
    assert config.data[0].targets["classification"].map == {"unseen": None}
    fit(config)
    assert (tmp_path / "run" / "model" / "config.json").is_file()


def test_sixteen_bits_and_colour(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    for path in (folder / "images").iterdir():
        Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16) * 200).save(path)
    text, _ = suggested(folder)
    assert yaml.safe_load(text)["encoder"]["unit"] == "16-bit"
    for path in (folder / "images").iterdir():
        Image.effect_noise((48, 40), 60).convert("HSV").convert("RGB").save(path)
        Image.merge("RGB", [Image.effect_noise((48, 40), 60) for _ in range(3)]).save(path)
    text, _ = suggested(folder)
    assert yaml.safe_load(text)["encoder"]["in_channels"] == 3


def test_medmnist_labels_side_by_side(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    arrays = {}
    for part, number in (("train", 20), ("val", 6), ("test", 6)):
        arrays[f"{part}_images"] = generator.integers(0, 256, (number, 28, 28), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.tile([[0, 1], [1, 0]], (number // 2, 1)).astype(np.uint8)
    np.savez(tmp_path / "some.npz", allow_pickle=False, **arrays)
    text, _ = suggested(tmp_path / "some.npz")
    task = yaml.safe_load(text)["tasks"]["findings"]
    assert (task["target"], task["multi_label"], task["classes"]) == (["label.0", "label.1"], True, ["finding_0", "finding_1"])


@pytest.mark.parametrize("split", ["train", "validation"])
def test_no_configuration_without_training_rows(split: str, tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    for row in range(24):
        rewrite(folder, put(row, "split", "test" if split == "train" else "train"))
    text, notes = suggested(folder)
    assert text is None
    assert split in notes[0]


@pytest.mark.parametrize(
    ("large", "small", "order"),
    [
        ("abnormal", "normal", ["normal", "abnormal"]),
        ("covid", "No Finding", ["No Finding", "covid"]),
        ("malignant", "benign", ["benign", "malignant"]),
        ("benign", "normal", ["normal", "benign"]),
        ("no_covid", "covid", ["no_covid", "covid"]),
        ("True", "False", ["False", "True"]),
        ("big", "tiny", ["big", "tiny"]),
    ],
)
def test_the_second_of_two_classes_is_the_positive_one(large: str, small: str, order: list[str], tmp_path: Path) -> None:
    def rename(records: Records) -> None:
        for record in records:
            record["label"] = {"large": large, "small": small, "": ""}[record["label"]]

    text, notes = suggested(rewrite(write_tiny_data(tmp_path / "data"), rename))
    assert yaml.safe_load(text)["tasks"]["classification"]["classes"] == order
    assert any(f"the positive class is {order[1]}: swap the classes" in note for note in notes)


def test_no_head_for_masks_that_are_grey_pictures(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    Image.fromarray((np.arange(40 * 48).reshape(40, 48) % 225).astype(np.uint8)).save(folder / "masks" / "00.png")
    text, notes = suggested(folder)
    assert "segmentation" not in yaml.safe_load(text)["tasks"]
    assert any("no segmentation" in note for note in notes)
