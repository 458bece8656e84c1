"""Model folders: what is written whole or not at all, and what is refused when read."""

from __future__ import annotations

import hashlib
import json
import resource
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conformance import images, perturb
from tests.hub_user import digest_of
from umsrep.errors import InputError
from umsrep.heads import ClassificationHead, DenoisingHead
from umsrep.tasks.model import MultiTaskModel
from umsrep.zoo import Encoder, InputContract, hub
from umsrep.zoo import folder as folder_module

ROOT = Path(__file__).resolve().parents[2]
FILES = {"README.md", "config.json", "model.safetensors"}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """A small encoder, 1 channel, not to be changed."""
    encoder = Encoder.create("convnextv2_atto", contract=InputContract(size=64), modality="us")
    perturb(encoder)
    return encoder.eval()


@pytest.fixture(scope="module")
def saved(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder, not to be changed."""
    return encoder.save_pretrained(tmp_path_factory.mktemp("hub") / "my model - 1")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of the folder to damage."""
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def one_line(caught: pytest.ExceptionInfo[InputError]) -> bool:
    """Whether the message is one line."""
    return "\n" not in str(caught.value)


# ---- writing -----------------------------------------------------------------------------------------------------------
def test_folder_holds_the_three_files_and_true_checksums(saved: Path) -> None:
    assert {p.name for p in saved.iterdir()} == FILES
    config = hub.read_config(saved)
    assert config["umsrep"]["sha256"] == {hub.ENCODER_FILE: hashlib.sha256((saved / hub.ENCODER_FILE).read_bytes()).hexdigest()}
    assert next(iter(config["umsrep"])) == "schema_version"


def test_saving_twice_gives_the_same_bytes(encoder: Encoder, saved: Path, tmp_path: Path) -> None:
    again = encoder.save_pretrained(tmp_path / saved.name)
    for name in FILES:
        assert (again / name).read_bytes() == (saved / name).read_bytes(), name


def test_saving_makes_parents_and_replaces_an_older_model(folder: Path, tmp_path: Path) -> None:
    other = Encoder.create("resnet18", contract=InputContract())
    assert {p.name for p in other.save_pretrained(tmp_path / "a" / "b").iterdir()} == FILES
    (folder / "notes.txt").write_text("kept", encoding="utf-8")
    other.save_pretrained(folder, card="# mine\n")
    assert {p.name for p in folder.iterdir()} == {*FILES, "notes.txt"}
    assert (folder / "README.md").read_text(encoding="utf-8") == "# mine\n"
    assert Encoder.from_pretrained(folder).arch == "resnet18"


def test_an_encoder_saved_over_a_model_removes_its_heads(encoder: Encoder, tmp_path: Path) -> None:
    config = encoder.config()
    config["umsrep"]["heads"] = {"lungs": {"kind": "segmentation", "args": {"classes": ["lung"]}}}
    files = {hub.ENCODER_FILE: encoder.model.state_dict(), hub.HEADS_FILE: {"a": torch.ones(2)}}
    hub.write_folder(tmp_path, config, files)
    assert set(hub.read_config(tmp_path)["umsrep"]["sha256"]) == {hub.ENCODER_FILE, hub.HEADS_FILE}
    assert torch.equal(hub.read_folder_tensors(tmp_path, hub.HEADS_FILE, hub.read_config(tmp_path))["a"], torch.ones(2))
    encoder.save_pretrained(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == FILES
    assert set(hub.read_config(tmp_path)["umsrep"]["sha256"]) == {hub.ENCODER_FILE}


def test_a_full_disk_leaves_the_old_model_whole(encoder: Encoder, folder: Path) -> None:
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    larger = Encoder.create("resnet18", contract=InputContract())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, hard))  # resnet18 needs 45 MB: the write fails half way
    try:
        with pytest.raises(InputError, match="cannot write the model folder") as caught:
            larger.save_pretrained(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert one_line(caught)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    x_BCHW = images(encoder)
    with torch.no_grad():
        assert torch.equal(Encoder.from_pretrained(folder).embed(x_BCHW), encoder.embed(x_BCHW))


def test_a_file_in_the_way_of_the_folder(encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="taken: cannot write the model folder"):
        encoder.save_pretrained(tmp_path / "taken")


def test_half_keeps_integers_vectors_and_norms() -> None:
    tensors = {
        "conv.weight": torch.randn(2, 1, 3, 3),
        "conv.bias": torch.randn(2),
        "norm.weight": torch.randn(2, 2),  # a norm is told by its running statistics, whatever its shape
        "norm.running_mean": torch.randn(2, 2),
        "table": torch.arange(4).reshape(2, 2),
    }
    kinds = {k: folder_module._halve(k, v, tensors).dtype for k, v in tensors.items()}
    assert kinds.pop("conv.weight") == torch.float16
    assert kinds.pop("table") == torch.int64
    assert set(kinds.values()) == {torch.float32}


# ---- config.json -------------------------------------------------------------------------------------------------------
def _set(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        for key in keys[:-1]:
            config = config[key]
        config[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("umsrep", value=None), "no 'umsrep' block"),
        (_set("umsrep", "schema_version", value=2), r"schema_version 2 is newer than this umsrep reads \(1\); upgrade umsrep"),
        (_set("umsrep", "schema_version", value="1"), "schema_version must be a whole number"),
        (_set("umsrep", "schema_version", value=0), "schema_version must be a whole number"),
        (_set("umsrep", "contract", value=None), r"umsrep\.contract is missing"),
        (_set("umsrep", "heads", value=[]), r"umsrep\.heads is missing"),
        (_set("umsrep", "sha256", value={}), "no sha256 for model.safetensors"),
        (_set("umsrep", "sha256", "model.safetensors", value="A" * 64), "must be 64 hex digits"),
        (_set("umsrep", "sha256", "../model.safetensors", value="0" * 64), "no safetensors file of the folder"),
        (_set("umsrep", "sha256", "setup.py", value="0" * 64), "no safetensors file of the folder"),
        (_set("umsrep", "schema_version", value=True), "schema_version must be a whole number"),
        (_set("umsrep", "contract", "channels", value=10**9), "contract: channels must be 1 to 1,024"),
        (_set("umsrep", "contract", "channels", value=-1), "contract: channels must be 1 to 1,024"),
        (_set("umsrep", "contract", "size", value=10**9), "contract: size must be 1 to 16,384"),
        (_set("umsrep", "contract", "size", value=[64, -64]), "contract: size must be 1 to 16,384"),
        (_set("num_features", value=10**9), "num_features is 1000000000, but convnextv2_atto has 320"),
        (_set("num_features", value=-3), "num_features is -3"),
        (_set("model_args", value={"depths": [10**9, 2, 2, 2]}), "no model needs a number beyond 65,536"),
        (_set("model_args", value={"dims": [10**400]}), "no model needs a number beyond 65,536|not valid JSON"),
        (_set("model_args", value={"depths": [60_000, 2, 2, 2]}), "asks for a model that is far larger than its weights"),
        (_set("model_args", value={"dims": [60_000, 60_000, 60_000, 60_000]}), r"has shape .*, convnextv2_atto wants|a tensor of"),
        (_set("model_args", value={"depths": [3, 2, 6, 2]}), "weights do not fit convnextv2_atto: .*missing"),
        (_set("model_args", value={"depths": [-2, 2, 6, 2]}), "cannot be built|weights do not fit"),
        (_set("model_args", value={"conv_ratio": 1e300}), "no model needs a number beyond"),
        (_set("model_args", value={"patch_size": float("nan")}), "no model needs a number beyond"),
        (_set("umsrep", "sha256", "model.safetensors", value=5), "sha256"),
        (_set("umsrep", "contract", "chanels", value=1), "unknown key 'chanels'; did you mean 'channels'"),
        (_set("umsrep", "contract", "channels", value="1"), "contract: channels"),
        (_set("umsrep", "contract", "mean", value="0.5"), "contract: mean"),
        (_set("architecture", value="convnextv2_ato"), r"config\.json: unknown arch 'convnextv2_ato'; did you mean .*'convnextv2_atto'"),
        (_set("architecture", value="hf-hub:someone/model"), "architecture must be a plain timm name"),
        (_set("architecture", value="local-dir:/tmp"), "architecture must be a plain timm name"),
        (_set("architecture", value="/tmp/model"), "architecture must be a plain timm name"),
        (_set("architecture", value=None), "architecture must be a plain timm name"),
        (_set("architecture", value="resnet18"), "model.safetensors: weights do not fit resnet18: .*missing"),
        (_set("model_args", value={"colour": "red"}), "cannot be built"),
        (_set("model_args", value=["depths"]), "cannot be built|model_args"),
        (_set("model_args", value={"features_only": True}), "features_only"),
    ],
)
def test_a_wrong_config_is_one_line(folder: Path, change: Callable[[dict[str, Any]], None], message: str) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    change(config)
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        Encoder.from_pretrained(folder)
    assert one_line(caught)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}", b"architecture: resnet18"])
