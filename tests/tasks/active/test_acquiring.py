"""Rounds on a data folder: from nothing labelled to models, never the same row twice, never a row of another split."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tasks.runs import ARCH, Records, put, rewrite, tiny_model
from tests.tiny import WITHOUT_LABEL, write_tiny_data
from umsrep import InputError, MultiTaskModel
from umsrep.heads import ClassificationHead
from umsrep.tasks.active import Acquired, entropy, medal_select
from umsrep.tasks.active import acquire as _acquire
from umsrep.tasks.data.dataset import Target
from umsrep.tasks.data.manifest import load_manifest
from umsrep.tasks.features import extract

SIZE: dict[str, Any] = {"targets": {"size": Target("label")}}


def acquire(folder: Path, budget: int, **settings: Any) -> Acquired:
    return _acquire(folder, budget, **{"cache": None, "progress": False, **settings})


def rows_of(found: Acquired) -> list[int]:
    return [one.line - 2 for one in found.proposals]


def keep_labels(*kept: int) -> Any:
    def change(records: Records) -> None:
        for row, record in enumerate(records):
            if record["split"] == "train" and row not in kept:
                record["label"] = record["mask_file_name"] = record["mask_file_name.disc"] = ""

    return change


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return rewrite(write_tiny_data(tmp_path / "data"), keep_labels(0, 1, 2, 3))


@pytest.fixture
def model(tiny_data: Path) -> MultiTaskModel:
    made = tiny_model(tiny_data).eval()
    made.add_head("findings", ClassificationHead(["left", "large"], multi_label=True))
    return made


def test_from_nothing_by_orb_and_on_without_the_same_row_twice(tmp_path: Path) -> None:
    folder = rewrite(write_tiny_data(tmp_path / "data"), keep_labels())
    first = acquire(folder, 6, task="classification")
    assert (first.number, first.method, first.labelled, first.pool) == (1, "orb", 0, 16)
    assert "ORB" in first.notes[0]
    second = acquire(folder, 6, task="classification", strategy="entropy")
    assert (second.number, second.method, second.pending, second.pool) == (2, "orb", 6, 10)
    assert len({*rows_of(first), *rows_of(second)}) == 12
    assert max(*rows_of(first), *rows_of(second)) < 16  # no validation and no test row
    with pytest.raises(InputError, match=r"only 4 unlabelled training row\(s\) are left; 12 proposed before"):
        acquire(folder, 6, task="classification")
    again = acquire(folder, 16, task="classification", again=True)
    assert sorted(rows_of(again)) == list(range(16))
    other = acquire(folder, 16, task="segmentation")  # asks for another annotation
    assert sorted(rows_of(other)) == list(range(16))
    with (folder / "acquire" / "round_001.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["file_name"] for line in lines] == [one.file_name for one in first.proposals]
    assert lines[0]["reason"] == first.proposals[0].reason
    state = json.loads((folder / "acquire" / "state.json").read_text())
    assert [one["method"] for one in state["rounds"]] == ["orb"] * 4


def test_medal_is_the_rule_on_the_models_own_embeddings(folder: Path, model: MultiTaskModel) -> None:
    manifest = load_manifest(folder)
    embedding = extract(model.encoder, manifest, range(16)).embedding
    predicted = model.predict([manifest.image(row) for row in range(16)], tasks=["size"])
    p = np.stack([np.asarray(one["size"].probabilities) for one in predicted])
    wanted = medal_select(embedding, [0, 1, 2, 3], p, 3, candidates=6)
    found = acquire(folder, 3, model=model, task="size", candidates=6)
    assert rows_of(found) == wanted.tolist()
    np.testing.assert_allclose([one.entropy or 0 for one in found.proposals], entropy(p)[wanted], rtol=1e-4)
    assert all(one.entropy_rank is not None and one.entropy_rank <= 6 for one in found.proposals)
    assert found.columns == ("label",)
    pending = [0, 1, 2, 3, *wanted.tolist()]  # proposed rows count as labelled from now on
    assert (
        rows_of(acquire(folder, 2, model=model, task="size", candidates=6)) == medal_select(embedding, pending, p, 2, candidates=6).tolist()
    )
    rewrite(folder, put(int(wanted[0]), "label", "large"))
    assert acquire(folder, 1, model=model, task="size").labelled == 5


@pytest.mark.parametrize("strategy", ["medal", "entropy", "core-set", "random"])
def test_every_strategy_on_masks_and_on_several_labels(folder: Path, model: MultiTaskModel, strategy: Any) -> None:
    found = acquire(folder, 3, model=model, task="disc", strategy=strategy)
    assert (found.method, found.columns, found.labelled) == (strategy, ("mask_file_name",), 3)  # row 2 has no mask
    assert not {0, 1, 3} & set(rows_of(found))
    assert all((one.entropy is not None) == (strategy in ("medal", "entropy")) for one in found.proposals)
    several = {"findings": Target(("finding_left", "finding_large"))}
    found = acquire(folder, 3, model=model, task="findings", targets=several, strategy=strategy)
    assert set(rows_of(found)) == WITHOUT_LABEL  # all that is left


def test_an_encoder_alone_serves_by_a_linear_probe(folder: Path) -> None:
    found = acquire(folder, 4, encoder=ARCH, image_size=32, **SIZE)
    assert found.method == "medal"
    assert any("linear probe" in note for note in found.notes)
    assert all(one.entropy is not None and one.distance is not None for one in found.proposals)
    assert acquire(folder, 2, encoder=ARCH, image_size=32, strategy="core-set", **SIZE).method == "core-set"


def test_what_cannot_be_is_refused_and_leaves_no_state(folder: Path, model: MultiTaskModel) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"strategy": "entropi"}, "did you mean 'entropy'"),
        ({"strategy": "medal", **SIZE}, "needs a model"),
        ({"model": model}, "several heads"),
        ({"model": model, "task": "denoising"}, "denoises"),
        ({"model": model, "task": "siz"}, "no head 'siz'"),
        ({"candidates": 9, "strategy": "random", **SIZE}, "candidates go with"),
        ({"image_size": 32, **SIZE}, "goes with an encoder"),
        ({"split_column": "fold", **SIZE}, "no column 'fold'"),
        ({"encoder": ARCH, "task": "segmentation"}, "with one label"),
        ({"seed": -1, **SIZE}, "seed"),
    ]
    for settings, message in wrong:
        with pytest.raises(InputError, match=message):
            acquire(folder, 2, **settings)
    with pytest.raises(InputError, match="budget 13, but only 12"):
        acquire(folder, 13, **SIZE)
    rewrite(folder, lambda records: [{**r, "label": "" if r["label"] == "large" else r["label"]} for r in records])
    with pytest.raises(InputError, match="nothing can be uncertain"):
        acquire(folder, 2, encoder=ARCH, image_size=32, **SIZE)
    assert not (folder / "acquire").exists()
