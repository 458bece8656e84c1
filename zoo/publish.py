"""Publish a model folder on the Hugging Face Hub; an upload can be repeated without harm."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

from umsrep.errors import InputError
from umsrep.zoo.folder import CARD_FILE, CONFIG_FILE, ENCODER_FILE, read_config, read_folder_tensors
from umsrep.zoo.network import FAILURES, again, check_token, upload_error


class Published(str):
    """The address of a commit on the Hub (or of its pull request), which also knows its parts.

    Attributes:
        url: The address, equal to the string itself.
        commit: 40 hex digits, what ``revision=`` takes.
    """

    url: str
    commit: str

    def __new__(cls, url: str, commit: str) -> Published:
        """Make the string and keep its parts."""
        self = super().__new__(cls, url)
        self.url, self.commit = url, commit
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle with the parts."""
        return Published, (self.url, self.commit)


def plan(folder: Path) -> list[tuple[str, int]]:
    """Return the files that `push` would upload, with their sizes in bytes, after checking them all.

    Raises:
        InputError: naming the first file that is missing, damaged or no safetensors.
    """
    config = read_config(folder)
    files = [CONFIG_FILE, *config["umsrep"]["sha256"], CARD_FILE]
    if ENCODER_FILE not in files:
        raise InputError(f"{folder / CONFIG_FILE}: no sha256 for {ENCODER_FILE}")
    for file in files[1:-1]:
        read_folder_tensors(folder, file, config)
    if not (folder / CARD_FILE).is_file():
        raise InputError(f"{folder / CARD_FILE}: no such file; a model is published with its card (save the model again to get one)")
    return [(file, (folder / file).stat().st_size) for file in files]


def push(
    folder: Path,
    repo_id: str,
    *,
    private: bool = False,
    token: str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    tag: str | None = None,
) -> Published:
    """Upload a model folder to the Hugging Face Hub. Repeating it, for example after a broken connection, changes nothing.

    Args:
        folder: As `write_folder` made it; the files of `plan` go up.
        repo_id: ``org/repo``; made if absent.
        private: Make it private, if it is new.
        token: A token with write right; default is HF_TOKEN or the stored one.
        revision: Branch, made if absent; default main.
        create_pr: Open a pull request on that branch instead of changing it.
        commit_message: Default names the package.
        tag: Name the commit by this tag, for example a release.

    Raises:
        InputError: for a damaged folder, without a valid token or write right, when the Hub cannot be reached, or the tag is taken.
    """
    files = [file for file, _ in plan(folder)]
    check_token(token)
    if create_pr and tag is not None:
        raise InputError(f"tag '{tag}': a pull request is not released yet; tag it when it is merged")
    api = HfApi(token=token)
    upload = functools.partial(
        api.upload_folder,
        repo_id=repo_id,
        folder_path=folder,
        revision=revision,
        create_pr=create_pr,
        commit_message=commit_message or "Upload with umsrep",
        allow_patterns=files,
    )
    try:
        again(lambda: api.create_repo(repo_id, private=private, exist_ok=True))
        if revision is not None and not create_pr:
            again(lambda: api.create_branch(repo_id, branch=revision, exist_ok=True))
        commit = upload() if create_pr else again(upload)  # a second try could open a second pull request
        if tag is not None:
            _tag(api, repo_id, tag, commit.oid)
    except FAILURES as error:
        if isinstance(error, InputError):
            raise
        raise upload_error(error, repo_id, revision=revision) from error
    return Published(commit.pr_url or commit.commit_url, commit.oid)


def _tag(api: HfApi, repo_id: str, tag: str, commit: str) -> None:
    again(lambda: api.create_tag(repo_id, tag=tag, revision=commit, exist_ok=True))
    stands = {ref.name: ref.target_commit for ref in again(lambda: api.list_repo_refs(repo_id)).tags}.get(tag)
    # an annotated tag's own digest differs from its commit's: ask for the commit
    if stands != commit and again(lambda: api.model_info(repo_id, revision=tag)).sha != commit:
        raise InputError(f"'{repo_id}': tag '{tag}' is taken by another commit; the upload is there as {commit}: choose another tag")


def snippet(repo_id: str, commit: str, *, heads: bool) -> str:
    """Return the Python lines that load exactly this commit, with its heads or as an encoder."""
    name = "MultiTaskModel" if heads else "Encoder"
    return f'from umsrep import {name}\n\nmodel = {name}.from_pretrained(\n    "{repo_id}",\n    revision="{commit}",\n)\n'


class Publishable:
    """What encoders and models with heads share: `push_to_hub`, over their own ``save_pretrained``."""

    def save_pretrained(self, folder: str | Path, *, card: str | None = None, half: bool = False) -> Path:
        """Write the model folder."""
        raise NotImplementedError

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = False,
        token: str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        commit_message: str | None = None,
        tag: str | None = None,
        card: str | None = None,
        half: bool = False,
    ) -> Published:
        """Save and upload to the Hugging Face Hub.

        Args:
            repo_id: ``org/repo``; made if absent.
            private: As in `umsrep.zoo.publish.push`, as are all not named here.
            token: A token with write right.
            revision: Branch.
            create_pr: Open a pull request.
            commit_message: Default names the package.
            tag: Name the commit.
            card: Text of README.md, as in ``save_pretrained``.
            half: Store float16, as in ``save_pretrained``.

        Returns:
            The commit's address, which also knows its ``commit``.

        Raises:
            InputError: as `umsrep.zoo.publish.push`.
        """
        with tempfile.TemporaryDirectory() as parent:
            folder = self.save_pretrained(Path(parent) / repo_id.rpartition("/")[2], card=card, half=half)
            return push(
                folder,
                repo_id,
                private=private,
                token=token,
                revision=revision,
                create_pr=create_pr,
                commit_message=commit_message,
                tag=tag,
            )
