"""Model folders: config.json + safetensors + card. Written whole or not at all, read with suspicion, nothing ever executed."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from umsrep.errors import InputError
from umsrep.zoo.card import build_card
from umsrep.zoo.tensors import PICKLES, convert_advice, read_tensors, unique

SCHEMA_VERSION = 1
# schema version to the function that turns a configuration of it into one of the next; version 1 is the first
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
CONFIG_FILE = "config.json"
ENCODER_FILE = "model.safetensors"
HEADS_FILE = "heads.safetensors"
REFERENCE_FILE = "reference.safetensors"
"""What the encoder's kind of picture looks like to it (`umsrep.tasks.reference`); not every folder has it."""
CARD_FILE = "README.md"
# timm.create_model's own keywords: a config may only hold arguments of the architecture
_RESERVED = (
    "cache_dir",
    "checkpoint_path",
    "exportable",
    "features_only",
    "in_chans",
    "no_jit",
    "num_classes",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "pretrained_strict",
    "scriptable",
)
_MOST_CONFIG = 4_000_000  # bytes; 20,000 class names have half a million
_MOST_NUMBER = 65_536  # no layer's width, count of layers or image side is larger
_MOST_CHANNELS = 1_024
_MOST_DIGITS = 1e40
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\.safetensors")
_SHA256 = re.compile(r"[0-9a-f]{64}")


# ---- reading -------------------------------------------------------------------------------------------------------
def read_config(folder: Path) -> dict[str, Any]:
    """Read and check config.json; an older schema is brought up to this one.

    Raises:
        InputError: if it is missing, no JSON, without our block, from a newer schema, or asks for what no model needs.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise InputError(f"{path}: no such file; a model folder holds {CONFIG_FILE} and {ENCODER_FILE}{_pickled(folder)}")
    if path.stat().st_size > _MOST_CONFIG:
        raise InputError(f"{path}: {path.stat().st_size:,} bytes; no configuration has more than {_MOST_CONFIG:,}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)
        given = numbers(config)
    except RecursionError as error:
        raise InputError(f"{path}: not valid JSON (nested too deep)") from error
    except (UnicodeDecodeError, ValueError) as error:  # ValueError: also a number of more digits than Python reads
        raise InputError(f"{path}: not valid JSON ({str(error).splitlines()[0]})") from error
    block = config.get("umsrep") if isinstance(config, dict) else None
    if not isinstance(block, dict):
        raise InputError(
            f"{path}: no 'umsrep' block; this is not an umsrep model (load timm weights with Encoder.create(arch='local-dir:...'))"
        )
    version = block.get("schema_version")
    if type(version) is not int or version < 1:
        raise InputError(f"{path}: schema_version must be a whole number, 1 or more, not {str(version)[:80]!r}")
    if version > SCHEMA_VERSION:
        raise InputError(f"{path}: schema_version {version} is newer than this umsrep reads ({SCHEMA_VERSION}); upgrade umsrep")
    for old in range(version, SCHEMA_VERSION):
        config = MIGRATIONS[old](config)
    _check_config(path, config)
    if not all(abs(number) < _MOST_DIGITS for number in given):  # NaN compares as false
        raise InputError(f"{path}: holds NaN, an infinity or a number of more than 40 digits")
    return cast(dict[str, Any], config)


def _check_config(path: Path, config: dict[str, Any]) -> None:
    block = config["umsrep"]
    for key in ("contract", "sha256", "heads"):
        if not isinstance(block.get(key), dict):
            raise InputError(f"{path}: umsrep.{key} is missing or not an object")
    for file, checksum in block["sha256"].items():
        if not _FILE.fullmatch(file):
            raise InputError(f"{path}: umsrep.sha256 names {file[:80]!r}, which is no safetensors file of the folder")
        if not isinstance(checksum, str) or not _SHA256.fullmatch(checksum):
            raise InputError(f"{path}: umsrep.sha256 of {file} must be 64 hex digits, not {str(checksum)[:80]!r}")
    size = block["contract"].get("size")
    for key, values, most in (
        ("channels", [block["contract"].get("channels", 1)], _MOST_CHANNELS),
        ("size", size if isinstance(size, list) else [size], _MOST_NUMBER // 4),
    ):
        if any(type(n) is int and not 1 <= n <= most for n in values):
            raise InputError(f"{path}: contract: {key} must be 1 to {most:,}, not {str(values)[:80]}")
    arguments = config.get("model_args") or {}
    if not isinstance(arguments, dict):
        raise InputError(f"{path}: model_args must be an object, not {str(arguments)[:80]!r}")
    for key in arguments:
        if key in _RESERVED:  # some of them would make timm open other files
            raise InputError(f"{path}: model_args must not hold '{key}'")
    for where, sizes in (("model_args", arguments), ("umsrep.heads", block["heads"])):
        for number in numbers(sizes):
            if not -_MOST_NUMBER <= number <= _MOST_NUMBER:
                raise InputError(f"{path}: {where} holds {str(number)[:40]}; no model needs a number beyond {_MOST_NUMBER:,}")
    architecture = config.get("architecture")
    if not isinstance(architecture, str) or ":" in architecture or "/" in architecture:
        raise InputError(f"{path}: architecture must be a plain timm name, not {str(architecture)[:80]!r}")


def numbers(value: Any) -> list[int | float]:
    """Return all numbers in nested JSON values; true and false are none."""
    if isinstance(value, dict | list):
        return [n for v in (value.values() if isinstance(value, dict) else value) for n in numbers(v)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def read_folder_tensors(folder: Path, file: str, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Read one weight file of a model folder after checking its sha256 against config.json.

    Raises:
        InputError: naming the file, if it is missing or is not the file that was saved.
    """
    check_file(folder, file, config)
    return read_tensors(folder / file)


