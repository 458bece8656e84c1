"""Checkpoints in every published layout, made from small random networks, give the features of their source."""

from __future__ import annotations

import argparse
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.conformance import perturb
from umsrep.errors import InputError
from umsrep.zoo import Encoder
from umsrep.zoo.card_lint import lint_card
from umsrep.zoo.convert import Converted, _input_of, convert, to_timm
from umsrep.zoo.hub import read_config
from umsrep.zoo.layouts import LAYOUTS

Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    """torchvision's ResNet-18 with a classifier, and batch norms that do something."""
    torch.manual_seed(1)
    model = torchvision.models.resnet18(num_classes=7)
    perturb(model)
    model.eval()
    return model  # type: ignore[no-any-return]


def features(model: nn.Module, x_BCHW: Tensor) -> Tensor:
    """Pooled features of a torchvision ResNet."""
    with torch.no_grad():
        body = nn.Sequential(*list(model.children())[:-1])
        pooled: Tensor = body(x_BCHW)
    return pooled.flatten(1)


def prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + k: v for k, v in tensors.items()}


def body(tensors: Tensors) -> Tensors:
    return {k: v for k, v in tensors.items() if not k.startswith("fc.")}


def moco(t: Tensors) -> dict[str, Any]:
    heads = {"module.encoder_q.fc.0.weight": torch.ones(3), "module.queue": torch.ones(2, 4), "module.queue_ptr": torch.zeros(1)}
    return {
        "epoch": 3,
        "arch": "resnet18",
        "state_dict": prefixed("module.encoder_q.", body(t)) | prefixed("module.encoder_k.", body(t)) | heads,
    }


def insdis(t: Tensors) -> dict[str, Any]:
    heads = {"module.head.0.weight": torch.ones(3), "module.encoder.head_jig.weight": torch.ones(3)}
    return {"opt": argparse.Namespace(epochs=200), "model": prefixed("module.encoder.", t) | heads}


def swav(t: Tensors) -> dict[str, Any]:
    return prefixed("module.", body(t) | {"projection_head.0.weight": torch.ones(3), "prototypes.weight": torch.ones(3)})


def dino(t: Tensors) -> dict[str, Any]:
    teacher = prefixed("module.backbone.", body(t)) | {"module.head.mlp.0.weight": torch.ones(3)}
    return {"student": {k: v + 1 for k, v in teacher.items()}, "teacher": teacher, "epoch": 1}


def barlow(t: Tensors) -> dict[str, Any]:
    return {
        "model": prefixed("module.backbone.", body(t))
        | {"module.projector.0.weight": torch.ones(3), "module.bn.running_mean": torch.ones(3)}
    }


def radimagenet(t: Tensors) -> dict[str, Any]:
    places = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    return {f"backbone.{places[k.partition('.')[0]]}.{k.partition('.')[2]}": v for k, v in body(t).items()}


PUBLISHED: dict[str, tuple[str, Callable[[Tensors], dict[str, Any]]]] = {
    "moco": ("moco", moco),
    "insdis": ("insdis", insdis),
    "swav": ("swav", swav),
    "swav of iNaturalist": ("swav", lambda t: {"state_dict": swav(t)}),
    "simclr": ("simclr", lambda t: {"state_dict": dict(t)}),
    "byol": ("byol", lambda t: {"state_dict": dict(t)}),
    "dino": ("dino", dino),
    "dino backbone": ("dino", body),
    "barlow run": ("barlow", barlow),
    "barlow backbone": ("barlow", body),
    "radimagenet": ("radimagenet", radimagenet),
    "torchvision": ("torchvision", dict),
    "timm": ("timm", dict),
}


def test_every_layout_is_tried() -> None:
    assert {layout for layout, _ in PUBLISHED.values()} | {"torchxrayvision", "simclr2"} == set(LAYOUTS)


@pytest.mark.parametrize("case", PUBLISHED)
def test_names_become_timms(case: str, resnet: nn.Module) -> None:
    layout, write = PUBLISHED[case]
    source = resnet.state_dict()
    given, _ = to_timm(write(source), LAYOUTS[layout])
    for name, value in body(source).items():
        assert given.pop(name) is value
    assert set(given) <= {"fc.weight", "fc.bias"}, "of timm, whose classifier is known by the architecture"


FAST = ("insdis",)


