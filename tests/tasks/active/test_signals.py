"""What models say of rows: as `predict` says it, whatever the blocks; kept, and made again when weights or images change."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tasks.runs import tiny_model
from umsrep import InputError, MultiTaskModel
from umsrep.heads import ClassificationHead, SegmentationHead
from umsrep.tasks.active import entropy, signals
from umsrep.tasks.data.manifest import load_manifest
from umsrep.tasks.feature_cache import digest_images


def images(folder: Path, cache: Path | None, rows: tuple[int, ...] = (0, 5, 2, 9, 14)) -> signals.Images:
    manifest = load_manifest(folder)
    return signals.Images(manifest, rows, tuple(digest_images(manifest, rows)), cache, progress=False)


@pytest.fixture
def model(tiny_data: Path) -> MultiTaskModel:
    made = tiny_model(tiny_data).eval()
    made.add_head("findings", ClassificationHead(["left", "large"], multi_label=True))
    made.add_head("either", SegmentationHead(["disc", "rest"], multi_label=True))
    return made


def test_probabilities_are_those_of_predict(model: MultiTaskModel, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "BLOCK", 2)
    some = images(tiny_data, None)
    embedding = signals.embeddings(model.encoder, some)
    predicted: list[dict[str, Any]] = model.predict([some.manifest.image(row) for row in some.rows])
    for name in ("size", "findings"):
        wanted = np.stack([one[name].probabilities for one in predicted])
        np.testing.assert_allclose(signals.class_probabilities(model, name, embedding), wanted, rtol=1e-4)


@pytest.mark.parametrize("resize", ["stretch", "pad"])
def test_entropy_of_masks_is_the_mean_over_pixels(model: MultiTaskModel, tiny_data: Path, resize: Any) -> None:
    contract = model.encoder.contract = model.encoder.contract.replace(resize=resize)
    some = images(tiny_data, None)
    found = {name: signals.pixel_entropy(model, name, some) for name in ("disc", "either")}
    for place, row in enumerate(some.rows):
        loaded = contract.open(some.manifest.image(row))
        height, width = contract.inner_size(*loaded.unit_CHW.shape[-2:])
        with torch.inference_mode():
            logits = model(contract.normalise(contract.fit(loaded.unit_CHW))[None].float())
        for name, activate in (("disc", lambda x: x.softmax(dim=0)), ("either", torch.sigmoid)):
            p = activate(logits[name][0, :, :height, :width].double()).flatten(1).T.numpy()
            np.testing.assert_allclose(found[name][place], entropy(p, multi_label=name == "either").mean(), rtol=1e-4)


def test_blocks_are_kept_and_follow_the_weights(
    model: MultiTaskModel, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "BLOCK", 2)
    first = signals.pixel_entropy(model, "disc", images(tiny_data, tmp_path))
    assert len(list(tmp_path.iterdir())) == 3
    longer = signals.pixel_entropy(model, "disc", images(tiny_data, tmp_path, (0, 5, 2, 9, 14, 15)))
    assert len(list(tmp_path.iterdir())) == 4  # the first two blocks are served again
    assert np.array_equal(longer[:4], first[:4])
    with monkeypatch.context() as patch:
        patch.setattr(MultiTaskModel, "forward", None)  # nothing is computed
        assert np.array_equal(signals.pixel_entropy(model, "disc", images(tiny_data, tmp_path)), first)
    with torch.no_grad():
        for parameter in model.heads["disc"].parameters():
            parameter.mul_(3)
    assert not np.allclose(signals.pixel_entropy(model, "disc", images(tiny_data, tmp_path)), first)


def test_orb_vectors_keep_that_there_are_no_keypoints(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = images(tiny_data, tmp_path)
    known = iter([None, *(np.full(256, k / 10, dtype=np.float32) for k in range(4))])
    monkeypatch.setattr(signals, "orb_vector", lambda pixels: next(known))
    first = signals.orb_vectors(dataclasses.replace(some, workers=1))
    again = signals.orb_vectors(some)
    assert first.found.tolist() == again.found.tolist() == [False, True, True, True, True]
    assert (first.vectors[0] == 0).all()
    assert np.array_equal(first.vectors, again.vectors)


def test_a_linear_probe_learns_and_needs_two_classes() -> None:
    random = np.random.default_rng(0)
    embedding = np.concatenate([random.normal(-2, 1, (20, 4)), random.normal(2, 1, (20, 4))]).astype(np.float32)
    labelled = np.zeros(40, dtype=bool)
    labelled[[0, 1, 2, 37, 38, 39]] = True
    cells = ["a"] * 20 + ["b"] * 20
    found = signals.probe_probabilities(embedding, labelled, cells, ("label",))
    assert ((found[:, 1] > 0.5) == (np.arange(40) >= 20)).all()
    with pytest.raises(InputError, match=r"all 3 labelled training row\(s\) are 'a'"):
        signals.probe_probabilities(embedding, np.arange(40) < 3, cells, ("label",))


def test_an_unreadable_image_is_named(model: MultiTaskModel, tiny_data: Path, tmp_path: Path) -> None:
    some = images(tiny_data, None)
    wrong = tmp_path / "wrong.png"
    wrong.write_bytes(b"no picture")
    columns = {**some.manifest.columns, "file_name": ["wrong.png"] * len(some.manifest)}
    moved = dataclasses.replace(some.manifest, root=tmp_path, columns=columns)
    some = dataclasses.replace(some, manifest=moved)
    for read in (lambda: signals.pixel_entropy(model, "disc", some), lambda: signals.orb_vectors(some)):
        with pytest.raises(InputError, match=r"row 2 \(wrong.png\)"):
            read()
