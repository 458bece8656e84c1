"""Calibration: do the probabilities say how often a model is right? ECE in stated variants, MCE, Brier score and its parts, NLL, bins."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from umsrep.tasks.evaluation.resample import Draws, Sampled, estimate, mean_of_known, weighted_mean

BINS = 15
SMALLEST = 1e-12
"""Probabilities are kept above this in logarithms, so that one confident error costs 27.6 nats and not infinitely many."""


def bin_of(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Return the equal-width bin [n] of confidences in 0-1: [k / bins, (k + 1) / bins), the last closed."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    return np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, bins - 1)


def adaptive_bin_of(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Return bins [n] of (nearly) equal numbers of rows: quantiles of these rows, equal confidences together (Nguyen & O'Connor 2015)."""
    if not len(confidence):
        return np.empty(0, dtype=np.int64)
    edges = np.unique(np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.searchsorted(edges, confidence, side="right")


class Binned:
    """Confidences and outcomes of one yes-no question in bins, for many weightings at once.

    Attributes:
        bins: Number of bins.
    """

    def __init__(self, confidence: np.ndarray, outcome: np.ndarray, bin_n: np.ndarray, bins: int) -> None:
        """Sort rows into bins.

        Args:
            confidence: float [n] in 0-1; NaN rows are left out.
            outcome: 0 or 1 [n].
            bin_n: Bin of each row.
            bins: Number of bins.
        """
        self.bins = bins
        known = np.flatnonzero(~(np.isnan(confidence) | np.isnan(outcome)))
        self._order = known[np.argsort(bin_n[known], kind="stable")]  # rows of a bin lie together: its sums need one pass
        ordered = bin_n[self._order]
        self._used, self._starts = np.unique(ordered, return_index=True)
        self._confidence, self._outcome = (values[self._order].astype(np.float64) for values in (confidence, outcome))

    def sums(self, weights: np.ndarray) -> np.ndarray:
        """Return [R, bins, 3]: weight, summed confidence and summed outcome."""
        result = np.zeros((len(weights), self.bins, 3))
        if len(self._used):
            ordered = np.take(weights, self._order, axis=1)
            for j, values in enumerate((ordered, ordered * self._confidence, ordered * self._outcome)):
                result[:, self._used, j] = np.add.reduceat(values, self._starts, axis=1)
        return result


def ece_of_sums(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return expected and maximum calibration error, each [R], of `Binned.sums`: |mean confidence - mean outcome| of bins, l1 and max."""
    count = sums[..., 0]
    gap = np.abs(sums[..., 1] - sums[..., 2])
    total = count.sum(axis=-1)
    ece = gap.sum(axis=-1) / np.where(total > 0, total, np.nan)
    return ece, np.where(total > 0, (gap / np.where(count > 0, count, np.inf)).max(axis=-1), np.nan)


class Calibration:
    """Calibration of a classifier's probabilities, as a statistic of bootstrap draws.

    Binary: the probability of class 1 against its frequency (torchmetrics' binary calibration error). Exclusive classes: that of the most
    probable class against how often it is right (torchmetrics' multiclass one). Multi-label: each label as binary, then the mean.
    ``ece_classwise``: each class against the rest as binary, then the mean (Kull et al. 2019; for two classes both errors are the
    same up to the edges of bins). ``ece_adaptive``: as ``ece``, in bins of equal numbers of rows, whose edges stay as they are in
    the bootstrap draws. ``mce``: the largest error of a bin of ``ece``. All with ``bins`` bins and the l1 norm.

    The Brier score is mean (p - y)^2 for binary and for each label, and the sum of that over classes for more (Brier 1950; 0 to 2).
    NLL in nats.

    Attributes:
        variant: What the numbers mean, in one sentence.
    """

    def __init__(self, probabilities: np.ndarray, target: np.ndarray, *, bins: int = BINS) -> None:
        """Prepare.

        Args:
            probabilities: float [n, K]: two or more exclusive classes, or K labels where ``target`` has two axes.
            target: int [n], or [n, K] of 0, 1 and NaN (not annotated).
            bins: Number of bins.
        """
        p = np.asarray(probabilities, dtype=np.float64)
        multi, k = target.ndim == 2, p.shape[1]
        truth = target.astype(np.float64) if multi else (target[:, None] == np.arange(k)).astype(np.float64)
        if multi:
            questions = [(p[:, j], truth[:, j]) for j in range(k)]
            self.variant = "each label: its probability against its frequency, l1; mean over labels"
        elif k == 2:
            questions, self.variant = [(p[:, 1], truth[:, 1])], "probability of class 1 against its frequency, l1"
        else:
            best = p.argmax(axis=1)
            questions = [(p.max(axis=1), (best == target).astype(np.float64))]
            self.variant = "probability of the most probable class against how often it is right, l1"
        self.bins = bins
        self.variant = f"{bins} bins of equal width; {self.variant}"
        self._equal = [Binned(c, y, bin_of(np.nan_to_num(c), bins), bins) for c, y in questions]
        self._adaptive = [Binned(c, y, adaptive_bin_of(np.nan_to_num(c), bins), bins) for c, y in questions]
        each = [(p[:, j], truth[:, j]) for j in range(k)]
        self._classwise = self._equal if multi else [Binned(c, y, bin_of(np.nan_to_num(c), bins), bins) for c, y in each]
        square = (p - truth) ** 2
        self._square = square if multi else (square.sum(axis=1) if k > 2 else square[:, -1])[:, None]
        own = np.where(truth == 1, p, 1 - p) if multi else (p * truth).sum(axis=1, keepdims=True)
        self._nll = -np.log(np.maximum(own, SMALLEST))
        if multi:
            self._nll = np.where(np.isnan(truth), np.nan, self._nll)
        self._questions, self._each, self._multi = questions, each, multi

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return ``ece``, ``ece_adaptive``, ``ece_classwise``, ``mce``, ``brier`` and ``nll`` [R] of weights [R, n]."""
        equal = [ece_of_sums(b.sums(weights)) for b in self._equal]
        adaptive = [ece_of_sums(b.sums(weights))[0] for b in self._adaptive]
        classwise = [e for e, _ in equal] if self._multi else [ece_of_sums(b.sums(weights))[0] for b in self._classwise]
        return {
            "ece": mean_of_known(np.stack([e for e, _ in equal], axis=1)),
            "ece_adaptive": mean_of_known(np.stack(adaptive, axis=1)),
            "ece_classwise": mean_of_known(np.stack(classwise, axis=1)),
            "mce": np.max(np.stack([m for _, m in equal], axis=1), axis=1),
            "brier": mean_of_known(weighted_mean(weights, self._square)),
            "nll": mean_of_known(weighted_mean(weights, self._nll)),
        }

    def bin_draws(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the share of positive (right) rows of each bin, ``"0"`` ... [R], pooled over labels; NaN where a bin has no weight."""
        sums = sum_of(self._equal, weights)
        return {str(k): sums[:, k, 2] / np.where(sums[:, k, 0] > 0, sums[:, k, 0], np.nan) for k in range(self.bins)}

    def parts(self) -> dict[str, float]:
        """Return the Brier score's parts on all rows in these bins (Murphy 1973).

        brier = reliability - resolution + uncertainty + within_bins; ``within_bins`` is what is left because probabilities within a bin
        differ (Stephenson et al. 2008). Summed over classes for more than two exclusive ones, averaged over labels.
        """
        questions = self._questions if self._multi or len(self._each) == 2 else self._each
        each = [_parts(p, y, self.bins) for p, y in questions]
        totals = {key: [one[key] for one in each] for key in ("reliability", "resolution", "uncertainty", "within_bins")}
        fold = np.nanmean if self._multi else np.sum
        return {key: float(fold(values)) for key, values in totals.items()}

    def reliability(self, drawn: Sampled, draws: Draws) -> list[dict[str, Any]]:
        """Return the bins of the reliability picture, with the intervals of `bin_draws`."""
        n = len(draws.groups)
        sums = sum_of(self._equal, np.ones((1, n)))[0]
        member = [np.zeros(n, dtype=bool) for _ in range(self.bins)]
        for confidence, outcome in self._questions:
            known = ~(np.isnan(confidence) | np.isnan(outcome))
            where = bin_of(np.nan_to_num(confidence), self.bins)
            for k in range(self.bins):
                member[k] |= known & (where == k)
        result = []
        for k in range(self.bins):
            count = int(sums[k, 0])
            one: dict[str, Any] = {"low": k / self.bins, "high": (k + 1) / self.bins, "n": count}
            one |= dict.fromkeys(("patients", "confidence", "accuracy", "accuracy_low", "accuracy_high"))
            if count:
                patients = draws.patients(member[k])
                found = estimate(sums[k, 2] / count, drawn.draws[str(k)], n=count, patients=patients, level=draws.level)
                one |= {"patients": patients, "confidence": sums[k, 1] / count, "accuracy": found["value"]}
                one |= {"accuracy_low": found["low"], "accuracy_high": found["high"]}
            result.append(one)
        return result


def sum_of(binned: list[Binned], weights: np.ndarray) -> np.ndarray:
    """Return `Binned.sums` [R, bins, 3], added up over several questions."""
    return np.asarray(np.sum([b.sums(weights) for b in binned], axis=0))


def _parts(p: np.ndarray, y: np.ndarray, bins: int) -> dict[str, float]:
    known = ~(np.isnan(p) | np.isnan(y))
    p, y = p[known], y[known]
    if not len(p):
        return dict.fromkeys(("reliability", "resolution", "uncertainty", "within_bins"), math.nan)
    sums = Binned(p, y, bin_of(p, bins), bins).sums(np.ones((1, len(p))))[0]
    some = sums[sums[:, 0] > 0]
    count, confidence, outcome = some[:, 0], some[:, 1] / some[:, 0], some[:, 2] / some[:, 0]
    base, n = float(y.mean()), len(y)
    found = {
        "reliability": float((count * (confidence - outcome) ** 2).sum() / n),
        "resolution": float((count * (outcome - base) ** 2).sum() / n),
        "uncertainty": base * (1 - base),
    }
    brier = float(((p - y) ** 2).mean())
    return found | {"within_bins": brier - found["reliability"] + found["resolution"] - found["uncertainty"]}


def expected_calibration_error(probabilities: np.ndarray, target: np.ndarray, *, bins: int = BINS) -> float:
    """Return the ECE (variant as in `Calibration`; equals torchmetrics' with ``n_bins=bins, norm="l1"``)."""
    return float(Calibration(probabilities, target, bins=bins)(np.ones((1, len(probabilities))))["ece"][0])


def brier_score(probabilities: np.ndarray, target: np.ndarray) -> float:
    """Return the Brier score (variant as in `Calibration`)."""
    return float(Calibration(probabilities, target)(np.ones((1, len(probabilities))))["brier"][0])
