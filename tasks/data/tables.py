"""Tables of a data folder: metadata.csv, metadata.jsonl or metadata.parquet as columns of text, with the place of each row."""

from __future__ import annotations

import contextlib
import csv
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from umsrep.errors import InputError, nearest

TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
LONGEST_CELL = 131_072
"""Characters in one cell, the csv module's own limit; a longer one is a fault (a missing quote) or an attack."""
_LONGEST_LINE = 1 << 20
_MOST_COLUMNS = 1_000
_MOST_ROWS = 20_000_000

Table = tuple[dict[str, list[str]], list[int]]


def find_table(folder: Path) -> Path:
    """Return the one table of a data folder.

    Raises:
        InputError: if the folder does not exist, or holds no table or more than one.
    """
    if folder.is_file():
        raise InputError(f"{folder}: a file; a data set is a folder with metadata.csv, or a MedMNIST .npz")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such data folder")
    found = [folder / name for name in TABLES if (folder / name).is_file()]
    if not found:
        raise InputError(
            f"{folder}: no metadata.csv, .jsonl or .parquet (columns file_name, mask_file_name, label, split, patient_id, site); "
            f"`umsrep inspect {folder} --write` makes one from images/ and masks/ or from a folder for each class"
        )
    if len(found) > 1:
        raise InputError(f"{folder}: holds both {' and '.join(path.name for path in found)}; keep the one that counts")
    return found[0]


