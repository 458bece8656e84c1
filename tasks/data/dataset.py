"""From manifest rows to the items of a joint batch: image, noisy twin, targets, and which tasks each row is annotated for."""

from __future__ import annotations

import copy
import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from umsrep.errors import InputError
from umsrep.tasks.classification import Classification
from umsrep.tasks.data.augment import IGNORE, Augment
from umsrep.tasks.data.labels import read_label
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.data.masks import image_size, read_mask
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.noise import NORMAL_NOISES, draw_level
from umsrep.tasks.progress import track
from umsrep.tasks.segmentation import Segmentation, check_mask
from umsrep.tasks.task import Task
from umsrep.zoo import InputContract
from umsrep.zoo.input_contract import ContractError, LoadedImage

__all__ = ["MASK_COLUMN", "JointDataset", "Source", "Target", "collate", "image_size", "read_mask"]
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

    An item is a dict: ``image`` [C, H, W] (normalised, its range checked), ``index``, ``spacing`` [2] (mm of a pixel of ``image``,
    row and column; NaN where unknown), ``bent`` (lines of the contract rules that ``lenient`` bent), and for each task it is annotated
    for ``target.<name>`` and, for denoising, ``noisy.<name>``. A wrong file gives the `InputError` itself as item, so that it
    crosses process borders as one line. The same (seed, epoch, index) gives the same item, whatever process makes it.

    Attributes:
        annotated: Task's name to a bool for each item.
        on_device: Leave augmentation and noise to `umsrep.tasks.data.on_device.OnDevice`: items hold the image in 0-1 and ``draws``
            [8], and for denoising ``level.<name>`` and ``normal.<name>`` or ``seed.<name>``.
        style: Changes an image in 0-1 before it is augmented; gets a text that differs for each epoch and item.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        tasks: Mapping[str, Task],
        contract: InputContract,
        *,
        seed: int,
        augment: Augment | None = None,
        lenient: bool = False,
    ) -> None:
        """Read the labels of all rows (not the images) and check masks' presence and sizes; ``lenient`` as in `InputContract.load`.

        Raises:
            InputError: for a label that is no class, a missing image or mask file, or a mask of another size than its image.
        """
        self.sources, self.tasks, self.contract, self.seed, self.augment = list(sources), dict(tasks), contract, seed, augment
        self.lenient = lenient
        self.on_device = False
        self.style: Callable[[Tensor, str], Tensor] | None = None
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self.items = [(s, row) for s, source in enumerate(sources) for row in source.rows]
        self.annotated: dict[str, np.ndarray] = {name: np.zeros(len(self.items), dtype=bool) for name in tasks}
        self.labels: dict[str, list[Any]] = {name: [None] * len(self.items) for name, t in tasks.items() if isinstance(t, Classification)}
        for index, (s, row) in enumerate(track(self.items, "checking rows", total=len(self.items))):
            self.sources[s].manifest.image(row)
            for name in self.sources[s].tasks:
                self.annotated[name][index] = self._annotation(name, index, s, row)

    @property
    def epoch(self) -> int:
        """The epoch whose draws are made; loader processes that live on see it change."""
        return int(self._epoch)

    @epoch.setter
    def epoch(self, value: int) -> None:
        self._epoch.fill_(value)

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
        target = source.targets.get(name, Target())
        label = read_label(name, task, source.manifest, row, target.column, target.map)
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
        """Compare what headers tell; images that are decoded anew each time they are asked for wait until they are read."""
        if manifest.arrays is not None:
            return
        image = manifest.image(row)
        size = image_size(image) if isinstance(image, Path) else None
        for column in columns:
            mask = manifest.mask(column, row)
            other = image_size(mask) if isinstance(mask, Path) else None
            if size is not None and other is not None and size != other:
                raise InputError(
                    f"{manifest.where(row)}: {column} '{manifest.columns[column][row]}' is {other[0]}x{other[1]} pixels, "
                    f"the image {size[0]}x{size[1]}"
                )

    def __len__(self) -> int:
        """Number of items."""
        return len(self.items)

    def __getitem__(self, index: int | tuple[int, tuple[int, int]]) -> dict[str, Any] | InputError:
        """Make one item (see the class), in another size (height, width) than the contract's where one comes with the index."""
        try:
            return self._item(index) if isinstance(index, int) else self._sized(index[1])._item(index[0])
        except InputError as error:
            return error

    def _sized(self, size: tuple[int, int]) -> Self:
        """Return this data set with images of another size."""
        other = copy.copy(self)
        other.contract = dataclasses.replace(self.contract, size=size)
        return other

    def _item(self, index: int) -> dict[str, Any]:
        s, row = self.items[index]
        source = self.sources[s]
        manifest, where = source.manifest, source.manifest.where(row)
        generator = self.generator(index)
        loaded = self._load(manifest, row)
        unit = self.contract.fit(loaded.unit_CHW)
        if self.style is not None:
            unit = self.style(unit, f"{self.seed}/{self.epoch}/{index}")
        height, width = loaded.unit_CHW.shape[-2:]
        masks = {
            name: self._mask(name, source, row, (height, width))
            for name, task in self.tasks.items()
            if isinstance(task, Segmentation) and self.annotated[name][index]
        }
        leave = self.on_device and self.augment is not None
        if self.augment is not None and not leave:
            denoised = any(isinstance(task, Denoising) and self.annotated[name][index] for name, task in self.tasks.items())
            unit, masks = self.augment(unit, masks, generator, is_target=denoised)
        image = self.contract.normalise(unit)
        self.contract.check_range(image, where)
        spacing = manifest.spacing(row) or loaded.spacing
        fitted = self.contract.fitted_spacing(spacing, height, width) if spacing else (np.nan, np.nan)
        item: dict[str, Any] = {"index": index, "image": unit if leave else image, "spacing": torch.tensor(fitted), "bent": loaded.bent}
        if leave:
            item["draws"] = Augment.draw(generator)
        for name, task in self.tasks.items():
            if not self.annotated[name][index]:
                continue
            if isinstance(task, Denoising) and leave:
                item |= self._noise(name, task, unit, generator)
            elif isinstance(task, Denoising):
                noisy, _ = task.corrupt(unit, generator)
                item[f"noisy.{name}"] = self.contract.normalise(noisy)
                item[f"target.{name}"] = unit
            elif isinstance(task, Segmentation):
                target = masks[name].long()
                item[f"target.{name}"] = (
                    target if leave or task.ignore_index == IGNORE else target.masked_fill(target == IGNORE, task.ignore_index)
                )
            else:
                item[f"target.{name}"] = torch.as_tensor(self.labels[name][index])
        if self.augment is not None and self.augment.noise:  # last: denoising reads the image without it
            item["image"] = self.contract.normalise(self.augment.add_noise(unit, generator))
        return item

    def opened(self, index: int) -> LoadedImage:
        """Load one item's image alone, as it is stored: no augmentation, no noise. Errors name the row."""
        s, row = self.items[index]
        return self._load(self.sources[s].manifest, row)

    @staticmethod
    def _noise(name: str, task: Denoising, unit: Tensor, generator: torch.Generator) -> dict[str, Any]:
        """Draw what `OnDevice` needs for a noisy twin, in the order in which `Denoising.corrupt` draws it."""
        item: dict[str, Any] = {f"level.{name}": torch.tensor(draw_level(task.level, generator))}
        if task.noise in NORMAL_NOISES:
            return item | {f"normal.{name}": torch.randn(unit.shape, generator=generator)}
        return item | {f"seed.{name}": torch.randint(2**62, (), generator=generator)}  # counts depend on the augmented pixels

    def _load(self, manifest: Manifest, row: int) -> LoadedImage:
        """Load a row's image; an error names the row besides the file."""
        frame = manifest.frame(row)
        try:
            return self.contract.open(manifest.image(row), frame=frame, lenient=self.lenient)
        except ContractError as error:
            raise ContractError(f"{manifest.where(row)}: {error}", error.rule) from error
        except InputError as error:
            raise InputError(f"{manifest.where(row)}: {error}") from error

    def _mask(self, name: str, source: Source, row: int, size: tuple[int, int]) -> Tensor:
        """Read one row's index mask and fit it as its image: [H, W] or, for overlapping classes, [K, H, W]."""
        task = self.tasks[name]
        assert isinstance(task, Segmentation)
        planes = []
        for column in self._mask_columns(name, source):
            where = f"{source.manifest.where(row)}: {column}"
            stored = source.manifest.mask(column, row)
            plane = read_mask(stored, where, source.manifest.frame(row)) if isinstance(stored, Path) else stored
            where = f"{where} '{stored.name}'" if isinstance(stored, Path) else where
            if plane.shape != size:  # also where the image's header did not tell its size
                raise InputError(f"{where} is {plane.shape[1]}x{plane.shape[0]} pixels, the image {size[1]}x{size[0]}")
            try:
                check_mask(plane, task.classes, multi_label=task.multi_label, ignore_index=task.ignore_index)
            except InputError as error:
                raise InputError(f"{where}: {error}") from error
            planes.append(plane)
        return self.contract.fit_mask(torch.from_numpy(np.stack(planes) if task.multi_label else planes[0].copy()))

    def generator(self, index: int) -> torch.Generator:
        """Return the random generator of one item in this epoch."""
        key = zlib.crc32(f"{self.seed}/{self.epoch}/{index}".encode())
        return torch.Generator().manual_seed(key)


