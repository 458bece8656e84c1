"""What goes up when a model is published: the files, checked, and the card as its repository will show it."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from umsrep.errors import InputError, nearest
from umsrep.zoo.card import relicense, relocate
from umsrep.zoo.card_lint import LICENCES, lint_card
from umsrep.zoo.card_numbers import Problem
from umsrep.zoo.card_sections import is_repo
from umsrep.zoo.folder import CARD_FILE, CONFIG_FILE, ENCODER_FILE, read_config, read_folder_tensors
from umsrep.zoo.results import load_results

# what git refuses in the name of a branch or tag (git check-ref-format), and 40 digits, which are read as a commit
_NO_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[/-]|(^|/)\.|(\.|/|\.lock)$|\.lock/|^@$|^[0-9a-f]{40}$|^$")


class BadCard(InputError):
    """A card that cannot be published.

    Attributes:
        problems: All that is wrong with it.
    """

    problems: Sequence[Problem] = ()


def plan(folder: Path) -> list[tuple[str, int]]:
    """Return the files that `push` would upload, with their sizes in bytes, after checking them all.

    Raises:
        InputError: naming the first file that is missing, damaged or no safetensors.
    """
    config = read_config(folder)
    files = [*_weights(folder, config), CARD_FILE]
    _read_card(folder)
    return [(file, (folder / file).stat().st_size) for file in files]


def _weights(folder: Path, config: dict[str, Any]) -> list[str]:
    """Return config.json and the weight files, after checking these."""
    files = [CONFIG_FILE, *config["umsrep"]["sha256"]]
    if ENCODER_FILE not in files:
        raise InputError(f"{folder / CONFIG_FILE}: no sha256 for {ENCODER_FILE}")
    for file in files[1:]:
        read_folder_tensors(folder, file, config)
    return files


def _read_card(folder: Path) -> str:
    if not (folder / CARD_FILE).is_file():
        raise InputError(f"{folder / CARD_FILE}: no such file; a model is published with its card (save the model again to get one)")
    try:
        return (folder / CARD_FILE).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{folder / CARD_FILE}: not UTF-8 text") from error


@contextlib.contextmanager
def staged(
    folder: Path,
    repo_id: str,
    *,
    card: str | None = None,
    results: Path | None = None,
    license: str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    tag: str | None = None,
) -> Iterator[Path]:
    """Copy what goes up to a temporary folder, after checking all of it; the folder itself stays as it is.

    The copy's card is the one the repository will show: its snippets load ``repo_id``, pinned to the tag or branch.

    Args:
        folder: As `write_folder` made it.
        repo_id: ``org/repo``.
        card: Text instead of the folder's README.md.
        results: Results file that the card must agree with; default is the ``results.json`` of the run that the folder is the ``model`` of.
        license: Put this one (an identifier of the Hub's list) into the card's metadata.
        revision: Branch.
        create_pr: Whether it will be a pull request, which has no branch of its own choice and no tag.
        tag: Name of the release.

    Yields:
        The temporary folder.

    Raises:
        InputError: for an impossible name, damaged weights; `BadCard` with every problem of the card.
    """
    check_target(repo_id, revision=revision, create_pr=create_pr, tag=tag)
    if license is not None and license not in LICENCES - {"unknown"}:
        raise InputError(f"license '{license}' is not in the Hub's list{nearest(license.lower(), LICENCES)}")
    config = read_config(folder)
    files = _weights(folder, config)
    if results is None and folder.name == "model" and all((folder.parent / n).is_file() for n in ("report.json", "results.json")):
        results = folder.parent / "results.json"
    found = load_results(results) if results is not None else None
    text = _read_card(folder) if card is None else card
    if license is not None:
        text = relicense(text, license)
    problems = lint_card(text, config=config, results=found)
    if not problems:  # it names the folder; on the Hub it must name the repository, and the release or branch if there is one
        text = relocate(text, repo_id, tag or (revision if revision != "main" else None))
        problems = lint_card(text, config=config, results=found, location=repo_id)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        error = BadCard(f"{folder}: its card has {len(problems)} problem(s): {problems[0]}{more}; nothing was uploaded")
        error.problems = problems
        raise error
    with tempfile.TemporaryDirectory() as parent:
        copy = Path(parent) / repo_id.rpartition("/")[2]
        try:
            copy.mkdir()
            for file in files:
                shutil.copyfile(folder / file, copy / file)
            (copy / CARD_FILE).write_text(text, encoding="utf-8")
        except OSError as error:
            raise InputError(f"{copy}: cannot copy the model there ({error.strerror})") from error
        yield copy


def check_target(repo_id: str, *, revision: str | None, create_pr: bool, tag: str | None) -> None:
    """Refuse what cannot be a repository, branch or tag, and what a pull request cannot have."""
    if not is_repo(repo_id):
        raise InputError(f"'{repo_id}' is no valid name of a repository on the Hub: write ORG/REPO")
    for what, name in (("branch", revision), ("tag", tag)):
        if name is not None and _NO_REF.search(name):
            raise InputError(f"'{name}' cannot name a {what} in git: use letters, digits, '.', '-', '_' and '/'")
    if create_pr and tag is not None:
        raise InputError(f"tag '{tag}': a pull request is not released yet; tag it when it is merged")
    if create_pr and revision is not None:
        raise InputError(f"revision '{revision}': a pull request always asks for main, on a branch of its own; give the one or the other")
