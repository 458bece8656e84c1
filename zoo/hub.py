"""Find a model by name (preset, folder, repository on the Hugging Face Hub); its files are checked, and repaired once."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RemoteEntryNotFoundError, RevisionNotFoundError
from huggingface_hub.file_download import repo_folder_name
from torch import Tensor

from umsrep.errors import InputError, nearest
from umsrep.zoo.folder import (
    CARD_FILE,
    CONFIG_FILE,
    ENCODER_FILE,
    HEADS_FILE,
    REFERENCE_FILE,
    SCHEMA_VERSION,
    DamagedFile,
    check_file,
    pickle_advice,
    read_config,
    read_folder_tensors,
    sha256,
    write_folder,
    write_whole,
)
from umsrep.zoo.network import FAILURES, UNREACHABLE, again, check_token, download_error, first_line, status_of
from umsrep.zoo.presets import PRESETS
from umsrep.zoo.publish import Publishable, Published, push, snippet, upload
from umsrep.zoo.staging import BadCard, plan, staged
from umsrep.zoo.tensors import PICKLES, read_tensors

__all__ = [
    "CARD_FILE",
    "CONFIG_FILE",
    "ENCODER_FILE",
    "HEADS_FILE",
    "REFERENCE_FILE",
    "SCHEMA_VERSION",
    "BadCard",
    "FileCheck",
    "Publishable",
    "Published",
    "Source",
    "check_timm_source",
    "open_source",
    "plan",
    "push",
    "read_config",
    "read_folder_tensors",
    "read_tensors",
    "resolve",
    "sha256",
    "snippet",
    "staged",
    "upload",
    "verify",
    "write_folder",
]

WEIGHTS = Path(__file__).parent / "weights"


# ---- loading -------------------------------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True)
class Source:
    """Where a model's files come from: a folder, or one commit of a repository on the Hub.

    Attributes:
        name: As the user wrote it.
        folder: The model folder, or the commit's folder in the cache.
        config: Content of config.json, checked.
        download: Brings one file into the folder (again, if told so); None for a plain folder.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    download: Callable[[str, bool], Path] | None

    def tensors(self, file: str) -> dict[str, Tensor]:
        """Read a weight file whose sha256 is that of config.json; a damaged download is repaired once.

        Raises:
            InputError: naming the file, if it is missing, damaged, no safetensors, or holds values that are not finite.
        """
        self.check(file)
        tensors = read_tensors(self.folder / file)
        if (name := not_finite(tensors)) is not None:
            raise InputError(f"{self.folder / file}: {name} holds NaN or an infinity: the training diverged; take an earlier checkpoint")
        return tensors

    def check(self, file: str) -> None:
        """Bring a weight file and check its sha256; a damaged download is repaired once. Errors as `tensors`."""
        if self.download is not None and file in self.config["umsrep"]["sha256"]:
            self.download(file, False)
        try:
            check_file(self.folder, file, self.config)
        except DamagedFile as error:
            if self.download is None:
                raise
            self.download(file, True)
            try:
                check_file(self.folder, file, self.config)
            except DamagedFile:
                raise InputError(f"{error}; a second download was damaged too: tell the author of '{self.name}'") from error


