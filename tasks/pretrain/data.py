"""Images for pretraining: training rows of tables, or all pictures of a folder, as views that a method asks for."""

from __future__ import annotations

import dataclasses
import itertools
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from umsrep.errors import InputError
from umsrep.tasks.agreement import agree
from umsrep.tasks.data.manifest import Manifest, load_manifest
from umsrep.tasks.data.sampler import TaskAwareBatchSampler
from umsrep.tasks.data.subset import take_fraction
from umsrep.tasks.data.tables import TABLES
from umsrep.tasks.interruption import ignore_signals
from umsrep.tasks.pretrain.config import PretrainData
from umsrep.zoo import InputContract
from umsrep.zoo.input_contract import ContractError

Views = Callable[[Tensor, torch.Generator], dict[str, Tensor]]
"""From an image [C, H, W] in 0-1 at its own size to what a method learns from; must be picklable."""


@dataclasses.dataclass(frozen=True)
class Images:
    """The rows of one data set that a run uses.

    Attributes:
        name: Of the set: its folder, nothing from inside or around it.
        manifest: The table.
        rows: Its training rows.
        validation: Its validation rows, for monitoring.
        label: Column of classes for monitoring, or None.
    """

    name: str
    manifest: Manifest
    rows: list[int]
    validation: list[int]
    label: str | None


def open_images(data: PretrainData, *, seed: int) -> Images:
    """Open one data set.

    Raises:
        InputError: for a set that cannot be read, a patient in two splits, a label column that does not exist, or no training row.
    """
    manifest = _manifest(data.path)
    kept = set(range(len(manifest)))
    if data.licenses is not None:
        rows, note = manifest.licensed(data.licenses, data.license_column)
        kept, manifest = set(rows), dataclasses.replace(manifest, notes=(*manifest.notes, note))
    if data.split_column is None:
        split = {"train": sorted(kept), "validation": []}
    else:
        manifest.check_patients(data.split_column)
        values = manifest.split_values(data.split_column)
        split = {name: [row for row in sorted(kept) if values[row] == name] for name in ("train", "validation")}
    if not split["train"]:
        raise InputError(f"{manifest.table}: no row with {data.split_column} = train is left to learn from")
    label = data.label if data.label is not None else "label" if "label" in manifest.columns else ""
    if label:
        manifest.column(label)
    train = take_fraction(manifest, split["train"], data.fraction, seed=seed)
    return Images(Path(data.path).name, manifest, train, split["validation"], label or None)


def _manifest(path: str) -> Manifest:
    """Open a table, or make one of a folder's pictures: all for training, but for those in folders named after the other splits."""
    folder = Path(path).expanduser()
    if folder.is_dir() and not any((folder / name).is_file() for name in TABLES):
        from umsrep.tasks.data.folders import propose

        proposal = propose(folder, fractions=(1.0, 0.0, 0.0))
        count = len(proposal.columns["file_name"])
        return Manifest(folder, folder, proposal.columns, list(range(1, count + 1)), notes=tuple(proposal.notes))
    return load_manifest(path)


class ViewSet(Dataset[Any]):
    """Images with the views that a method asks for; the same (seed, epoch, index) gives the same item in any process.

    An item is what ``views`` makes of the image, and ``index``; a wrong file gives the `InputError` itself, as in
    `umsrep.tasks.data.dataset.JointDataset`.
    """

    def __init__(
        self,
        sources: Sequence[Images],
        items: Sequence[tuple[int, int]],
        contract: InputContract,
        views: Views,
        *,
        seed: int,
        lenient: bool,
    ) -> None:
        """Set up; ``items`` are (number of the source, row), whose files must be there."""
        self.sources, self.items, self.contract, self.views = list(sources), list(items), contract, views
        self.seed, self.lenient, self.epoch = seed, lenient, 0
        for s, row in self.items:
            self.sources[s].manifest.image(row)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Tensor] | InputError:
        """Make one item (see the class)."""
        s, row = self.items[index]
        manifest = self.sources[s].manifest
        generator = torch.Generator().manual_seed(zlib.crc32(f"{self.seed}/{self.epoch}/{index}".encode()))
        try:
            loaded = self.contract.open(manifest.image(row), frame=manifest.frame(row), lenient=self.lenient)
            return {"index": torch.tensor(index), **self.views(loaded.unit_CHW, generator)}
        except ContractError as error:
            return ContractError(f"{manifest.where(row)}: {error}", error.rule)
        except InputError as error:
            return InputError(f"{manifest.where(row)}: {error}")


def stack(items: Sequence[dict[str, Tensor] | InputError]) -> dict[str, Tensor] | InputError:
    """Join items to a batch, or return the first error among them."""
    good: list[dict[str, Tensor]] = []
    for item in items:
        if isinstance(item, InputError):
            return item
        good.append(item)
    return {key: torch.stack([item[key] for item in good]) for key in good[0]}


def make_loader(data: ViewSet, sampler: TaskAwareBatchSampler, *, workers: int, pinned: bool) -> DataLoader[Any]:
    """Return a loader of this process's part of each batch."""
    return DataLoader(data, batch_sampler=sampler, num_workers=workers, collate_fn=stack, pin_memory=pinned, worker_init_fn=ignore_signals)


def endless(accelerator: Accelerator, data: ViewSet, sampler: TaskAwareBatchSampler, workers: int) -> Iterator[dict[str, Tensor]]:
    """Give batches on the device, of epochs that are never trained on."""
    pinned = accelerator.device.type == "cuda"
    for epoch in itertools.count(10**9):
        data.epoch = sampler.epoch = epoch
        sampler.start = 0
        for item in make_loader(data, sampler, workers=workers, pinned=pinned):
            batch = agree(accelerator, item, [], due=False, received=0).batch
            yield {name: value.to(accelerator.device) for name, value in batch.items()}
