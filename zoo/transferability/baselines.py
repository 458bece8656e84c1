"""The baselines that every score is set beside: nearest neighbours and a linear probe."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np

from umsrep.errors import InputError, nearest
from umsrep.zoo.transferability.checks import Floats, Ints, as_features, as_groups, as_questions
from umsrep.zoo.transferability.spectra import centred, unit_scale

Metric = Literal["balanced_accuracy", "accuracy", "auroc"]


def knn_accuracy(
    features: Any,
    labels: Any,
    *,
    k: int = 11,
    distance: Literal["euclidean", "cosine"] = "euclidean",
    groups: Any = None,
    metric: Metric | None = None,
) -> float:
    """Accuracy of the k nearest neighbours, each row left out of its own neighbours: with ``groups``, its whole patient is.

    The class with most of the k votes wins; among equals the one whose neighbours are nearer (sum of their places). Where fewer than k
    neighbours are of other patients, those vote. The distance is Euclidean or one less the cosine.

    Args:
        features: [N, D].
        labels: Classes [N] of any kind, or multi-label [N, K] of 0 and 1 (the mean over the columns).
        k: Neighbours.
        distance: "euclidean" or "cosine".
        groups: The patient of each row [N]; None or "" is a patient of its own. Leave it out only if no patient has two images.
        metric: "balanced_accuracy" (mean over classes of the share of their rows that is right), "accuracy" or "auroc" (of the shares of
            the votes; above two classes the mean of each against the others). None: balanced accuracy, for multi-label AUROC.

    Returns:
        0-1; higher is better; guessing gives 1 / C, AUROC 0.5.

    Raises:
        InputError: The input cannot be scored; names the row.
    """
    f = unit_scale(centred(as_features(features)) if distance == "euclidean" else as_features(features))
    questions, patients = as_questions(labels, len(f)), as_groups(groups, len(f))
    if k < 1 or distance not in ("euclidean", "cosine"):
        raise InputError(f"k is {k} and distance {distance!r}; k is at least 1, the distance 'euclidean' or 'cosine'")
    if patients.max() == 0:
        raise InputError("groups: all rows are of one patient; a neighbour of another one is needed")
    if distance == "cosine":
        norms = np.sqrt(np.einsum("nd,nd->n", f, f))[:, None]
        f = np.divide(f, norms, out=np.zeros_like(f), where=norms > 0)
    neighbours, there = _neighbours(f, patients, min(k, len(f) - 1))
    votes = []
    for codes in questions:
        counts = np.zeros((len(f), int(codes.max()) + 1))
        place = np.arange(neighbours.shape[1])
        for rank in place:  # a vote is 1 and a little for its place: all the little things together are less than one vote
            little = (len(place) - rank) / (len(place) * (len(place) + 1))
            counts[np.arange(len(f)), codes[neighbours[:, rank]]] += there[:, rank] * (1 + little)
        votes.append(counts / there.sum(axis=1, keepdims=True))
    return _judge(votes, questions, _metric(metric, labels))


def _neighbours(f: Floats, patients: Ints, k: int) -> tuple[Ints, Floats]:
    """Return the k nearest rows of other patients, nearest first (of equals the first row), and 1 where there is one, 0 where not."""
    squares = np.einsum("nd,nd->n", f, f)
    found, there = np.empty((len(f), k), dtype=np.int64), np.empty((len(f), k))
    step = max(1, 16_000_000 // len(f))  # 128 MB of distances at a time
    for start in range(0, len(f), step):
        part = slice(start, start + step)
        apart = squares[part, None] + squares - 2 * f[part] @ f.T
        apart[patients[part, None] == patients] = np.inf
        near = np.sort(np.argpartition(apart, k - 1, axis=1)[:, :k], axis=1)
        values = np.take_along_axis(apart, near, axis=1)
        order = np.argsort(values, axis=1, kind="stable")
        found[part] = np.take_along_axis(near, order, axis=1)
        there[part] = np.isfinite(np.take_along_axis(values, order, axis=1))
    return found, there


def linear_probe(
    features: Any,
    labels: Any,
    *,
    groups: Any = None,
    folds: int = 5,
    strength: float = 1.0,
    metric: Metric | None = None,
    seed: int = 0,
) -> float:
    """Cross-validated logistic regression on standardised features, classes weighted inversely to their frequency.

    Folds keep the classes' shares and, with ``groups``, patients whole; the mean and spread of the features come from the training part.
    The out-of-fold probabilities of all rows are judged together. A class that a training part lacks gets probability 0 there. Rests on a
    seed, which draws the folds.

    Args:
        features: [N, D].
        labels: Classes [N] of any kind, or multi-label [N, K] of 0 and 1 (one regression for each column; the mean over them).
        groups: The patient of each row [N]; None or "" is a patient of its own. Leave it out only if no patient has two images.
        folds: How many; fewer where there are fewer patients, or fewer rows of the largest class.
        strength: Inverse of the ridge penalty, scikit-learn's C.
        metric: As for `knn_accuracy`.
        seed: Of the folds.

    Returns:
        0-1; higher is better; guessing gives 1 / C, AUROC 0.5.

    Raises:
        InputError: The input cannot be scored; names the row.
    """
    f = centred(as_features(features))
    questions, patients = as_questions(labels, len(f)), as_groups(groups, len(f))
    if folds < 2 or strength <= 0:
        raise InputError(f"folds is {folds} and strength {strength}; folds is at least 2, strength above 0")
    return _judge([_probed(f, codes, patients, folds, strength, seed) for codes in questions], questions, _metric(metric, labels))


def _probed(f: Floats, codes: Ints, patients: Ints, folds: int, strength: float, seed: int) -> Floats:
    """Return out-of-fold probabilities [N, C]."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    largest = max(len(np.unique(patients[codes == c])) for c in range(int(codes.max()) + 1))
    folds = min(folds, int(patients.max()) + 1, int(np.bincount(codes).max()))
    if folds < 2 or largest < 2:
        raise InputError(f"a linear probe needs a class with two patients to cross-validate; {len(codes)} rows have none")
    chances = np.zeros((len(f), int(codes.max()) + 1))
    whole = int(patients.max()) + 1 < len(f)  # else the splitter for groups would go through as many groups as rows, one by one
    splitter = (StratifiedGroupKFold if whole else StratifiedKFold)(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # classes may be many and rare: then some folds lack one
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        for train, test in splitter.split(f, codes, patients if whole else None):
            present = np.unique(codes[train])
            if len(present) == 1:
                chances[test, present[0]] = 1
                continue
            mean, spread = f[train].mean(axis=0), f[train].std(axis=0)
            spread[spread == 0] = 1
            probe = LogisticRegression(C=strength, class_weight="balanced", max_iter=2_000)
            probe.fit((f[train] - mean) / spread, codes[train])
            chances[np.ix_(test, present)] = probe.predict_proba((f[test] - mean) / spread)
    return chances


def _metric(metric: Metric | None, labels: Any) -> Metric:
    known: tuple[Metric, ...] = ("balanced_accuracy", "accuracy", "auroc")
    if metric is None:
        return "auroc" if np.ndim(labels) == 2 else "balanced_accuracy"
    if metric not in known:
        raise InputError(f"metric {metric!r} is unknown{nearest(metric, known)}")
    return metric


def _judge(chances: list[Floats], questions: list[Ints], metric: Metric) -> float:
    """Return the mean over questions of a metric of [N, C] probabilities or votes."""
    return float(np.mean([_judged(chance, codes, metric) for chance, codes in zip(chances, questions, strict=True)]))


def _judged(chances: Floats, codes: Ints, metric: Metric) -> float:
    if metric == "auroc":
        from scipy.stats import rankdata

        classes = [1] if chances.shape[1] == 2 else range(chances.shape[1])
        ranks = rankdata(chances, axis=0)
        sizes = np.bincount(codes)
        areas = [(ranks[codes == c, c].sum() - sizes[c] * (sizes[c] + 1) / 2) / (sizes[c] * (len(codes) - sizes[c])) for c in classes]
        return float(np.mean(areas))
    right = chances.argmax(axis=1) == codes
    return float(right.mean() if metric == "accuracy" else (np.bincount(codes, weights=right) / np.bincount(codes)).mean())
