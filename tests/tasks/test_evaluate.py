"""Evaluation: metrics of a split from one pass, independent of batches, workers and processes."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tasks.runs import Records, put, rewrite, without
from tests.tiny import write_tiny_data
from umsrep.errors import InputError
from umsrep.tasks.classification import Classification
from umsrep.tasks.data.dataset import JointDataset, Target
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.evaluate import annotates, collect, evaluate, evaluation_set, move, selection_score, summarise, tasks_of
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.trainer import Report
from umsrep.zoo.input_contract import ContractError, ContractWarning


@pytest.fixture(scope="module")
def model(trained: Report) -> MultiTaskModel:
    return MultiTaskModel.from_pretrained(trained.model)


def close(one: Any, other: Any) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert one[name] == pytest.approx(other[name], abs=1e-5, nan_ok=True)


def test_distances_are_negated_for_selection() -> None:
    tasks: dict[str, Any] = {"lungs": Segmentation(["background", "lung"])}
    near, far = ({"lungs": {"n": 3.0, "dice": 0.9, "hd95": d, "hd95/lung": d}} for d in (2.0, 90.0))
    for metric in ("lungs/hd95", "lungs/hd95/lung"):
        assert selection_score(near, tasks, metric) > selection_score(far, tasks, metric)
    with pytest.raises(InputError, match="'lungs/n' is not measured"):
        selection_score(near, tasks, "lungs/n")


def test_metrics_do_not_depend_on_batches_and_workers(model: MultiTaskModel, tiny_data: Path) -> None:
    first = evaluate(model, tiny_data, split="train", title=None)
    assert [first[n]["n"] for n in ("denoising", "disc", "size")] == [16, 13, 13]
    close(evaluate(model, tiny_data, split="train", batch_size=3, title=None), first)
    close(evaluate(model, tiny_data, split="train", batch_size=5, workers=2, title=None), first)


def test_evaluation_is_that_of_predict(model: MultiTaskModel, tiny_data: Path) -> None:
    """Dice of the masks that `predict` gives at 32 px is what `evaluate` reports."""
    dataset = evaluation_set(model, tiny_data, tasks=["disc", "size"])
    rows = collect(model, dataset)
    assert rows["disc"]["index"].tolist() == [0, 1, 2, 3]
    for index in range(4):
        item = dataset[index]
        assert isinstance(item, dict)
        with torch.inference_mode():
            out = model(item["image"][None], ["disc", "size"])
        mask = out["disc"][0].argmax(0) == 1
        truth, seen = item["target.disc"] == 1, item["target.disc"] != 255
        total = int((mask & seen).sum() + truth.sum())
        dice = 2 * int((mask & truth).sum()) / total if total else math.nan
        assert float(rows["disc"]["dice"][index, 0]) == pytest.approx(dice, abs=1e-5, nan_ok=True)
        np.testing.assert_allclose(rows["size"]["probabilities"][index], out["size"][0].softmax(0).numpy(), atol=1e-5)


def test_the_mode_of_the_model_is_left_as_it_was(trained: Report, tiny_data: Path) -> None:
    model = MultiTaskModel.from_pretrained(trained.model).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    evaluate(model, tiny_data, title=None)
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_ranks_take_turns_and_cover_all_rows(model: MultiTaskModel, tiny_data: Path) -> None:
    dataset = evaluation_set(model, tiny_data, split="train")
    whole = collect(model, dataset)["size"]["index"].tolist()
    assert whole == sorted(whole)
    assert set(whole) == set(np.flatnonzero(dataset.annotated["size"]))


def test_targets_and_columns_by_configuration(model: MultiTaskModel, tiny_data: Path, tmp_path: Path) -> None:
    plain = evaluate(model, tiny_data, split="train", tasks=["size"], title=None)
    target = {"size": Target("finding_large", {"0": "small", "1": "large"})}
    close(evaluate(model, tiny_data, split="train", tasks=["size"], targets=target, title=None), plain)

    def turn(records: Records) -> Records:
        return [{**r, "other": {"train": "test", "test": "train"}.get(r["split"], r["split"])} for r in records]

    folder = rewrite(write_tiny_data(tmp_path / "data"), turn)
    close(evaluate(model, folder, split="test", split_column="other", tasks=["size"], title=None), plain)


def test_only_annotated_heads_are_evaluated(model: MultiTaskModel, tmp_path: Path) -> None:
    folder = rewrite(write_tiny_data(tmp_path / "data"), without("label", "mask_file_name.disc"))
    assert list(evaluate(model, folder, title=None)) == ["denoising", "disc"]
    with pytest.raises(InputError, match="no column 'label'"):
        evaluate(model, folder, tasks=["size"], title=None)


def test_noise_is_that_of_level_and_seed(model: MultiTaskModel, tiny_data: Path) -> None:
    strong, weak, again = (evaluate(model, tiny_data, tasks=["denoising"], level=v, title=None)["denoising"] for v in (50.0, 10.0, 50.0))
    assert strong == again
    assert strong["psnr_noisy"] == pytest.approx(20 * math.log10(255 / 50), abs=0.3)
    assert weak["psnr_noisy"] == pytest.approx(20 * math.log10(255 / 10), abs=0.3)
    assert evaluate(model, tiny_data, tasks=["denoising"], level=50, seed=1, title=None)["denoising"] != strong
    with pytest.raises(InputError, match="did you mean 'gaussian'"):
        evaluate(model, tiny_data, noise="gausian", title=None)


def test_the_stored_threshold_decides(trained: Report, tiny_data: Path) -> None:
    model = MultiTaskModel.from_pretrained(trained.model)
    head: Any = model.heads["size"]
    head.set_thresholds([0.0])
    always = evaluate(model, tiny_data, tasks=["size"], title=None)["size"]
    head.set_thresholds([1.0])
    never = evaluate(model, tiny_data, tasks=["size"], title=None)["size"]
    assert always["accuracy"] == never["accuracy"] == 0.5
    assert always["f1"] > never["f1"] == 0
    assert always["auroc"] == never["auroc"]


def test_faults(model: MultiTaskModel, tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    with pytest.raises(InputError, match="no head 'sise'; did you mean 'size'"):
        evaluate(model, folder, tasks=["sise"], title=None)
    with pytest.raises(InputError, match="no head 'sise'"):
        evaluate(model, folder, targets={"sise": Target()}, title=None)
    with pytest.raises(InputError, match="unknown split 'tests'; did you mean 'test'"):
        evaluate(model, folder, split="tests", title=None)

    def clear(records: Records) -> None:
        for record in records:
            record["label"] = ""

    rewrite(folder, clear)
    with pytest.raises(InputError, match="no row with split = test is annotated for 'size'"):
        evaluate(model, folder, tasks=["size"], title=None)
    rewrite(folder, put(20, "label", "huge"))
    with pytest.raises(InputError, match=r"row 22 .*label 'huge' is no class of 'size'"):
        evaluate(model, folder, tasks=["size"], title=None)
    (folder / "images" / "21.png").write_bytes((folder / "images" / "21.png").read_bytes()[:-100])
    rewrite(folder, put(20, "label", ""))
    with pytest.raises(InputError, match=r"row 23 \(images/21\.png\)"):
        evaluate(model, folder, title=None)


def test_tasks_of_a_model(model: MultiTaskModel) -> None:
    tasks = tasks_of(model, noise="speckle", level=12)
    assert [type(t) for t in tasks.values()] == [Denoising, Segmentation, Classification]
    denoising = tasks["denoising"]
    assert isinstance(denoising, Denoising)
    assert (denoising.noise, denoising.level) == ("speckle", 12)


def _table(**columns: list[str]) -> Manifest:
    rows = max((len(c) for c in columns.values()), default=0)
    return Manifest(Path("."), Path("metadata.csv"), columns, list(range(rows)))


def test_what_a_table_annotates() -> None:
    named = _table(label=["a", "b", "odd", ""])
    assert annotates("d", Denoising(), _table(), {})
    assert annotates("c", Classification(["a", "b"]), named, {}), "some labels are classes: the odd one is an error later, not left out"
    assert not annotates("c", Classification(["x", "y"]), named, {}), "no label is a class: this column says something else"
    assert annotates("c", Classification(["x", "y"]), named, {"c": Target(map={"odd": "x"})})
    assert not annotates("c", Classification(["a", "b"]), _table(), {})
    assert annotates("c", Classification(["a", "b"]), _table(), {"c": Target("asked")}), "a column asked for must be there: an error later"
    assert annotates("c", Classification(["a", "b"], multi_label=True), _table(label=["q|a"]), {})
    masks = _table(**{"mask_file_name.a": []})
    assert annotates("s", Segmentation(["a"], multi_label=True), masks, {})
    assert not annotates("s", Segmentation(["a", "b"], multi_label=True), masks, {})
    assert not annotates("s", Segmentation(["a", "b"]), masks, {})


def test_the_score_of_a_run() -> None:
    tasks = {"d": Denoising(), "s": Segmentation(["a", "b"]), "c": Classification(["a", "b"])}
    metrics = {"d": {"psnr_gain": 10.0}, "s": {"dice": 0.8}, "c": {"auroc": 0.9, "f1": 0.3}}
    assert selection_score(metrics, tasks) == pytest.approx((0.5 + 0.8 + 0.9) / 3)
    assert selection_score(metrics, tasks, "c/f1") == 0.3
    assert selection_score(metrics | {"s": {"dice": math.nan}}, tasks) == pytest.approx((0.5 + 0.9) / 2)
    assert math.isnan(selection_score({"s": {"dice": math.nan}}, tasks))
    for wrong in ("c/fone", "x/f1", "auroc"):
        with pytest.raises(InputError, match="is not measured; there is mean, d/psnr_gain"):
            selection_score(metrics, tasks, wrong)


def test_summarise_counts_rows() -> None:
    tasks = {"c": Classification(["a", "b"])}
    rows = {
        "c": {"probabilities": np.array([[0.8, 0.2], [0.3, 0.7]], dtype=np.float32), "target": np.array([0, 1]), "index": np.array([0, 1])}
    }
    assert summarise(rows, tasks)["c"]["n"] == 2
    assert summarise(rows, tasks)["c"]["auroc"] == 1
    assert summarise(rows, tasks, {"c": [0.9]})["c"]["accuracy"] == 0.5


def test_move_keeps_values(model: MultiTaskModel, tiny_data: Path) -> None:
    from umsrep.tasks.data.dataset import collate

    dataset: JointDataset = evaluation_set(model, tiny_data)
    batch = collate([dataset[0], dataset[1]])
    assert isinstance(batch, dict)
    moved = move(batch, torch.device("cpu"))
    assert all(torch.equal(moved[k].nan_to_num(-1), batch[k].nan_to_num(-1)) for k in batch)


class _Bright(torch.nn.Module):
    """A segmenter that calls every pixel above grey level 128 the disc: its surfaces are known by hand."""

    def forward(self, image: torch.Tensor, *_: Any) -> torch.Tensor:
        return torch.cat([-image, image], dim=1)


def test_distances_in_mm_under_an_unequal_resize(trained: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two squares, 10 columns (or rows) apart, in a 40 x 48 image with pixels of 0.5 x 0.25 mm that is fitted to 80 x 24."""
    model = MultiTaskModel.from_pretrained(trained.model)
    model.encoder.contract = model.encoder.contract.replace(size=(80, 24), antialias=False)
    monkeypatch.setattr(MultiTaskModel, "run_heads", lambda self, image, *_: {"disc": _Bright()(image)})

    def evaluated(shift: tuple[int, int], spacing: str, name: str) -> dict[str, float]:
        folder = write_tiny_data(tmp_path / name)

        def spaced(records: Records) -> None:
            for number, record in enumerate(records):
                record["pixel_spacing"] = spacing if number != 20 or name != "partly" else ""

        rewrite(folder, spaced)
        for number in range(20, 24):
            truth, seen = np.zeros((40, 48), np.uint8), np.zeros((40, 48), np.uint8)
            truth[8:24, 8:32] = 1
            seen[8 + shift[0] : 24 + shift[0], 8 + shift[1] : 32 + shift[1]] = 255
            Image.fromarray(seen).save(folder / "images" / f"{number:02d}.png")
            Image.fromarray(truth).save(folder / "masks" / f"{number:02d}.png")
        return evaluate(model, folder, tasks=["disc"], title=None)["disc"]

    across = evaluated((0, 10), "0.5\\0.25", "across")
    assert across["hd95"] == 5, "10 columns of 48 are 5 of 24"
    assert across["hd95_mm"] == across["hd95_mm/disc"] == pytest.approx(10 * 0.25)
    down = evaluated((10, 0), "0.5\\0.25", "down")
    assert down["hd95"] == 20
    assert down["hd95_mm"] == pytest.approx(10 * 0.5)
    assert evaluated((10, 0), "0.5", "square")["hd95_mm"] == pytest.approx(10 * 0.5)
    assert "hd95_mm" not in evaluated((10, 0), "", "without")
    partly = evaluated((10, 0), "0.5\\0.25", "partly")
    assert partly["hd95"] == 20
    assert "hd95_mm" not in partly, "one row of four has no spacing"


def test_lenient_evaluation_warns_once_whatever_the_workers(model: MultiTaskModel, tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    for number in range(20, 24):
        path = folder / "images" / f"{number:02d}.png"
        Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16) * 257).save(path)
    with pytest.raises(ContractError, match=r"row 22 \(images/20\.png\): .*contract rule 'unit'"):
        evaluate(model, folder, title=None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default", ContractWarning)
        bent = evaluate(model, folder, title=None, lenient=True, workers=2, batch_size=1)
    assert [str(one.message)[:35] for one in caught if one.category is ContractWarning] == ["contract rule 'unit' bent: undeclar"]
    close(bent, evaluate(model, write_tiny_data(tmp_path / "same"), title=None))