def check_file(folder: Path, file: str, config: Mapping[str, Any]) -> None:
    """Check one weight file's sha256 against config.json.

    Raises:
        InputError: naming the file, if it is missing; `DamagedFile` if it is not the file that was saved.
    """
    path = folder / file
    wanted = config["umsrep"]["sha256"].get(file)
    if wanted is None:
        raise InputError(f"{folder / CONFIG_FILE}: no sha256 for {file}{_pickled(folder)}")
    if not path.is_file():
        raise InputError(f"{path}: no such weights file{_pickled(folder)}")
    if (found := sha256(path)) != wanted:
        raise DamagedFile(f"{path}: damaged: sha256 {found[:12]}..., but config.json says {wanted[:12]}...; download or save it again")


class DamagedFile(InputError):
    """A file that is not what it was when it was saved."""


def sha256(path: Path) -> str:
    """Return the hex sha256 of a file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _pickled(folder: Path) -> str:
    """Say what to do with the pickle that lies where safetensors should."""
    found = sorted(p.name for p in folder.glob("*") if p.suffix in PICKLES)
    return f"; {pickle_advice(found[0])}" if found else ""


def pickle_advice(file: str) -> str:
    """Say why a pickle is not read, and what to do."""
    return f"'{file}' is a pickle, which can run code when read: if you trust it, {convert_advice(file)}"


# ---- writing -------------------------------------------------------------------------------------------------------
def write_folder(
    folder: Path, config: dict[str, Any], files: Mapping[str, Mapping[str, Tensor]], *, card: str | None = None, half: bool = False
) -> Path:
    """Write weight files, config.json (with their checksums) and the card; each file appears whole or not at all.

    Args:
        folder: Made if absent.
        config: As `Encoder.config` gives it.
        files: File name to tensors.
        card: Text of README.md, or None for one made from the configuration.
        half: Store float tensors as float16, except norms (anything with running statistics beside it) and biases.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sums = {}
        for name, tensors in files.items():
            stored = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
            if half:
                stored = {k: _halve(k, v, stored) for k, v in stored.items()}
            write_whole(folder / name, functools.partial(save_file, stored, metadata={"format": "pt"}))
            sums[name] = sha256(folder / name)
        for stale in (HEADS_FILE, REFERENCE_FILE):  # a folder saved before must not keep what belongs to other weights
            if stale not in files and (folder / stale).exists():
                (folder / stale).unlink()
        config["umsrep"] = {"schema_version": SCHEMA_VERSION, **config["umsrep"], "sha256": sums}
        text = json.dumps(config, indent=2, allow_nan=False) + "\n"
        write_whole(folder / CONFIG_FILE, lambda path: path.write_text(text, encoding="utf-8"))
        readme = card if card is not None else build_card(folder.name, config)
        write_whole(folder / CARD_FILE, lambda path: path.write_text(readme, encoding="utf-8"))
    except (OSError, SafetensorError) as error:  # a full disk is the one or the other
        raise InputError(f"{folder}: cannot write the model folder ({getattr(error, 'strerror', None) or error})") from error
    return folder


def _halve(key: str, tensor: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    is_norm = f"{key.rpartition('.')[0]}.running_mean" in tensors
    is_bias = "bias" in key.rpartition(".")[2]  # also Swin's relative_position_bias_table
    return tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 and not is_norm and not is_bias else tensor


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file under another name, then put it in the place of ``path``; its folder is made if absent."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is there and is no plain file; it is not replaced")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        write(temporary)
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # safetensors writes files that only their owner can read
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
