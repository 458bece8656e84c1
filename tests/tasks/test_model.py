"""MultiTaskModel: one encoder, heads that come and go without touching each other, a folder that gives back the same bits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.conformance import perturb
from tests.tasks.runs import ARCH, changed
from umsrep.errors import InputError
from umsrep.heads import ClassificationHead, DenoisingHead, SegmentationHead
from umsrep.tasks.model import MultiTaskModel, head_from_config, running_statistics
from umsrep.zoo import Encoder, InputContract


def encoder(**changes: Any) -> Encoder:
    torch.manual_seed(0)
    return Encoder.create(ARCH, contract=InputContract(size=64, **changes))


def three_heads(**changes: Any) -> MultiTaskModel:
    heads = {"clean": DenoisingHead(width=8), "organ": SegmentationHead(["a", "b", "c"]), "grade": ClassificationHead(["low", "high"])}
    model = MultiTaskModel(encoder(**changes), heads)
    perturb(model)
    return model.eval()


def calls(module: nn.Module) -> list[int]:
    """A list that grows with each call of a module."""
    counted: list[int] = []
    module.register_forward_hook(lambda *_: counted.append(1))
    return counted


# ---- outputs -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 96), (45, 61), (9, 130)])
@pytest.mark.parametrize("channels", [1, 3])
def test_outputs_of_any_size(height: int, width: int, channels: int) -> None:
    model = three_heads(channels=channels)
    x_BCHW = torch.randn(2, channels, height, width)
    with torch.no_grad():
        out = model(x_BCHW)
    assert {k: tuple(v.shape) for k, v in out.items()} == {
        "clean": (2, channels, height, width),
        "organ": (2, 3, height, width),
        "grade": (2, 2),
    }
    assert all(torch.isfinite(v).all() for v in out.values())


def test_a_subset_gives_the_same_numbers() -> None:
    model = three_heads()
    x_BCHW = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        whole = model(x_BCHW)
        for name in model.heads:
            (one,) = model(x_BCHW, [name]).values()
            torch.testing.assert_close(one, whole[name], atol=1e-6, rtol=1e-5)
    with pytest.raises(InputError, match="no head 'organs'; did you mean 'organ'"):
        model(x_BCHW, ["organs"])


def test_a_new_denoiser_returns_its_input() -> None:
    model = MultiTaskModel(encoder(), {"clean": DenoisingHead()}).eval()
    x_BCHW = torch.randn(2, 1, 45, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(x_BCHW)["clean"], x_BCHW)


def test_heads_that_share_a_decoder_run_it_once() -> None:
    model = three_heads()
    assert list(model.decoders) == ["unet"]
    counted = calls(model.decoders["unet"])
    model(torch.randn(1, 1, 64, 64))
    assert len(counted) == 1
    own = MultiTaskModel(
        encoder(), {"clean": DenoisingHead(share=False), "organ": SegmentationHead(["a"], share=False), "o": SegmentationHead(["a"], "fpn")}
    )
    assert list(own.decoders) == ["fpn"], "share: false gives a head its own"
    assert own.eval()(torch.randn(1, 1, 64, 64))["o"].shape == (1, 1, 64, 64)


def test_classification_alone_needs_no_decoder() -> None:
    model = three_heads()
    counted = calls(model.decoders["unet"])
    model(torch.randn(1, 1, 64, 64), ["grade"])
    assert not counted


# ---- heads that come ------------------------------------------------------------------------------------------------
def test_adding_a_head_leaves_the_others_bitwise() -> None:
    model = three_heads()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x_BCHW = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        outputs = model(x_BCHW)
        model.add_head("vessel", SegmentationHead(["vessel"], "fpn"))
        model.add_head("view", ClassificationHead(["pa", "ap"]))
        model.eval()
        again = model(x_BCHW)
    assert list(again) == ["clean", "organ", "grade", "vessel", "view"]
    assert all(torch.equal(outputs[k], again[k]) for k in outputs)
    assert not changed(before, {k: v for k, v in model.state_dict().items() if k in before})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("grade", "already a head 'grade'"),
        ("a b", "cannot name a head"),
        ("keys", "cannot name a head"),
        ("a.b", "cannot name"),
        ("", "cannot"),
    ],
)
def test_names_that_cannot_be_used(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        three_heads().add_head(name, ClassificationHead(["a", "b"]))


def test_only_heads_are_heads_and_decoders_must_fit() -> None:
    model = three_heads()
    with pytest.raises(InputError, match=r"is no head of umsrep\.heads but a Linear"):
        model.add_head("x", nn.Linear(2, 2))  # type: ignore[arg-type]
    vit = Encoder.create("test_vit", contract=InputContract(size=160))
    with pytest.raises(InputError, match="decoders that fit: dpt"):
        MultiTaskModel(vit, {"organ": SegmentationHead(["a"], "unet")})


# ---- the folder ----------------------------------------------------------------------------------------------------
def test_a_folder_gives_back_the_same_bits(tmp_path: Path) -> None:
    model = three_heads()
    head = model.heads["grade"]
    assert isinstance(head, ClassificationHead)
    head.set_thresholds([0.3])
    folder = model.save_pretrained(tmp_path / "model")
    again = MultiTaskModel.from_pretrained(folder)
    assert not again.training
    assert not changed(model.state_dict(), again.state_dict())
    assert again.config() == model.config()
    new = again.heads["grade"]
    assert isinstance(new, ClassificationHead)
    assert new.thresholds == (0.3,)
    x_BCHW = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(model(x_BCHW).values(), again(x_BCHW).values(), strict=True))
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config.json", "heads.safetensors", "model.safetensors"]
    assert not changed(model.encoder.state_dict(), Encoder.from_pretrained(folder).state_dict())


def test_an_encoder_without_heads_is_no_multi_task_model(tmp_path: Path) -> None:
    encoder().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="without heads"):
        MultiTaskModel.from_pretrained(tmp_path)


def test_heads_that_do_not_fit_their_file(tmp_path: Path) -> None:
    folder = three_heads().save_pretrained(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["umsrep"]["heads"]["grade"]["args"] |= {"classes": ["a", "b", "c"]}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"heads\.safetensors: does not fit the heads in config\.json"):
        MultiTaskModel.from_pretrained(folder)


def test_a_missing_or_changed_weight_file_is_refused(tmp_path: Path) -> None:
    folder = three_heads().save_pretrained(tmp_path / "model")
    other = shutil.copytree(folder, tmp_path / "other")
    (folder / "heads.safetensors").unlink()
    with pytest.raises(InputError, match=r"heads\.safetensors"):
        MultiTaskModel.from_pretrained(folder)
    data = bytearray((other / "heads.safetensors").read_bytes())
    data[-5] ^= 1
    (other / "heads.safetensors").write_bytes(bytes(data))
    with pytest.raises(InputError, match="sha256"):
        MultiTaskModel.from_pretrained(other)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"kind": "segmentatoin", "args": {}}, "did you mean 'segmentation'"),
        ({"args": {}}, "unknown kind None"),
        ({"kind": "classification", "args": {"classes": ["a", "b"], "droput": 1}}, "droput"),
        ("classification", "unknown kind None"),
        ({"kind": "classification", "args": {"classes": ["a"]}}, "two classes or more"),
        ({"kind": "classification", "args": None}, "head 'x'"),
        ({"kind": ["classification"], "args": {}}, "head 'x'"),
    ],
)
def test_head_entries_that_make_no_head(entry: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        head_from_config("x", entry)


# ---- batch norm ----------------------------------------------------------------------------------------------------
def test_running_statistics_are_used_and_not_touched() -> None:
    model = three_heads().train()
    norms = {n: m for n, m in model.encoder.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert norms
    before = {k: v.clone() for k, v in model.encoder.state_dict().items()}
    x_BCHW = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        with running_statistics(model.encoder):
            inside = model.encoder(x_BCHW)
            assert not any(m.training for m in norms.values())
        assert all(m.training for m in norms.values())
        assert not changed(before, model.encoder.state_dict())
        expected = model.encoder.eval()(x_BCHW)
    torch.testing.assert_close(inside[-1], expected[-1])


def test_running_statistics_end_also_by_an_error_and_leave_frozen_norms() -> None:
    model = three_heads().train()
    model.encoder.freeze()
    with pytest.raises(RuntimeError, match="inside"), running_statistics(model):
        raise RuntimeError("inside")
    assert all(m.training for m in model.decoders.modules() if isinstance(m, nn.BatchNorm2d))
    assert not any(m.training for m in model.encoder.modules() if isinstance(m, nn.BatchNorm2d))
