"""From configuration to model, data sets and tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.tasks.runs import ARCH, TASKS, Records, changed, put, rewrite, run_config, run_values, stored, tiny_model, without
from tests.tiny import WITHOUT_LABEL, WITHOUT_MASK, write_tiny_data
from umsrep.errors import InputError
from umsrep.heads import ClassificationHead, DenoisingHead, SegmentationHead
from umsrep.tasks.classification import Classification
from umsrep.tasks.config import TaskConfig
from umsrep.tasks.config_file import config_from_dict
from umsrep.tasks.data.dataset import JointDataset
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.setup import build_model, build_sets, build_tasks, data_notes, make_head, make_task, training_sizes
from umsrep.tasks.trainer import Report
from umsrep.zoo import Encoder, InputContract

CONTRACT = InputContract(size=32)


def train_set(data: Any, **changes: Any) -> JointDataset:
    return build_sets(run_config(data, Path("unused"), **changes), CONTRACT)[0]


# ---- the model -----------------------------------------------------------------------------------------------------
def test_a_new_model_has_the_heads_and_the_contract(tiny_data: Path) -> None:
    encoder = {"arch": ARCH, "in_channels": 3, "mean": [0.1, 0.2, 0.3], "std": 0.25, "resize": "pad", "modality": "cxr", "unit": "8-bit"}
    model = tiny_model(tiny_data, encoder=encoder, image_size=[32, 64])
    assert list(model.heads) == list(TASKS)
    contract = InputContract(channels=3, size=(32, 64), mean=(0.1, 0.2, 0.3), std=0.25, resize="pad", unit="8-bit")
    assert model.encoder.contract == contract
    assert model.encoder.modality == "cxr"


def test_the_seed_decides_the_weights(tiny_data: Path) -> None:
    first, again, other = (tiny_model(tiny_data, seed=s).state_dict() for s in (1, 1, 2))
    assert not changed(first, again)
    assert changed(first, other)


def test_a_finished_model_keeps_its_heads_and_gets_new_ones(tiny_data: Path, trained: Report) -> None:
    tasks = {"left": {"kind": "classification", "classes": ["no", "yes"], "target": "finding_left"}}
    config = run_config(tiny_data, Path("unused"), encoder={"name": str(trained.model)}, tasks=tasks, image_size=None)
    model = build_model(config)
    assert list(model.heads) == [*TASKS, "left"]
    assert model.encoder.contract.size == (32, 32)
    before = stored(trained.model)
    assert not changed(before, {k.replace("encoder.model.", "encoder."): v for k, v in model.state_dict().items() if "heads.left" not in k})


def test_an_encoder_alone_is_a_start_too(tiny_data: Path, tmp_path: Path) -> None:
    encoder = tiny_model(tiny_data).encoder
    encoder.save_pretrained(tmp_path / "encoder")
    model = build_model(run_config(tiny_data, Path("unused"), encoder={"name": str(tmp_path / "encoder")}, image_size=64))
    assert list(model.heads) == list(TASKS)
    assert model.encoder.contract.size == (64, 64), "image_size is written into the contract"
    assert not changed(encoder.state_dict(), model.encoder.state_dict())


def test_a_stored_encoder_blended_with_the_weights_it_came_from(
    tiny_data: Path, trained: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(5)
    start = Encoder.create(ARCH, contract=CONTRACT).model.state_dict()
    save_file(start, tmp_path / "start.safetensors")
    encoder = {"name": str(trained.model), "blend": {"weights": str(tmp_path / "start.safetensors"), "share": 0.25}}
    model, own = (build_model(run_config(tiny_data, Path("unused"), encoder=e)) for e in (encoder, {"name": str(trained.model)}))
    for name, value in model.encoder.model.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.25 * own.encoder.model.state_dict()[name] + 0.75 * start[name], msg=name)
    assert not changed(model.heads.state_dict(), own.heads.state_dict()), "heads among the tasks stay"
    capsys.readouterr()
    tasks = {"new": TASKS["size"]}
    alone = build_model(run_config(tiny_data, Path("unused"), encoder=encoder, tasks=tasks))
    assert list(alone.heads) == ["new"], "the others do not fit the averaged encoder"
    assert not alone.decoders
    assert f"heads {', '.join(TASKS)} of" in capsys.readouterr().err.replace("\n", " ")


def test_a_stored_contract_may_be_told_the_unit_that_it_leaves_open(tiny_data: Path, trained: Report) -> None:
    def contract(**encoder: str) -> InputContract:
        return build_model(run_config(tiny_data, Path("unused"), encoder={"name": str(trained.model), **encoder})).encoder.contract

    assert (contract().unit, contract(unit="12-bit").unit) == ("auto", "12-bit")
    with pytest.raises(InputError, match="unknown unit '12bit'"):
        contract(unit="12bit")
    with pytest.raises(InputError, match="this encoder's contract says '8-bit'"):
        InputContract(unit="8-bit").with_unit("12-bit")


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "segmentation", "classes": ["small", "large"]},
        {"classes": ["large", "small"]},
        {"classes": ["small", "medium", "large"]},
        {"multi_label": True},
    ],
)
def test_a_head_that_differs_from_the_stored_one_is_refused(change: dict[str, Any], tiny_data: Path, trained: Report) -> None:
    tasks = {"size": TASKS["size"] | change}
    config = run_config(tiny_data, Path("unused"), encoder={"name": str(trained.model)}, tasks=tasks)
    with pytest.raises(InputError, match="already has a head 'size' that differs"):
        build_model(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": {"arch": "resnet1"}}, "unknown arch 'resnet1'; did you mean 'resnet18'"),
        ({"encoder": {"name": "absent/folder/x"}}, "absent/folder/x"),
        ({"image_size": None}, "set image_size"),
        ({"image_size": 4}, "size must be two whole numbers"),
        ({"tasks": {"disc": TASKS["disc"] | {"decoder": "unett"}}}, "unknown decoder 'unett'; did you mean 'unet'"),
        ({"encoder": {"arch": "test_vit"}}, "decoders that fit: dpt"),
        ({"encoder": {"arch": ARCH, "weights": "absent.safetensors"}}, "absent.safetensors"),
        ({"encoder": {"arch": ARCH, "unit": "8bit"}}, "unknown unit '8bit'; did you mean '8-bit'"),
        ({"tasks": {"class ify": TASKS["size"]}}, "'class ify' cannot name a head"),
    ],
)
def test_models_that_cannot_be_built(changes: dict[str, Any], message: str, tiny_data: Path) -> None:
    with pytest.raises(InputError) as caught:
        build_model(run_config(tiny_data, Path("unused"), **changes))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# ---- the data ------------------------------------------------------------------------------------------------------
def test_sizes_of_training_batches_are_whole_multiples_of_32(tiny_data: Path) -> None:
    def sizes(size: int | tuple[int, int], factors: list[float]) -> list[tuple[int, int]]:
        return training_sizes(run_config(tiny_data, Path("unused"), size_factors=factors), InputContract(size=size))

    assert sizes(192, [1 / 3, 0.5, 1]) == [(64, 64), (96, 96), (192, 192)]
    assert sizes((128, 64), [0.5, 0.8]) == [(64, 32), (96, 64)]
    assert sizes(128, []) == []
    assert sizes(100, [0.5, 1]) == [(64, 64), (100, 100)], "the contract's own size is always possible"
    assert sizes(60, [0.95]) == [(32, 32)], "never larger than the contract's"
    with pytest.raises(InputError, match=r"0\.01 of 64 x 64 pixels leaves less than 32"):
        sizes(64, [0.01, 1])
    with pytest.raises(InputError, match=r"0\.9 and 0\.95 both give 96 x 96"):
        sizes(112, [0.9, 0.95])
    with pytest.raises(InputError, match=r"0\.5 and 0\.5 both give 64 x 64"):
        sizes(128, [0.5, 0.5])


def test_sets_of_the_splits(tiny_data: Path) -> None:
    train, validation, test = build_sets(run_config(tiny_data, Path("unused")), CONTRACT)
    assert test is not None
    assert [len(s) for s in (train, validation, test)] == [16, 4, 4]
    assert train.augment is not None
    assert validation.augment is None
    assert test.augment is None


def test_data_sets_with_different_annotations_join(tmp_path: Path) -> None:
    first = rewrite(write_tiny_data(tmp_path / "masks"), without("label", "mask_file_name.disc", "finding_left", "finding_large"))
    second = rewrite(write_tiny_data(tmp_path / "labels"), without("mask_file_name", "mask_file_name.disc"))
    joined = train_set([{"path": str(first)}, {"path": str(second)}])
    assert len(joined) == 32
    assert joined.annotated["denoising"].all()
    assert np.flatnonzero(joined.annotated["disc"]).max() < 16
    assert np.flatnonzero(joined.annotated["size"]).min() >= 16
    assert joined.annotated["disc"].sum() == 16 - len(WITHOUT_MASK)
    assert joined.annotated["size"].sum() == 16 - len(WITHOUT_LABEL)
    item = joined[20]
    assert isinstance(item, dict)
    assert set(item) == {"index", "image", "spacing", "bent", "noisy.denoising", "target.denoising", "target.size"}


def test_the_listed_tasks_of_a_data_set_are_those_it_serves(tiny_data: Path, tmp_path: Path) -> None:
    other = write_tiny_data(tmp_path / "other")
    joined = train_set([{"path": str(tiny_data)}, {"path": str(other), "tasks": ["denoising"]}])
    assert not joined.annotated["size"][16:].any()
    assert joined.annotated["denoising"][16:].all()


def test_a_fraction_takes_training_rows_only(tiny_data: Path) -> None:
    sets = [build_sets(run_config([{"path": str(tiny_data), "fraction": f}], Path("unused")), CONTRACT) for f in (1.0, 0.5)]
    assert [len(s[0]) for s in sets] == [16, 8]
    assert len(sets[0][1]) == len(sets[1][1]) == 4


def test_two_sets_with_targets_of_their_own(tiny_data: Path, tmp_path: Path) -> None:
    def rename(records: Records) -> Records:
        return [{**r, "finding": {"small": "S", "large": "L", "": ""}[r["label"]], "label": "x"} for r in records]

    other = rewrite(write_tiny_data(tmp_path / "other"), rename)
    targets = {"size": {"column": "finding", "map": {"S": "small", "L": "large"}}}
    joined = train_set([{"path": str(tiny_data)}, {"path": str(other), "targets": targets}])
    assert joined.labels["size"][:16] == joined.labels["size"][16:]


def test_a_split_column_of_another_name(tmp_path: Path) -> None:
    folder = rewrite(
        write_tiny_data(tmp_path / "data"), lambda rs: [{**r, "official": "train" if i < 12 else "validation"} for i, r in enumerate(rs)]
    )
    train, validation, test = build_sets(run_config([{"path": str(folder), "split_column": "official"}], Path("unused")), CONTRACT)
    assert (len(train), len(validation), test) == (12, 12, None)


def everything(column: str, value: str, split: str) -> Any:
    def change(records: Records) -> None:
        for record in records:
            if record["split"] == split:
                record[column] = value

    return change


def test_what_training_cannot_start_with(tmp_path: Path) -> None:
    faults = {
        "a": (put(3, "split", "test"), "patient_id '001' is in split 'test'"),
        "b": (everything("split", "train", "validation"), "no row with split = validation"),
        "c": (everything("split", "test", "train"), "no row with split = train"),
        "d": (everything("label", "", "train"), "no train row is annotated for 'size'"),
        "e": (everything("mask_file_name", "", "validation"), "no validation row is annotated for 'disc'"),
        "f": (without("label"), "no train row is annotated for 'size'"),
        "g": (put(3, "split", "tran"), "split 'tran' is none of train, validation, test; did you mean 'train'"),
    }
    for name, (change, message) in faults.items():
        folder = rewrite(write_tiny_data(tmp_path / name), change)
        with pytest.raises(InputError) as caught:
            train_set(folder)
        assert message in str(caught.value)
        assert str(folder) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_tasks_without_test_rows_are_not_tested(tmp_path: Path) -> None:
    folder = rewrite(write_tiny_data(tmp_path / "data"), everything("label", "", "test"))
    test = build_sets(run_config(folder, Path("unused")), CONTRACT)[2]
    assert test is not None
    assert list(test.tasks) == ["denoising", "disc"]


# ---- the tasks -----------------------------------------------------------------------------------------------------
def test_balanced_weights_are_those_of_the_training_rows(tmp_path: Path) -> None:
    def mostly_small(records: Records) -> None:
        for number, record in enumerate(records):
            if record["split"] == "train":
                record["label"] = "large" if number < 4 else "small"

    folder = rewrite(write_tiny_data(tmp_path / "data"), mostly_small)
    config = run_config(folder, Path("unused"), tasks={"size": TASKS["size"] | {"class_weights": "balanced"}})
    task = build_tasks(config, build_sets(config, CONTRACT)[0])["size"]
    assert isinstance(task, Classification)
    assert task.class_weights is not None
    small, large = task.class_weights
    assert large / small == pytest.approx(12 / 4)
    assert (12 * small + 4 * large) / 16 == pytest.approx(1), "mean 1 over the training rows"


def test_balanced_weights_need_exclusive_classes(tiny_data: Path) -> None:
    values = run_values(tiny_data, Path("unused"))
    values["tasks"] = {"f": {"kind": "classification", "classes": ["small", "large"], "multi_label": True, "class_weights": "balanced"}}
    config = config_from_dict(values)
    with pytest.raises(InputError, match="balanced is for classes that exclude each other"):
        build_tasks(config, build_sets(config, CONTRACT)[0])


def test_torch_state_is_not_touched_by_reading_data(tiny_data: Path) -> None:
    before = torch.get_rng_state()
    train_set(tiny_data)
    assert torch.equal(before, torch.get_rng_state())


def test_licences_choose_the_rows_of_a_run_and_say_what_is_left_out(tmp_path: Path) -> None:
    def licensed(records: Records) -> None:
        for row, record in enumerate(records):
            record["license"] = "CC BY-NC 4.0" if row % 3 == 0 else "CC BY 4.0"

    folder = rewrite(write_tiny_data(tmp_path / "data"), licensed)
    config = run_config([{"path": str(folder), "licenses": ["cc-by-4.0"]}], tmp_path / "run")
    sets = build_sets(config, CONTRACT)
    kept = [[row for _, row in some.items] for some in sets if some is not None]
    assert kept == [[row for row in rows if row % 3] for rows in (range(16), range(16, 20), range(20, 24))]
    assert data_notes(sets) == [f"{folder / 'metadata.csv'}: 8 of 24 rows left out for their license: CC BY-NC 4.0 (8)"]
    other = run_config([{"path": str(folder), "licenses": ["cc-by-4.0"], "license_column": "site"}], tmp_path / "run")
    with pytest.raises(InputError, match=r"no row with site 'cc-by-4\.0'; there are A \(12\), B \(12\)"):
        build_sets(other, CONTRACT)
    with pytest.raises(InputError, match="licenses is empty"):
        run_config([{"path": str(folder), "licenses": []}], tmp_path / "run")


def test_the_contract_of_a_new_encoder_and_lenient_come_from_the_configuration(tiny_data: Path) -> None:
    rules = {
        "percentiles": [1, 99],
        "voi": False,
        "photometric": "as-stored",
        "colour": "exact",
        "antialias": False,
        "expected_range": [0, 255],
    }
    config = run_config(tiny_data, Path("unused"), encoder={"arch": ARCH, **rules}, lenient=True)
    contract = build_model(config).encoder.contract
    assert {key: contract.to_dict()[key] for key in rules} == rules
    assert all(made is not None and made.lenient for made in build_sets(config, contract))
    assert not train_set(tiny_data).lenient


def test_objects_get_what_the_configuration_says() -> None:
    denoising = make_task("d", TaskConfig("denoising", noise="poisson", level=[5.0, 20.0]))
    assert isinstance(denoising, Denoising)
    assert (denoising.noise, denoising.level) == ("poisson", (5.0, 20.0))
    lungs = TaskConfig("segmentation", classes=["background", "lung"], decoder="fpn", share=False, loss="ce", class_weights=[1.0, 3.0])
    task, head = make_task("l", lungs), make_head(lungs)
    assert isinstance(task, Segmentation)
    assert isinstance(head, SegmentationHead)
    assert (task.classes, task.class_weights) == (("background", "lung"), (1.0, 3.0))
    assert (head.decoder_name, head.share, head.classes) == ("fpn", False, ("background", "lung"))
    findings = TaskConfig("classification", classes=["a", "b", "c"], multi_label=True, dropout=0.4, specificity=0.8)
    task2, head2 = make_task("f", findings), make_head(findings)
    assert isinstance(task2, Classification)
    assert isinstance(head2, ClassificationHead)
    assert (task2.multi_label, task2.specificity) == (True, 0.8)
    assert (head2.multi_label, head2.dropout) == (True, 0.4)
    narrow = make_head(TaskConfig("denoising", width=16, depth=3))
    assert isinstance(narrow, DenoisingHead)
    assert (narrow.width, narrow.depth) == (16, 3)


def test_balanced_weights_are_put_in_and_only_for_classification() -> None:
    task = make_task("y", TaskConfig("classification", classes=["a", "b"], class_weights="balanced"), [0.5, 1.5])
    assert isinstance(task, Classification)
    assert task.class_weights == (0.5, 1.5)
    with pytest.raises(InputError, match=r"tasks\.m\.class_weights: balanced is for classification"):
        make_task("m", TaskConfig("segmentation", classes=["a", "b"], class_weights="balanced"))
