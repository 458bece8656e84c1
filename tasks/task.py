"""Task: the target, loss and metrics of one named head.

A task holds no parameters and no state. Its losses are *per row*, so that the sum over ranks divided by the global number
of rows is exactly the loss of the global batch, however the rows fall on the ranks; its metrics are computed from per-row
statistics, which are what ranks gather.
"""

from __future__ import annotations

import collections
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from torch import Tensor

from umsrep.errors import InputError, nearest


class Task(ABC):
    """Target, loss and metrics of one head.

    Attributes:
        kind: ``"denoising"``, ``"segmentation"`` or ``"classification"``.
        input: which image of the batch the head sees, the clean one or its noisy twin.
        metric: the key of :meth:`summarise` that selects the model; higher is better.
        fallbacks: keys that :meth:`score` tries in order where ``metric`` is undefined.
    """

    kind: ClassVar[str]
    input: ClassVar[Literal["clean", "noisy"]]
    metric: ClassVar[str]
    fallbacks: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Loss of each row: ``[n]`` float32, differentiable, finite for every legal target."""

    @abstractmethod
    def rows(self, output: Tensor, target: Tensor, **extra: Tensor) -> dict[str, np.ndarray]:
        """Small per-row statistics ``[n, ...]``; concatenate them over batches and ranks before :meth:`summarise`."""

    @abstractmethod
    def summarise(self, rows: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Scalar metrics from concatenated rows; nan where a metric is undefined."""

    def score(self, summary: Mapping[str, float]) -> float:
        """The number that selects the model: ``summary[metric]``, or the first finite fallback, or nan."""
        for name in (self.metric, *self.fallbacks):
            value = summary.get(name, math.nan)
            if math.isfinite(value):
                return value
        return math.nan


def check_choice(value: str, choices: Sequence[str], what: str) -> None:
    """Raise an ``InputError`` that names the nearest choices unless ``value`` is one of them."""
    if value not in choices:
        raise InputError(f"unknown {what} {value!r}{nearest(str(value), choices)}")


def check_classes(classes: Sequence[str], minimum: int = 1) -> tuple[str, ...]:
    """The class names as a tuple; ``InputError`` for a bare string, too few, empty or repeated names."""
    if isinstance(classes, str):
        raise InputError(f"classes must be a list of names, got the string {classes!r}: write [{classes!r}]")
    names = tuple(classes)
    bad = [name for name in names if not isinstance(name, str) or not name]
    if bad:
        raise InputError(f"class names must be non-empty strings, got {bad[0]!r}: quote it in the config")
    repeated = sorted(name for name, count in collections.Counter(names).items() if count > 1)
    if repeated:
        raise InputError(f"duplicate class name {repeated[0]!r} in classes {list(names)}: give every class its own name")
    if len(names) < minimum:
        raise InputError(f"classes {list(names)} has {len(names)} name(s), but at least {minimum} needed")
    return names


def check_weights(weights: Sequence[float] | None, classes: Sequence[str]) -> tuple[float, ...] | None:
    """The class weights as a tuple of floats; ``InputError`` for a wrong length, or a negative or non-finite weight."""
    if weights is None:
        return None
    values = tuple(float(weight) for weight in weights)
    if len(values) != len(classes):
        raise InputError(f"class_weights has {len(values)} value(s), but there are {len(classes)} classes: {', '.join(classes)}")
    if not all(math.isfinite(value) and value >= 0 for value in values) or not any(values):
        raise InputError(f"class_weights {list(values)} must be finite, >= 0 and not all zero")
    return values


def check_decoupling(value: float) -> float:
    """The lambda of spectral decoupling; ``InputError`` unless it is finite and >= 0."""
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"spectral_decoupling {value} must be finite and >= 0; 0 is off")
    return float(value)


def finite_mean(values: np.ndarray) -> float:
    """Mean of the values that are not nan; nan (and no warning) where there are none."""
    kept = values[~np.isnan(values)]
    return float(kept.mean(dtype=np.float64)) if kept.size else math.nan
