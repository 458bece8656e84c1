"""Model folders and the Hugging Face Hub: config.json + safetensors, checked by sha256, nothing ever executed."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # the client that this hub version uses, httpx or httpx2
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from umsrep.errors import InputError, nearest
from umsrep.zoo.card import build_card
from umsrep.zoo.presets import PRESETS

SCHEMA_VERSION = 1
CONFIG_FILE = "config.json"
ENCODER_FILE = "model.safetensors"
HEADS_FILE = "heads.safetensors"
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
WEIGHTS = Path(__file__).parent / "weights"


# ---- finding -------------------------------------------------------------------------------------------------------
def resolve(
    name: str, *, revision: str | None = None, token: str | None = None, cache_dir: str | Path | None = None, local_files_only: bool = False
) -> Path:
    """Find the model folder of a preset, a path or ``org/repo``.

    Raises:
        InputError: for an unknown name (with near presets), a private or gated repository, or an unreachable Hub.
    """
    if name in PRESETS:
        return WEIGHTS / name
    try:
        folder = Path(name).expanduser()
    except RuntimeError:  # no such user
        folder = Path(name)
    if folder.is_dir():
        return folder
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise InputError(f"'{name}' is neither a preset, nor a folder, nor org/repo on the Hub{nearest(name, PRESETS)}")
    try:
        path = snapshot_download(
            name,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            allow_patterns=[CONFIG_FILE, ENCODER_FILE, HEADS_FILE, CARD_FILE],
        )
    except GatedRepoError as error:  # a subclass of RepositoryNotFoundError: first
        raise InputError(f"'{name}' is gated: ask for access on its page, then pass a token") from error
    except RepositoryNotFoundError as error:
        raise InputError(f"'{name}' is not on the Hub, or is private and needs a token{nearest(name, PRESETS)}") from error
    except RevisionNotFoundError as error:
        raise InputError(f"'{name}' has no revision '{revision}'") from error
    except LocalEntryNotFoundError as error:
        raise InputError(f"'{name}' is not in the cache and the Hub cannot be reached (no folder of that name either)") from error
    except HFValidationError as error:
        raise InputError(f"'{name}' is no valid name of a repository on the Hub: {_first_line(error)}") from error
    except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise InputError(f"'{name}' could not be downloaded: {_first_line(error)}") from error
    return Path(path)


# ---- reading -------------------------------------------------------------------------------------------------------
def read_config(folder: Path) -> dict[str, Any]:
    """Read and check config.json.

    Raises:
        InputError: if it is missing, no JSON, without our block, from a newer schema, or names an architecture that is no plain timm name.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise InputError(f"{path}: no such file; a model folder holds {CONFIG_FILE} and {ENCODER_FILE}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not valid JSON ({_first_line(error)})") from error
    block = config.get("umsrep") if isinstance(config, dict) else None
    if not isinstance(block, dict):
        raise InputError(
            f"{path}: no 'umsrep' block; this is not an umsrep model (load timm weights with Encoder.create(arch='local-dir:...'))"
        )
    version = block.get("schema_version")
    if not isinstance(version, int) or version < 1:
        raise InputError(f"{path}: schema_version must be a whole number, not {version!r}")
    if version > SCHEMA_VERSION:
        raise InputError(f"{path}: schema_version {version} is newer than this umsrep reads ({SCHEMA_VERSION}); upgrade umsrep")
    for key in ("contract", "sha256", "heads"):
        if not isinstance(block.get(key), dict):
            raise InputError(f"{path}: umsrep.{key} is missing or not an object")
    for file, checksum in block["sha256"].items():
        if not isinstance(checksum, str):
            raise InputError(f"{path}: umsrep.sha256 of {file} must be a text, not {checksum!r}")
    arguments = config.get("model_args") or {}
    if not isinstance(arguments, dict):
        raise InputError(f"{path}: model_args must be an object, not {arguments!r}")
    for key in arguments:
        if key in _RESERVED:  # some of them would make timm open other files
            raise InputError(f"{path}: model_args must not hold '{key}'")
    architecture = config.get("architecture")
    if not isinstance(architecture, str) or ":" in architecture or "/" in architecture:
        raise InputError(f"{path}: architecture must be a plain timm name, not {architecture!r}")
    return cast(dict[str, Any], config)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; nothing else is accepted.

    Raises:
        InputError: if it is missing, of another format, or damaged.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such weights file")
    if path.suffix != ".safetensors":
        raise InputError(f"{path}: only .safetensors is read (a pickle can run code); convert it with safetensors.torch.save_file")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: damaged safetensors file ({_first_line(error)})") from error


