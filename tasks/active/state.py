"""What was proposed before: state.json and one CSV a round, in the data folder."""

from __future__ import annotations

import collections
import csv
import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from umsrep.errors import InputError
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.feature_cache import digest_images
from umsrep.zoo.folder import write_whole

FOLDER = "acquire"
FILE = "state.json"
SCHEMA_VERSION = 1
Key = tuple[str, str]
"""File name and frame: what a row is known by when the table is edited."""


@dataclasses.dataclass(frozen=True)
class Proposed:
    """One row of a round that is past.

    Attributes:
        key: File name and frame.
        sha256: Of its image when it was proposed.
        columns: Where the annotation that was asked for stands.
        number: Of the round.
    """

    key: Key
    sha256: str
    columns: tuple[str, ...]
    number: int


@dataclasses.dataclass(frozen=True)
class State:
    """All rounds so far.

    Attributes:
        folder: Where the files are.
        rounds: As in state.json.
        text: The file as read ("" if there is none), by which a second process that wrote meanwhile is noticed.
    """

    folder: Path
    rounds: tuple[dict[str, Any], ...] = ()
    text: str = ""

    def proposed(self) -> list[Proposed]:
        """Return the rows of all rounds."""
        return [
            Proposed((row["file_name"], row["frame"]), row["sha256"], tuple(one["columns"]), one["number"])
            for one in self.rounds
            for row in one["rows"]
        ]


def state_folder(manifest: Manifest, folder: str | Path | None) -> Path:
    """Return where the state of a data set is kept: ``acquire`` in it, or the folder that is given.

    Raises:
        InputError: for a set that is no folder (an npz file, the Hub) where none is given, or a file in its place.
    """
    if folder is None and not (manifest.root.is_dir() and manifest.arrays is None):
        raise InputError(f"{manifest.root}: is no data folder that could keep the state; name a folder with --state DIR")
    found = manifest.root / FOLDER if folder is None else Path(folder).expanduser()
    if found.exists() and not found.is_dir():
        raise InputError(f"{found}: is a file, but the state needs a folder; name another with --state DIR")
    return found


def read_state(folder: Path) -> State:
    """Read the rounds so far.

    Raises:
        InputError: for a file that is damaged or of a newer version.
    """
    path = folder / FILE
    if not path.exists():
        return State(folder)
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error}); restore it, or begin anew with --state DIR") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(f"{path}: schema_version {version!r}, but this umsrep reads {SCHEMA_VERSION}; begin anew with --state DIR")
    rounds = content.get("rounds")
    if not _sound(rounds):
        raise InputError(f"{path}: is damaged (its rounds are not what umsrep writes); restore it, or begin anew with --state DIR")
    return State(folder, tuple(rounds), text)


def _sound(rounds: Any) -> bool:
    if not isinstance(rounds, list) or not all(isinstance(one, dict) for one in rounds):
        return False
    for number, one in enumerate(rounds, 1):
        columns, rows = one.get("columns"), one.get("rows")
        if one.get("number") != number or not isinstance(columns, list) or not all(isinstance(c, str) for c in columns):
            return False
        if not isinstance(rows, list) or not all(
            isinstance(row, dict) and all(isinstance(row.get(k), str) for k in ("file_name", "frame", "sha256")) for row in rows
        ):
            return False
    return True


def key_of(manifest: Manifest, row: int) -> Key:
    """Return what a row is known by."""
    frame = manifest.frame(row)
    return manifest.columns["file_name"][row], "" if frame is None else str(frame)


def match(
    state: State, manifest: Manifest, rows: Sequence[int], *, workers: int = 2, title: str | None = None
) -> dict[int, list[Proposed]]:
    """Find the rows that were proposed before, and refuse a table that no longer fits the rounds.

    New rows, new columns, other orders and filled cells are fine. A proposed row that is gone, is no longer in the training split, or
    whose image has other bytes is not: what was said about it would be about something else.

    Args:
        state: The rounds.
        manifest: The table as it is now.
        rows: Its training rows.
        workers: Threads that read the proposed images.
        title: Of the progress bar, or None.

    Returns:
        Row to its proposals.

    Raises:
        InputError: naming the row and the file.
    """
    places: dict[Key, list[int]] = collections.defaultdict(list)
    for row in rows:
        places[key_of(manifest, row)].append(row)
    twice = next((found for found in places.values() if len(found) > 1), None)
    if twice:
        raise InputError(f"{manifest.where(twice[1])}: the same image as row {manifest.lines[twice[0]]}; an image has one row in the table")
    proposed = state.proposed()
    path = state.folder / FILE
    remedy = "put it back, or begin anew with --state DIR"
    for one in proposed:
        if one.key not in places:
            everywhere = {key_of(manifest, row) for row in range(len(manifest))}
            what = "is no longer in the training split" if one.key in everywhere else f"is no longer in {manifest.table}"
            frame = f" frame {one.key[1]}" if one.key[1] else ""
            raise InputError(f"{path}: '{one.key[0]}'{frame}, proposed in round {one.number}, {what}; {remedy}")
    found: dict[int, list[Proposed]] = collections.defaultdict(list)
    for one in proposed:
        found[places[one.key][0]].append(one)
    wanted = sorted(found)
    for row, now in zip(wanted, digest_images(manifest, wanted, workers=workers, title=title), strict=True):
        for one in found[row]:
            if one.sha256 != now:
                raise InputError(f"{manifest.where(row)}: not the image that was proposed in round {one.number} ({path}); {remedy}")
    return dict(found)


def round_file(number: int) -> str:
    """Return the name of a round's CSV."""
    return f"round_{number:03d}.csv"


def add_round(state: State, entry: Mapping[str, Any], table: Sequence[Mapping[str, Any]]) -> Path:
    """Write a round: first its CSV, then state.json, each whole or not at all; a round counts once it stands in state.json.

    Args:
        state: As it was read.
        entry: The round as it will stand in state.json.
        table: Lines of the CSV.

    Returns:
        The CSV.

    Raises:
        InputError: if the folder cannot be written, or another process added a round meanwhile.
    """
    path, file = state.folder / FILE, state.folder / round_file(entry["number"])
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(table[0]))
    writer.writeheader()
    writer.writerows(table)
    content = {"schema_version": SCHEMA_VERSION, "rounds": [*state.rounds, dict(entry)]}
    new = json.dumps(content, indent=1, allow_nan=False) + "\n"
    try:
        if (path.read_text(encoding="utf-8") if path.exists() else "") != state.text:
            raise InputError(f"{path}: another `umsrep acquire` added a round meanwhile; run this one again")
        write_whole(file, lambda temporary: temporary.write_bytes(text.getvalue().encode("utf-8")))
        write_whole(path, lambda temporary: temporary.write_text(new, encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{state.folder}: cannot be written ({error.strerror or error}); name another folder with --state DIR") from error
    return file
