"""The gallery: the right rows, the right pictures, and nobody's names unless asked for."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.tasks.evaluation.reviews import classification, denoising, segmentation
from tests.tasks.runs import tiny_model
from umsrep.errors import InputError
from umsrep.tasks.evaluate import evaluation_set
from umsrep.tasks.evaluation.gallery import PREDICTED, TRUTH, caption, choose_cases, draw_gallery


def test_classification_shows_what_was_wrong_and_sure_first() -> None:
    task = classification(["no", "yes"])
    chosen = choose_cases(task, 3, 4)
    assert [record["row"] for record in chosen["worst"]] == [0, 5, 10]  # every fifth is wrong, with falling loss
    assert not {0, 5, 10} & {record["row"] for record in chosen["random"]}
    assert chosen == choose_cases(copy.deepcopy(task), 3, 4)
    assert len(choose_cases(task, 100, 0)["worst"]) == 8  # never padded with rows that are right


@pytest.mark.parametrize("task", [segmentation(["back", "lung"]), denoising()])
def test_dense_heads_show_the_lowest_scores_and_never_an_undefined_one(task: dict[str, Any]) -> None:
    known = sorted(record["score"] for record in task["records"] if record["score"] is not None)
    assert [record["score"] for record in choose_cases(task, 5, 0)["worst"]] == known[:5]


def test_captions_name_row_and_site_and_the_rest_only_when_asked() -> None:
    task = classification(["no", "yes"])
    record = task["records"][5]
    assert caption(task, record, ids=False) == "row 5, site South: truth yes, predicted no (probability 0.92)"
    assert "secret-002_1.png, patient secret-002" in caption(task, record, ids=True)
    dense = segmentation(["back", "lung"])
    assert caption(dense, dense["records"][4], ids=False) == "row 4, site North: lung Dice 0.000, HD95 undefined"
    assert "gain" in caption(denoising(), denoising()["records"][0], ids=False)


def test_captions_of_several_labels_name_the_wrong_ones() -> None:
    record = {"row": 1, "site": "", "truth": {"a": 1, "b": None, "c": 0}, "predicted": {"a": 0, "b": 1, "c": 0}}
    record |= {"probabilities": {"a": 0.2, "b": 0.9, "c": 0.1}}
    assert caption({"kind": "classification"}, record, ids=False) == "row 1: wrong: a 0.20 (truth yes)"


def _review_of(rows: list[int]) -> dict[str, Any]:
    """What a review says of the tiny data's rows, as far as the gallery reads it."""
    common = [{"row": row, "site": "A", "file": f"f{row}", "patient": "p", "loss": float(row)} for row in rows]
    sizes = [{"truth": "small", "predicted": "large", "probabilities": {"large": 0.7}, "correct": False}] * len(rows)
    discs = [{"dice": {"disc": 0.1}, "hd95": {"disc": 3.0}, "score": row / 100} for row in rows]
    clean = [{"psnr": 20.0, "psnr_noisy": 18.0, "score": 2.0}] * len(rows)
    parts: dict[str, tuple[str, list[dict[str, Any]]]] = {
        "denoising": ("denoising", clean),
        "disc": ("segmentation", discs),
        "size": ("classification", sizes),
    }
    return {
        "tasks": {
            name: {"kind": kind, "records": [a | b for a, b in zip(common, more, strict=True)]} for name, (kind, more) in parts.items()
        }
    }


def test_pictures_of_every_kind_are_drawn_at_whole_multiples(tiny_data: Path, tmp_path: Path) -> None:
    model = tiny_model(tiny_data)
    dataset = evaluation_set(model, tiny_data)
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery/worst-7-3.png").touch()
    (tmp_path / "gallery/mine.png").touch()
    gallery = draw_gallery(_review_of([row for _, row in dataset.items]), model, dataset, tmp_path, worst=2)
    assert model.training  # left as it was
    assert {path.name for path in (tmp_path / "gallery").iterdir()} == {
        "mine.png",
        *(f"{key}-{head}-{k}.png" for head in range(3) for key, count in (("worst", 2), ("random", 1)) for k in range(count)),
    }
    assert [one["row"] for one in gallery["size"]["worst"]] == [23, 22]  # the largest loss
    assert [one["row"] for one in gallery["disc"]["worst"]] == [20, 21]  # the lowest Dice
    shapes = {name: np.asarray(Image.open(tmp_path / one["worst"][0]["picture"])).shape for name, one in gallery.items()}
    assert shapes == {"denoising": (256, 3 * 256 + 12), "disc": (256, 2 * 256 + 6, 3), "size": (256, 256)}
    disc = np.asarray(Image.open(tmp_path / gallery["disc"]["worst"][0]["picture"]))
    plain, marked = disc[:, :256], disc[:, 262:]
    assert (plain[..., 0] == plain[..., 2]).all()
    assert (marked == TRUTH).all(2).any()
    changed = (marked != plain).any(2)
    assert ((marked == TRUTH).all(2) | (marked == PREDICTED).all(2))[changed].all()


def test_none_are_drawn_when_none_are_asked_for_and_rows_that_are_gone_are_named(tiny_data: Path, tmp_path: Path) -> None:
    model = tiny_model(tiny_data)
    dataset = evaluation_set(model, tiny_data)
    assert draw_gallery(_review_of([20]), model, dataset, tmp_path, worst=0) == {}
    assert not (tmp_path / "gallery").exists()
    with pytest.raises(InputError, match="row 3 of the review is not in the data"):
        draw_gallery(_review_of([3]), model, dataset, tmp_path)
    with pytest.raises(InputError, match="0 or more"):
        draw_gallery(_review_of([20]), model, dataset, tmp_path, worst=-1)
