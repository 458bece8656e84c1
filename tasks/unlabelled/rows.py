"""Rows without annotation: what their items are, and how they join the labelled rows of a batch."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from umsrep.errors import InputError
from umsrep.tasks.data.augment import Augment
from umsrep.tasks.data.dataset import JointDataset, Source, collate
from umsrep.tasks.data.sampler import TaskAwareBatchSampler
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.noise import GREY_LEVELS
from umsrep.zoo import InputContract

EXTRA = "extra"
"""Prefix of a batch's keys that come from unlabelled rows."""


@dataclasses.dataclass(frozen=True)
class Views:
    """How teacher and student see an unlabelled image: with the same geometry, the student with stronger intensity changes.

    Attributes:
        augment: Of the run: its geometry is both views'.
        intensity: Factor on its brightness, contrast and gamma for the student.
        noise: Most Gaussian noise of the student's image, in 8-bit grey levels.
        denoising: Name to task of the denoising heads, which get two noisy versions.
        pair_column: Column that names the scene of frames, or None.
    """

    augment: Augment
    intensity: float
    noise: float
    denoising: dict[str, Denoising]
    pair_column: str | None = None

    @property
    def weak(self) -> Augment:
        """The teacher's: geometry alone."""
        return dataclasses.replace(self.augment, policy="default", operations=None, magnitude=None, brightness=0.0, contrast=0.0, gamma=0.0)

    @property
    def strong(self) -> Augment:
        """The student's, as far as `Augment` allows: its policy where that is ``strong``; the others would move the image."""
        own, most = self.augment, {"brightness": 0.9, "contrast": 0.9, "gamma": 10.0}
        if own.policy == "strong":
            return own
        return dataclasses.replace(self.weak, **{key: min(top, self.intensity * getattr(own, key)) for key, top in most.items()})


class UnlabelledDataset(JointDataset):
    """Images without targets; no column but those that name the image is read (and `Views.pair_column`).

    Item ``turn * len(self) + number`` is row ``number`` with the draws of its ``turn``-th use: ``index``, ``image`` and, with views,
    ``weak``, ``inside`` [H, W] (False where the geometry brought pixels from outside), and for denoising ``noisy/<name>``,
    ``twin/<name>`` and ``paired/<name>`` (whether the twin is another frame instead of another noisy version of this one).
    """

    def __init__(
        self,
        sources: Sequence[Source],
        contract: InputContract,
        *,
        seed: int,
        lenient: bool = False,
        augment: Augment | None = None,
        views: Views | None = None,
    ) -> None:
        """Check that the images exist; ``augment`` is for items without ``views``, None leaves images as they are."""
        bare = [dataclasses.replace(source, tasks=(), targets={}) for source in sources]
        super().__init__(bare, {}, contract, seed=seed, augment=augment, lenient=lenient)
        self.views = views
        self.frames = self._frames(views.pair_column) if views is not None and views.pair_column is not None else {}

    def _frames(self, column: str) -> dict[int, list[int]]:
        """Return for each item the items of the same scene, itself among them; sets without the column have none."""
        scenes: dict[tuple[int, str], list[int]] = {}
        for number, (s, row) in enumerate(self.items):
            columns = self.sources[s].manifest.columns
            if column in columns and columns[column][row]:
                scenes.setdefault((s, columns[column][row]), []).append(number)
        return {number: scene for scene in scenes.values() if len(scene) > 1 for number in scene}

    def unit(self, number: int) -> tuple[Tensor, tuple[str, ...]]:
        """Return a row's image in 0-1, fitted to the contract, and the contract's rules that were bent for it."""
        s, row = self.items[number]
        loaded = self._load(self.sources[s].manifest, row)
        return self.contract.fit(loaded.unit_CHW), tuple(loaded.bent)

    def _item(self, index: int) -> dict[str, Any]:
        turn, number = divmod(index, len(self.items))
        unit, bent = self.unit(number)
        s, row = self.items[number]
        seed = zlib.crc32(f"unlabelled/{self.seed}/{turn}/{number}".encode())
        item: dict[str, Any] = {"index": number, "bent": bent, EXTRA: True}
        if self.views is None:
            image = unit if self.augment is None else self.augment(unit, {}, _generator(seed))[0]
            item["image"] = self.contract.normalise(image)
        else:
            item |= self._seen(self.views, unit, number, seed)
        # the student's noise goes beyond the range, as a noisy twin's does
        self.contract.check_range(item["image" if self.views is None else "weak"], self.sources[s].manifest.where(row))
        return item

    def _seen(self, views: Views, unit: Tensor, number: int, seed: int) -> dict[str, Any]:
        # both start from the same draws, so the geometry is the same
        weak, masks = views.weak(unit, {"inside": torch.zeros(unit.shape[-2:], dtype=torch.uint8)}, _generator(seed))
        strong, _ = views.strong(unit, {}, _generator(seed))
        generator = _generator(seed + 1)
        if views.noise:
            level = float(torch.rand((), generator=generator)) * views.noise / GREY_LEVELS
            strong = strong + level * torch.randn(strong.shape, generator=generator)
        item: dict[str, Any] = {
            "image": self.contract.normalise(strong),
            "weak": self.contract.normalise(weak),
            "inside": masks["inside"] == 0,
        }
        others = [other for other in self.frames.get(number, ()) if other != number]
        for name, task in views.denoising.items():
            if others:
                other = others[int(torch.randint(len(others), (), generator=generator))]
                noisy, twin = weak, views.weak(self.unit(other)[0], {}, _generator(seed))[0]
            else:
                noisy, twin = (task.corrupt(weak, generator)[0] for _ in range(2))
            item |= {
                f"noisy/{name}": self.contract.normalise(noisy),
                f"twin/{name}": self.contract.normalise(twin),
                f"paired/{name}": torch.tensor(bool(others)),
            }
        return item


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Joined(Dataset[Any]):
    """A labelled data set, and behind its items those of an unlabelled one."""

    def __init__(self, labelled: JointDataset, unlabelled: UnlabelledDataset) -> None:
        """Join the two."""
        self.labelled, self.unlabelled = labelled, unlabelled

    def __getitem__(self, index: int) -> dict[str, Any] | InputError:
        """Return an item of either."""
        return self.labelled[index] if index < len(self.labelled) else self.unlabelled[index - len(self.labelled)]


