"""Randomness of shifts: one seed a row, drawn on the CPU, so that a row gets the same shift alone, in a batch, and on a GPU."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Draws:
    """Random numbers of one shift for a batch.

    A row's numbers depend on its seed and the shift's name, not on the severity: a shift at severity 4 has the noise, the bubbles or the
    words of severity 3, only more of it. Asking in the same order gives the same numbers.
    """

    def __init__(self, name: str, seeds: Sequence[int], device: torch.device) -> None:
        """Make one generator a row.

        Args:
            name: Of the shift, so that two shifts with one seed draw different numbers.
            seeds: One a row.
            device: Where the numbers are wanted.
        """
        self.device = device
        self.generators = [torch.Generator().manual_seed(zlib.crc32(f"{name}/{seed}".encode())) for seed in seeds]

    def _stack(self, draw: Callable[[torch.Generator], Tensor]) -> Tensor:
        return torch.stack([draw(generator) for generator in self.generators]).to(self.device)

    def uniform(self, *shape: int) -> Tensor:
        """Draw from 0 to 1: float32 [B, *shape]."""
        return self._stack(lambda g: torch.rand(shape, generator=g))

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal numbers: float32 [B, *shape]."""
        return self._stack(lambda g: torch.randn(shape, generator=g))

    def poisson(self, rate: Tensor) -> Tensor:
        """Draw counts of the rates [B, ...], >= 0; same shape."""
        rows = rate.cpu()
        return torch.stack([torch.poisson(row, generator=g) for row, g in zip(rows, self.generators, strict=True)]).to(self.device)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Draw whole numbers from 0 to ``high - 1``: int64 [B, *shape]."""
        return self._stack(lambda g: torch.randint(high, shape, generator=g))


def row_seed(seed: int, file_name: str, frame: int | None = None) -> int:
    """Return the seed of one row of a data set, from 0 to 2^32 - 1.

    It depends on what the row shows and not on where it stands, so that a written set and an evaluation, or two splits, agree.
    """
    return zlib.crc32(f"{seed}/{file_name}/{'' if frame is None else frame}".encode())
