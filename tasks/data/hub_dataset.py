"""Data sets on the Hugging Face Hub as manifests, through the ``datasets`` library."""

from __future__ import annotations

import dataclasses
import importlib
import io
import json
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import PIL.Image

from umsrep.errors import InputError, nearest
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.data.tables import to_text
from umsrep.zoo.stored import PICTURES

if TYPE_CHECKING:
    from datasets import Dataset

_SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
} | {"test": "test"}
_ROLES = ("image", "mask", "label", "patient_id", "site", "license")
_CUT = ("train", "validation", "test")
_FORM = (
    "hf:ORG/NAME, and after a question mark config=, revision=, image=, mask=, label=, patient_id=, site=, license= (column names), "
    "train=, validation=, test= (splits), joined by &"
)


def load_hub_dataset(name: str) -> Manifest:
    """Open a data set on the Hub, or a local folder that ``datasets`` reads.

    ``hf:ORG/NAME`` may be followed by options as in a web address: ``?config=NAME&revision=REV`` choose what is fetched;
    ``image=``, ``mask=``, ``label=``, ``patient_id=``, ``site=`` and ``license=`` name columns that are called otherwise;
    ``train=``, ``validation=`` and ``test=`` name splits, also parts of them such as ``train[:80%]``. Without options the only
    image column (or ``image``) is the image and an image column ``mask`` the mask. Class numbers become class names. Code of
    a data set is never run.

    Args:
        name: Such an address; ``hf:./folder`` is a local one.

    Returns:
        A manifest whose images are opened, and whose masks are decoded, when they are asked for. Rows are called ``SPLIT/NUMBER``;
        further image columns are masks by their names; lists become JSON.

    Raises:
        InputError: for an unknown set, configuration, column or split, no network, or a set that has a training split only.
    """
    source, options = _parse(name)
    try:
        import datasets
    except ImportError as error:
        raise InputError(f"{name}: needs the datasets library: pip install 'umsrep[datasets]'") from error
    splits = {split: options[split] for split in _CUT if split in options}
    failures = (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError, LookupError, NotImplementedError)
    try:
        loaded = datasets.load_dataset(source, options.get("config"), revision=options.get("revision"), split=list(splits.values()) or None)
    except failures as error:
        raise InputError(f"{name}: cannot be opened: {_one_line(error)}") from error
    parts = dict(zip(splits, loaded, strict=True)) if splits else dict(loaded)
    parts = {part: data for part, data in parts.items() if len(data)}
    if not parts:
        raise InputError(f"{name}: no rows")
    columns = next(iter(parts.values())).column_names
    if list(parts) == ["train"] and "split" not in columns:
        raise InputError(
            f"{name}: has no splits but 'train'; cut them out of it: "
            f"hf:{source}?train=train[:70%]&validation=train[70%:80%]&test=train[80%:] "
            "(by row: mind patients with several images)"
        )
    return _join(name, parts, options)


def _parse(name: str) -> tuple[str, dict[str, str]]:
    source, _, query = name.removeprefix("hf:").partition("?")
    known = ("config", "revision", *_ROLES, *_CUT)
    options: dict[str, str] = {}
    for part in query.split("&") if query else ():
        key, equals, value = part.partition("=")
        if key not in known or not equals or not value or key in options:
            raise InputError(f"{name}: '{part}' is no option{nearest(key, known)}; the form is {_FORM}")
        options[key] = urllib.parse.unquote(value)
    local = source.startswith((".", "/", "~"))
    if not local and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source):
        raise InputError(f"{name}: no name of a data set; the form is {_FORM}")
    if local and not Path(source).expanduser().is_dir():
        raise InputError(f"{name}: no such folder")
    return str(Path(source).expanduser()) if local else source, options


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."


def _join(name: str, parts: Mapping[str, Dataset], options: Mapping[str, str]) -> Manifest:
    """Put the splits under each other as columns of text and lazily decoded images."""
    import datasets

    undecoded = datasets.Image(decode=False)
    first = next(iter(parts.values()))
    pictures = [column for column, feature in first.features.items() if isinstance(feature, datasets.Image)]
    renamed = _roles(name, first.column_names, pictures, options)
    image = next(column for column, role in renamed.items() if role == "image")
    masks = {column: renamed.get(column, column) for column in pictures if column != image}
    columns: dict[str, list[str]] = {"file_name": [], "split": []}
    own_split = "split" in first.column_names and not any(split in options for split in _CUT)
    if "split" in first.column_names and not own_split:  # what the address says counts
        renamed["split"] = "stored_split"
    notes = []
    for part, data in parts.items():
        if data.features.keys() != first.features.keys():
            raise InputError(f"{name}: split '{part}' has other columns than the first")
        columns["file_name"] += [f"{part}/{row}" for row in range(len(data))]
        if part not in _SPLITS and not own_split:
            notes.append(
                f"{name}: split '{part}' is none of train, validation, test: its {len(data)} rows are in no split; name it by ?test={part}"
            )
        if not own_split:
            columns["split"] += [_SPLITS.get(part, "")] * len(data)
        plain = data.remove_columns(pictures)
        for column, feature in plain.features.items():
            texts = [_text(value, feature, f"{name} row {part}/{row}: {column}") for row, value in enumerate(plain[column][:])]
            columns.setdefault(renamed.get(column, column), []).extend(map(_split_word, texts) if column == "split" else texts)
        for column, target in masks.items():
            absent = data.with_format("arrow").select_columns(column)[:][column].is_null().to_pylist()  # without the pixels
            columns.setdefault(target, []).extend("" if none else f"{part}/{row}" for row, none in enumerate(absent))
    table = Path(name)
    lazy = {
        column: HubImages(name, tuple(data.select_columns(column).cast_column(column, undecoded) for data in parts.values()), column)
        for column in pictures
    }
    return Manifest(
        table,
        table,
        columns,
        list(range(1, len(columns["file_name"]) + 1)),
        lazy[image],
        {target: dataclasses.replace(lazy[column], indices=True) for column, target in masks.items()},
        tuple(notes),
    )


