"""Folders of pictures become manifests; nothing is dropped without a note."""

from __future__ import annotations

import collections
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from umsrep.errors import InputError
from umsrep.tasks.data.folders import propose, write_manifest
from umsrep.tasks.data.manifest import load_manifest


def put(folder: Path, *names: str, value: int = 1) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 9), value, dtype=np.uint8)).save(path)
    return folder


def test_twin_folders_pair_by_stem_and_report_what_is_left(tmp_path: Path) -> None:
    put(tmp_path, *(f"images/{i:02d}.jpg" for i in range(10)), "masks/00.png", "masks/01_mask.png", "masks/02.tif", "masks/99.png")
    (tmp_path / "images" / "Thumbs.db").write_text("x")
    proposal = propose(tmp_path)
    pairs = dict(zip(proposal.columns["file_name"], proposal.columns["mask_file_name"], strict=True))
    assert pairs["images/00.jpg"] == "masks/00.png"
    assert pairs["images/01.jpg"] == "masks/01_mask.png"
    assert pairs["images/02.jpg"] == "masks/02.tif"
    assert [name for name, mask in pairs.items() if not mask] == [f"images/{i:02d}.jpg" for i in range(3, 10)]
    notes = "\n".join(proposal.notes)
    assert "3 of 10 images have a mask" in notes
    assert "7 images without a mask, kept as not annotated: images/03.jpg" in notes
    assert "1 masks without an image, left out: masks/99.png" in notes
    assert "1 files left out, as they are no images: .db (1)" in notes
    assert "patients are unknown" in notes
    assert collections.Counter(proposal.columns["split"]) == {"train": 7, "validation": 1, "test": 2}
    table = write_manifest(tmp_path, proposal.columns)
    manifest = load_manifest(tmp_path)
    assert manifest.table == table
    assert manifest.columns == proposal.columns
    assert all(manifest.image(row) for row in range(len(manifest)))
    before = table.read_bytes()
    for call in (lambda: propose(tmp_path), lambda: write_manifest(tmp_path, proposal.columns)):
        with pytest.raises(InputError, match=r"metadata\.csv: exists already and is not replaced"):
            call()
    assert table.read_bytes() == before


def test_folders_of_splits_and_classes(tmp_path: Path) -> None:
    names = [f"{split}/{label}/{i}.png" for split in ("train", "val", "test") for label in ("normal", "pneumonia") for i in range(3)]
    proposal = propose(put(tmp_path, *names))
    for name, label, split in zip(*(proposal.columns[c] for c in ("file_name", "label", "split")), strict=True):
        assert name.split("/")[0].replace("val", "validation") == split
        assert name.split("/")[1] == label
    assert any("normal (9), pneumonia (9)" in note for note in proposal.notes)
    assert not any("hash" in note for note in proposal.notes)


@pytest.mark.parametrize("layout", ["{split}/images/{name}", "images/{split}/{name}"])
def test_twins_inside_and_around_splits(layout: str, tmp_path: Path) -> None:
    images = [layout.format(split=split, name=f"{i}.png") for split in ("train", "valid", "test") for i in range(2)]
    proposal = propose(put(tmp_path, *images, *(name.replace("images", "masks") for name in images)))
    assert proposal.columns["mask_file_name"] == [name.replace("images", "masks") for name in proposal.columns["file_name"]]
    assert collections.Counter(proposal.columns["split"]) == {"train": 2, "validation": 2, "test": 2}


def test_hashed_splits_are_stratified_repeatable_and_depend_on_the_seed(tmp_path: Path) -> None:
    put(tmp_path, *(f"normal/{i}.png" for i in range(40)), *(f"sick/s{i}.png" for i in range(20)))
    first, again, other = propose(tmp_path), propose(tmp_path), propose(tmp_path, seed=1)
    assert first == again
    assert first.columns["split"] != other.columns["split"]
    pairs = collections.Counter(zip(first.columns["label"], first.columns["split"], strict=True))
    assert (pairs["normal", "train"], pairs["sick", "train"]) == (28, 14)
    assert (pairs["normal", "test"], pairs["sick", "test"]) == (8, 4)
    only = propose(tmp_path, fractions=(0, 0.5, 0.5))
    assert set(only.columns["split"]) == {"validation", "test"}


def test_a_missing_validation_folder_is_cut_from_training(tmp_path: Path) -> None:
    put(tmp_path, *(f"train/a/{i}.png" for i in range(16)), *(f"test/a/{i}.png" for i in range(4)), "stray.png")
    proposal = propose(tmp_path)
    splits = dict(zip(proposal.columns["file_name"], proposal.columns["split"], strict=True))
    assert collections.Counter(splits.values()) == {"train": 14, "validation": 2, "test": 4, "": 1}
    assert splits["stray.png"] == ""
    assert any("2 of 16 training images taken" in note for note in proposal.notes)
    assert any("1 images lie in no split's folder" in note for note in proposal.notes)


