"""Manifests: a folder with metadata.csv, or a MedMNIST npz, as a table of rows with images."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from umsrep.errors import InputError, nearest

SPLITS = ("train", "validation", "test")
TABLE = "metadata.csv"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A table of images; nothing is read but the table.

    Attributes:
        root: Folder that ``file_name`` and mask columns are relative to, or the npz file.
        table: The file the rows come from, named in errors.
        columns: Column name to one text a row; an empty text is "not given".
        lines: Line of each row in the table (the header is line 1), named in errors.
        arrays: Images held in memory instead of files, [N, H, W] or [N, H, W, 3], or None.
    """

    root: Path
    table: Path
    columns: dict[str, list[str]]
    lines: list[int]
    arrays: np.ndarray | None = None

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

    def image(self, row: int) -> Path | np.ndarray:
        """Return what `InputContract.load` takes: the path of the image, or its array."""
        if self.arrays is not None:
            array: np.ndarray = self.arrays[row]
            return array
        return self.file("file_name", row)

    def file(self, column: str, row: int) -> Path:
        """Return the path in a column.

        Raises:
            InputError: if it leads out of the folder or does not exist, naming row and file.
        """
        name = self.column(column)[row]
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts or "\\" in name:
            raise InputError(f"{self.where(row)}: {column} '{name}' leads out of the data folder")
        path = self.root / relative
        if not path.is_file():
            raise InputError(f"{self.where(row)}: {column} '{name}': no such file in {self.root}")
        return path

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

    def check_patients(self, split_column: str = "split") -> None:
        """Refuse a patient with rows in two splits; an empty patient_id is unknown and passes.

        Raises:
            InputError: naming the patient and both rows.
        """
        if "patient_id" not in self.columns:
            return
        first: dict[str, int] = {}
        splits = self.split_values(split_column)
        for row, patient in enumerate(self.columns["patient_id"]):
            if not patient or not splits[row]:
                continue
            other = first.setdefault(patient, row)
            if splits[other] != splits[row]:
                raise InputError(
                    f"{self.where(row)}: patient_id '{patient}' is in {split_column} '{splits[row]}' and, at row {self.lines[other]}, in "
                    f"'{splits[other]}'; a patient belongs to one split"
                )


def load_manifest(path: str | Path) -> Manifest:
    """Open a data folder (with metadata.csv) or a MedMNIST ``.npz``.

    Args:
        path: Folder or npz file.

    Returns:
        The table; images and masks are read later.

    Raises:
        InputError: if there is no table, it is not UTF-8 CSV, has no file_name column, doubled columns, or ragged rows.
    """
    path = Path(path).expanduser()
    if path.suffix == ".npz":
        from umsrep.tasks.data.medmnist import load_medmnist

        return load_medmnist(path)
    table = path / TABLE
    if not path.is_dir():
        raise InputError(f"{path}: no such data folder")
    if not table.is_file():
        raise InputError(f"{path}: no {TABLE} (columns file_name, mask_file_name, label, split, patient_id, site)")
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            _check_header(table, header)
            columns: dict[str, list[str]] = {name: [] for name in header}
            lines = []
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise InputError(f"{table} row {reader.line_num}: {len(cells)} cells, but the header has {len(header)}")
                for name, cell in zip(header, cells, strict=True):
                    columns[name].append(cell.strip())
                lines.append(reader.line_num)
    except UnicodeDecodeError as error:
        raise InputError(f"{table}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{table} row {reader.line_num}: {error}") from error
    if not lines:
        raise InputError(f"{table}: no rows")
    manifest = Manifest(path, table, columns, lines)
    for row, name in enumerate(columns["file_name"]):
        if not name:
            raise InputError(f"{table} row {lines[row]}: empty file_name")
    return manifest


def _check_header(table: Path, header: Sequence[str]) -> None:
    if "file_name" not in header:
        raise InputError(f"{table}: no column 'file_name'{nearest('file_name', header)}")
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise InputError(f"{table}: column '{doubled[0]}' occurs twice")
