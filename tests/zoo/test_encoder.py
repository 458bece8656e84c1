"""Encoder: every kind of backbone opens three ways to the same bits; weights load strictly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import adapt_input_conv
from torch import Tensor
from torch.nn import functional as F

from tests.conformance import check_encoder, images, perturb, same, timm_embedding, timm_features
from umsrep.errors import InputError
from umsrep.zoo import Encoder, InputContract
from umsrep.zoo.encoder import adapt_channels

SWIN = "swin_tiny_patch4_window7_224"
LITE0 = "tf_efficientnet_lite0"


# ---- every kind of backbone --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arch", "channels", "strides", "embedding", "inputs"),
    [
        ("resnet18", [64, 64, 128, 256, 512], [2, 4, 8, 16, 32], 512, (1, 2, 3)),
        ("cbr_tiny", [32, 64, 128, 256, 256], [2, 4, 8, 16, 32], 256, (1,)),
        (LITE0, [16, 24, 40, 112, 320], [2, 4, 8, 16, 32], 1280, (1, 2, 3)),
        ("convnextv2_atto", [40, 80, 160, 320], [4, 8, 16, 32], 320, (1, 2, 3)),
        (SWIN, [96, 192, 384, 768], [4, 8, 16, 32], 768, (1,)),
        ("vit_tiny_patch16_224", [192, 192, 192], [16, 16, 16], 192, (1, 3)),
    ],
)
def test_one_folder_opens_three_ways_to_the_same_bits(
    arch: str, channels: list[int], strides: list[int], embedding: int, inputs: tuple[int, ...], tmp_path: Path
) -> None:
    for count in inputs:
        contract = InputContract(channels=count, size=64, mean=tuple(0.3 + 0.1 * c for c in range(count)), std=0.25)
        encoder = Encoder.create(arch, contract=contract, modality="cxr")
        assert (encoder.channels, encoder.strides, encoder.embedding_dim) == (channels, strides, embedding)
        check_encoder(encoder, tmp_path / f"a folder - with {count}", width=96, in_smp=not arch.startswith("vit"))


def test_training_mode_gives_the_same_pyramid_from_one_pass() -> None:
    encoder = Encoder.create(LITE0, contract=InputContract())
    x_BCHW = images(encoder)
    features, embedding = encoder.forward_both(x_BCHW)
    assert same(features, encoder(x_BCHW))
    embedding.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters()), "the embedding of lite0 reads every weight"


def test_what_is_no_batch_of_loaded_images_is_refused() -> None:
    encoder = Encoder.create("test_resnet", contract=InputContract(size=32)).eval()
    x = torch.zeros(1, 1, 32, 32)
    faulty: list[Any] = [x.expand(1, 3, 32, 32), x[0], x.to(torch.uint8), x.numpy(), [1]]
    for given in faulty:
        for use in (encoder, encoder.embed, encoder.forward_both):
            with pytest.raises(InputError, match=r"wants a float tensor \[B, 1, H, W\] as its contract loads it"):
                use(given)


@pytest.mark.parametrize("arch", ["vit_tiny_patch16_224", SWIN])
def test_transformers_take_other_sizes_than_they_were_made_for(arch: str) -> None:
    encoder = Encoder.create(arch, contract=InputContract(size=(64, 128))).eval()
    for height, width in ((64, 128), (96, 64)):
        shapes = [f.shape[-2:] for f in encoder(images(encoder, batch=1, height=height, width=width))]
        assert [tuple(s) for s in shapes] == [(height // s, width // s) for s in encoder.strides]


# ---- RGB weights to C channels -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7])
def test_adapt_channels_is_timms_rule(channels: int) -> None:
    kernel = torch.randn(4, 3, 3, 3)
    before = kernel.clone()
    assert torch.equal(adapt_channels(kernel, channels), adapt_input_conv(channels, kernel))
    assert torch.equal(kernel, before)


def test_adapt_channels_golden() -> None:
    kernel = torch.tensor([1.0, 2.0, 4.0]).reshape(1, 3, 1, 1)
    assert adapt_channels(kernel, 1).flatten().tolist() == [7.0]
    assert adapt_channels(kernel, 2).flatten().tolist() == [1.5, 3.0]
    assert adapt_channels(kernel, 6).flatten().tolist() == [0.5, 1.0, 2.0, 0.5, 1.0, 2.0]


def test_adapt_channels_keeps_the_type_and_sums_in_float32() -> None:
    kernel = torch.tensor([2048.0, 1.0, 1.0], dtype=torch.float16).reshape(1, 3, 1, 1)
    adapted = adapt_channels(kernel, 1)
    assert adapted.dtype == torch.float16
    assert adapted.item() == 2050.0  # one by one in float16 the ones are lost: 2048


@pytest.fixture(scope="module")
def lite0_weights(shared_weights: Path) -> Path:
    """ImageNet weights of EfficientNet-Lite0."""
    return shared_weights / "tf_efficientnet_lite0.imagenet.safetensors"


def test_imagenet_weights_in_one_channel_see_grey_as_rgb(lite0_weights: Path) -> None:
    kernel = load_file(lite0_weights)["conv_stem.weight"]
    grey = Encoder.create(LITE0, contract=InputContract(channels=1), weights=lite0_weights).eval()
    rgb = Encoder.create(LITE0, contract=InputContract(channels=3), weights=lite0_weights).eval()
    own = dict(grey.model.named_parameters())["conv_stem.weight"]
    assert torch.equal(own, kernel.sum(1, keepdim=True))
    x_BCHW = images(grey)
    repeated = x_BCHW.repeat(1, 3, 1, 1)
    torch.testing.assert_close(F.conv2d(x_BCHW, own), F.conv2d(repeated, kernel), rtol=0, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(grey.embed(x_BCHW), rgb.embed(repeated), rtol=0, atol=1e-4)
        assert grey.embed(x_BCHW).std() > 0.05  # trained weights, not an empty answer


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_imagenet_weights_in_other_channel_counts(channels: int, lite0_weights: Path) -> None:
    encoder = Encoder.create(LITE0, contract=InputContract(channels=channels), weights=lite0_weights)
    kernel = load_file(lite0_weights)["conv_stem.weight"]
    assert torch.equal(dict(encoder.model.named_parameters())["conv_stem.weight"], adapt_input_conv(channels, kernel))


def test_float16_weights_load_into_a_float32_model(shared_weights: Path) -> None:
    path = shared_weights / "tf_efficientnet_lite1.imagenet.safetensors"
    stored = load_file(path)
    assert stored["conv_head.weight"].dtype == torch.float16
    encoder = Encoder.create("tf_efficientnet_lite1", contract=InputContract(), weights=path)
    state = encoder.model.state_dict()
    assert {t.dtype for t in state.values() if t.is_floating_point()} == {torch.float32}
    assert torch.equal(state["conv_head.weight"], stored["conv_head.weight"].float())


# ---- making: errors ----------------------------------------------------------------------------------------------------
def test_unknown_arch_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"^unknown arch 'resnet_18'; did you mean .*'resnet18'"):
        Encoder.create("resnet_18", contract=InputContract())


def test_arch_with_its_own_weights_refuses_others(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="brings its own weights"):
        Encoder.create(f"local-dir:{tmp_path}", contract=InputContract(), weights=tmp_path / "w.safetensors")


def test_absent_local_dir_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent") as caught:
        Encoder.create(f"local-dir:{tmp_path / 'absent'}", contract=InputContract())
    assert "\n" not in str(caught.value)


# ---- weights files -----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def resnet_tensors() -> dict[str, Tensor]:
    """A full resnet18 checkpoint in timm's names, classifier and all, perturbed."""
    model = timm.create_model("resnet18", in_chans=1)
    perturb(model)
    return model.state_dict()