def test_masks_of_0_and_255_are_warned_of(tmp_path: Path) -> None:
    put(tmp_path, "images/a.png", "images/b.png")
    put(tmp_path, "masks/a.png", value=0)
    put(tmp_path, "masks/b.png", value=255)
    assert any("255 means 'ignore'" in note for note in propose(tmp_path).notes)
    put(tmp_path, "masks/b.png", value=1)
    assert not any("255 means 'ignore'" in note for note in propose(tmp_path).notes)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "no images in it"),
        (("images/a.png", "masks/a.png", "masks/a_mask.png"), "could both be the mask of 'images/a.png'"),
        (("images/a.png", "images/a.jpg", "masks/a.png"), "have the same stem"),
        (("normal/patient1/a.png",), "lies 2 folders deep"),
        (("train_images/a.png", "train_masks/a_mask.png"), "'train_images' looks like a folder of images or masks and no class"),
        (("scans/a.png", "gt/a.png"), "'gt' looks like a folder of images or masks and no class ('a' is also in 'scans')"),
        (("imagesXY/a.png", "labelsXY/a.png"), "'imagesXY' looks like"),
        (("normal/a\n.png",), "rename 'normal/a"),
        (("back\\slash.png",), "rename"),
        ((" a.png",), "rename ' a.png'"),
    ],
)
def test_what_cannot_be_told_is_refused(names: tuple[str, ...], message: str, tmp_path: Path) -> None:
    put(tmp_path, *names)
    with pytest.raises(InputError) as caught:
        propose(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_fractions_and_folder_are_checked(tmp_path: Path) -> None:
    for fractions in ((0.5, 0.1), (0.5, 0.1, 0.1), (1.2, -0.2, 0), (float("nan"), 0, 1)):
        with pytest.raises(InputError, match="must sum to 1"):
            propose(tmp_path, fractions=fractions)
    with pytest.raises(InputError, match="no such data folder"):
        propose(tmp_path / "absent")


def test_links_out_of_the_folder_are_left_out_with_a_note(tmp_path: Path) -> None:
    put(tmp_path / "outside", "secret.png")
    folder = put(tmp_path / "data", "a/1.png")
    (folder / "a" / "2.png").symlink_to(tmp_path / "outside" / "secret.png")
    proposal = propose(folder)
    assert proposal.columns["file_name"] == ["a/1.png"]
    assert any("1 links left out" in note and "a/2.png" in note for note in proposal.notes)


def test_nnunet_folders_are_twins_and_splits(tmp_path: Path) -> None:
    put(tmp_path, *(f"imagesTr/c{i}_0000.png" for i in range(8)), *(f"labelsTr/c{i}.png" for i in range(8)))
    put(tmp_path, "imagesTs/t_0000.png", "labelsTs/t.png", "imagesTr/c0_0001.png")
    proposal = propose(tmp_path)
    masks = dict(zip(proposal.columns["file_name"], proposal.columns["mask_file_name"], strict=True))
    assert masks["imagesTr/c3_0000.png"] == "labelsTr/c3.png"
    assert masks["imagesTs/t_0000.png"] == "labelsTs/t.png"
    assert "label" not in proposal.columns
    assert collections.Counter(proposal.columns["split"]) == {"train": 7, "validation": 1, "test": 1}
    assert any("1 further channels" in note and "imagesTr/c0_0001.png" in note for note in proposal.notes)


def test_labels_beside_images_are_masks(tmp_path: Path) -> None:
    proposal = propose(put(tmp_path, "images/a.png", "labels/a.png"))
    assert proposal.columns["mask_file_name"] == ["labels/a.png"]
    classes = propose(put(tmp_path / "c", "seg_yes/a.png", "seg_no/b.png"))  # such names are classes where no stem is shared
    assert set(classes.columns["label"]) == {"seg_yes", "seg_no"}


def test_masks_that_no_mask_is_read_of_are_left_out(tmp_path: Path) -> None:
    put(tmp_path, "images/a.png", "images/b.png", "images/c.png", "masks/a.png")
    for name in ("b.npy", "c.nii.gz"):
        (tmp_path / "masks" / name).write_bytes(b"x")
    proposal = propose(tmp_path)
    assert proposal.columns["mask_file_name"] == ["masks/a.png", "", ""]
    assert any("2 masks left out" in note and "masks/b.npy, masks/c.nii.gz" in note for note in proposal.notes)
    (tmp_path / "masks" / "a.png").unlink()
    assert "mask_file_name" not in propose(tmp_path).columns
