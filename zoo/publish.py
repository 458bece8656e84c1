"""Publish a model folder on the Hugging Face Hub; an upload can be repeated without harm."""

from __future__ import annotations

import functools
import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.hf_api import RepoFile

from umsrep.errors import InputError
from umsrep.zoo.folder import sha256
from umsrep.zoo.network import FAILURES, again, check_token, upload_error
from umsrep.zoo.staging import check_target, plan, staged


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


def push(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    token: str | bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    tag: str | None = None,
    card: str | None = None,
    results: Path | None = None,
    license: str | None = None,
) -> Published:
    """Upload a model folder to the Hugging Face Hub. Repeating it, for example after a broken connection, changes nothing.

    The card goes up as `staged` prepares it; the folder stays as it is.

    Args:
        folder: As `write_folder` made it; the files of `plan` go up.
        repo_id: ``org/repo``; made if absent.
        private: Make it private; an existing repository must be so already.
        token: A token with write right; default is HF_TOKEN or the stored one.
        revision: Branch, made if absent; default main.
        create_pr: Open a pull request on main instead of changing it.
        commit_message: Default names the package.
        tag: Name the commit by this tag, for example a release. One that is taken by another commit is refused before the upload.
        card: As in `staged`, as are the following.
        results: Results file.
        license: Of the weights.

    Raises:
        InputError: for a damaged folder or a card with problems, without a valid token or write right, when the Hub cannot be reached,
            the repository is public against ``private``, or the tag is taken.
    """
    with staged(
        Path(folder), repo_id, card=card, results=results, license=license, revision=revision, create_pr=create_pr, tag=tag
    ) as copy:
        return upload(
            copy, repo_id, private=private, token=token, revision=revision, create_pr=create_pr, commit_message=commit_message, tag=tag
        )


def upload(
    folder: Path,
    repo_id: str,
    *,
    private: bool,
    token: str | bool | None,
    revision: str | None,
    create_pr: bool,
    commit_message: str | None,
    tag: str | None,
) -> Published:
    """Upload what `staged` prepared. Arguments and errors as in `push`."""
    files = [file for file, _ in plan(folder)]
    check_token(token)
    api = HfApi(token=token)
    send = functools.partial(
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
        if private and not again(lambda: api.model_info(repo_id)).private:
            raise InputError(
                f"'{repo_id}' exists and is public, so private cannot be had; make it private in its settings, or choose another name; "
                "nothing was uploaded"
            )
        if tag is not None:
            _check_tag(api, repo_id, tag, revision or "main", [folder / file for file in files])
        if revision is not None:
            again(lambda: api.create_branch(repo_id, branch=revision, exist_ok=True))
        commit = send() if create_pr else again(send)  # a second try could open a second pull request
        if tag is not None:
            again(lambda: api.create_tag(repo_id, tag=tag, revision=commit.oid, exist_ok=True))
            # an annotated tag's own digest differs from its commit's: ask for the commit
            if again(lambda: api.model_info(repo_id, revision=tag)).sha != commit.oid:
                raise InputError(f"'{repo_id}': tag '{tag}' was taken meanwhile; the upload is there as {commit.oid}: choose another tag")
    except FAILURES as error:
        if isinstance(error, InputError):
            raise
        raise upload_error(error, repo_id, revision=revision) from error
    return Published(commit.pr_url or commit.commit_url, commit.oid)


def _check_tag(api: HfApi, repo_id: str, tag: str, branch: str, files: Sequence[Path]) -> None:
    """Refuse a tag that is taken, unless the branch stands there with these very files, so that the upload will change nothing."""
    refs = again(lambda: api.list_repo_refs(repo_id))
    branches = {ref.name: ref.target_commit for ref in refs.branches}
    if tag in branches or tag == branch:
        raise InputError(f"'{repo_id}': '{tag}' is a branch; a tag of that name could not be told from it; nothing was uploaded")
    if tag not in (ref.name for ref in refs.tags):
        return
    commit = again(lambda: api.model_info(repo_id, revision=tag)).sha
    stored = {e.path: e for e in again(lambda: list(api.list_repo_tree(repo_id, revision=commit))) if isinstance(e, RepoFile)}
    if commit != branches.get(branch) or not all(path.name in stored and _same(path, stored[path.name]) for path in files):
        raise InputError(f"'{repo_id}': tag '{tag}' is taken by commit {commit}, which is not this; choose another; nothing was uploaded")


def _same(path: Path, stored: RepoFile) -> bool:
    if stored.lfs is not None:
        return sha256(path) == stored.lfs.sha256
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == stored.blob_id


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
        token: str | bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        commit_message: str | None = None,
        tag: str | None = None,
        card: str | None = None,
        license: str | None = None,
        half: bool = False,
    ) -> Published:
        """Save and upload to the Hugging Face Hub.

        What was measured of a model stands on the card of its folder, which the loaded model does not keep: give that text as ``card``,
        or publish the folder itself (`umsrep.zoo.publish.push`, ``umsrep publish``).

        Args:
            repo_id: ``org/repo``; made if absent.
            private: As in `umsrep.zoo.publish.push`, as are all not named here.
            token: A token with write right.
            revision: Branch.
            create_pr: Open a pull request.
            commit_message: Default names the package.
            tag: Name the commit.
            card: Text of README.md, checked as in `push`; default is a new card without results, made from the configuration.
            license: Of the weights, as in `push`.
            half: Store float16, as in ``save_pretrained``.

        Returns:
            The commit's address, which also knows its ``commit``.

        Raises:
            InputError: as `umsrep.zoo.publish.push`.
        """
        check_target(repo_id, revision=revision, create_pr=create_pr, tag=tag)
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
                license=license,
            )
