"""Temperature scaling (Guo et al., ICML 2017): one number that softens or sharpens all probabilities and changes no decision."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from umsrep.errors import InputError

RANGE = (0.02, 50.0)
"""Temperatures outside it are not fitted but a sign that there is nothing to fit."""


@dataclasses.dataclass(frozen=True)
class Temperature:
    """The outcome of `fit_temperature`.

    Attributes:
        value: T by which logits are divided; above 1 softens. NaN where the rows do not determine it.
        nll_before: Mean negative log-likelihood of the rows it was fitted on, in nats.
        nll_after: With it; never above ``nll_before``.
        n: Rows.
        note: Why there is none, or "".
    """

    value: float
    nll_before: float
    nll_after: float
    n: int
    note: str = ""


def scale(probabilities: np.ndarray, temperature: float, *, multi_label: bool = False) -> np.ndarray:
    """Return probabilities [n, K] at a temperature: softmax or sigmoid of their logits over T. The order of classes stays.

    Args:
        probabilities: float [n, K] in 0-1.
        temperature: > 0.
        multi_label: Whether each is a sigmoid of its own.
    """
    return probabilities_of(logits_of(probabilities, multi_label=multi_label), temperature, multi_label=multi_label)


def logits_of(probabilities: np.ndarray, *, multi_label: bool = False) -> np.ndarray:
    """Return logits [n, K] that give these probabilities; 0 and 1 become the nearest numbers that have one."""
    p = np.asarray(probabilities, dtype=np.float64)
    tiny = np.finfo(np.float64).tiny
    if multi_label:
        return np.asarray(np.log(np.maximum(p, tiny)) - np.log(np.maximum(1 - p, np.finfo(np.float64).epsneg / 2)))
    return np.asarray(np.log(np.maximum(p, tiny)))


def probabilities_of(logits: np.ndarray, temperature: float = 1.0, *, multi_label: bool = False) -> np.ndarray:
    """Return softmax or sigmoid [n, K] of logits over a temperature, in float64."""
    z = np.asarray(logits, dtype=np.float64) / temperature
    if multi_label:
        return np.asarray(np.exp(-np.logaddexp(0, -z)))
    z = z - z.max(axis=1, keepdims=True)
    e = np.exp(z)
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def fit_temperature(logits: np.ndarray, target: np.ndarray, *, multi_label: bool = False) -> Temperature:
    """Find the temperature with the lowest negative log-likelihood.

    The likelihood is convex in 1 / T, so the root of its derivative is the minimum and there is no other.

    Args:
        logits: float [n, K]; with two classes also a [n, 2] of log-probabilities.
        target: int [n]; multi-label [n, K] of 0, 1 and NaN (not annotated), one temperature for all labels.
        multi_label: Whether each logit is a sigmoid of its own.

    Raises:
        InputError: for no rows, or logits that are not finite.
    """
    from scipy.optimize import brentq

    z = np.asarray(logits, dtype=np.float64)
    if not len(z):
        raise InputError("no rows to fit a temperature on")
    if not np.isfinite(z).all():
        raise InputError(f"{int((~np.isfinite(z)).any(axis=1).sum())} row(s) with logits that are not finite: no temperature can be fitted")
    if multi_label:
        known = ~np.isnan(target)
        margins = np.where(target[known] == 1, 1.0, -1.0) * z[known]
        z, label = np.stack([np.zeros_like(margins), margins], axis=1), np.ones(len(margins), dtype=np.int64)
    else:
        label = target.astype(np.int64)
    if not len(z):
        raise InputError("no annotated rows to fit a temperature on")
    z = z - z.max(axis=1, keepdims=True)
    own = np.take_along_axis(z, label[:, None], 1)[:, 0]

    def nll(a: float) -> float:
        return float((np.log(np.exp(a * z).sum(axis=1)) - a * own).mean())

    def slope(a: float) -> float:
        e = np.exp(a * z)
        return float(((e * z).sum(axis=1) / e.sum(axis=1) - own).mean())

    before, n = nll(1.0), len(label)
    low, high = 1 / RANGE[1], 1 / RANGE[0]
    if slope(high) < 0:
        return Temperature(
            math.nan, before, before, n, "none: these rows are all right, and ever sharper probabilities would fit them better"
        )
    if slope(low) > 0:
        return Temperature(
            math.nan, before, before, n, "none: the probabilities tell nothing of these rows, the best temperature is infinite"
        )
    best = float(brentq(slope, low, high, xtol=1e-12, rtol=1e-12))
    after = nll(best)
    if after > before:  # the optimum is at 1 to the last digits
        return Temperature(1.0, before, before, n)
    return Temperature(1 / best, before, after, n)
