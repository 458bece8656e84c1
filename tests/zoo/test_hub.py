"""Model folders: what is written, what is refused, and what a missing network says. Real HTTP is tested with publishing."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.constants import HF_HUB_OFFLINE
from safetensors.torch import load_file, save_file

from tests.conformance import images, perturb
from umsrep.errors import InputError
from umsrep.zoo import PRESETS, Encoder, InputContract, Preset, hub

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
    kinds = {k: hub._halve(k, v, tensors).dtype for k, v in tensors.items()}
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
        (_set("umsrep", "sha256", "model.safetensors", value=5), "sha256"),
        (_set("umsrep", "contract", "chanels", value=1), "unknown key 'chanels'; did you mean 'channels'"),
        (_set("umsrep", "contract", "channels", value="1"), "contract: channels"),
        (_set("umsrep", "contract", "mean", value="0.5"), "contract: mean"),
        (_set("architecture", value="convnextv2_ato"), "unknown arch 'convnextv2_ato'; did you mean .*'convnextv2_atto'"),
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


def test_missing_files_are_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors: no such weights file"):
        Encoder.from_pretrained(folder)
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json: no such file"):
        Encoder.from_pretrained(folder)


class _Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["w.pth", "w.bin", "w.safetensors"])
def test_a_pickle_is_refused_and_never_run(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(_Trap(tmp_path / "ran")))
    with pytest.raises(InputError, match=name) as caught:
        hub.read_tensors(tmp_path / name)
    assert one_line(caught)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("length", [0, 4, 8, 1000])
def test_truncated_safetensors(saved: Path, tmp_path: Path, length: int) -> None:
    (tmp_path / "w.safetensors").write_bytes((saved / "model.safetensors").read_bytes()[:length])
    with pytest.raises(InputError, match="damaged safetensors file"):
        hub.read_tensors(tmp_path / "w.safetensors")


# ---- names -------------------------------------------------------------------------------------------------------------
def test_unknown_name_offers_the_nearest_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "ums-cxr-lite0", Preset("cxr", "tf_efficientnet_lite0", "", "", ""))
    message = "^'ums-cxr-lite' is neither a preset, nor a folder, nor org/repo on the Hub; did you mean 'ums-cxr-lite0'"
    with pytest.raises(InputError, match=message):
        Encoder.from_pretrained("ums-cxr-lite")


def test_a_preset_is_a_folder_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "ums-cxr-lite0", Preset("cxr", "tf_efficientnet_lite0", "", "", ""))
    assert hub.resolve("ums-cxr-lite0").resolve() == ROOT / "zoo" / "weights" / "ums-cxr-lite0"


@pytest.mark.parametrize("name", ["./absent/model", "/absent", "a/b/c", "absent", "~/absent/model", "~nobody-of-this-name/model"])
def test_an_absent_folder_never_asks_the_hub(name: str) -> None:
    with pytest.raises(InputError, match="neither a preset, nor a folder") as caught:
        Encoder.from_pretrained(name)
    assert one_line(caught)


def test_home_is_expanded(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(saved.parent))
    assert hub.resolve(f"~/{saved.name}") == saved


def test_a_folder_goes_before_the_hub(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved.parent.parent)
    assert hub.resolve(f"{saved.parent.name}/{saved.name}") == Path(saved.parent.name, saved.name)


@pytest.mark.parametrize("name", ["some--org/model", "org/model with spaces"])
def test_an_impossible_repository_name(name: str) -> None:
    with pytest.raises(InputError, match="no valid name of a repository") as caught:
        Encoder.from_pretrained(name)
    assert one_line(caught)


def test_local_files_only_says_that_it_is_not_cached(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'org/model' is not in the cache") as caught:
        Encoder.from_pretrained("org/model", local_files_only=True, cache_dir=tmp_path)
    assert one_line(caught)


def _messages(folder: Path) -> list[str]:
    """What each call that needs the network says."""
    said = []
    for call in (
        lambda: hub.resolve("org/model"),
        lambda: hub.push(folder, "org/model"),
        lambda: hub.push(folder, "org/model", token="hf_wrong", private=True),
    ):
        with pytest.raises(InputError) as caught:
            call()
        said.append(str(caught.value))
    return said


def _check_network_messages(said: list[str]) -> None:
    assert len(said) == 3
    assert not any("\n" in line for line in said)
    assert said[0].startswith("'org/model' is not in the cache and the Hub cannot be reached")
    for line in said[1:]:
        assert line.startswith("'org/model' could not be published: ")
        assert len(line) > len("'org/model' could not be published: ") + 10


@pytest.mark.skipif(not HF_HUB_OFFLINE, reason="HF_HUB_OFFLINE=0 was asked for")
def test_offline_mode_says_so_in_one_line(saved: Path) -> None:
    _check_network_messages(_messages(saved))


def test_an_unreachable_hub_says_so_in_one_line(saved: Path, tmp_path: Path) -> None:
    # A new process: huggingface_hub reads its settings once. Nothing listens on port 9 of this machine.
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}
    environment.pop("HF_TOKEN", None)
    code = "import json, sys, pathlib; from tests.zoo.test_hub import _messages; print(json.dumps(_messages(pathlib.Path(sys.argv[1]))))"
    command = [sys.executable, "-c", code, str(saved)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    _check_network_messages(json.loads(done.stdout.splitlines()[-1]))


def test_push_checks_the_folder_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json: no such file"):
        hub.push(tmp_path, "org/model")


def test_push_with_an_impossible_name(encoder: Encoder) -> None:
    with pytest.raises(InputError, match="org/model with spaces"):
        encoder.push_to_hub("org/model with spaces")
