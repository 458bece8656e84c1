"""Manifests: a data folder, a MedMNIST file or a Hub data set as a table of rows with images."""

from __future__ import annotations

import collections
import dataclasses
import math
import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image

from umsrep.errors import InputError, nearest
from umsrep.tasks.data.tables import TABLES, find_table, read_table

SPLITS = ("train", "validation", "test")
TABLE = TABLES[0]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A table of images; nothing is read but the table.

    Attributes:
        root: Folder that ``file_name`` and mask columns are relative to, or the npz file.
        table: The file the rows come from, named in errors.
        columns: Column name to one text a row; an empty text is "not given".
        lines: Line of each row in the table (the header is line 1), named in errors.
        arrays: Images instead of files: ``arrays[row]`` is [H, W] or [H, W, 3], from memory or a mapped file, or a PIL image that is
            opened when asked for; None where ``file_name`` names files.
        masks: Mask column to its arrays, likewise, where masks are no files.
        notes: What the user should know of how these rows came about, one line each (rows left out, columns left out).
    """

    root: Path
    table: Path
    columns: dict[str, list[str]]
    lines: list[int]
    arrays: Sequence[np.ndarray | Image.Image] | np.ndarray | None = None
    masks: Mapping[str, Sequence[np.ndarray]] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    _listed: dict[str, frozenset[str]] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the listings of folders, which are quickly made again, out of what goes to worker processes."""
        return {**self.__dict__, "_listed": {}}

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.lines)

    def where(self, row: int) -> str:
        """Name a row for a message: table, line and file."""
        return f"{self.table} row {self.lines[row]} ({self.columns['file_name'][row]})"

    def column(self, name: str) -> list[str]:
        """Return one column, or raise an `InputError` that names the nearest ones."""
        if name not in self.columns:
            raise InputError(f"{self.table}: no column '{name}'{nearest(name, self.columns)}")
        return self.columns[name]

    def image(self, row: int) -> Path | np.ndarray | Image.Image:
        """Return what `InputContract.load` takes: the path of the image, its array, or a PIL image whose pixels are not decoded yet."""
        if self.arrays is not None:
            image: np.ndarray | Image.Image = self.arrays[row]
            return image
        return self.file("file_name", row)

    def file(self, column: str, row: int) -> Path:
        """Return the path in a column.

        Raises:
            InputError: if it leads out of the folder, by its name or by a link, or does not exist, naming row and file.
        """
        name = self.column(column)[row]
        folder, _, base = name.rpartition("/")
        if folder not in self._listed:
            self._check_inside(column, row, name)
            self._listed[folder] = _plain_files(self.root / folder)
        if base not in self._listed[folder]:  # a link, a file that came later, or a fault
            self._check_inside(column, row, name)
            if not os.path.isfile(self.root / name):  # False, where Path's asks for a name that file systems allow
                raise InputError(f"{self.where(row)}: {column} '{name}': no such file in {self.root}")
        return self.root / name

    def _check_inside(self, column: str, row: int, name: str) -> None:
        relative, windows = PurePosixPath(name), PureWindowsPath(name)  # the second reads both / and \ as dividers
        out = relative.is_absolute() or bool("\\" in name and windows.anchor) or ".." in windows.parts or "\0" in name
        if "\\" in name and not out:
            raise InputError(f"{self.where(row)}: {column} '{name}': write / instead of \\ between folders and file")
        if not out:
            try:
                out = not (self.root / name).resolve().is_relative_to(self.root.resolve())
            except (OSError, RuntimeError) as error:  # a name too long for the file system, or links in a circle
                raise InputError(f"{self.where(row)}: {column} '{name[:80]}' is no usable path ({error})") from error
        if out:
            raise InputError(f"{self.where(row)}: {column} '{name}' leads out of the data folder; put the file into {self.root}")

    def mask(self, column: str, row: int) -> Path | np.ndarray:
        """Return the mask of a row that has one: its path, or its array [H, W] where the images are no files."""
        if column in self.masks:
            array: np.ndarray = self.masks[column][row]
            return array
        return self.file(column, row)

    def frame(self, row: int) -> int | None:
        """Return which image of a file of several a row means, from 0 (column ``frame``); None where it is not given.

        Raises:
            InputError: if the cell is no whole number from 0, naming the row. ``3.0`` is 3: tables with gaps are often written so.
        """
        text = self.columns["frame"][row] if "frame" in self.columns else ""
        if not text:
            return None
        whole = text.removesuffix(".0")
        if not (whole.isascii() and whole.isdigit() and len(whole) < 10):
            raise InputError(f"{self.where(row)}: frame '{text}' is no whole number from 0; leave it empty for a file of one image")
        return int(whole)

    def spacing(self, row: int) -> tuple[float, float] | None:
        r"""Return the distance of pixel centres in mm, (row, column), from column ``pixel_spacing``; None where it is not given.

        The cell holds DICOM's ``row\column``, or one number for square pixels. It stands beside what a file itself says
        (`umsrep.zoo.stored.Stored.spacing`), which a table can thus complete.

        Raises:
            InputError: if the cell is no positive number or pair of them, naming the row.
        """
        text = self.columns["pixel_spacing"][row] if "pixel_spacing" in self.columns else ""
        if not text:
            return None
        try:
            values = [float(part) for part in text.split("\\")]
        except ValueError:
            values = []
        if len(values) not in (1, 2) or not all(math.isfinite(value) and value > 0 for value in values):
            raise InputError(f"{self.where(row)}: pixel_spacing '{text}' is neither a positive number of mm nor two as row\\column")
        return values[0], values[-1]

    def split_values(self, split_column: str = "split") -> list[str]:
        """Return the column that says which split a row is in, or refuse a value that is none (an empty one is in no split)."""
        values = self.column(split_column)
        for row, value in enumerate(values):
            if value and value not in SPLITS:
                raise InputError(f"{self.where(row)}: {split_column} '{value}' is none of train, validation, test{nearest(value, SPLITS)}")
        return values

    def rows(self, split: str, split_column: str = "split") -> list[int]:
        """Return the rows of one split.

        Raises:
            InputError: for a split that does not exist, an unknown value in the column, or an empty split.
        """
        if split not in SPLITS:
            raise InputError(f"unknown split '{split}'{nearest(split, SPLITS)}")
        values = self.split_values(split_column)
        found = [row for row, value in enumerate(values) if value == split]
        if not found:
            counts = {s: values.count(s) for s in SPLITS}
            raise InputError(f"{self.table}: no row with {split_column} = {split} (rows: {counts})")
        return found

    def licensed(self, licences: Sequence[str], column: str = "license") -> tuple[list[int], str]:
        """Choose the rows whose licence is among those listed.

        Names are compared without regard to case and to spaces, hyphens and underscores (``cc-by 4.0`` is ``CC BY 4.0``), but whole:
        ``CC BY`` is not ``CC BY 4.0``. A row without a licence is left out, unless "" is listed.

        Args:
            licences: Names as they occur in the column.
            column: Where they stand.

        Returns:
            The rows kept, and one line that says what was left out.

        Raises:
            InputError: if there is no such column, a name does not occur, or no row is left.
        """
        if column not in self.columns:
            near = [name for name in self.columns if "licen" in name.lower()]
            raise InputError(f"{self.table}: no column '{column}', which data.licenses goes by{nearest(column, near)}")
        values = self.columns[column]
        counts = collections.Counter(values)
        occurring = ", ".join(f"{name or '(none)'} ({count})" for name, count in sorted(counts.items()))
        known = {_plain(name) for name in counts}
        for licence in licences:
            if licence and _plain(licence) not in known:
                raise InputError(f"{self.table}: no row with {column} '{licence}'; there are {occurring}")
        wanted = {_plain(licence) for licence in licences}
        kept = [row for row, value in enumerate(values) if _plain(value) in wanted]
        if not kept:
            raise InputError(f"{self.table}: data.licenses keeps no row; there are {occurring}")
        out = ", ".join(f"{name or '(none)'} ({count})" for name, count in sorted(counts.items()) if _plain(name) not in wanted)
        return kept, f"{self.table}: {len(values) - len(kept)} of {len(values)} rows left out for their {column}: {out or 'none'}"

    def check_patients(self, split_column: str = "split") -> None:
        """Refuse a patient, or a file with its frames, that has rows in two splits; an empty patient_id is unknown and passes.

        Raises:
            InputError: naming the patient or file and both rows.
        """
        splits = self.split_values(split_column)
        patients = self.columns.get("patient_id", [])
        files = [posixpath.normpath(name) for name in self.columns["file_name"]]
        for column, values, rule in (("patient_id", patients, "a patient"), ("file_name", files, "a file with all its frames")):
            first: dict[str, int] = {}
            for row, value in enumerate(values):
                if not value or not splits[row]:
                    continue
                other = first.setdefault(value, row)
                if splits[other] != splits[row]:
                    raise InputError(
                        f"{self.where(row)}: {column} '{value}' is in {split_column} '{splits[row]}' and, at row {self.lines[other]}, in "
                        f"'{splits[other]}'; {rule} belongs to one split"
                    )