def open_source(
    name: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Source:
    """Find a model and read its configuration; weights come with `Source.tensors`.

    Args:
        name: A preset, a folder, or ``org/repo`` on the Hub.
        revision: Branch, tag or 40-digit commit on the Hub.
        token: Hub token; default is HF_TOKEN or the stored one, False for none.
        cache_dir: Where downloads are kept; default is the cache of huggingface_hub.
        local_files_only: Never touch the network.

    Raises:
        InputError: for an unknown name (with near presets), a private or gated repository, an unknown revision, an unreachable Hub,
            or a configuration that is not one.
    """
    if revision is not None and not (isinstance(revision, str) and revision.strip()):
        raise InputError(f"revision {revision!r}: must be the name of a branch or tag, or a commit of 40 hex digits")
    folder = _local(name)
    if folder is not None:
        if revision is not None:
            raise InputError(f"'{name}' is {'a preset' if name in PRESETS else 'a folder'}, which has no revision '{revision}'")
        return Source(name, folder, read_config(folder), None)
    check_token(token)
    options: dict[str, Any] = {"token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
    commit = _find_commit(name, revision, **options)
    path = _download(name, CONFIG_FILE, False, commit, **options)
    if not _intact(path):
        path = _download(name, CONFIG_FILE, True, commit, **options)
        if not _intact(path):
            raise InputError(f"{path}: damaged, and so was a second download; try again later")
    # one commit, so that all files belong together, and none that is cached asks the network
    return Source(name, path.parent, read_config(path.parent), functools.partial(_download_file, name, commit, options))


def resolve(
    name: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Path:
    """Return the folder of a model; from the Hub all its files are downloaded and checked. Arguments and errors as in `open_source`."""
    if revision is None and (folder := _local(name)) is not None:
        return folder
    source = open_source(name, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only)
    for file in source.config["umsrep"]["sha256"]:
        source.check(file)
    return source.folder


def _local(name: str) -> Path | None:
    """Return the folder of a preset or path, or None for ``org/repo``."""
    if name in PRESETS:
        return WEIGHTS / name
    try:
        folder = Path(name).expanduser()
    except RuntimeError:  # no such user
        folder = Path(name)
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise InputError(f"{name}: a file, not a model folder; give the folder that holds {CONFIG_FILE}")
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise InputError(f"'{name}' is neither a preset, nor a folder, nor org/repo on the Hub{nearest(name, PRESETS)}")
    return None


def _find_commit(name: str, revision: str | None, *, token: str | bool | None, cache_dir: str | Path | None, local_files_only: bool) -> str:
    """Ask the Hub which commit a revision is; the cache's answer serves offline and, with a warning, where the Hub is out of reach."""
    wanted = revision or constants.DEFAULT_REVISION
    try:
        cached = try_to_load_from_cache(name, CONFIG_FILE, cache_dir=cache_dir, revision=wanted)
    except HFValidationError as error:
        raise InputError(f"'{name}' is no valid name of a repository on the Hub: {first_line(error)}") from error
    known = Path(cached).parent.name if isinstance(cached, str) else None
    if known is not None and (known == wanted or local_files_only or constants.is_offline_mode()):
        return known
    explain = functools.partial(
        download_error, name=name, file=CONFIG_FILE, revision=revision, token=token, cache_dir=cache_dir, local=local_files_only
    )
    if local_files_only:
        raise explain(LocalEntryNotFoundError(f"{CONFIG_FILE} of {wanted} is not cached"))
    try:
        url = hf_hub_url(name, CONFIG_FILE, revision=revision)
        ask = functools.partial(get_hf_file_metadata, url, token=token, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        commit = again(ask, also=UNREACHABLE).commit_hash
    except RemoteEntryNotFoundError as error:
        raise _without(name, CONFIG_FILE, revision, token) from error
    except RevisionNotFoundError as error:
        raise InputError(f"'{name}' has no revision '{revision}'{nearest(wanted, _revisions(name, token))}") from error
    except FAILURES as error:
        if known is None or isinstance(error, ValueError) or 400 <= (status_of(error) or 0) < 500:
            raise explain(error) from error  # a wrong token is told also where the files are cached
        warnings.warn(f"{explain(error)}; using commit {known} from the cache", stacklevel=2)
        return known
    if commit is None:
        raise InputError(
            f"{constants.ENDPOINT} answers, but not as a Hub does (no commit for '{name}'); check HF_ENDPOINT and proxy settings"
        )
    if commit != wanted:  # as hf_hub_download does: so that this branch or tag is found offline
        refs = Path(cache_dir or constants.HF_HUB_CACHE, repo_folder_name(repo_id=name, repo_type="model"), "refs")
        with contextlib.suppress(OSError):  # a cache that cannot be written is told by the download
            write_whole(refs / wanted, lambda path: path.write_text(commit, encoding="utf-8"))
    return commit


def _download_file(name: str, commit: str, options: dict[str, Any], file: str, force: bool) -> Path:
    return _download(name, file, force, commit, **options)


def _download(
    name: str, file: str, force: bool, commit: str, *, token: str | bool | None, cache_dir: str | Path | None, local_files_only: bool
) -> Path:
    if force and (local_files_only or constants.is_offline_mode()):
        raise InputError(f"'{name}': {file} is damaged in the cache; load it once with the network, which repairs it")
    call = functools.partial(
        hf_hub_download,
        name,
        file,
        revision=commit,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        force_download=force,
    )
    try:
        return Path(again(call))
    except RemoteEntryNotFoundError as error:
        raise _without(name, file, commit, token) from error
    except FAILURES as error:
        raise download_error(error, name, file=file, revision=commit, token=token, cache_dir=cache_dir, local=local_files_only) from error


def _without(name: str, file: str, revision: str | None, token: str | bool | None) -> InputError:
    """Say that a repository lacks a file, and what it has instead."""
    try:
        files = HfApi(token=token).list_repo_files(name, revision=revision)
    except FAILURES:  # only for a better message
        files = []
    pickles = sorted(f for f in files if f.endswith(PICKLES))
    if pickles and not any(f.endswith(".safetensors") for f in files):
        return InputError(f"'{name}' holds no safetensors: {pickle_advice(pickles[0])}")
    what = "; it is no umsrep model (load timm's with Encoder.create('hf-hub:org/repo', ...))" if file == CONFIG_FILE else ""
    return InputError(f"'{name}' has no file {file}{what}")


def check_timm_source(arch: str) -> None:
    """Refuse a source of timm's (``hf-hub:org/repo``, ``local-dir:folder``) that holds only pickles, which timm would open.

    Raises:
        InputError: with the command that converts it.
    """
    kind, _, name = arch.partition(":")
    if kind == "local-dir":
        files = [p.name for p in Path(name).glob("*")]
    else:
        repo_id, _, revision = name.partition("@")
        try:
            files = again(lambda: HfApi().list_repo_files(repo_id, revision=revision or None))
        except FAILURES:  # timm has the cache, and tells what is wrong
            return
    pickles = sorted(f for f in files if f.endswith(PICKLES))
    if pickles and not any(f.endswith(".safetensors") for f in files):
        raise InputError(f"'{arch}' holds no safetensors: {pickle_advice(pickles[0])}")


def _revisions(name: str, token: str | bool | None) -> list[str]:
    try:
        refs = HfApi(token=token).list_repo_refs(name)
    except FAILURES:  # only for a better message
        return []
    return [ref.name for ref in [*refs.branches, *refs.tags]]


def _intact(path: Path) -> bool:
    """Compare a cached file with its digest, the name under which the cache keeps it; True where the cache keeps no such name."""
    name, content = path.resolve().name, path.read_bytes()
    if len(name) == 40:  # git's digest, or that of a proxy such as Artifactory
        return name in (hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(), hashlib.sha1(content).hexdigest())
    return len(name) != 64 or name == hashlib.sha256(content).hexdigest()


# ---- checking ------------------------------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True)
class FileCheck:
    """What `verify` found for one file.

    Attributes:
        file: Its name.
        size: Bytes; 0 if missing.
        sha256: What it has; empty if missing.
        ok: Whether that is what config.json (and for a preset the registry) says, and the file is whole safetensors of allowed types
            and finite values.
    """

    file: str
    size: int
    sha256: str
    ok: bool


def verify(
    name: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> list[FileCheck]:
    """Check every weight file of a preset, a folder or ``org/repo``; nothing is repaired. Arguments and errors as in `open_source`."""
    source = open_source(name, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only)
    found = []
    for file, wanted in source.config["umsrep"]["sha256"].items():
        if source.download is not None:
            source.download(file, False)
        path = source.folder / file
        if not path.is_file():
            found.append(FileCheck(file, 0, "", False))
            continue
        digest = sha256(path)
        pinned = PRESETS[name].sha256 if name in PRESETS and file == ENCODER_FILE else wanted
        found.append(FileCheck(file, path.stat().st_size, digest, digest == wanted == pinned and _readable(path)))
    return found


def _readable(path: Path) -> bool:
    try:
        return not_finite(read_tensors(path)) is None
    except InputError:
        return False


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first tensor that holds NaN or an infinity."""
    floats = ((name, t) for name, t in tensors.items() if t.is_floating_point() and t.numel())
    return next((name for name, t in floats if not all(map(math.isfinite, (x.item() for x in t.aminmax())))), None)
