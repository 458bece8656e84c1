"""From manifest rows to the items of a joint batch: image, noisy twin, targets, and which tasks each row is annotated for."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from umsrep.errors import InputError, nearest
from umsrep.tasks.classification import Classification
from umsrep.tasks.data.augment import Augment
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.segmentation import Segmentation, check_mask
from umsrep.tasks.task import Task
from umsrep.zoo import InputContract

MASK_COLUMN = "mask_file_name"


@dataclasses.dataclass(frozen=True)
class Target:
    """Where a task's target stands in a manifest.

    Attributes:
        column: One column, or several (multi-label classification: 0, 1 or empty in each).
        map: Stored value to class name, or to None for "not annotated".
    """

    column: str | tuple[str, ...] | None = None
    map: Mapping[str, str | None] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Source:
    """Rows of one manifest and the tasks they train.

    Attributes:
        manifest: The table.
        rows: Which of its rows.
        tasks: Names of the tasks this set serves.
        targets: Task's name to where its target stands.
    """

    manifest: Manifest
    rows: Sequence[int]
    tasks: Sequence[str]
    targets: Mapping[str, Target]


class JointDataset(Dataset[Any]):
    """Images of several sources with the targets of several tasks.

    An item is a dict: ``image`` [C, H, W] (normalised), ``noisy`` (the same, if a task denoises this row), ``index``, and for each
    task it is annotated for ``target.<name>``. A wrong file gives the `InputError` itself as item, so that it crosses
    process borders as one line. The same (seed, epoch, index) gives the same item, whatever process makes it.

    Attributes:
        annotated: Task's name to a bool for each item.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        tasks: Mapping[str, Task],
        contract: InputContract,
        *,
        seed: int,
        augment: Augment | None = None,
    ) -> None:
        """Read the labels of all rows (not the images) and check masks' presence and sizes.

        Raises:
            InputError: for a label that is no class, a missing image or mask file, or a mask of another size than its image.
        """
        self.sources, self.tasks, self.contract, self.seed, self.augment = list(sources), dict(tasks), contract, seed, augment
        self.epoch = 0
        self.items = [(s, row) for s, source in enumerate(sources) for row in source.rows]
        self.annotated: dict[str, np.ndarray] = {name: np.zeros(len(self.items), dtype=bool) for name in tasks}
        self.labels: dict[str, list[Any]] = {name: [None] * len(self.items) for name, t in tasks.items() if isinstance(t, Classification)}
        self.masks: dict[str, tuple[str, ...]] = {}
        for index, (s, row) in enumerate(self.items):
            self.sources[s].manifest.image(row)
            for name in self.sources[s].tasks:
                self.annotated[name][index] = self._annotation(name, index, s, row)

    def _annotation(self, name: str, index: int, s: int, row: int) -> bool:
        """Find out whether a row is annotated for a task, and check what can be checked without reading pixels."""
        source, task = self.sources[s], self.tasks[name]
        if isinstance(task, Denoising):
            return True
        if isinstance(task, Segmentation):
            columns = self._mask_columns(name, source)
            given = [c for c in columns if source.manifest.column(c)[row]]
            if given and len(given) != len(columns):
                raise InputError(f"{source.manifest.where(row)}: a mask for {given[0]}, but none for the other classes of '{name}'")
            if given:
                self._check_sizes(source.manifest, row, columns)
            return bool(given)
        assert isinstance(task, Classification)
        label = _label(name, task, source, row)
        self.labels[name][index] = label
        return label is not None

    def _mask_columns(self, name: str, source: Source) -> tuple[str, ...]:
        task = self.tasks[name]
        assert isinstance(task, Segmentation)
        column = source.targets.get(name, Target()).column
        if isinstance(column, tuple):
            return column
        base = column or MASK_COLUMN
        return tuple(f"{base}.{c}" for c in task.classes) if task.multi_label else (base,)

    @staticmethod
    def _check_sizes(manifest: Manifest, row: int, columns: Sequence[str]) -> None:
        image = manifest.image(row)
        size = image_size(image) if isinstance(image, Path) else (image.shape[1], image.shape[0])
        for column in columns:
            other = image_size(manifest.file(column, row))
            if size is not None and other is not None and size != other:
                raise InputError(
                    f"{manifest.where(row)}: {column} '{manifest.columns[column][row]}' is {other[0]}x{other[1]} pixels, "
                    f"the image {size[0]}x{size[1]}"
                )

    def __len__(self) -> int:
        """Number of items."""
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any] | InputError:
        """Make one item (see the class)."""
        try:
            return self._item(index)
        except InputError as error:
            return error

    def _item(self, index: int) -> dict[str, Any]:
        s, row = self.items[index]
        source = self.sources[s]
        generator = self.generator(index)
        try:
            unit = self.contract.fit(self.contract.load_unit(source.manifest.image(row)))
        except InputError as error:
            raise InputError(f"{source.manifest.where(row)}: {error}") from error
        masks = {
            name: self.contract.fit_mask(self._mask(name, source, row))
            for name, task in self.tasks.items()
            if isinstance(task, Segmentation) and self.annotated[name][index]
        }
        if self.augment is not None:
            unit, masks = self.augment(unit, masks, generator)
        item: dict[str, Any] = {"index": index, "image": self.contract.normalise(unit)}
        for name, task in self.tasks.items():
            if not self.annotated[name][index]:
                continue
            if isinstance(task, Denoising):
                noisy, _ = task.corrupt(unit, generator)
                item[f"noisy.{name}"] = self.contract.normalise(noisy)
                item[f"target.{name}"] = unit
            elif isinstance(task, Segmentation):
                item[f"target.{name}"] = masks[name].long()
            else:
                item[f"target.{name}"] = torch.as_tensor(self.labels[name][index])
        return item

    def _mask(self, name: str, source: Source, row: int) -> Tensor:
        """Read one row's index mask, [H, W] or, for overlapping classes, [K, H, W]."""
        task = self.tasks[name]
        assert isinstance(task, Segmentation)
        planes = []
        for column in self._mask_columns(name, source):
            path = source.manifest.file(column, row)
            plane = _read_mask(path, f"{source.manifest.where(row)}: {column}")
            try:
                check_mask(plane, task.classes, multi_label=task.multi_label, ignore_index=task.ignore_index)
            except InputError as error:
                raise InputError(f"{source.manifest.where(row)}: {column} '{path.name}': {error}") from error
            planes.append(plane)
        return torch.from_numpy(np.stack(planes) if task.multi_label else planes[0].copy())

    def generator(self, index: int) -> torch.Generator:
        """Return the random generator of one item in this epoch."""
        key = zlib.crc32(f"{self.seed}/{self.epoch}/{index}".encode())
        return torch.Generator().manual_seed(key)