@pytest.mark.parametrize("case", [c if c in FAST else pytest.param(c, marks=pytest.mark.slow) for c in PUBLISHED])
def test_features_are_the_source_networks(case: str, resnet: nn.Module, tmp_path: Path) -> None:
    layout, write = PUBLISHED[case]
    source = dict(resnet.state_dict())
    stored = write(source)
    torch.save(stored, tmp_path / "published.pth")
    done = convert(tmp_path / "published.pth", tmp_path / "out", layout=layout, arch="resnet18", modality="cxr", size=64)
    encoder = Encoder.from_pretrained(tmp_path / "out")
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(encoder.embed(x), features(resnet, x), rtol=1e-6, atol=1e-6)
    assert (encoder.modality, encoder.contract.size, done.tensors) == ("cxr", (64, 64), 120)
    inner = next((v for v in stored.values() if isinstance(v, dict)), stored) if case != "dino" else stored["teacher"]
    assert len(done.dropped) == len(inner) - 120, "whatever is not in the encoder is listed"
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert lint_card(text, config=read_config(tmp_path / "out"), location=str(tmp_path / "out")) == []
    assert "published.pth" in text


def simclr2_name(name: str) -> str:
    """torchvision's name of a bottleneck ResNet in the words of Separius/SimCLRv2-Pytorch."""
    name = re.sub(r"^conv1\.", "net.0.0.", name)
    name = re.sub(r"^bn1\.", "net.0.1.0.", name)
    name = re.sub(r"^layer(\d)\.(\d+)\.downsample\.0\.", r"net.\1.blocks.\2.projection.shortcut.", name)
    name = re.sub(r"^layer(\d)\.(\d+)\.downsample\.1\.", r"net.\1.blocks.\2.projection.bn.0.", name)
    for k in range(3):
        name = re.sub(rf"^layer(\d)\.(\d+)\.conv{k + 1}\.", rf"net.\1.blocks.\2.net.{2 * k}.", name)
        name = re.sub(rf"^layer(\d)\.(\d+)\.bn{k + 1}\.", rf"net.\1.blocks.\2.net.{2 * k + 1}.0.", name)
    return name


@pytest.mark.slow
def test_simclr2_and_auto(tmp_path: Path) -> None:
    model = torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [3, 4, 6, 3], num_classes=2).eval()
    perturb(model)
    stored = {"resnet": {simclr2_name(k): v for k, v in model.state_dict().items()}, "head": {"layers.0.weight": torch.ones(2)}}
    assert "net.2.blocks.1.net.3.0.running_var" in stored["resnet"]
    torch.save(stored, tmp_path / "r50_1x_sk0.pth")
    done = convert(tmp_path / "r50_1x_sk0.pth", tmp_path / "out")  # resnet50 is the layout's own
    assert (done.layout, done.arch, done.dropped) == ("simclr2", "resnet50", ("fc.weight", "fc.bias"))
    encoder = Encoder.from_pretrained(tmp_path / "out")
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(encoder.embed(x), features(model, x), rtol=1e-6, atol=1e-6)
    assert encoder.contract.tensor_range == (0.0, 1.0), "SimCLR was trained without normalisation"


@pytest.mark.slow
def test_torchxrayvision_gets_its_range(tmp_path: Path) -> None:
    model = torchvision.models.densenet121(num_classes=18).eval()
    model.features.conv0 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    perturb(model)
    torch.save(model.state_dict() | {"op_threshs": torch.full((18,), 0.5)}, tmp_path / "nih.pt")
    done = convert(tmp_path / "nih.pt", tmp_path / "out", arch="densenet121", size=224)
    assert (done.layout, set(done.dropped)) == ("torchxrayvision", {"op_threshs", "classifier.weight", "classifier.bias"})
    encoder = Encoder.from_pretrained(tmp_path / "out")
    assert encoder.contract.tensor_range == (-1024.0, 1024.0)
    image = torch.arange(256, dtype=torch.uint8).reshape(16, 16).numpy()
    loaded = encoder.contract.replace(size=None).load(image)
    expected = (2 * (torch.from_numpy(image).float() / 255) - 1) * 1024  # torchxrayvision.utils.normalize
    torch.testing.assert_close(loaded[0], expected, rtol=1e-6, atol=2e-4)
    x = expected[None, None].repeat(1, 1, 4, 4)
    with torch.no_grad():
        pooled = nn.functional.relu(model.features(x)).mean((2, 3))
        torch.testing.assert_close(encoder.embed(x), pooled, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_old_densenets_and_safetensors(tmp_path: Path) -> None:
    model = torchvision.models.densenet121(num_classes=2)
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)\.", r"\1.\2.", k): v for k, v in model.state_dict().items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    save_file(old, tmp_path / "old.safetensors")
    done = convert(tmp_path / "old.safetensors", tmp_path / "out", layout="torchvision", arch="densenet121")
    assert torch.equal(
        Encoder.from_pretrained(done.folder).model.state_dict()["features.norm5.weight"], model.state_dict()["features.norm5.weight"]
    )


def test_counters_that_are_missing_are_added(resnet: nn.Module, tmp_path: Path) -> None:
    torch.save({k: v for k, v in resnet.state_dict().items() if "num_batches" not in k}, tmp_path / "keras.pt")
    done = convert(tmp_path / "keras.pt", tmp_path / "out", layout="torchvision", arch="resnet18")
    assert len(done.added) == 20
    assert any(line.startswith("added as 0 20: bn1.num_batches_tracked") for line in done.lines())