def collate(items: Sequence[dict[str, Any] | InputError]) -> dict[str, Any] | InputError:
    """Join items to a batch.

    Returns:
        ``index`` [B], ``image`` [B, C, H, W], ``spacing`` [B, 2], and for each task with annotated rows ``rows.<name>`` (row numbers in
        the batch), ``target.<name>`` and, for denoising, ``noisy.<name>``, one entry a annotated row; ``bent``, the different lines of
        bent contract rules, where there are any; or the first error among the items.
    """
    for item in items:
        if isinstance(item, InputError):
            return item
    good = [item for item in items if isinstance(item, dict)]
    shapes = {tuple(item["image"].shape) for item in good}
    if len(shapes) > 1:
        return InputError(f"images of different sizes in one batch {sorted(shapes)}: set image_size")
    batch: dict[str, Any] = {"index": torch.tensor([i["index"] for i in good])}
    batch |= {key: torch.stack([i[key] for i in good]) for key in ("image", "spacing")}
    if bent := dict.fromkeys(line for item in good for line in item["bent"]):
        batch["bent"] = list(bent)
    if "draws" in good[0]:
        batch["draws"] = torch.stack([i["draws"] for i in good])
    keys = dict.fromkeys(k for item in good for k in item if "." in k)
    chosen: dict[tuple[int, ...], Tensor] = {}
    for key in keys:
        rows = tuple(r for r, item in enumerate(good) if key in item)
        batch[key] = torch.stack([good[r][key] for r in rows])
        # one tensor for the same rows: by that, tasks that can share a pass of a decoder are known
        batch[f"rows.{key.partition('.')[2]}"] = chosen.setdefault(rows, torch.tensor(rows))
    return batch
