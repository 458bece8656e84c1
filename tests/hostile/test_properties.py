"""Damaged and random files: whatever they hold, a tensor or table that keeps its promises, or one printable line; never anything else.

Each property runs a few cases with the fast tests and many with the slow ones, always the same ones. `Outcome.check` is the property.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import operator
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from tests.hostile.harness import PRESET, Worker
from tests.hostile.seeds import medical, pictures, tables
from umsrep.zoo import Encoder, InputContract
from umsrep.zoo.folder import CONFIG_FILE, ENCODER_FILE, sha256

_NUMBERS = (0, 1, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**26, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
SLOW = {"pictures": 2000, "medical": 1200, "tables": 1000, "cells": 600, "arrays": 700, "configs": 700, "weights": 400, "settings": 400}
"""Cases of each property in `make test-slow`."""
_FAST = 25


def both(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("examples", [pytest.param(_FAST, id="few"), pytest.param(SLOW[name], id="many", marks=pytest.mark.slow)])


def run(examples: int, strategy: st.SearchStrategy[Any], check: Callable[[Any], object]) -> None:
    cases = 0

    @settings(max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def every(case: Any) -> None:
        nonlocal cases
        cases += 1
        check(case)

    every()
    assert cases >= examples


@st.composite
def damaged(draw: st.DrawFn, files: dict[str, bytes]) -> tuple[str, bytes]:
    """Draw a file and what is left of it after being cut, changed, spliced or told other numbers."""
    name = draw(st.sampled_from(sorted(files)))
    data = bytearray(files[name])
    for kind in draw(st.lists(st.sampled_from(["cut", "flip", "number", "number", "splice", "repeat"]), min_size=1, max_size=4)):
        if not data:
            break
        head = draw(st.booleans())  # headers are small, and the place to lie
        at = draw(st.integers(0, min(len(data), 200) - 1 if head else len(data) - 1))
        if kind == "cut":
            del data[at:]
        elif kind == "flip":
            data[at] ^= draw(st.integers(1, 255))
        elif kind == "number":
            size, order = draw(st.sampled_from([1, 2, 4, 8])), draw(st.sampled_from(["little", "big"]))
            value = draw(st.sampled_from(_NUMBERS)) % 2 ** (8 * size)
            data[at : at + size] = value.to_bytes(size, order)
        else:
            part = bytes(data[at : at + draw(st.integers(1, 64))])
            to = draw(st.integers(0, len(data)))
            data[to : to + (len(part) if kind == "splice" else 0)] = part
    return name, bytes(data)


CONTRACTS: tuple[dict[str, Any], ...] = (
    {},
    {"size": 32, "channels": 3},
    {"percentiles": [1, 99], "resize": "pad", "size": [16, 40]},
    {"unit": "HU", "window": [-1000, 400]},
    {"unit": "16-bit", "photometric": "as-stored"},
)


def _load(worker: Worker, path: Path, case: Any) -> None:
    (_, content), contract, frame, lenient = case
    path.write_bytes(content)
    worker("image", path=str(path), contract=contract, frame=frame, lenient=lenient).check(base64.b64encode(content))


@both("pictures")
def test_damaged_pictures(worker: Worker, tmp_path: Path, examples: int) -> None:
    cases = st.tuples(damaged(pictures()), st.sampled_from(CONTRACTS), st.sampled_from([None, None, 0, 1]), st.booleans())
    run(examples, cases, lambda case: _load(worker, tmp_path / case[0][0], case))


@both("medical")
def test_damaged_dicom_and_nifti(worker: Worker, tmp_path: Path, examples: int) -> None:
    cases = st.tuples(damaged(medical()), st.sampled_from(CONTRACTS), st.sampled_from([None, 0, 0, 2]), st.booleans())
    run(examples, cases, lambda case: _load(worker, tmp_path / case[0][0], case))


@both("tables")
def test_damaged_tables_and_archives(worker: Worker, tmp_path: Path, examples: int) -> None:
    def check(case: tuple[str, bytes]) -> None:
        name, content = case
        folder = _data_folder(tmp_path)
        path = folder / name
        path.write_bytes(content)
        worker("dataset", path=str(path if name.endswith(".npz") else folder)).check(base64.b64encode(content))

    run(examples, damaged(tables()), check)


def _data_folder(parent: Path) -> Path:
    folder = parent / "data"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for n in range(3):
        (folder / f"{n}.png").write_bytes(pictures()["grey.png"])
    return folder


_CELLS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["0.png", "1.png", "class 0", "train", "../0.png", "/etc/passwd", "..\\0.png", "C:\\0.png", "=cmd|'/c calc'!A1", "@a"]),
    st.sampled_from(
        ["\x1b[2J\x1b[31m", "\u202egnp.0", "a\r\nb", "a\0b", "\ufeff", '"', "1e999", "-1", "9" * 400, "./0.png", "~root", "\ud800"]
    ),
)


@both("cells")
def test_random_cells(worker: Worker, tmp_path: Path, examples: int) -> None:
    names = ("file_name", "mask_file_name", "label", "split", "frame", "pixel_spacing", "site")
    rows = st.lists(st.fixed_dictionaries(dict.fromkeys(names, _CELLS)), min_size=1, max_size=4)

    def check(case: tuple[list[dict[str, str]], bool]) -> None:
        folder = _data_folder(tmp_path)
        if case[1]:
            lines = [",".join(f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row.values()) for row in case[0]]
            content = "\r\n".join([",".join(names), *lines]).encode("utf-8", "surrogatepass")
            (folder / "metadata.csv").write_bytes(content)
        else:
            (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, case[0])), encoding="utf-8")
        worker("manifest", path=str(folder)).check(case)
        worker("dataset", path=str(folder)).check(case)

    run(examples, st.tuples(rows, st.booleans()), check)


_ENDS = st.one_of(st.floats(width=64), st.sampled_from([0, 1, 255, 65535, -1024.0, 1e-45, 1e-300, 3e38, 1e300, float("nan"), 10**400]))
_RULES = st.fixed_dictionaries(
    {},
    optional={
        "channels": st.sampled_from([1, 1, 3, 2, 0, -1, 1025, 10**9]),
        "size": st.sampled_from([None, 8, 32, [16, 40], 7, -1, 10**9, [16384, 16384], [8, 16384]]),
        "unit": st.sampled_from(["auto", "8-bit", "12-bit", "16-bit", "HU", "unit-interval", "volts"]),
        "mean": st.one_of(_ENDS, st.lists(_ENDS, max_size=3)),
        "std": st.one_of(_ENDS, st.lists(_ENDS, max_size=3)),
        "resize": st.sampled_from(["stretch", "pad"]),
        "window": st.one_of(st.none(), st.lists(_ENDS, min_size=2, max_size=2)),
        "percentiles": st.sampled_from([None, [0, 100], [1, 99], [50, 50], [float("nan"), 99], [-1, 99]]),
        "expected_range": st.one_of(st.none(), st.lists(_ENDS, min_size=2, max_size=2)),
        "photometric": st.sampled_from(["monochrome2", "as-stored"]),
        "colour": st.sampled_from(["convert", "exact"]),
        "antialias": st.booleans(),
        "voi": st.booleans(),
    },
)
_SHAPES = st.sampled_from([(9, 9), (8, 300), (300, 8), (12, 10, 3), (9, 9, 1), (9, 9, 65), (7, 9), (9,), (2, 9, 9, 3), (0, 9), (9, 9, 0)])
_TYPES = st.sampled_from(["u1", "<u2", ">u2", "i2", "i4", "u8", "i8", "f2", "<f4", ">f8", "?", "c8", "S3", "O", "M8[s]"])
_FILLS = st.sampled_from([0, 1, 0.5, -1, 255, 4095, 65535, 1e30, -1e30, 3e38, 1e300, float("nan"), float("inf")])


@both("arrays")
def test_random_contracts_on_random_arrays(worker: Worker, tmp_path: Path, examples: int) -> None:
    def check(case: tuple[dict[str, Any], tuple[int, ...], str, float, float, bool]) -> None:
        rules, shape, kind, low, high, lenient = case
        with np.errstate(all="ignore"):
            array = np.full(shape, low).astype(kind) if kind not in ("S3", "M8[s]") else np.zeros(shape, kind)
            if array.size and kind not in ("S3", "M8[s]", "O"):
                array.reshape(-1)[::3] = np.array(high).astype(kind)
        np.save(tmp_path / "a.npy", array, allow_pickle=True)
        worker("image", path=str(tmp_path / "a.npy"), contract=rules, lenient=lenient).check(case)

    run(examples, st.tuples(_RULES, _SHAPES, _TYPES, _FILLS, _FILLS, st.booleans()), check)


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from([10**9, -1, 10**400, "\x1b[31m"])),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=8,
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if not isinstance(value, dict | list):
        return [path]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [path] * bool(path) + [p for key, inner in items for p in _paths(inner, (*path, key))]


def changed(honest: Any, changes: list[tuple[tuple[Any, ...], Any]]) -> Any:
    """Return a copy with values put in, where earlier ones have left the place."""
    values = json.loads(json.dumps(honest))
    for (*parents, last), value in changes:
        with contextlib.suppress(LookupError, TypeError):
            functools.reduce(operator.getitem, parents, values)[last] = value
    return values


@both("configs")
def test_random_values_in_config_json(worker: Worker, tmp_path: Path, examples: int) -> None:
    honest = json.loads((PRESET / CONFIG_FILE).read_text(encoding="utf-8"))
    folder = Path(shutil.copytree(PRESET, tmp_path / "model"))

    def check(case: tuple[list[tuple[tuple[Any, ...], Any]], bool]) -> None:
        config = changed(honest, case[0])
        (folder / CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
        worker("model" if case[1] else "encoder", path=str(folder)).check(case)

    changes = st.lists(st.tuples(st.sampled_from(_paths(honest)), _JSON), min_size=1, max_size=3)
    run(examples, st.tuples(changes, st.booleans()), check)


@both("weights")
def test_damaged_safetensors_with_a_true_checksum(worker: Worker, tmp_path: Path, examples: int) -> None:
    folder = tmp_path / "model"
    encoder = Encoder.create("convnextv2_atto", contract=InputContract(size=32))
    encoder.save_pretrained(folder)
    tiny = save({"a": np.zeros((2, 3), np.float32), "b": np.zeros(4, np.float16)})
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))

    def check(case: tuple[str, bytes]) -> None:
        (folder / ENCODER_FILE).write_bytes(case[1])
        config["umsrep"]["sha256"][ENCODER_FILE] = sha256(folder / ENCODER_FILE)
        (folder / CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
        worker("tensors", path=str(folder / ENCODER_FILE)).check(base64.b64encode(case[1]))
        assert worker("encoder", path=str(folder)).check(base64.b64encode(case[1])).ending == "refused"

    run(examples, damaged({"tiny": tiny}), check)


@both("settings")
def test_random_values_in_a_configuration(worker: Worker, tmp_path: Path, examples: int) -> None:
    honest = {
        "encoder": {"arch": "resnet18", "mean": [0.5], "window": [0, 1], "in_channels": 1},
        "tasks": {"t": {"kind": "classification", "classes": ["a", "b"], "class_weights": [1, 1]}},
        "data": [{"path": "x", "targets": {"t": {"column": "c", "map": {"1": "a"}}}, "fraction": 0.5}],
        "optimiser": {"learning_rate": 0.1},
        "output": "o",
    }

    def check(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
        values = changed(honest, changes)
        (tmp_path / "c.yaml").write_text(json.dumps(values), encoding="utf-8")  # JSON is YAML
        worker("config", path=str(tmp_path / "c.yaml")).check(changes)

    run(examples, st.lists(st.tuples(st.sampled_from(_paths(honest)), _JSON), min_size=1, max_size=3), check)


def test_there_are_enough_cases() -> None:
    assert sum(SLOW.values()) >= 5000
