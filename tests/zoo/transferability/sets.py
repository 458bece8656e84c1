"""Features and labels for the tests of scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def clusters(rows: int = 60, columns: int = 8, classes: int = 3, apart: float = 1.0, seed: int = 0) -> tuple[Array, Array]:
    """Gaussian classes around random means, every class at least once, and an off-centre mean as of features after a ReLU."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(rows) % classes)
    means = random.normal(size=(classes, columns)) * apart
    return means[labels] + random.normal(size=(rows, columns)) + 2, labels


def decaying(rows: int, columns: int, seed: int = 0) -> Array:
    """Features whose spectrum decays, as those of trained encoders do."""
    random = np.random.default_rng(seed)
    return random.normal(size=(rows, columns)) / np.arange(1, columns + 1)


def rotation(columns: int, seed: int = 0) -> Array:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(columns, columns)))[0]


def softmax(values: Array) -> Array:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    result: Array = powers / powers.sum(axis=1, keepdims=True)
    return result
