"""Exported graphs give what the model gives, at any batch and size."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from umsrep.errors import InputError
from umsrep.heads import ClassificationHead, DenoisingHead, SegmentationHead
from umsrep.tasks.model import MultiTaskModel
from umsrep.zoo import Encoder, InputContract

SHAPES = [(1, 1, 64, 64), (3, 1, 97, 131), (2, 1, 33, 64)]


@pytest.fixture(scope="module")
def model() -> MultiTaskModel:
    """Return a model whose every output depends on the input: new denoising heads return theirs unchanged."""
    torch.manual_seed(0)
    contract = InputContract(size=64, unit="12-bit", percentiles=(1, 99), colour="exact", expected_range=(0, 4000))
    encoder = Encoder.create("tf_efficientnet_lite0", contract=contract)
    made = MultiTaskModel(
        encoder,
        {"denoising": DenoisingHead(), "lungs": SegmentationHead(["background", "lung"]), "pneumonia": ClassificationHead(["no", "yes"])},
    )
    denoising = made.heads["denoising"]
    assert isinstance(denoising, DenoisingHead)
    torch.nn.init.normal_(next(denoising.branch[-1].parameters()), std=0.05)
    with torch.no_grad():
        made.train()(torch.randn(8, 1, 64, 64))  # running statistics that are not 0 and 1
    pneumonia = made.heads["pneumonia"]
    assert isinstance(pneumonia, ClassificationHead)
    pneumonia.set_thresholds((0.25,))
    return made.eval()


def check_parity(model: MultiTaskModel, run, shape: tuple[int, ...]) -> None:
    """Compare a graph's outputs, in the heads' order, with the model's."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = model(x)
    for name, out in zip(model.heads, run(x), strict=True):
        assert out.shape == tuple(wanted[name].shape)
        np.testing.assert_allclose(out, wanted[name].numpy(), atol=1e-4)
        assert np.std(out) > 0


def check_metadata(model: MultiTaskModel, metadata: Mapping[str, str]) -> None:
    """Check what a program without umsrep reads from the file."""
    contract = json.loads(metadata["umsrep.contract"])
    assert contract == model.encoder.contract.to_dict()
    assert InputContract.from_dict(contract) == model.encoder.contract
    heads = json.loads(metadata["umsrep.heads"])
    assert list(heads) == list(model.heads)
    assert heads == {
        "denoising": {"kind": "denoising"},
        "lungs": {"kind": "segmentation", "classes": ["background", "lung"], "multi_label": False},
        "pneumonia": {"kind": "classification", "classes": ["no", "yes"], "multi_label": False, "thresholds": [0.25]},
    }


def test_torch_export(model: MultiTaskModel, tmp_path: Path) -> None:
    model.train()
    path = model.export(tmp_path / "model.pt2", format="torch")
    assert model.training
    model.eval()
    extra = {"umsrep.contract": "", "umsrep.heads": ""}
    program = torch.export.load(path, extra_files=extra)
    check_metadata(model, extra)
    for shape in SHAPES:
        check_parity(model, lambda x: [o.detach().numpy() for o in program.module()(x)], shape)
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt2"]


def test_onnx(model: MultiTaskModel, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="the onnx extra is not installed")
    path = model.export(tmp_path / "model.onnx")
    session = runtime.InferenceSession(path)
    assert [o.name for o in session.get_outputs()] == list(model.heads)
    assert session.get_inputs()[0].name == "image"
    assert session.get_inputs()[0].shape == ["batch", 1, "height", "width"]
    check_metadata(model, session.get_modelmeta().custom_metadata_map)
    onnx = pytest.importorskip("onnx", reason="the onnx extra is not installed")
    check_metadata(model, {entry.key: entry.value for entry in onnx.load(path).metadata_props})
    for shape in SHAPES:
        check_parity(model, lambda x: session.run(None, {"image": x.numpy()}), shape)
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_errors(model: MultiTaskModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'onnx'"):
        model.export(tmp_path / "m.onnx", format="onx")
    with pytest.raises(InputError, match="no such folder"):
        model.export(tmp_path / "absent" / "m.onnx")
