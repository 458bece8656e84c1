"""Pictures: overlays, curves and samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from PIL import Image

from tests.tasks.runs import TASKS, put, rewrite, run_config, tiny_model
from tests.tiny import write_tiny_data
from umsrep.errors import InputError
from umsrep.tasks.pictures import COLOURS, draw_curves, draw_samples, outlines, overlay, save_png
from umsrep.tasks.setup import build_sets


def test_outlines_run_inside_the_mask_and_dashes_leave_gaps() -> None:
    image = np.full((12, 12), 100, dtype=np.uint8)
    mask = np.zeros((12, 12), dtype=int)
    mask[2:9, 3:12] = 1  # touches the right edge of the picture, which is a border too
    out = outlines(image, mask, (1, 2, 3))
    drawn = (out == (1, 2, 3)).all(2)
    assert drawn.sum() == 2 * 9 + 2 * 5
    assert not drawn[mask == 0].any()
    assert (out[~drawn] == 100).all()
    assert (outlines(image, mask, (1, 2, 3), width=2) == (1, 2, 3)).all(2).sum() == drawn.sum() + 2 * 7 + 2 * 3
    dashed = (outlines(image, mask, (1, 2, 3), dashed=True) == (1, 2, 3)).all(2)
    assert 0 < dashed.sum() < drawn.sum()
    assert not (dashed & ~drawn).any()


def test_an_overlay_colours_the_mask_and_nothing_else() -> None:
    image = np.full((4, 6), 0.5, dtype=np.float32)
    mask = np.zeros((4, 6), dtype=np.uint8)
    mask[1, 2], mask[2, 3] = 1, 2
    out = overlay(image, mask, alpha=0.4)
    assert out.shape == (4, 6, 3)
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out[0, 0], [128, 128, 128])
    np.testing.assert_array_equal(out[1, 2], np.round(0.6 * 127.5 + 0.4 * COLOURS[1]))
    np.testing.assert_array_equal(out[2, 3], np.round(0.6 * 127.5 + 0.4 * COLOURS[2]))


def test_more_classes_than_colours_are_never_uncoloured() -> None:
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    out = overlay(np.zeros((16, 16, 3)), mask, alpha=1.0).reshape(-1, 3)
    assert not out[0].any()
    assert out[1:].any(1).all()
    np.testing.assert_array_equal(out[8], out[1])


def test_values_outside_the_range_are_clipped(tmp_path: Path) -> None:
    np.testing.assert_array_equal(overlay(np.array([[-1.0, 2.0]]), np.zeros((1, 2)))[0, :, 0], [0, 255])
    save_png(tmp_path / "a.png", np.array([[-0.5, 0.5, 1.5]]))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), [[0, 128, 255]])
    save_png(tmp_path / "b.png", np.array([[3, 1]], dtype=np.uint8))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b.png")), [[3, 1]])


def test_curves_of_a_run_with_gaps(tmp_path: Path) -> None:
    lines = [
        {"epoch": 1, "train": {"disc": 1.0, "size": None}},
        {"epoch": 2, "train": {"disc": 0.5, "size": 0.6}, "validation": {"disc": {"dice": 0.4}, "size": {"auroc": None}}},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    draw_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
    picture = np.asarray(Image.open(tmp_path / "curves.png").convert("L"))
    assert picture.shape[1] > 600, "two columns"
    assert picture.std() > 5


def test_no_epochs_no_curves(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("")
    draw_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


@pytest.mark.parametrize("names", [["denoising", "disc", "size"], ["size"], ["many", "findings"]])
def test_samples(names: list[str], tiny_data: Path, tmp_path: Path) -> None:
    every = TASKS | {
        "many": {"kind": "segmentation", "classes": ["disc"], "multi_label": True},
        "findings": {
            "kind": "classification",
            "classes": ["left", "large"],
            "multi_label": True,
            "target": ["finding_left", "finding_large"],
        },
    }
    tasks = {n: every[n] for n in names}
    model = tiny_model(tiny_data, tasks=tasks)
    validation = build_sets(run_config(tiny_data, tmp_path, tasks=tasks), model.encoder.contract)[1]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    draw_samples(model, validation, tmp_path / "samples.png", count=3)
    picture = np.asarray(Image.open(tmp_path / "samples.png").convert("RGB"))
    assert picture.shape[0] > 600, "three rows"
    assert picture.std() > 10
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_samples_annotated_for_different_tasks_keep_their_own_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tiny_data(tmp_path / "data")
    for row, column in ((16, "mask_file_name"), (17, "label"), (18, "mask_file_name"), (19, "label")):
        rewrite(folder, put(row, column, ""))
    model = tiny_model(folder)
    validation = build_sets(run_config(folder, tmp_path), model.encoder.contract)[1]
    columns: list[int] = []
    captions: list[str] = []

    def seen(axis: Any, text: str, **_: Any) -> None:
        captions.append(text)

    monkeypatch.setattr(Axes, "set_xlabel", seen)
    monkeypatch.setattr(Axes, "imshow", lambda axis, *_, **__: columns.append(axis.get_subplotspec().colspan.start))
    draw_samples(model, validation, tmp_path / "samples.png", count=4)
    assert [columns.count(k) for k in range(5)] == [4, 4, 4, 2, 2], "input, noisy, denoised; mask and truth of two rows"
    labels = validation.sources[0].manifest.columns["label"]
    told = [caption.rpartition("truth ")[2] for caption in captions]
    assert told == [labels[validation.items[i][1]] for i in range(4)]


def test_an_unreadable_sample_is_named(tiny_data: Path, tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "data")
    model = tiny_model(tiny_data)
    validation = build_sets(run_config(folder, tmp_path), model.encoder.contract)[1]
    for number in range(16, 20):
        (folder / "images" / f"{number}.png").write_text("gone")
    with pytest.raises(InputError, match=r"row 18 \(images/16\.png\)"):
        draw_samples(model, validation, tmp_path / "samples.png")