def read_folder_tensors(folder: Path, file: str, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Read one weight file of a model folder after checking its sha256 against config.json.

    Raises:
        InputError: naming the file, if it is missing or is not the file that was saved.
    """
    path = folder / file
    wanted = config["umsrep"]["sha256"].get(file)
    if wanted is None:
        raise InputError(f"{folder / CONFIG_FILE}: no sha256 for {file}")
    if not path.is_file():
        raise InputError(f"{path}: no such weights file")
    if (found := sha256(path)) != wanted:
        raise InputError(f"{path}: damaged: sha256 {found[:12]}..., but config.json says {wanted[:12]}...; download or save it again")
    return read_tensors(path)


def sha256(path: Path) -> str:
    """Return the hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
            _replace(folder / name, functools.partial(save_file, stored, metadata={"format": "pt"}))
            sums[name] = sha256(folder / name)
        if HEADS_FILE not in files and (folder / HEADS_FILE).exists():
            (folder / HEADS_FILE).unlink()  # a folder saved before with heads must not keep stale ones
        config["umsrep"] = {"schema_version": SCHEMA_VERSION, **config["umsrep"], "sha256": sums}
        text = json.dumps(config, indent=2, allow_nan=False) + "\n"
        _replace(folder / CONFIG_FILE, lambda path: path.write_text(text, encoding="utf-8"))
        readme = card if card is not None else build_card(folder.name, config)
        _replace(folder / CARD_FILE, lambda path: path.write_text(readme, encoding="utf-8"))
    except (OSError, SafetensorError) as error:  # a full disk is the one or the other
        raise InputError(f"{folder}: cannot write the model folder ({getattr(error, 'strerror', None) or error})") from error
    return folder


def _halve(key: str, tensor: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    is_norm = f"{key.rpartition('.')[0]}.running_mean" in tensors
    is_bias = "bias" in key.rpartition(".")[2]  # also Swin's relative_position_bias_table
    return tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 and not is_norm and not is_bias else tensor


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # safetensors writes files that only their owner can read
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


# ---- publishing ----------------------------------------------------------------------------------------------------
def push(
    folder: Path,
    repo_id: str,
    *,
    private: bool = False,
    token: str | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
) -> str:
    """Upload a model folder to the Hugging Face Hub.

    Args:
        folder: As `write_folder` made it; only config.json, safetensors and README.md go up.
        repo_id: ``org/repo``; made if absent.
        private: Make it private.
        token: A token with write right; default is the stored one.
        revision: Branch, default main.
        commit_message: Default names the package.

    Returns:
        Address of the commit.

    Raises:
        InputError: without a valid token or write right, or when the Hub cannot be reached.
    """
    read_config(folder)
    api = HfApi(token=token)
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            revision=revision,
            commit_message=commit_message or "Upload with umsrep",
            allow_patterns=[CONFIG_FILE, "*.safetensors", CARD_FILE],
        )
    except HFValidationError as error:
        raise InputError(f"'{repo_id}' is no valid name of a repository: {_first_line(error)}") from error
    except HfHubHTTPError as error:
        code = error.response.status_code if error.response is not None else "?"
        remedy = {401: "log in with `hf auth login` or pass a valid token", 403: "the token has no write right here"}.get(
            code, _first_line(error)
        )
        raise InputError(f"'{repo_id}' could not be published (HTTP {code}): {remedy}") from error
    except (httpx.HTTPError, OSError) as error:
        raise InputError(f"'{repo_id}' could not be published: {_first_line(error)}") from error
    return str(commit.commit_url)


def save_and_push(save: Callable[[Path], Path], repo_id: str, **options: Any) -> str:
    """Save into a temporary folder and `push` it."""
    with tempfile.TemporaryDirectory() as parent:
        return push(save(Path(parent) / repo_id.rpartition("/")[2]), repo_id, **options)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
