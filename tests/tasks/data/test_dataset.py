"""Items: the same for any number of workers, targets by configuration, faults named by file and row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from tests.tasks.runs import put, rewrite, without
from tests.tiny import WITHOUT_LABEL, WITHOUT_MASK, write_tiny_data
from umsrep.errors import InputError
from umsrep.tasks.augment import StrongAugment
from umsrep.tasks.classification import Classification
from umsrep.tasks.data.augment import Augment
from umsrep.tasks.data.dataset import JointDataset, Source, Target, collate, image_size, read_mask
from umsrep.tasks.data.manifest import load_manifest
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.task import Task
from umsrep.zoo import InputContract
from umsrep.zoo.input_contract import ContractError

DISC = Segmentation(["background", "disc"])
SIZE = Classification(["small", "large"])
ALL: dict[str, Task] = {"denoising": Denoising(level=(10, 40)), "disc": DISC, "size": SIZE}


def dataset(
    folder: Path,
    tasks: Mapping[str, Task] = ALL,
    *,
    targets: Mapping[str, Target] | None = None,
    size: int | None = 32,
    seed: int = 0,
    augment: Augment | None = None,
    split: str = "train",
) -> JointDataset:
    manifest = load_manifest(folder)
    source = Source(manifest, manifest.rows(split), list(tasks), targets or {})
    return JointDataset([source], tasks, InputContract(size=size), seed=seed, augment=augment)


def item(data: JointDataset, index: int) -> dict[str, Any]:
    made = data[index]
    assert isinstance(made, dict), made
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_data(tmp_path / "data")


# ---- what an item is -----------------------------------------------------------------------------------------------
def test_which_rows_serve_which_task(tiny_data: Path) -> None:
    data = dataset(tiny_data)
    assert len(data) == 16
    assert data.annotated["denoising"].all()
    assert set(np.flatnonzero(~data.annotated["disc"])) == WITHOUT_MASK
    assert set(np.flatnonzero(~data.annotated["size"])) == WITHOUT_LABEL


def test_an_item_holds_image_noise_and_targets_in_their_units(tiny_data: Path) -> None:
    one = item(dataset(tiny_data, size=None), 0)
    pixels = np.asarray(Image.open(tiny_data / "images" / "00.png"))
    assert set(one) == {"index", "image", "spacing", "bent", "noisy.denoising", "target.denoising", "target.disc", "target.size"}
    np.testing.assert_allclose(one["image"][0].numpy(), pixels / 255 * 2 - 1, atol=1e-6)
    np.testing.assert_allclose(one["target.denoising"][0].numpy(), pixels / 255, atol=1e-6)
    noise = (one["noisy.denoising"] - one["image"]) / 2 * 255
    assert 10 * 0.9 < float(noise.std()) < 40 * 1.1, "the level is drawn from 10 to 40 grey levels"
    assert one["target.disc"].dtype == torch.int64
    assert torch.equal(one["target.disc"], torch.from_numpy(np.array(Image.open(tiny_data / "masks" / "00.png"))).long())
    assert (one["target.disc"][:, 0] == 255).all()
    assert int(one["target.size"]) == 0
    only_denoising = item(dataset(tiny_data), 14)
    assert set(only_denoising) == {"index", "image", "spacing", "bent", "noisy.denoising", "target.denoising"}


def test_items_are_those_of_seed_epoch_and_index(tiny_data: Path) -> None:
    data = dataset(tiny_data, augment=Augment())
    first = item(data, 3)
    assert torch.equal(item(data, 3)["noisy.denoising"], first["noisy.denoising"])
    assert torch.equal(item(dataset(tiny_data, augment=Augment()), 3)["image"], first["image"])
    assert not torch.equal(item(dataset(tiny_data, augment=Augment(), seed=1), 3)["image"], first["image"])
    data.epoch = 1
    assert not torch.equal(item(data, 3)["image"], first["image"])
    assert not torch.equal(item(data, 3)["noisy.denoising"], first["noisy.denoising"])


def test_items_do_not_depend_on_the_workers(tiny_data: Path) -> None:
    data = dataset(tiny_data, augment=Augment(flip=0.5))
    data.epoch = 3
    batches = [list(DataLoader(data, batch_size=5, num_workers=n, collate_fn=collate)) for n in (0, 2)]
    assert len(batches[0]) == 4
    for one, other in zip(*batches, strict=True):
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[k], other[k], equal_nan=True) for k in one)


def test_noise_is_added_to_the_augmented_image(tiny_data: Path) -> None:
    one = item(dataset(tiny_data, {"denoising": Denoising(level=0.5)}, augment=Augment()), 1)
    assert float((one["noisy.denoising"] - one["image"]).abs().max()) < 0.03
    torch.testing.assert_close(one["target.denoising"] * 2 - 1, one["image"])


def test_noise_of_the_augmentation_reaches_what_other_heads_read_and_not_denoising(tiny_data: Path) -> None:
    plain, noised = (dataset(tiny_data, augment=Augment(noise=some)) for some in (0, 60))
    changed = 0
    for index in range(16):
        one, other = item(plain, index), item(noised, index)
        assert one.keys() == other.keys()
        changed += not torch.equal(one["image"], other["image"])
        for key in one.keys() - {"image"}:
            torch.testing.assert_close(one[key], other[key], rtol=0, atol=0, equal_nan=True, msg=key)
    assert 3 <= changed <= 13


def test_noise_is_added_to_what_the_policy_made_and_the_target_holds_none(tiny_data: Path) -> None:
    tasks: dict[str, Task] = {"denoising": Denoising(level=25), "disc": DISC}
    both, other = (dataset(tiny_data, some, augment=Augment(policy="strong")) for some in (tasks, {"disc": DISC}))
    with_noise = 0
    for index in range(16):
        one, alone = item(both, index), item(other, index)
        clean = one["target.denoising"]
        assert torch.allclose(both.contract.denormalise(one["image"]), clean, atol=1e-6), "the augmented image"
        assert float((both.contract.denormalise(one["noisy.denoising"]) - clean).std()) == pytest.approx(25 / 255, rel=0.15)
        drawn = both.generator(index)
        Augment.draw(drawn)
        if "noise" in [name for name, _ in StrongAugment.draw(drawn)]:
            with_noise += 1
        else:
            assert torch.equal(one["image"], alone["image"])
    assert 0 < with_noise < 16


def test_an_item_in_another_size(tiny_data: Path) -> None:
    small, large = dataset(tiny_data, augment=Augment()), dataset(tiny_data, augment=Augment(), size=64)
    for index in (0, 2):  # with and without a mask
        made, own = small[index, (64, 64)], item(large, index)
        assert isinstance(made, dict)
        assert made.keys() == own.keys()
        for key, value in made.items():
            torch.testing.assert_close(value, own[key], rtol=0, atol=0, equal_nan=True, msg=f"{key}: not as a set of that size makes it")
        assert made["image"].shape[-2:] == made["noisy.denoising"].shape[-2:] == (64, 64)
    assert item(small, 0)["image"].shape[-2:] == (32, 32), "the set keeps its own size"


def test_collate_keeps_only_annotated_rows(tiny_data: Path) -> None:
    data = dataset(tiny_data)
    batch = collate([data[i] for i in (14, 2, 0, 5)])
    assert isinstance(batch, dict)
    assert batch["index"].tolist() == [14, 2, 0, 5]
    assert tuple(batch["image"].shape) == (4, 1, 32, 32)
    assert batch["rows.denoising"].tolist() == [0, 1, 2, 3]
    assert batch["rows.disc"].tolist() == [2, 3]
    assert batch["rows.size"].tolist() == [1, 2]
    assert tuple(batch["target.disc"].shape) == (2, 32, 32)
    assert torch.equal(batch["target.disc"][1], item(data, 5)["target.disc"])
    assert batch["target.size"].tolist() == [0, 0]
    unlabelled = collate([data[14]])
    assert isinstance(unlabelled, dict)
    assert "target.disc" not in unlabelled
    assert "rows.size" not in unlabelled


def test_images_of_different_sizes_need_a_size(folder: Path) -> None:
    Image.new("L", (64, 64)).save(folder / "images" / "14.png")
    data = dataset(folder, size=None)
    error = collate([data[0], data[14]])
    assert isinstance(error, InputError)
    assert "set image_size" in str(error)
    assert isinstance(collate([dataset(folder)[0], dataset(folder)[14]]), dict)


# ---- targets -------------------------------------------------------------------------------------------------------
def test_target_column_and_map(tiny_data: Path) -> None:
    task = Classification(["right", "left"])
    target = Target("finding_left", {"0": "right", "1": "left"})
    data = dataset(tiny_data, {"side": task}, targets={"side": target})
    cells = load_manifest(tiny_data).columns["finding_left"][:16]
    assert data.labels["side"] == [int(c) if c else None for c in cells]
    part = dataset(tiny_data, {"side": task}, targets={"side": Target("finding_left", {"0": None, "1": "left"})})
    assert part.labels["side"] == [1 if c == "1" else None for c in cells]
    assert part.annotated["side"].tolist() == [c == "1" for c in cells]


def test_several_columns_are_labels_that_occur_together(folder: Path) -> None:
    rewrite(folder, put(0, "finding_left", ""))
    task = Classification(["left", "large"], multi_label=True)
    data = dataset(folder, {"findings": task}, targets={"findings": Target(("finding_left", "finding_large"))})
    columns = load_manifest(folder).columns
    target = item(data, 0)["target.findings"]
    assert target.dtype == torch.float32
    assert torch.isnan(target[0]), "one empty cell is one label that is not annotated"
    assert float(target[1]) == float(columns["finding_large"][0])
    assert item(data, 1)["target.findings"].tolist() == [float(columns["finding_left"][1]), 1.0]
    assert set(np.flatnonzero(~data.annotated["findings"])) == WITHOUT_LABEL, "no cell at all is no annotation"


def test_one_cell_with_bars_is_several_labels(folder: Path) -> None:
    rewrite(rewrite(folder, put(0, "label", "small | round")), put(1, "label", "round"))
    task = Classification(["small", "large", "round"], multi_label=True)
    target = Target(None, {"large": None})
    data = dataset(folder, {"findings": task}, targets={"findings": target})
    assert item(data, 0)["target.findings"].tolist() == [1, 0, 1]
    assert item(data, 1)["target.findings"].tolist() == [0, 0, 1]
    assert item(data, 3)["target.findings"].tolist() == [0, 0, 0], "mapped to nothing: none of the findings"


def test_masks_of_overlapping_classes(tiny_data: Path) -> None:
    task = Segmentation(["disc"], multi_label=True)
    one = item(dataset(tiny_data, {"d": task}), 1)
    single = item(dataset(tiny_data), 1)
    assert tuple(one["target.d"].shape) == (1, 32, 32)
    assert torch.equal(one["target.d"][0], single["target.disc"])


def test_masks_of_several_columns_and_named_columns(folder: Path) -> None:
    task = Segmentation(["a", "b"], multi_label=True)
    two = dataset(folder, {"d": task}, targets={"d": Target(("mask_file_name", "mask_file_name.disc"))})
    one = item(two, 1)["target.d"]
    assert torch.equal(one[0], one[1])
    named = dataset(folder, {"d": DISC}, targets={"d": Target("mask_file_name.disc")})
    assert torch.equal(item(named, 1)["target.d"], item(dataset(folder), 1)["target.disc"])
    rewrite(folder, put(1, "mask_file_name.disc", ""))
    with pytest.raises(InputError, match=r"row 3 .*a mask for mask_file_name, but none for the other classes of 'd'"):
        dataset(folder, {"d": task}, targets={"d": Target(("mask_file_name", "mask_file_name.disc"))})


@pytest.mark.parametrize("mode", ["1", "P", "I;16"])
def test_masks_of_any_index_type_give_the_same_target(mode: str, folder: Path) -> None:
    expected = item(dataset(folder, augment=Augment()), 1)["target.disc"]
    path = folder / "masks" / "01.png"
    array = np.asarray(Image.open(path))
    if mode == "1":
        Image.fromarray(array * 255).convert("1").save(path)
    elif mode == "P":
        image = Image.fromarray(array)
        image.putpalette([0, 0, 0, 255, 0, 0])
        image.save(path)
    else:
        Image.fromarray(array.astype(np.uint16)).save(path)
    assert torch.equal(item(dataset(folder, augment=Augment()), 1)["target.disc"], expected)


# ---- faults --------------------------------------------------------------------------------------------------------
def refused(data: JointDataset, index: int) -> str:
    error = data[index]
    assert isinstance(error, InputError)
    assert "\n" not in str(error)
    batch = collate([data[0 if index else 1], error])
    assert batch is error, "the error itself crosses the loader"
    return str(error)


def test_a_label_that_is_no_class(folder: Path) -> None:
    rewrite(folder, put(3, "label", "lrage"))
    with pytest.raises(
        InputError,
        match=r"row 5 \(images/03\.png\): label 'lrage' is no class of 'size' \(small, large\); add it .*data\.targets\.size\.map",
    ):
        dataset(folder)


def test_columns_that_hold_no_labels(tiny_data: Path) -> None:
    task = Classification(["left", "large"], multi_label=True)
    with pytest.raises(InputError, match="holds 0, 1 or nothing"):
        dataset(tiny_data, {"f": task}, targets={"f": Target(("finding_left", "label"))})
    with pytest.raises(InputError, match="need multi_label and one class each"):
        dataset(tiny_data, {"f": SIZE}, targets={"f": Target(("finding_left", "finding_large"))})
    with pytest.raises(InputError, match="no column 'findin_left'; did you mean 'finding_left'"):
        dataset(tiny_data, {"f": SIZE}, targets={"f": Target("findin_left")})
    with pytest.raises(InputError, match=r"no column 'mask_file_name\.ring'"):
        dataset(tiny_data, {"d": Segmentation(["ring"], multi_label=True)})


def test_a_mask_of_another_size_is_found_before_training(folder: Path) -> None:
    Image.new("L", (10, 12)).save(folder / "masks" / "06.png")
    with pytest.raises(InputError, match=r"row 8 \(images/06\.png\): mask_file_name 'masks/06\.png' is 10x12 pixels, the image 48x40"):
        dataset(folder)


def test_missing_files_are_found_before_training(folder: Path) -> None:
    (folder / "images" / "14.png").unlink()
    with pytest.raises(InputError, match=r"row 16 .*images/14\.png.*no such file"):
        dataset(folder)
    (folder / "masks" / "03.png").unlink()
    with pytest.raises(InputError, match=r"row 5 .*mask_file_name 'masks/03\.png': no such file"):
        dataset(folder, {"disc": DISC})


def test_a_missing_image_of_a_labelled_row_is_found_before_training(folder: Path) -> None:
    (folder / "images" / "03.png").unlink()
    with pytest.raises(InputError, match=r"row 5 .*images/03\.png.*no such file"):
        dataset(folder, {"size": SIZE})


def test_damaged_files_are_items_that_name_their_row(folder: Path) -> None:
    for name in ("images/03.png", "masks/04.png"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) * 2 // 3])
    data = dataset(folder)
    assert "row 5 (images/03.png)" in refused(data, 3)
    assert "damaged" in refused(data, 3)
    (folder / "masks" / "06.png").write_text("not a picture")
    for row, name in ((4, "04.png"), (6, "06.png")):
        message = refused(data, row)
        assert f"row {row + 2} (images/{name}): mask_file_name" in message
        assert "damaged or unreadable mask" in message


def test_mask_values_beyond_the_classes_and_colour_masks(folder: Path) -> None:
    array = np.zeros((40, 48), dtype=np.uint8)
    array[3, 4] = 7
    Image.fromarray(array).save(folder / "masks" / "01.png")
    Image.new("RGB", (48, 40)).save(folder / "masks" / "03.png")
    data = dataset(folder)
    message = refused(data, 1)
    assert "row 3 (images/01.png)" in message
    assert "'01.png'" in message
    assert "7" in message
    assert "colour mode RGB" in refused(data, 3)


def test_nan_pixels_and_tiny_images(folder: Path) -> None:
    array = np.full((40, 48), 0.5, dtype=np.float32)
    array[2, 3] = np.nan
    np.save(folder / "images" / "05.npy", array)
    Image.new("L", (1, 1)).save(folder / "images" / "08.png")
    rewrite(folder, put(5, "file_name", "images/05.npy"))
    data = dataset(rewrite(folder, without("mask_file_name")), {"size": SIZE, "denoising": Denoising()})
    assert "row 7 (images/05.npy)" in refused(data, 5)
    assert "NaN" in refused(data, 5)
    assert "row 10 (images/08.png)" in refused(data, 8)
    assert "1x1" in refused(data, 8)


def test_errors_cross_worker_processes(folder: Path) -> None:
    data = (folder / "images" / "03.png").read_bytes()
    (folder / "images" / "03.png").write_bytes(data[:100])
    loader = DataLoader(dataset(folder), batch_size=4, num_workers=1, collate_fn=collate)
    batches = list(loader)
    assert isinstance(batches[0], InputError)
    assert "row 5 (images/03.png)" in str(batches[0])
    assert isinstance(batches[1], dict)


def test_image_size_reads_headers_only(folder: Path) -> None:
    assert image_size(folder / "images" / "00.png") == (48, 40)
    assert image_size(folder / "metadata.csv") is None
    assert image_size(folder / "x.npy") is None


# ---- the contract --------------------------------------------------------------------------------------------------
def test_spacing_of_the_fitted_image(folder: Path) -> None:
    def spaced(records: list[dict[str, str]]) -> None:
        for number, record in enumerate(records):
            record["pixel_spacing"] = ["", "0.5", "0.5\\0.25"][number % 3]

    data = dataset(rewrite(folder, spaced))
    batch = collate([data[i] for i in range(3)])
    assert isinstance(batch, dict)
    wanted = [[np.nan] * 2, [0.5 * 40 / 32, 0.5 * 48 / 32], [0.5 * 40 / 32, 0.25 * 48 / 32]]
    np.testing.assert_allclose(batch["spacing"].numpy(), wanted)


def test_a_row_of_a_file_of_several_frames(folder: Path) -> None:
    pages = [Image.open(folder / "images" / f"{i:02d}.png") for i in range(3)]
    pages[0].save(folder / "images" / "stack.tif", save_all=True, append_images=pages[1:])

    def stacked(records: list[dict[str, str]]) -> None:
        for number, record in enumerate(records):
            record["frame"] = str(number) if number < 3 else ""
            record["file_name"] = "images/stack.tif" if number < 3 else record["file_name"]

    before = [item(dataset(folder), i)["image"] for i in range(4)]
    data = dataset(rewrite(folder, stacked))
    assert all(torch.equal(item(data, i)["image"], before[i]) for i in range(4))
    data = dataset(rewrite(folder, put(1, "frame", "")))
    assert "row 3 (images/stack.tif): " in refused(data, 1)
    assert "3 frames; choose one with frame=0 ... 2" in refused(data, 1)


def test_a_broken_rule_names_row_file_and_rule(folder: Path) -> None:
    Image.fromarray(np.full((40, 48), 5000, np.uint16)).save(folder / "images" / "06.png")
    data = dataset(folder)
    text = refused(data, 6)
    assert "metadata.csv row 8 (images/06.png): " in text
    assert "contract rule 'unit': " in text
    error = data[6]
    assert isinstance(error, ContractError)
    assert error.rule == "unit"
    data.lenient = True
    batch = collate([data[5], data[6], data[6]])
    assert isinstance(batch, dict)
    assert batch["bent"] == [
        "contract rule 'unit' bent: undeclared depth, scaled by the smallest n-bit range that holds the image's maximum"
    ]
    assert float(batch["image"][1].max()) == pytest.approx(5000 / 8191 * 2 - 1)
    whole = collate([data[5]])
    assert isinstance(whole, dict)
    assert "bent" not in whole


def test_every_image_that_trains_is_checked_against_the_contract(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset(tiny_data, augment=Augment())
    monkeypatch.setattr(Augment, "__call__", lambda self, image, masks, generator, **_: (image * 300, masks))
    error = data[2]
    assert isinstance(error, ContractError)
    assert "metadata.csv row 4 (images/02.png): contract rule 'range': values from" in str(error)


def test_a_mask_of_another_size_than_an_image_whose_header_does_not_tell(folder: Path) -> None:
    np.save(folder / "images" / "06.npy", np.zeros((40, 47), np.uint8))
    data = dataset(rewrite(folder, put(6, "file_name", "images/06.npy")))
    assert "mask_file_name '06.png' is 48x40 pixels, the image 47x40" in refused(data, 6)


def test_masks_are_turned_with_their_images(tmp_path: Path) -> None:
    picture = np.zeros((24, 16), dtype=np.uint8)
    picture[2:6, 1:4] = 1
    upright = Image.fromarray(picture * 200)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        upright.save(tmp_path / "image.png", exif=exif)
        Image.fromarray(picture).save(tmp_path / "mask.png", exif=exif)
        image = InputContract().load_unit(tmp_path / "image.png")[0].numpy()
        mask = read_mask(tmp_path / "mask.png", "row 2")
        np.testing.assert_array_equal(mask, image > 0.5, err_msg=f"orientation {orientation}")
        assert image_size(tmp_path / "image.png") == image_size(tmp_path / "mask.png") == (image.shape[1], image.shape[0])


def test_a_mask_of_several_pages_follows_the_frame(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((16, 16), k, dtype=np.uint8)) for k in range(3)]
    pages[0].save(tmp_path / "m.tif", save_all=True, append_images=pages[1:])
    assert read_mask(tmp_path / "m.tif", "row 2", 2).max() == 2
    with pytest.raises(InputError, match="3 frames; choose one"):
        read_mask(tmp_path / "m.tif", "row 2")


def test_padding_is_ignored_by_whatever_number_says_so(tmp_path: Path) -> None:
    manifest = load_manifest(write_tiny_data(tmp_path))
    rows = [r for r in manifest.rows("train") if manifest.columns["mask_file_name"][r]][:1]
    path = manifest.file("mask_file_name", rows[0])
    mask = np.asarray(Image.open(path)).copy()
    mask[mask == 255] = 0
    Image.fromarray(mask).save(path)
    contract = InputContract(size=(32, 48), resize="pad")
    found = []
    for number in (255, 254):
        task = Segmentation(["background", "disc"], ignore_index=number)
        item = JointDataset([Source(manifest, rows, ["disc"], {})], {"disc": task}, contract, seed=0)[0]
        assert isinstance(item, dict)
        found.append(item["target.disc"])
    assert set(found[1].unique().tolist()) == {0, 1, 254}
    assert torch.equal(found[0] == 255, found[1] == 254)