def test_classifier_tensors_of_a_full_checkpoint_are_left_out(tmp_path: Path, resnet_tensors: dict[str, Tensor]) -> None:
    save_file(resnet_tensors, tmp_path / "w.safetensors")
    state = Encoder.create("resnet18", contract=InputContract(), weights=tmp_path / "w.safetensors").model.state_dict()
    assert resnet_tensors.keys() - state.keys() == {"fc.weight", "fc.bias"}
    assert all(torch.equal(state[k], resnet_tensors[k]) for k in state)


def _drop(tensors: dict[str, Tensor]) -> None:
    del tensors["layer1.0.conv1.weight"], tensors["bn1.running_var"]


def _add(tensors: dict[str, Tensor]) -> None:
    tensors["layer9.conv.weight"] = torch.zeros(1)


def _reshape(tensors: dict[str, Tensor]) -> None:
    tensors["layer1.0.conv1.weight"] = tensors["layer1.0.conv1.weight"][:, :32].clone()


def _two_channels(tensors: dict[str, Tensor]) -> None:
    tensors["conv1.weight"] = tensors["conv1.weight"].repeat(1, 2, 1, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop, r"2 missing \(first: bn1.running_var\)"),
        (_add, r"1 unexpected \(first: layer9.conv.weight\)"),
        (_reshape, r"layer1.0.conv1.weight has shape \(64, 32, 3, 3\), resnet18 wants \(64, 64, 3, 3\)"),
        (_two_channels, r"conv1.weight has shape \(64, 2, 7, 7\), resnet18 wants \(64, 1, 7, 7\)"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(
    change: Callable[[dict[str, Tensor]], None], message: str, resnet_tensors: dict[str, Tensor]
) -> None:
    encoder = Encoder.create("resnet18", contract=InputContract())
    before = {k: v.clone() for k, v in encoder.model.state_dict().items()}
    tensors = dict(resnet_tensors)
    change(tensors)
    with pytest.raises(InputError, match=f"^some file: .*{message}"):
        encoder.load_weights(tensors, where="some file")
    assert all(torch.equal(v, before[k]) for k, v in encoder.model.state_dict().items())


def test_weights_that_are_absent_pickled_or_damaged(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.pth")
    (tmp_path / "w.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{broken}" + bytes(50))
    wrong = {"none.safetensors": "no such weights file", "w.pth": "only .safetensors is read", "w.safetensors": "damaged"}
    for name, message in wrong.items():
        with pytest.raises(InputError, match=f"{name}: {message}"):
            Encoder.create("resnet18", contract=InputContract(), weights=tmp_path / name)


# ---- folders -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("arch", [LITE0, "vit_tiny_patch16_224"])
def test_half_folder_keeps_norms_and_biases_and_loads_to_float32(arch: str, tmp_path: Path) -> None:
    encoder = Encoder.create(arch, contract=InputContract(size=64))
    perturb(encoder)
    stored = load_file(encoder.save_pretrained(tmp_path, half=True) / "model.safetensors")
    state = encoder.model.state_dict()
    norms = {n for n, m in encoder.model.named_modules() if "norm" in type(m).__name__.lower()}
    for key, tensor in stored.items():
        exact = key.rpartition(".")[0] in norms or key.endswith(".bias")
        assert torch.equal(tensor, state[key] if exact else state[key].half()), key
    assert sum(t.nbytes for t in stored.values()) < 0.55 * sum(t.nbytes for t in state.values())
    loaded = Encoder.from_pretrained(tmp_path).model.state_dict()
    assert all(v.dtype == state[k].dtype and torch.equal(v, stored[k].to(v.dtype)) for k, v in loaded.items())
    x_BCHW = images(encoder)
    with torch.no_grad():
        small = Encoder.from_pretrained(tmp_path)
        assert same(small(x_BCHW), timm_features(tmp_path, x_BCHW))
        assert torch.equal(small.embed(x_BCHW), timm_embedding(tmp_path, x_BCHW))
        error = (small.embed(x_BCHW) - encoder.eval().embed(x_BCHW)).abs().max()
    assert 0 < error < 0.1


def test_a_saved_folder_is_an_arch_of_its_own(tmp_path: Path) -> None:
    contract = InputContract(channels=2, size=64)
    encoder = Encoder.create("convnextv2_atto", contract=contract)
    perturb(encoder)
    encoder.save_pretrained(tmp_path)
    again = Encoder.create(f"local-dir:{tmp_path}", contract=contract)
    assert again.arch == "convnextv2_atto"
    state = encoder.model.state_dict()
    assert again.model.state_dict().keys() == state.keys()
    assert all(torch.equal(v, state[k]) for k, v in again.model.state_dict().items())
    with pytest.raises(InputError, match=r"3 channel\(s\)"):
        Encoder.create(f"local-dir:{tmp_path}", contract=contract.replace(channels=3))


def test_model_arguments_of_a_timm_folder_are_kept(tmp_path: Path) -> None:
    source = timm.create_model("vit_tiny_patch16_224", num_classes=0, in_chans=1, depth=3)
    (tmp_path / "source").mkdir()
    save_file(source.state_dict(), tmp_path / "source" / "model.safetensors")
    config = {"architecture": "vit_tiny_patch16_224", "num_classes": 0, "model_args": {"depth": 3}}
    config["pretrained_cfg"] = {"architecture": "vit_tiny_patch16_224", "first_conv": None, "classifier": None}
    (tmp_path / "source" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    encoder = Encoder.create(f"local-dir:{tmp_path / 'source'}", contract=InputContract(size=64))
    assert len(list(encoder.model.get_submodule("blocks").children())) == 3
    encoder.save_pretrained(tmp_path / "saved")
    x_BCHW = images(encoder)
    with torch.no_grad():
        assert same(Encoder.from_pretrained(tmp_path / "saved")(x_BCHW), encoder.eval()(x_BCHW))


@pytest.mark.parametrize(
    ("arch", "arguments", "why"),
    [
        ("test_efficientnet", {"act_layer": "os.system"}, "KeyError: 'os.system'"),
        ("test_efficientnet", {"block_args": [["ir_r1"]]}, "KeyError: 'block_args'"),
        ("test_resnet", {"block": "os"}, "'str' object has no attribute 'expansion'"),
        ("test_vit", {"img_size": []}, "IndexError: tuple index out of range"),
        ("test_vit", {"num_heads": 0}, "integer modulo by zero"),
        ("test_vit", {"pos_embed": "q"}, "AssertionError"),
    ],
)
def test_hostile_model_arguments_are_one_line(tmp_path: Path, arch: str, arguments: dict[str, object], why: str) -> None:
    path = Encoder.create(arch, contract=InputContract(size=160)).save_pretrained(tmp_path) / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {"model_args": arguments}), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        Encoder.from_pretrained(tmp_path)
    assert str(caught.value).startswith(f"{path}: arch '{arch}' cannot be built with 1 channel(s)")
    assert str(caught.value).endswith(why)


def test_a_broken_contract_names_its_file(tmp_path: Path) -> None:
    path = Encoder.create("test_resnet", contract=InputContract()).save_pretrained(tmp_path) / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["umsrep"]["contract"]["unit"] = "16-bits"
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        Encoder.from_pretrained(tmp_path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "16-bits" in str(caught.value)


def test_config_json_holds_timms_keys_and_our_block(tmp_path: Path) -> None:
    contract = InputContract(channels=3, size=(64, 96), mean=(0.1, 0.2, 0.3))
    encoder = Encoder.create("resnet18", contract=contract, modality="us")
    config = json.loads((encoder.save_pretrained(tmp_path) / "config.json").read_text(encoding="utf-8"))
    assert config["architecture"] == config["pretrained_cfg"]["architecture"] == "resnet18"
    assert (config["num_features"], config["num_classes"]) == (512, 0)
    assert config["pretrained_cfg"]["input_size"] == [3, 64, 96]
    assert config["pretrained_cfg"]["mean"] == [0.1, 0.2, 0.3]
    assert config["pretrained_cfg"]["std"] == [0.5, 0.5, 0.5]
    assert InputContract.from_dict(config["umsrep"]["contract"]) == contract
    assert (config["umsrep"]["schema_version"], config["umsrep"]["modality"], config["umsrep"]["heads"]) == (1, "us", {})
    assert list(config["umsrep"]["sha256"]) == ["model.safetensors"]


def test_loading_and_embedding_a_stored_image(tmp_path: Path) -> None:
    encoder = Encoder.create("resnet18", contract=InputContract(size=64)).eval()
    encoder.save_pretrained(tmp_path)
    loaded = Encoder.from_pretrained(str(tmp_path))
    image = np.random.default_rng(0).integers(0, 256, (80, 50), dtype=np.uint8)
    with torch.no_grad():
        assert torch.equal(loaded.embed(loaded.contract.load(image)[None]), encoder.embed(encoder.contract.load(image)[None]))
