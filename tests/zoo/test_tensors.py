"""Safetensors files: every header that lies is refused in one line, quickly, and no pickle is ever opened."""

from __future__ import annotations

import json
import pickle
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from umsrep.errors import InputError
from umsrep.zoo.tensors import check_header, read_tensors


def one_line(caught: pytest.ExceptionInfo[InputError]) -> bool:
    """Whether the message is one line."""
    return "\n" not in str(caught.value)


def write(path: Path, header: Any, data: bytes = b"\0" * 64, *, length: int | None = None) -> Path:
    """Write a file with this header (JSON or text) and these data."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(start: int, stop: int, shape: list[Any], dtype: str = "F32") -> dict[str, Any]:
    """A tensor's entry."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


WHOLE = {"a": entry(0, 32, [2, 4]), "b": entry(32, 64, [4], "I64")}
HOSTILE = {
    "header longer than the file": (WHOLE, {"length": 2**40}, "a header of 1,099,511,627,776 bytes in a file of"),
    "header of 2**64 - 1 bytes": (WHOLE, {"length": 2**64 - 1}, "a header of 18,446,744,073,709,551,615 bytes"),
    "header cut": (WHOLE, {"length": 20}, "header: "),
    "bytes outside": ({"a": entry(0, 4_000_000, [1_000_000])}, {}, "header tells of 4,000,000 bytes, 64 are there"),
    "overlap": ({"a": entry(0, 64, [16]), "b": entry(32, 64, [8])}, {}, "'b' begins at byte 32, not 64"),
    "gap": ({"a": entry(0, 16, [4]), "b": entry(32, 64, [8])}, {}, "'b' begins at byte 32, not 16"),
    "unused bytes": ({"a": entry(0, 32, [8])}, {}, "header tells of 32 bytes, 64 are there"),
    "huge shape": ({"a": entry(0, 64, [2**40, 2**40])}, {}, "does not fill bytes 0 to 64"),
    "shape that wraps": ({"a": entry(0, 64, [2**62, 16])}, {}, "impossible shape"),
    "negative shape": ({"a": entry(0, 64, [-4, -4])}, {}, "impossible shape"),
    "negative offset": ({"a": entry(-64, 0, [16])}, {}, "impossible shape or impossible offsets"),
    "fraction": ({"a": entry(0, 64, [16.0])}, {}, "impossible shape"),
    "truth": ({"a": entry(0, 64, [True, 16])}, {}, "impossible shape"),
    "many axes": ({"a": entry(0, 64, [1] * 100_000 + [16])}, {}, "impossible shape"),
    "no shape": ({"a": {"dtype": "F32"}}, {}, "tensor 'a' has no shape or no offsets"),
    "the same name twice": ('{"a": 1, "a": 2}', {}, "the same key twice"),
    "list": ("[]", {}, "header is no object"),
    "nested": ("[" * 100_000, {}, "header: "),
    "not a text": ("\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), {}, "header: "),
    **{
        dtype: ({"a": entry(0, 64, [64 // size], dtype)}, {}, f"tensor 'a' is of type {dtype}; weights are F64, F32, F16, BF16, I64")
        for dtype, size in (("U8", 1), ("BOOL", 1), ("F8_E4M3", 1), ("I32", 4), ("C64", 8), ("NONE", 1))
    },
}


@pytest.mark.parametrize(("header", "options", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_header_that_lies(tmp_path: Path, header: Any, options: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "w.safetensors", header, **options)
    started = time.monotonic()
    with pytest.raises(InputError) as caught:
        read_tensors(path)
    assert time.monotonic() - started < 2
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert one_line(caught)


def test_every_allowed_type_is_read(tmp_path: Path) -> None:
    kinds = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64)
    tensors = {str(kind): torch.arange(6).reshape(2, 3).to(kind) for kind in kinds} | {"none": torch.zeros(0, 3), "one": torch.tensor(1)}
    save_file(tensors, tmp_path / "w.safetensors", metadata={"format": "pt"})
    assert check_header(tmp_path / "w.safetensors") == {name: tuple(t.shape) for name, t in tensors.items()}
    found = read_tensors(tmp_path / "w.safetensors")
    assert all(torch.equal(found[name], t) and found[name].dtype == t.dtype for name, t in tensors.items())


@pytest.mark.parametrize("length", [0, 4, 8, 50, 1000])
def test_truncated(tmp_path: Path, length: int) -> None:
    save_file({"a": torch.ones(500)}, tmp_path / "whole.safetensors")
    (tmp_path / "w.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:length])
    with pytest.raises(InputError, match="damaged safetensors file"):
        read_tensors(tmp_path / "w.safetensors")


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
        read_tensors(tmp_path / name)
    assert one_line(caught)
    assert not (tmp_path / "ran").exists()


def test_too_many_tensors_and_a_type_that_is_no_text(tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    for header, message in (
        ({f"t{n}": entry for n in range(20_001)}, "20,001 tensors"),
        ({"a": {**entry, "dtype": ["F32"]}}, "is of type"),
    ):
        text = json.dumps(header).encode()
        (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
        with pytest.raises(InputError, match=message):
            check_header(tmp_path / "a.safetensors")
