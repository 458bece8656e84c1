"""Model folders, weights and configurations of strangers: refused before they cost memory or run anything."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.hostile.harness import PRESET, Worker
from umsrep.zoo import Encoder, InputContract
from umsrep.zoo.folder import CONFIG_FILE, ENCODER_FILE, sha256


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Encoder.create("convnextv2_atto", contract=InputContract(size=64)).save_pretrained(tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def change(folder: Path, where: str, value: Any) -> None:
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    *path, last = where.split(".")
    node = config
    for key in path:
        node = node.setdefault(key, {})
    node[last] = value
    (folder / CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("where", "value"),
    [
        *[("umsrep.contract.size", value) for value in (-1, 0, 10**9, [10**9, 10**9], [-8, 64], [16384, 16384], 10**400, "64", [64], 1e9)],
        *[("umsrep.contract.channels", value) for value in (0, -1, 10**9, 1e9, 1024, 10**400, "1", True)],
        *[("umsrep.contract.mean", value) for value in (10**400, float("nan"), 1e300, [0.5] * 10**5, "0.5", [[0.5]])],
        *[("umsrep.contract.std", value) for value in (0, -1, 1e-320, 1e300, float("inf"), 10**400)],
        *[("umsrep.contract.window", value) for value in ([0, 1e-50], [1e300, 1e301], [1, 0], [0, 10**400], 5, [0, float("nan")])],
        *[("umsrep.contract." + key, "x" * 100_000) for key in ("unit", "resize", "voi", "colour", "photometric", "\x1b[31m")],
        *[("model_args." + key, 10**9) for key in ("depth", "embed_dim", "drop_path_rate", "in_chans", "num_classes")],
        *[("model_args." + key, "x") for key in ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "pretrained")],
        *[("model_args.dims", value) for value in ([10**9] * 4, [-1] * 4, [65536] * 4, deep(700), {"a": 1}, [1e308, float("nan")])],
        ("model_args.depths", [60_000, 1, 1, 1]),
        ("model_args", deep(800)),
        ("architecture", "hf-hub:someone/else"),
        ("architecture", "local-dir:/etc"),
        ("architecture", "x" * 1_000_000),
        ("architecture", "\x1b]0;owned\x07"),
        ("num_features", 10**300),
        ("umsrep.schema_version", 10**300),
        ("umsrep.schema_version", -1),
        ("umsrep.sha256", {"../../x.safetensors": "0" * 64}),
        ("umsrep.sha256", {"/etc/passwd": "0" * 64}),
        ("umsrep.sha256", {}),
    ],
)
def test_config_json_of_impossible_values(worker: Worker, folder: Path, where: str, value: Any) -> None:
    change(folder, where, value)
    worker("encoder", path=str(folder)).refused()


@pytest.mark.parametrize("count", [10_000_000, 20_000])
@pytest.mark.parametrize("head", ["pneumonia", "lungs"])
def test_heads_of_more_classes_than_their_weights(worker: Worker, tmp_path: Path, head: str, count: int) -> None:
    folder = Path(shutil.copytree(PRESET, tmp_path / "model"))
    names = [f"c{n}" for n in range(min(count, 200_000))]
    for value in (names, count):
        change(folder, f"umsrep.heads.{head}.args.classes", value)
        worker("model", path=str(folder)).refused()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[" * 100_000,
        b'{"umsrep":' * 50_000,
        b"9" * 100_000,
        b'{"a": 1, "a": 2}',
        b'{"umsrep": NaN}',
        b'{"umsrep": {"schema_version": 1, "contract": {}, "heads": {}, "sha256": {}}, "architecture": "resnet18", "x": Infinity}',
        b'{"a": "' + b"x" * 10_000_000 + b'"}',
        "{}".encode("utf-16"),
        b"\xff\xfe\0",
    ],
    ids=lambda value: ascii(value[:24]),
)
def test_config_json_that_is_none(worker: Worker, folder: Path, content: bytes) -> None:
    (folder / CONFIG_FILE).write_bytes(content)
    worker("encoder", path=str(folder)).refused(CONFIG_FILE)
    shown = worker("command", argv=["verify", str(folder)]).value
    assert shown["code"] == 2
    assert shown["err"].count("\n") == 1


def test_a_config_json_of_a_hundred_megabytes_is_not_read(worker: Worker, folder: Path) -> None:
    with (folder / CONFIG_FILE).open("wb") as file:
        file.truncate(10**8)
    assert worker("encoder", path=str(folder)).refused("100,000,000 bytes").bytes < 2**20


# ---- weights -----------------------------------------------------------------------------------------------------------
def tensors_file(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
LIES: dict[str, bytes] = {
    "length of 2**63": tensors_file({}, length=2**63),
    "length of 15 GB": tensors_file({}, length=15 * 10**9),
    "length beyond the end": tensors_file({"a": ENTRY}, bytes(8), length=2000),
    "shape of 2**40": tensors_file({"a": {**ENTRY, "shape": [2**40]}}, bytes(8)),
    "shape that overflows": tensors_file({"a": {**ENTRY, "shape": [2**32, 2**32, 2]}}, bytes(8)),
    "negative shape": tensors_file({"a": {**ENTRY, "shape": [-2, -1]}}, bytes(8)),
    "offsets beyond the end": tensors_file({"a": {**ENTRY, "data_offsets": [2**40, 2**40 + 8]}}, bytes(8)),
    "offsets backwards": tensors_file({"a": {**ENTRY, "data_offsets": [8, 0]}}, bytes(8)),
    "overlapping": tensors_file({"a": ENTRY, "b": ENTRY}, bytes(8)),
    "the same name twice": tensors_file(b'{"a":' + json.dumps(ENTRY).encode() + b',"a":' + json.dumps(ENTRY).encode() + b"}", bytes(8)),
    "unknown type": tensors_file({"a": {**ENTRY, "dtype": "\x1b[31m"}}, bytes(8)),
    "type that is a list": tensors_file({"a": {**ENTRY, "dtype": ["F32"]}}, bytes(8)),
    "deep header": tensors_file(b"[" * 1_000_000),
    "no text": tensors_file(b"\xff" * 100),
    "a hundred thousand tensors": tensors_file({f"t{n}": {**ENTRY, "shape": [0], "data_offsets": [0, 0]} for n in range(100_000)}),
    "metadata": tensors_file({"__metadata__": [1], "a": ENTRY}, bytes(8)),
    "empty": b"",
    "four bytes": b"\0\0\0\0",
}


@pytest.mark.parametrize("lie", sorted(LIES))
def test_safetensors_that_lie(worker: Worker, folder: Path, lie: str) -> None:
    path = folder / ENCODER_FILE
    path.write_bytes(LIES[lie])
    change(folder, "umsrep.sha256", {ENCODER_FILE: sha256(path)})
    worker("encoder", path=str(folder)).refused()
    if lie != "a hundred thousand tensors":  # true to itself, and no model
        worker("tensors", path=str(path)).refused(ENCODER_FILE)


class _Harm:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["model.safetensors", "model.bin", "pytorch_model.bin", "model.pt", "model.ckpt", "model.pkl"])
def test_pickles_are_never_opened(worker: Worker, folder: Path, tmp_path: Path, name: str) -> None:
    marker = tmp_path / "harm"
    buffer = io.BytesIO()
    torch.save({"a": _Harm(marker)}, buffer)
    for content in (buffer.getvalue(), pickle.dumps(_Harm(marker))):
        (folder / ENCODER_FILE).unlink(missing_ok=True)
        (folder / name).write_bytes(content)
        change(folder, "umsrep.sha256", {ENCODER_FILE: sha256(folder / name)})
        worker("encoder", path=str(folder)).refused()
        worker("tensors", path=str(folder / name)).refused()
        shown = worker("command", argv=["predict", str(folder), str(folder / "x.png"), "--out", str(tmp_path / "out")]).value
        assert shown["code"] == 2
        assert shown["err"].count("\n") == 1
    assert not marker.exists()


# ---- configurations ----------------------------------------------------------------------------------------------------
BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
SETTINGS = {
    "aliases": BOMB,
    "aliases in classes": BOMB + "tasks: {t: {kind: classification, classes: *i}}\nencoder: {}\ndata: []\noutput: x\n",
    "aliases of known keys": BOMB.replace("a: &a", "output: &a", 1),
    "itself": "&a [*a]",
    "itself in a mapping": "encoder: &a {arch: *a}\ntasks: {}\ndata: []\noutput: x\n",
    "objects": "!!python/object/apply:os.system ['touch harm']\n",
    "objects in a value": "output: !!python/name:os.system\n",
    "long number": "output: " + "9" * 5000,
    "dates": "output: 2001-99-99\n",
    "ten megabytes": "output: [" + "x," * 5_000_000 + "]",
    "deep": "[" * 100_000,
    "deep mapping": "{a: " * 500 + "}" * 500,
    "binary": "\0\1\2",
    "escapes": '"\\e[31mkey": 1\n',
    "keys of no text": "{1: 2, [1]: 3}",
    "keys of no text at all": "? {a: b}\n: 1\n",
    "nothing": "",
}


@pytest.mark.parametrize("kind", sorted(SETTINGS))
def test_configurations_that_are_bombs_or_programs(worker: Worker, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(SETTINGS[kind], encoding="utf-8")
    worker("config", path=str(path)).refused()
    assert [p.name for p in tmp_path.iterdir()] == ["c.yaml"]
    shown = worker("command", argv=["finetune", "--config", str(path)]).value
    assert shown["code"] == 2
    assert shown["err"].count("\n") == 1
