"""Metrics that depend on the order of scores, for many weightings of the same rows at once: one sort serves every bootstrap draw."""

from __future__ import annotations

import numpy as np


class Ranking:
    """Rows sorted by score, highest first, ties together.

    Attributes:
        truth: Whether each row is positive [n].
        scores: Of each row [n], in the order given.
    """

    def __init__(self, scores: np.ndarray, truth: np.ndarray) -> None:
        """Sort once.

        Args:
            scores: float [n], finite.
            truth: bool [n].
        """
        self.scores, self.truth = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=bool)
        self.order = np.argsort(-self.scores, kind="stable")
        ordered = self.scores[self.order]
        self.ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(ordered) else np.empty(0, dtype=np.int64)
        self.levels = ordered[self.ends]
        self._positive = self.truth[self.order].astype(np.float64)

    def cumulative(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return true and false positives [R, levels] when all rows from a level up are called positive.

        Args:
            weights: [R, n], in the order of the rows given.
        """
        ordered = np.take(weights, self.order, axis=1)
        tp = np.cumsum(ordered * self._positive, axis=1)
        every = np.cumsum(ordered, axis=1)
        if len(self.ends) < len(self.order):
            tp, every = tp[:, self.ends], every[:, self.ends]
        return tp, every - tp

    def metrics(self, weights: np.ndarray, specificity: float = 0.95) -> dict[str, np.ndarray]:
        """Return ``auroc``, ``average_precision`` and ``sensitivity_at_specificity``, each [R]; NaN where one outcome has no weight.

        AUROC with ties counting half (Mann-Whitney); average precision as the sum of precisions weighted by the steps of recall, without
        interpolation (as scikit-learn's and torchmetrics'); sensitivity at the lowest threshold that keeps the specificity.

        Args:
            weights: [R, n].
            specificity: Above 0, at most 1.
        """
        if not len(self.order):
            nothing = np.full(len(weights), np.nan)
            return {"auroc": nothing, "average_precision": nothing.copy(), "sensitivity_at_specificity": nothing.copy()}
        tp, fp = self.cumulative(weights)
        positives, negatives = tp[:, -1], fp[:, -1]
        defined = (positives > 0) & (negatives > 0)
        p, n = np.where(defined, positives, np.nan), np.where(defined, negatives, np.nan)
        step = np.diff(tp, axis=1, prepend=0.0)
        # a positive wins over the negatives below its level, and half of those on it
        missed = np.empty_like(fp)  # fp at this level plus fp above it
        missed[:, 0] = fp[:, 0]
        np.add(fp[:, 1:], fp[:, :-1], out=missed[:, 1:])
        lost = np.einsum("rl,rl->r", step, missed) / 2
        called = tp + fp
        np.maximum(called, 1e-300, out=called)  # levels without weight: their step is 0
        np.divide(tp, called, out=called)
        within = fp <= ((1 - specificity + 1e-6) * negatives)[:, None]  # in floating point 1 - 0.9 is less than 0.1
        # tp never falls and fp never does: the last level within the limit has the highest sensitivity
        last = within.sum(axis=1) - 1
        reached = np.where(last >= 0, np.take_along_axis(tp, np.maximum(last, 0)[:, None], 1)[:, 0], 0.0)
        return {
            "auroc": 1 - lost / (p * n),
            "average_precision": np.einsum("rl,rl->r", step, called) / p,
            "sensitivity_at_specificity": reached / p,
        }

    def called_at(self, thresholds: np.ndarray, tp: np.ndarray, fp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return true and false positives [R, T] at thresholds (positive at ``score >= threshold``), from `cumulative`."""
        count = np.searchsorted(-self.levels, -np.asarray(thresholds, dtype=np.float64), side="right")
        padded = [np.concatenate([np.zeros((len(a), 1)), a], axis=1) for a in (tp, fp)]
        return padded[0][:, count], padded[1][:, count]

    def curves(self, points: int = 200) -> dict[str, list[list[float]]]:
        """Return the ROC curve [[fpr, tpr]] and precision-recall curve [[recall, precision]], thinned; empty with one outcome only."""
        if not self.truth.any() or self.truth.all():
            return {"roc": [], "pr": []}
        tp, fp = (a[0] for a in self.cumulative(np.ones((1, len(self.truth)))))
        kept = np.unique(np.linspace(0, len(tp) - 1, min(points, len(tp))).round().astype(int))
        roc = np.stack([fp[kept] / fp[-1], tp[kept] / tp[-1]], axis=1)
        pr = np.stack([tp[kept] / tp[-1], tp[kept] / (tp + fp)[kept]], axis=1)
        return {"roc": [[0.0, 0.0], *roc.tolist()], "pr": pr.tolist()}