def _roles(name: str, columns: Sequence[str], pictures: Sequence[str], options: Mapping[str, str]) -> dict[str, str]:
    """Return column to the name it has in the manifest, where that differs."""
    for role in _ROLES:
        if role in options and options[role] not in columns:
            raise InputError(f"{name}: {role}={options[role]}: no such column{nearest(options[role], columns)}")
    chosen = {options[role]: role for role in _ROLES if role in options}
    free = [column for column in pictures if column not in chosen]
    if "image" not in options:
        candidates = [column for column in free if column == "image"] or [column for column in free if column != "mask"]
        if len(candidates) != 1:
            which = f"of the image columns {', '.join(pictures)}" if pictures else f"(no column holds images: {', '.join(columns)})"
            raise InputError(f"{name}: say which column is the image, ?image=COLUMN {which}")
        chosen[candidates[0]] = "image"
    if "mask" not in options and "mask" in free and "mask" not in chosen:
        chosen["mask"] = "mask"
    for column, role in chosen.items():
        if role in ("image", "mask") and column not in pictures:
            raise InputError(f"{name}: {role}={column}: this column holds no images")
        if role not in (column, "image", "mask") and role in columns and role not in chosen:
            raise InputError(f"{name}: {role}={column}, but the set has a column '{role}' too")
    return {column: "mask_file_name" if role == "mask" else role for column, role in chosen.items()}


def _text(value: Any, feature: Any, where: str) -> str:
    if value is not None and hasattr(feature, "int2str"):  # ClassLabel; -1 stands for "not given"
        return str(feature.int2str(value)) if value >= 0 else ""
    if isinstance(value, list | dict):
        return json.dumps(value, default=str)
    return to_text(value, where)


def _split_word(text: str) -> str:
    return _SPLITS.get(text, text)


@dataclasses.dataclass(frozen=True)
class HubImages(Sequence[Any]):
    """An image column over all splits, opened item by item.

    Attributes:
        name: Of the data set, for errors.
        parts: The splits, this column alone and not decoded; memory-mapped tables, which are pickled by their paths.
        column: Its name.
        indices: Give index masks, arrays [H, W], in place of PIL images; colour pictures are then refused.
    """

    name: str
    parts: tuple[Dataset, ...]
    column: str
    indices: bool = False

    def __len__(self) -> int:
        """Number of images."""
        return sum(len(part) for part in self.parts)

    @overload
    def __getitem__(self, index: int) -> PIL.Image.Image | np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> list[PIL.Image.Image | np.ndarray]: ...

    def __getitem__(self, index: int | slice) -> PIL.Image.Image | np.ndarray | list[PIL.Image.Image | np.ndarray]:
        """Open one image, whose pixels and declarations are read later as those of a file are; decode a mask at once.

        Raises:
            InputError: if it is damaged, empty, or a mask in colour.
        """
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = index = range(len(self))[index]
        for part in self.parts:
            if row < len(part):
                break
            row -= len(part)
        where = f"{self.name} row {index + 1}: {self.column}"
        stored = part[row][self.column]
        if stored is None:
            raise InputError(f"{where}: no image")
        try:
            return _mask(self._open(stored)) if self.indices else self._open(stored)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        except (OSError, SyntaxError, ValueError, EOFError, PIL.Image.DecompressionBombError) as error:
            raise InputError(f"{where}: damaged or unreadable image ({_one_line(error)})") from error

    @staticmethod
    def _open(stored: Mapping[str, Any]) -> PIL.Image.Image:
        """Open an image without decoding it: embedded bytes, or a local, remote or packed file (which `fsspec` reads)."""
        content = stored["bytes"]
        if content is None:
            fsspec: Any = importlib.import_module("fsspec")  # untyped; comes with datasets
            with fsspec.open(stored["path"], "rb") as file:
                content = file.read()
        return PIL.Image.open(io.BytesIO(content), formats=PICTURES)


def _mask(picture: PIL.Image.Image) -> np.ndarray:
    if picture.mode not in ("1", "L", "P", "I;16", "I"):
        raise InputError(f"colour mode {picture.mode}; a mask is a grey or palette image of class indices")
    array = np.asarray(picture)
    return array.astype(np.uint8) if array.dtype == bool else array