def _plain(licence: str) -> str:
    return re.sub(r"[\s_-]+", "", licence).casefold()


def _plain_files(folder: Path) -> frozenset[str]:
    """Names of the files in a folder that are no links: one listing in place of a look at each of a hundred thousand files."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
    except OSError:  # there is no such folder: each row that names it is refused
        return frozenset()


def load_manifest(path: str | Path) -> Manifest:
    """Open a data set.

    Args:
        path: A folder with metadata.csv, .jsonl or .parquet; a MedMNIST ``.npz``, or ``medmnist:NAME[@SIZE]`` to fetch one; a Hub data
            set ``hf:ORG/NAME`` (see `umsrep.tasks.data.hub_dataset`).

    Returns:
        The table; images and masks are read later.

    Raises:
        InputError: if there is no table, or it is faulty (see `umsrep.tasks.data.tables.read_table`).
    """
    text = str(path)
    if text.startswith("hf:"):
        from umsrep.tasks.data.hub_dataset import load_hub_dataset

        return load_hub_dataset(text)
    if text.startswith("medmnist:"):
        from umsrep.tasks.data.medmnist import fetch_medmnist

        return fetch_medmnist(text)
    path = Path(path).expanduser()
    if path.suffix == ".npz":
        from umsrep.tasks.data.medmnist import load_medmnist

        return load_medmnist(path)
    table = find_table(path)
    return Manifest(path, table, *read_table(table))
