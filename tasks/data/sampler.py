"""One order of rows for all processes, in which every batch holds its share of every kind of annotation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from torch.utils.data import Sampler

from umsrep.errors import InputError


class TaskAwareBatchSampler(Sampler[list[int]]):
    """Batches in which rows of each annotation pattern are spread evenly over the epoch.

    Rows with the same pattern (which tasks they are annotated for) are shuffled, laid evenly over the epoch with a random
    offset, and merged: any stretch of the epoch holds each pattern in about its overall proportion, and every row comes once.
    With an ``exponent`` below 1 a pattern of n rows gets a share of the epoch in proportion to n ** exponent instead: rare patterns
    come more often, of common ones each epoch takes the next part of a shuffled cycle, so that all rows serve equally often in the
    long run. The order depends on (seed, epoch) alone; each process takes every ``world_size``-th row of each global batch. Rows that
    do not fill the last batch are left out of this epoch (others the next).
    """

    def __init__(
        self,
        annotated: Mapping[str, np.ndarray],
        batch_size: int,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
        exponent: float = 1.0,
    ) -> None:
        """Set up.

        Args:
            annotated: Task's name to a bool for each row.
            batch_size: Rows of a global batch, over all processes.
            seed: Of the order.
            rank: This process.
            world_size: Number of processes.
            start: First batch of the epoch to give (mid-epoch resume).
            exponent: On the number of rows of each pattern: 1 by size, 0.5 by its square root, 1 / T by temperature T, 0 evenly.

        Raises:
            InputError: if the batch cannot be shared out evenly.
        """
        if batch_size % world_size:
            raise InputError(f"batch_size {batch_size} (over all processes) is not divisible by {world_size} processes")
        patterns = np.stack([np.asarray(a, dtype=bool) for a in annotated.values()], axis=1)
        self.rows = np.flatnonzero(patterns.any(axis=1))  # a row that serves no task would only cost time
        self.groups = [self.rows[g] for g in _groups(patterns[self.rows])]
        self.batch_size = min(batch_size, len(self.rows) // world_size * world_size)
        if self.batch_size == 0:
            raise InputError(f"{len(self.rows)} annotated training rows are too few for {world_size} processes")
        shares = np.array([len(group) ** exponent for group in self.groups])
        exact = len(self.rows) * shares / shares.sum()
        self.counts = np.floor(exact).astype(int)  # rows of each pattern in an epoch: the largest remainders make up the rest
        self.counts[np.argsort(self.counts - exact, kind="stable")[: len(self.rows) - self.counts.sum()]] += 1
        self.seed, self.rank, self.world_size, self.start = seed, rank, world_size, start
        self.epoch = 0

    def order(self) -> np.ndarray:
        """Return this epoch's rows in order."""
        random = np.random.default_rng([self.seed, self.epoch])
        places = []
        for number, (group, count) in enumerate(zip(self.groups, self.counts, strict=True)):
            shuffled = random.permutation(group) if count == len(group) else self._cycle(number, int(count))
            position = (np.arange(count) + random.random()) / max(1, count)
            places.append((position, shuffled))
        position = np.concatenate([p for p, _ in places])
        rows = np.concatenate([r for _, r in places])
        ordered: np.ndarray = rows[np.argsort(position, kind="stable")]
        return ordered

    def _cycle(self, number: int, count: int) -> np.ndarray:
        """Return this epoch's part of a pattern's endless row of shuffles."""
        group = self.groups[number]
        first, last = self.epoch * count, (self.epoch + 1) * count
        rounds = range(first // len(group), -(-last // len(group)))
        order = np.concatenate([np.random.default_rng([self.seed, number, k]).permutation(group) for k in rounds])
        offset = first - rounds[0] * len(group)
        part: np.ndarray = order[offset : offset + count]
        return part

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.rows) // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        """Give this process's part of each global batch."""
        order = self.order()
        for batch in range(self.start, len(self)):
            rows = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield rows[self.rank :: self.world_size].tolist()


class SizedBatches(Sampler[list[tuple[int, tuple[int, int]]]]):
    """The batches of a `TaskAwareBatchSampler`, their rows each with the size (height, width) of its batch.

    Batches take the sizes in turn, in an order drawn anew for each round from (seed, epoch): the same on all processes, and for a run
    that goes on in the middle of an epoch.
    """

    def __init__(self, sampler: TaskAwareBatchSampler, sizes: Sequence[tuple[int, int]]) -> None:
        """Set up: ``sampler``'s epoch and start are this one's."""
        self.sampler, self.sizes = sampler, list(sizes)

    def size(self, batch: int) -> tuple[int, int]:
        """Return the size of a batch of this epoch."""
        turn, place = divmod(batch, len(self.sizes))
        order = np.random.default_rng([self.sampler.seed, self.sampler.epoch, turn]).permutation(len(self.sizes))
        return self.sizes[int(order[place])]

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[list[tuple[int, tuple[int, int]]]]:
        """Give this process's part of each global batch."""
        for batch, rows in enumerate(self.sampler, self.sampler.start):
            size = self.size(batch)
            yield [(row, size) for row in rows]


def _groups(patterns: np.ndarray) -> list[np.ndarray]:
    _, inverse = np.unique(patterns, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    return [np.flatnonzero(inverse == k) for k in range(int(inverse.max()) + 1)]
