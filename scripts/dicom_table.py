"""Write the table of docs/dicom.md: what becomes of every file that pydicom's wheel ships.

Usage: python scripts/dicom_table.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

import pydicom

from umsrep.errors import InputError
from umsrep.zoo.stored import Stored, read_stored

ROOT = Path(__file__).resolve().parent.parent
DOC = ROOT / "docs" / "dicom.md"
START = "<!-- written by scripts/dicom_table.py -->"
DATA = Path(pydicom.__file__).parent / "data"


def files() -> list[Path]:
    """Every file of pydicom's test, character set and palette folders that is not Python's."""
    found = (path for folder in ("charset_files", "palettes", "test_files") for path in (DATA / folder).rglob("*"))
    return sorted(path for path in found if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".py")


def outcome(path: Path) -> Stored | str:
    """Read a file, its first frame where it holds several; return what was read or the one line of the refusal, without the folder."""
    try:
        return read_stored(path, frame=0)
    except InputError as error:
        return str(error).removeprefix(f"{path}: ")


def row(path: Path) -> str:
    """Return one line of the table."""
    read = outcome(path)
    cells = f"| {path.relative_to(DATA).as_posix()} | "
    if isinstance(read, str):
        return f"{cells}refused: {read} |"
    kind = "RGB" if read.pixels.ndim == 3 else "grey"
    size = f"{read.pixels.shape[1]}x{read.pixels.shape[0]} {kind} {read.pixels.dtype}"
    low, high = read.range or (float("-inf"), float("inf"))
    parts = [size, f"{read.unit or 'no unit'} {low:g} to {high:g}"]
    parts += [f"{read.frames} frames"] * (read.frames > 1) + ["display rule"] * (read.voi is not None) + ["inverted"] * read.inverted
    parts += [f"{read.spacing[0]:.4g} x {read.spacing[1]:.4g} mm"] if read.spacing else []
    return f"{cells}{', '.join(parts)} |"


def table() -> str:
    """Return the whole part of the document that is written by this script."""
    rows = [row(path) for path in files()]
    refused = sum("| refused: " in line for line in rows)
    head = f"pydicom {pydicom.__version__}: {len(rows)} files, {len(rows) - refused} read, {refused} refused."
    return "\n".join([START, "", head, "", "| file | outcome |", "|---|---|", *rows, ""])


def main() -> int:
    """Write the table, or with ``--check`` tell whether it is up to date."""
    text = DOC.read_text(encoding="utf-8")
    wanted = text[: text.index(START)] + table()
    if "--check" in sys.argv[1:]:
        return int(text != wanted)
    DOC.write_text(wanted, encoding="utf-8")
    print(f"wrote {DOC}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