def test_config_that_is_no_json(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=r"config\.json: not valid JSON") as caught:
        Encoder.from_pretrained(folder)
    assert one_line(caught)


def test_a_config_nested_too_deep_or_too_large(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(InputError, match=r"config\.json: not valid JSON \(nested too deep\)"):
        hub.read_config(folder)
    with (folder / "config.json").open("wb") as file:
        file.truncate(2**30)  # sparse: takes no disk
    with pytest.raises(InputError, match=r"config\.json: 1,073,741,824 bytes; no configuration has more than"):
        hub.read_config(folder)


def test_an_older_schema_is_migrated_step_by_step(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # there is only schema 1 so far: this tests the stairs, tests/zoo/fixtures/schema1 the lowest landing

    def rename(config: dict[str, Any]) -> dict[str, Any]:
        config["umsrep"]["steps"] = [*config["umsrep"].get("steps", []), len(config["umsrep"].get("steps", []))]
        return config

    monkeypatch.setattr(folder_module, "SCHEMA_VERSION", 3)
    monkeypatch.setattr(folder_module, "MIGRATIONS", {1: rename, 2: rename})
    assert hub.read_config(folder)["umsrep"]["steps"] == [0, 1]


def test_a_model_of_schema_1_opens_to_its_numbers() -> None:
    """Frozen when schema 1 was current: a later umsrep must read it to the same bits."""
    frozen = Path(__file__).parent / "fixtures" / "schema1"
    encoder = Encoder.from_pretrained(frozen)
    expected = json.loads((frozen / "expected.json").read_text(encoding="utf-8"))
    assert expected["tensors"] == digest_of(encoder)
    assert encoder.contract.to_dict().items() >= expected["contract"].items()
    assert (encoder.modality, encoder.arch) == ("cxr", "test_efficientnet")
    with torch.no_grad():
        embedding = encoder.embed(torch.linspace(-1, 1, 32 * 32).reshape(1, 1, 32, 32))[0, :8]
    torch.testing.assert_close(embedding, torch.tensor(expected["embedding"]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("content", ["[]", "3", '"text"', "{}"])
def test_config_that_is_json_of_something_else(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="no 'umsrep' block"):
        Encoder.from_pretrained(folder)


def test_a_checkpoint_named_by_config_is_never_opened(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    torch.save(state, folder / "pickled.pth")  # harmless, but a pickle: it must not be read at all
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["model_args"] = {"checkpoint_path": str(folder / "pickled.pth")}
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InputError, match="checkpoint_path"):
        Encoder.from_pretrained(folder)


# ---- weights -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("position", [-1, 5_000_000])
def test_one_changed_byte_is_found_and_the_file_named(folder: Path, position: int) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.safetensors: damaged: sha256 [0-9a-f]{12}\.\.\., but config\.json says"):
        Encoder.from_pretrained(folder)


def test_weights_of_the_right_checksum_but_another_model(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["stem.0.weight"] = tensors["stem.0.weight"].repeat(1, 2, 1, 1)
    save_file(tensors, folder / "model.safetensors")
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["umsrep"]["sha256"]["model.safetensors"] = hub.sha256(folder / "model.safetensors")
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InputError, match=r"model\.safetensors: stem\.0\.weight has shape \(40, 2, 4, 4\)"):
        Encoder.from_pretrained(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "last.ckpt", "best.pt", "weights.pth"])
def test_a_folder_with_only_a_pickle_is_told_how_to_convert_it(folder: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"a": torch.ones(2)}, folder / name)
    advice = f"'{name}' is a pickle, which can run code when read: if you trust it, convert it: "
    with pytest.raises(InputError, match=f"model.safetensors: no such weights file; {advice}") as caught:
        Encoder.from_pretrained(folder)
    assert one_line(caught)
    command = shlex.split(str(caught.value).partition("convert it: ")[2])
    subprocess.run([sys.executable, *command[1:]], cwd=folder, check=True, timeout=60)
    assert torch.equal(load_file(folder / "model.safetensors")["a"], torch.ones(2))


def test_integers_in_the_place_of_weights(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["stem.0.weight"] = tensors["stem.0.weight"].long()
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["umsrep"]["sha256"]["model.safetensors"] = hub.sha256(folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InputError, match=r"stem\.0\.weight is of type torch\.int64, convnextv2_atto wants torch\.float32"):
        Encoder.from_pretrained(folder)


def test_missing_files_are_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors: no such weights file"):
        Encoder.from_pretrained(folder)
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json: no such file"):
        Encoder.from_pretrained(folder)


# ---- heads -------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def with_heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with two heads, not to be changed."""
    encoder = Encoder.create("test_resnet", contract=InputContract(channels=1, size=32))
    heads = {"clean": DenoisingHead(width=8, depth=2), "finding": ClassificationHead(["no", "yes"])}
    return MultiTaskModel(encoder, heads).save_pretrained(tmp_path_factory.mktemp("heads") / "model")


@pytest.mark.parametrize(
    ("head", "key", "value", "message"),
    [
        ("clean", "width", 10**9, "no model needs a number beyond 65,536"),
        ("clean", "width", 60_000, "asks for a model that is far larger than its weights"),
        ("clean", "depth", 60_000, "asks for a model that is far larger than its weights"),
        ("clean", "width", -8, "width|head 'clean'|does not fit"),
        ("clean", "width", 16, r"heads\.safetensors: does not fit the heads in config\.json"),
        ("finding", "classes", [str(n) for n in range(60_000)], "does not fit|larger than its weights"),
        ("finding", "colour", "red", "head 'finding'"),
    ],
)
def test_heads_that_their_weights_cannot_fill(with_heads: Path, tmp_path: Path, head: str, key: str, value: Any, message: str) -> None:
    folder = Path(shutil.copytree(with_heads, tmp_path / "copy"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["umsrep"]["heads"][head]["args"][key] = value
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        MultiTaskModel.from_pretrained(folder)
    assert one_line(caught)
    assert digest_of(MultiTaskModel.from_pretrained(with_heads)) == digest_of(MultiTaskModel.from_pretrained(with_heads))


@pytest.mark.parametrize(
    ("text", "message"), [('{"a": 1, "a": 2}', "the same key twice"), ('{"a": ' + "[" * 900 + "]" * 900 + "}", "config.json: ")]
)
def test_json_that_says_two_things_or_nests_deep(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        hub.read_config(tmp_path)