def read_table(table: Path) -> Table:
    """Read a table; all three forms obey the same rules.

    Args:
        table: metadata.csv (UTF-8, RFC 4180), .jsonl (one object a line) or .parquet.

    Returns:
        Column name to one stripped text a row, and the place of each row: the line of its end in CSV and JSON lines, its number from
        1 in Parquet. A value that is no text becomes what a CSV file would hold: nothing for null and NaN, ``True`` and ``False``,
        a number without needless zeros (``7`` for 7.0), an ISO date.

    Raises:
        InputError: if it is damaged, not UTF-8, or has no ``file_name`` column, a column twice, a row of another length, a nested or
            binary value, a NUL character or a cell of more than 131,072 characters; naming file and row.
    """
    readers: dict[str, Callable[[Path], Table]] = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
    try:
        columns, lines = readers[table.suffix](table)
    except UnicodeDecodeError as error:
        raise InputError(f"{table} row {_first_undecodable(table)}: not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"{table}: cannot be read ({error.strerror or error})") from error
    if not lines:
        raise InputError(f"{table}: no rows")
    for line, name in zip(lines, columns["file_name"], strict=True):
        if not name:
            raise InputError(f"{table} row {line}: empty file_name")
    return columns, lines


def _read_csv(table: Path) -> Table:
    lines: list[int] = []
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(_text_lines(table, file), strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            _check_header(table, header)
            cells: list[list[str]] = [[] for _ in header]
            known: dict[str, str] = {}  # one object for each distinct text: labels and sites repeat
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise InputError(f"{table} row {reader.line_num}: {len(row)} cells, but the header has {len(header)}")
                for column, cell in zip(cells, row, strict=True):
                    text = cell.strip()
                    column.append(known.setdefault(text, text))
                lines.append(reader.line_num)
        except csv.Error as error:
            raise InputError(f"{table} row {reader.line_num}: {error}") from error
    return dict(zip(header, cells, strict=True)), lines


def _text_lines(table: Path, file: TextIO) -> Iterator[str]:
    """Give lines, none longer than any honest one and none with NUL, which file systems and C libraries end names at."""
    number = 0
    while line := file.readline(_LONGEST_LINE):
        number += 1
        if len(line) == _LONGEST_LINE:
            raise InputError(f"{table} row {number}: a line of more than {_LONGEST_LINE - 1:,} characters")
        if "\0" in line:
            raise InputError(f"{table} row {number}: a NUL character; save the table as UTF-8 text")
        yield line


def _first_undecodable(table: Path) -> int:
    """Number of the first line that is not UTF-8 (decoders work on blocks, and do not tell)."""
    with table.open("rb") as file:
        number = 0
        while line := file.readline(_LONGEST_LINE):
            number += 1
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                break
    return number


def _check_header(table: Path, header: Sequence[str]) -> None:
    if "file_name" not in header:
        for mark, name in ((";", "';'"), ("\t", "tabs")):
            if len(header) == 1 and "file_name" in [cell.strip() for cell in header[0].split(mark)]:
                raise InputError(f"{table}: cells are separated by {name} and should be by ','; save it so")
        raise InputError(f"{table}: no column 'file_name'{nearest('file_name', header[:_MOST_COLUMNS])}")
    if len(header) > _MOST_COLUMNS:
        raise InputError(f"{table}: {len(header)} columns; {_MOST_COLUMNS} is the most")
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise InputError(f"{table}: column '{doubled[0]}' occurs twice")


def _read_jsonl(table: Path) -> Table:
    columns: dict[str, list[str]] = {}
    lines: list[int] = []
    known: dict[str, str] = {}

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in items]
        if len(set(keys)) < len(keys):
            raise ValueError(f"a key occurs twice among {', '.join(keys[:20])}")
        return dict(items)

    with table.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(_text_lines(table, file), start=1):
            if not line.strip():
                continue
            where = f"{table} row {number}"
            try:
                record = json.loads(line, object_pairs_hook=pairs)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{where}: not JSON ({str(error).splitlines()[0]})") from error
            if not isinstance(record, dict):
                raise InputError(f"{where}: not an object {{...}} of names and values")
            for key, value in record.items():
                if key not in columns:
                    columns[key] = [""] * len(lines)
                    if len(columns) > _MOST_COLUMNS:
                        raise InputError(f"{where}: more than {_MOST_COLUMNS} different keys in the table")
                text = to_text(value, f"{where}: {key}")
                columns[key].append(known.setdefault(text, text))
            lines.append(number)
            for column in columns.values():
                if len(column) < len(lines):
                    column.append("")
    _check_header(table, list(columns))
    return columns, lines


def _read_parquet(table: Path) -> Table:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InputError(f"{table}: reading Parquet needs pyarrow; pip install 'umsrep[datasets]', or save the table as CSV") from error
    try:
        with pq.ParquetFile(table) as file:
            schema, count = file.schema_arrow, file.metadata.num_rows
            _check_header(table, schema.names)
            if count > _MOST_ROWS:
                raise InputError(f"{table}: {count:,} rows; {_MOST_ROWS:,} is the most")
        # Texts stay in the dictionaries they are stored by, so that a repeated long one does not fill the memory.
        texts = [f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
        columns: dict[str, list[str]] = {name: [] for name in schema.names}
        with pq.ParquetFile(table, read_dictionary=texts) as file:
            for batch in file.iter_batches(batch_size=16_384):
                for name, column in zip(batch.schema.names, batch.columns, strict=True):
                    _append(columns[name], column, f"{table} row", name)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{table}: damaged, or no Parquet file ({message})") from error
    return columns, list(range(1, count + 1))


def _append(texts: list[str], column: Any, where: str, name: str) -> None:
    """Add one block of a Parquet column as texts."""
    import pyarrow as pa

    def convert(values: list[Any]) -> list[str]:
        return [to_text(value, f"{where} {row}: {name}") for row, value in enumerate(values, start=len(texts) + 1)]

    if pa.types.is_dictionary(column.type):
        entries = convert(column.dictionary.to_pylist())  # a faulty entry is named by the row of the block's start, or soon after
        texts += ["" if index is None else entries[index] for index in column.indices.to_pylist()]
        return
    values = column.to_pylist()
    if pa.types.is_float32(column.type) or pa.types.is_float16(column.type):  # 0.1, not the double nearest to the stored number
        kind = column.type.to_pandas_dtype()
        values = [None if value is None else float(str(kind(value))) for value in values]
    texts += convert(values)


def to_text(value: Any, where: str) -> str:
    """Return what a CSV cell would hold for a value; see `read_table`.

    Raises:
        InputError: for a nested or binary value, beginning with ``where``.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        text = value.strip()
        if len(text) > LONGEST_CELL:
            raise InputError(f"{where}: a text of {len(text):,} characters; {LONGEST_CELL:,} is the most")
        if "\0" in text or not (text.isascii() or _encodable(text)):
            raise InputError(f"{where}: a NUL character or half of a surrogate pair in it")
        return text
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return str(int(value)) if math.isfinite(value) and value == int(value) and abs(value) < 2**53 else str(float(value))
    if isinstance(value, list | tuple | dict | set | bytes | bytearray | np.ndarray):
        kind = "a binary" if isinstance(value, bytes | bytearray) else "a nested"
        raise InputError(f"{where} holds {kind} value ({type(value).__name__}); a cell holds one text, number, truth value or nothing")
    return str(value)


def _encodable(text: str) -> bool:
    with contextlib.suppress(UnicodeEncodeError):
        text.encode("utf-8")
        return True
    return False