class JoinedSampler(Sampler[list[int]]):
    """The labelled rows of each batch, and so many unlabelled ones behind them, for `Joined`.

    Batch after batch, unlabelled rows come from one endless row of shuffles that depends on the seed alone. So all of them serve
    equally often, and a run that goes on takes up where it was; each process has every ``world_size``-th.
    """

    def __init__(self, sampler: TaskAwareBatchSampler, rows: int, batch_size: int, *, offset: int) -> None:
        """Set up.

        Args:
            sampler: Of the labelled rows; its epoch and start are this one's.
            rows: Number of unlabelled rows.
            batch_size: Unlabelled rows of a global batch.
            offset: Number of labelled items.

        Raises:
            InputError: if the batch cannot be shared out evenly.
        """
        if batch_size % sampler.world_size:
            raise InputError(f"unlabelled batch_size {batch_size} (over all processes) is not divisible by {sampler.world_size} processes")
        self.sampler, self.count, self.batch_size, self.offset = sampler, rows, batch_size, offset
        self._turn = functools.lru_cache(maxsize=2)(self._shuffled)

    def _shuffled(self, turn: int) -> np.ndarray:
        return np.random.default_rng([self.sampler.seed, 1, turn]).permutation(self.count)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.sampler)

    def extra(self, batch: int) -> list[int]:
        """Return this process's unlabelled items of a batch, counted from the start of the run."""
        first = batch * self.batch_size
        places = range(first + self.sampler.rank, first + self.batch_size, self.sampler.world_size)
        return [self.offset + turn * self.count + int(self._turn(turn)[place]) for turn, place in (divmod(p, self.count) for p in places)]

    def __iter__(self) -> Iterator[list[int]]:
        """Give this process's part of each global batch, labelled rows first."""
        first = self.sampler.epoch * len(self.sampler) + self.sampler.start
        for batch, rows in enumerate(self.sampler, first):
            yield rows + self.extra(batch)


def collate_joined(items: Sequence[dict[str, Any] | InputError]) -> dict[str, Any] | InputError:
    """Join items of `Joined` to a batch.

    Returns:
        As `collate` of the labelled items, and of the unlabelled ones ``extra`` [U, C, H, W] and, with views, ``extra_weak``,
        ``extra_inside`` and for each denoising head ``extra_noisy/<name>``, ``extra_twin/<name>`` and ``extra_paired/<name>``.
    """
    extra = [item for item in items if isinstance(item, dict) and EXTRA in item]
    batch = collate([item for item in items if isinstance(item, InputError) or EXTRA not in item])
    if isinstance(batch, InputError):
        return batch
    if len(shapes := {tuple(i["image"].shape) for i in extra} | {tuple(batch["image"].shape[1:])}) > 1:
        return InputError(f"images of different sizes in one batch {sorted(shapes)}: set image_size")
    batch |= {EXTRA if key == "image" else f"{EXTRA}_{key}": torch.stack([i[key] for i in extra]) for key in extra[0] if key not in _PLAIN}
    if bent := dict.fromkeys([*batch.get("bent", ()), *(line for i in extra for line in i["bent"])]):
        batch["bent"] = list(bent)
    return batch


def collate_target(items: Sequence[dict[str, Any] | InputError]) -> dict[str, Any] | InputError:
    """Join items of an `UnlabelledDataset` without views to a batch: ``image`` [B, C, H, W]; or return the first error."""
    for item in items:
        if isinstance(item, InputError):
            return item
    return {"image": torch.stack([item["image"] for item in items if isinstance(item, dict)])}


_PLAIN = ("index", "bent", EXTRA)


class Style:
    """Gives an image the low-frequency amplitudes of a random image of the target (FDA), before it is augmented."""

    def __init__(self, target: UnlabelledDataset, beta: float) -> None:
        """Set up; ``beta`` as in `umsrep.tasks.adapt.fourier_domain_adapt`."""
        self.target, self.beta = target, beta

    def __call__(self, unit_CHW: Tensor, key: str) -> Tensor:
        """Return the image in its new style, cut to 0-1 as after augmentation; the key decides which target image it is of."""
        from umsrep.tasks.adapt import fourier_domain_adapt

        other, _ = self.target.unit(zlib.crc32(f"fda/{key}".encode()) % len(self.target))
        if other.shape != unit_CHW.shape:
            raise InputError(f"fda needs images of one size, not {list(other.shape)} and {list(unit_CHW.shape)}: set image_size")
        return fourier_domain_adapt(unit_CHW, other, self.beta).clamp(0, 1)