def collate(items: Sequence[dict[str, Any] | InputError]) -> dict[str, Any] | InputError:
    """Join items to a batch.

    Returns:
        ``index`` [B], ``image`` [B, C, H, W], and for each task with annotated rows ``rows.<name>`` (row numbers in the batch),
        ``target.<name>`` and, for denoising, ``noisy.<name>``, one entry a annotated row; or the first error among the items.
    """
    for item in items:
        if isinstance(item, InputError):
            return item
    good = [item for item in items if isinstance(item, dict)]
    shapes = {tuple(item["image"].shape) for item in good}
    if len(shapes) > 1:
        return InputError(f"images of different sizes in one batch {sorted(shapes)}: set image_size")
    batch: dict[str, Any] = {"index": torch.tensor([i["index"] for i in good]), "image": torch.stack([i["image"] for i in good])}
    keys = dict.fromkeys(k for item in good for k in item if k.startswith(("target.", "noisy.")))
    for key in keys:
        rows = [r for r, item in enumerate(good) if key in item]
        batch[key] = torch.stack([good[r][key] for r in rows])
        batch[f"rows.{key.partition('.')[2]}"] = torch.tensor(rows)
    return batch


def _label(name: str, task: Classification, source: Source, row: int) -> int | np.ndarray | None:
    """Return the class index, or with several labels a float of 0, 1 and NaN for each; None if not annotated."""
    target = source.targets.get(name, Target())
    manifest = source.manifest
    column = target.column or "label"
    if isinstance(column, tuple):
        return _several_columns(name, task, manifest, row, column)
    value = manifest.column(column)[row]
    if not value:
        return None
    if task.multi_label:
        names = [_mapped(v.strip(), target, name, task, manifest, row) for v in value.split("|")]
        labels: np.ndarray = np.isin(task.classes, [n for n in names if n]).astype(np.float32)
        return labels
    mapped = _mapped(value, target, name, task, manifest, row)
    return None if mapped is None else task.classes.index(mapped)


def _mapped(value: str, target: Target, name: str, task: Classification, manifest: Manifest, row: int) -> str | None:
    """Bring a stored value to a class name by the map; a value in neither is an error."""
    if value in target.map:
        value = target.map[value] or ""
        if not value:
            return None
    if value not in task.classes:
        raise InputError(
            f"{manifest.where(row)}: label '{value}' is no class of '{name}' ({', '.join(task.classes)}); "
            f"add it to the classes or map it under data.targets.{name}.map{nearest(value, task.classes) if len(task.classes) > 20 else ''}"
        )
    return value


def _several_columns(name: str, task: Classification, manifest: Manifest, row: int, columns: Sequence[str]) -> np.ndarray | None:
    if len(columns) != len(task.classes) or not task.multi_label:
        raise InputError(
            f"task '{name}': {len(columns)} target columns need multi_label and one class each, in order ({', '.join(task.classes)})"
        )
    values = []
    for column in columns:
        text = manifest.column(column)[row]
        if text not in ("", "0", "1", "0.0", "1.0"):
            raise InputError(f"{manifest.where(row)}: {column} is '{text}', but a column of several labels holds 0, 1 or nothing")
        values.append(float(text) if text else np.nan)
    return None if np.isnan(values).all() else np.array(values, dtype=np.float32)


def image_size(path: Path) -> tuple[int, int] | None:
    """Return (width, height) from an image's header; None where the header does not tell (reading it later does)."""
    if path.suffix == ".npy":
        return None
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, SyntaxError, ValueError):
        return None


def _read_mask(path: Path, where: str) -> np.ndarray:
    try:
        with Image.open(path) as image:
            if image.mode not in ("1", "L", "P", "I;16", "I"):
                raise InputError(f"{where} '{path.name}': colour mode {image.mode}; a mask is a grey or palette PNG of class indices")
            array = np.asarray(image)
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InputError(
            f"{where} '{path.name}': damaged or unreadable mask ({str(error).splitlines()[0] if str(error) else error})"
        ) from error
    return array.astype(np.uint8) if array.dtype == bool else array
