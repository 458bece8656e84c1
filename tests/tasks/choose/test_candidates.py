"""Candidates by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from tests.tasks.runs import ARCH
from tests.tiny import write_tiny_data
from umsrep import InputError
from umsrep.tasks.choose.candidates import SourceClassifier, colour_channels, default_specs, open_candidates
from umsrep.tasks.data.manifest import load_manifest
from umsrep.tasks.trainer import Report
from umsrep.zoo import PRESETS

PRESET = "ums-cxr-efficientnet-lite0"


def test_an_architecture_alone_is_random_and_repeatable() -> None:
    [one] = open_candidates([ARCH], channels=1, image_size=32)
    [again] = open_candidates([ARCH], channels=1, image_size=32)
    [other] = open_candidates([ARCH], channels=1, image_size=32, seed=1)
    weight = "conv_stem.weight"
    assert one.random
    assert one.source is None
    assert not one.encoder.training
    assert torch.equal(one.encoder.model.state_dict()[weight], again.encoder.model.state_dict()[weight])
    assert not torch.equal(one.encoder.model.state_dict()[weight], other.encoder.model.state_dict()[weight])


def test_a_weights_file_brings_its_classifier(weights: Path) -> None:
    [one] = open_candidates([f"{ARCH}={weights}"], channels=1, image_size=32)
    assert one.name == f"{ARCH}.source"
    assert one.config.weights == str(weights)
    assert one.source is not None
    images = torch.randn(4, 1, 32, 32)
    with torch.inference_mode():
        embedding = one.encoder.embed(images)
    whole = timm.create_model(ARCH, num_classes=3, in_chans=1).eval()
    from safetensors.torch import load_file

    whole.load_state_dict(load_file(weights))
    with torch.inference_mode():
        wanted = whole(images).softmax(dim=1)
    np.testing.assert_allclose(one.source.probabilities(embedding.numpy()), wanted.numpy(), atol=1e-5)


def test_a_folder_brings_its_classification_head(trained: Report) -> None:
    [one] = open_candidates([str(trained.model)], channels=3)
    assert one.encoder.contract.channels == 1  # its own, whatever the data have
    assert one.source is not None
    assert one.source.name == "size"
    assert one.folder == trained.model
    rows = one.source.probabilities(np.random.default_rng(0).normal(size=(5, one.encoder.embedding_dim)))
    np.testing.assert_allclose(rows.sum(axis=1), 1)


def test_probabilities_stay_finite() -> None:
    source = SourceClassifier("c", np.array([[1e4], [-1e4]], dtype=np.float32), np.zeros(2, dtype=np.float32))
    assert np.array_equal(source.probabilities(np.array([[1.0], [-1.0]])), [[1, 0], [0, 1]])


def test_presets_come_with_a_floor() -> None:
    assert default_specs() == [*sorted(PRESETS), "cbr_tiny", "tf_efficientnet_lite0"]


def test_faults_are_one_line(tmp_path: Path, weights: Path) -> None:
    for spec, message in (
        ("ums-cxr-efficientnet-lite", rf"unknown encoder .*{PRESET}"),
        ("tf_efficientnet_lit0", r"unknown encoder .*tf_efficientnet_lite0"),
        (f"tf_efficientnet_lit0={weights}", r"unknown arch .*tf_efficientnet_lite0"),
        (f"{ARCH}={tmp_path / 'none.safetensors'}", r"none.safetensors: no such weights file"),
        ("timm/tf_efficientnet_lit0", r"unknown encoder 'timm/tf_efficientnet_lit0'"),
        ("timm/tf_efficientnet_lite0", r"weights cannot be had .*tf_efficientnet_lite0=FILE.safetensors"),  # the suite runs offline
        ("timm/cbr_tiny", "no weights of it on the Hub"),
        (str(tmp_path), r"config.json: no such file"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            open_candidates([spec], channels=1)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="named twice"):
        open_candidates([ARCH, ARCH], channels=1, image_size=32)
    with pytest.raises(InputError, match="no encoder"):
        open_candidates([], channels=1)


def test_colour_is_seen_in_the_images(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path)
    manifest = load_manifest(folder)
    assert colour_channels(manifest, [0, 1, 2]) == 1
    grey = np.asarray(Image.open(folder / "images" / "01.png"))
    Image.fromarray(np.stack([grey] * 3, axis=2)).save(folder / "images" / "01.png")
    assert colour_channels(manifest, [0, 1, 2]) == 1
    Image.fromarray(np.stack([grey, grey, 255 - grey], axis=2)).save(folder / "images" / "01.png")
    assert colour_channels(manifest, [0, 1, 2]) == 3
