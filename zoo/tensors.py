"""Safetensors files, read with suspicion: the header is checked before anything is taken at its word."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from umsrep.errors import InputError

# What weights and batch-norm counters need, in bytes a value
DTYPES: Final = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8}
PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".tar")
_MOST_TENSORS = 20_000
_MOST_HEADER = 16_000_000  # bytes; a model of 5,000 tensors has about half a million


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; nothing else is accepted. The tensors are views of the mapped file.

    Raises:
        InputError: if it is missing, of another format, damaged, or holds a tensor of a type that weights do not have.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such weights file")
    if path.suffix != ".safetensors":
        raise InputError(f"{path}: only .safetensors is read (a pickle can run code); {convert_advice(path.name)}")
    check_header(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: damaged safetensors file ({error})".replace("\n", " ")) from error


def convert_advice(pickle: str) -> str:
    """Return the command that turns a pickle of tensors into safetensors, on the machine of whoever trusts it."""
    load = f"torch.load('{pickle}', map_location='cpu', weights_only=True)"
    return f"convert it: python -c \"import torch, safetensors.torch as s; s.save_file({load}, 'model.safetensors')\""


def check_header(path: Path) -> dict[str, tuple[int, ...]]:
    """Check a safetensors header against the file: its own length, unique names, allowed types, and bytes that lie side by side.

    Returns:
        Name to shape.

    Raises:
        InputError: naming the file, and the tensor where one is at fault.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, _MOST_HEADER):
                raise InputError(f"{path}: damaged safetensors file (a header of {length:,} bytes in a file of {size:,})")
            text = file.read(length)
        header = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: damaged safetensors file (header: {error})") from error
    if not isinstance(header, dict):
        raise InputError(f"{path}: damaged safetensors file (header is no object)")
    header.pop("__metadata__", None)
    if len(header) > _MOST_TENSORS:
        raise InputError(f"{path}: {len(header):,} tensors; no model has more than {_MOST_TENSORS:,}")
    entries = {name: _entry(path, name, value) for name, value in header.items()}
    position = 0
    for name, (_, start, stop) in sorted(entries.items(), key=lambda item: item[1][1:]):
        if start != position:
            raise InputError(f"{path}: damaged safetensors file ('{name}' begins at byte {start:,}, not {position:,})")
        position = stop
    if position != size - 8 - length:
        raise InputError(f"{path}: damaged safetensors file (header tells of {position:,} bytes, {size - 8 - length:,} are there)")
    return {name: shape for name, (shape, _, _) in entries.items()}


def _entry(path: Path, name: str, value: Any) -> tuple[tuple[int, ...], int, int]:
    where = f"{path}: tensor '{name[:200]}'"
    if not isinstance(value, dict) or not isinstance(value.get("shape"), list) or not isinstance(value.get("data_offsets"), list):
        raise InputError(f"{where} has no shape or no offsets")
    dtype, shape, offsets = value.get("dtype"), value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise InputError(f"{where} is of type {str(dtype)[:40]}; weights are {', '.join(DTYPES)}: save it again in one of them")
    numbers = [*shape, *offsets]
    if len(offsets) != 2 or len(shape) > 8 or not all(type(n) is int and 0 <= n < 2**48 for n in numbers):
        raise InputError(f"{where} has an impossible shape or impossible offsets")
    if math.prod(shape) * DTYPES[dtype] != offsets[1] - offsets[0]:
        raise InputError(f"{where} of shape {tuple(shape)} and type {dtype} does not fill bytes {offsets[0]:,} to {offsets[1]:,}")
    return tuple(shape), offsets[0], offsets[1]


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of JSON, as ``object_pairs_hook``; a key that occurs twice is a ``ValueError``."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("the same key twice")
    return found