# ---- refusing ------------------------------------------------------------------------------------------------------
def refused(match: str, *words: Any, **options: Any) -> None:
    with pytest.raises(InputError, match=match) as caught:
        convert(*words, **options)
    assert "\n" not in str(caught.value)
    assert not Path(words[1]).exists(), "nothing is written"


def test_what_does_not_fit_is_refused(resnet: nn.Module, tmp_path: Path) -> None:
    tensors, path, out = resnet.state_dict(), tmp_path / "x.pth", tmp_path / "out"
    options = {"layout": "torchvision", "arch": "resnet18"}
    torch.save({k: v for k, v in tensors.items() if k != "layer3.0.conv1.weight"}, path)
    refused(r"1 missing \(layer3.0.conv1.weight\)", path, out, **options)
    torch.save(tensors | {"attention.weight": torch.ones(2)}, path)
    refused(r"1 unknown \(attention.weight\)", path, out, **options)
    torch.save(tensors | {"layer1.0.conv1.weight": torch.ones(64, 32, 3, 3)}, path)
    refused(r"layer1.0.conv1.weight has shape \(64, 32, 3, 3\)", path, out, **options)
    torch.save(tensors | {"bn1.bias": torch.full((64,), torch.nan)}, path)
    refused("bn1.bias holds NaN", path, out, **options)
    torch.save(tensors, path)
    refused("unknown layout 'mocco'.*moco", path, out, layout="mocco")
    refused("no encoder in this layout", path, out, layout="moco")
    refused("give timm's name with --arch", path, out, layout="torchvision")
    refused("normalised in different ways.*--layout", path, out, arch="resnet18")
    refused("4 missing|missing", path, out, layout="torchvision", arch="resnet34")
    refused("mean: 2 numbers for 3", path, out, **options, mean=[0.5, 0.5])
    refused("no such checkpoint", tmp_path / "absent.pth", out)
    path.write_bytes(b"nothing of the kind")
    refused("holds more than tensors", path, out)
    path.write_bytes(b"")
    refused("no checkpoint that torch.load reads", path, out)


def test_timm_must_agree_on_the_input() -> None:
    assert _input_of(LAYOUTS["timm"], "resnet18", "mean") == (0.485, 0.456, 0.406), "all of its tags"
    with pytest.raises(InputError, match="timm has weights with different mean; give --mean, or the tag"):
        _input_of(LAYOUTS["timm"], "vit_base_patch16_224", "mean")
    assert _input_of(LAYOUTS["timm"], "vit_base_patch16_224.augreg_in1k", "std") == (0.5, 0.5, 0.5)


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("/tmp/umsrep_convert_was_fooled").touch, ())


def test_nothing_is_executed(tmp_path: Path) -> None:
    for content in (Evil(), {"state_dict": Evil()}):
        torch.save(content, tmp_path / "x.pth")
        refused("only running code from the file would open", tmp_path / "x.pth", tmp_path / "out")
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"weights": Evil()}))
    refused("linusericsson", tmp_path / "x.pkl", tmp_path / "out", layout="byol")
    torch.save(torchvision.models.resnet18(), tmp_path / "whole.pt")  # as torchxrayvision publishes its DenseNets
    refused("holds torchvision.models.resnet.ResNet.*state_dict", tmp_path / "whole.pt", tmp_path / "out", layout="torchxrayvision")
    assert not Path("/tmp/umsrep_convert_was_fooled").exists()


def test_folders_are_not_replaced(resnet: nn.Module, tmp_path: Path) -> None:
    torch.save(resnet.state_dict(), tmp_path / "x.pth")
    done: Converted = convert(tmp_path / "x.pth", tmp_path / "out", layout="torchvision", arch="resnet18")
    before = json.loads((done.folder / "config.json").read_text())
    with pytest.raises(InputError, match="exists already"):
        convert(tmp_path / "x.pth", tmp_path / "out", layout="simclr", arch="resnet18")
    assert json.loads((done.folder / "config.json").read_text()) == before


def test_files_sorted_by_name(tmp_path: Path) -> None:
    source = timm.create_model("mobilenetv3_small_050", num_classes=5)
    save_file(dict(sorted(source.state_dict().items())), tmp_path / "m.safetensors")
    assert source.state_dict()[min(n for n, v in source.state_dict().items() if v.ndim == 4)].shape[1] == 1, (
        "a depthwise kernel comes first"
    )
    convert(tmp_path / "m.safetensors", tmp_path / "out", layout="timm", arch="mobilenetv3_small_050", mean=[0.5], std=[0.5])
    assert Encoder.from_pretrained(tmp_path / "out").contract.channels == 3
