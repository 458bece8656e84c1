"""Every score of one encoder on one task, on all rows and on random halves of the patients; kept in the cache beside the features."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from umsrep.errors import InputError
from umsrep.tasks.feature_cache import cache_key, load_batches, read_arrays, write_arrays
from umsrep.tasks.features import DenseFeatures
from umsrep.zoo import transferability

_VERSION = 1  # of what the scores are called with

CLASSIFICATION = (*transferability.FEATURE_SCORES, *transferability.SOURCE_SCORES)
SEGMENTATION = ("cc_fv",)
DENOISING = ("denoising_gain",)
PROBES = ("knn_accuracy", "linear_probe")
"""Simple baselines, which are shown beside the scores."""
LABELS = {
    "h_score": "H-score",
    "regularized_h_score": "Reg. H-score",
    "n_leep": "N-LEEP",
    "log_me": "LogME",
    "gbc": "GBC",
    "nce": "NCE",
    "leep": "LEEP",
    "knn_accuracy": "k-NN",
    "linear_probe": "linear probe",
    "cc_fv": "CC-FV",
    "denoising_gain": "denoising gain (dB)",
    "parameters": "size",
    "source_accuracy": "source accuracy",
}
MOST_DRAWS = {"n_leep": 0, "linear_probe": 20, "cc_fv": 20, "denoising_gain": 20}
"""Most draws of scores that take seconds each; N-LEEP, which fits a mixture anew, has none and so no interval."""
DENSE_SAMPLES, DENSE_PAIRS = 64, 100
"""Pixels an image (and class) and pairs of images that scores of dense tasks look at."""


@dataclasses.dataclass(frozen=True)
class Scored:
    """The scores of one encoder on one task.

    Attributes:
        values: Score to its value on the rows themselves.
        draws: Score to its value on each random half of the patients [R] (`half_draws`), NaN where a half cannot be scored (one class
            only); R may be 0. The draws of all encoders are of the same rows.
        failures: Score to why it is not there, one line.
    """

    values: Mapping[str, float]
    draws: Mapping[str, np.ndarray]
    failures: Mapping[str, str]


def clusters(patients: Sequence[str]) -> list[str]:
    """Name the patient of each row; one that is unknown is a patient of its own."""
    return [patient or f"\0row {row}" for row, patient in enumerate(patients)]


def half_draws(groups: Sequence[str], *, resamples: int, seed: int) -> list[np.ndarray]:
    """Draw random halves of the patients, without replacement.

    The spread of a score over halves estimates that over samples of the whole size (half-sampling, the delete-half jackknife: Shao & Wu,
    Annals of Statistics 17, 1989): Var(half - all) = s^2 (2/N - 1/N). A bootstrap does not serve here: it repeats rows, and scores that
    fit their own rows (LogME and the H-score with more features than rows) do not see noise in rows that repeat (docs/choose.md).

    Args:
        groups: Patient of each row.
        resamples: Number of draws; none where there are fewer than four patients.
        seed: Of the draws.

    Returns:
        For each draw the rows of half the patients, rounded down, ascending.
    """
    _, cluster = np.unique(np.asarray(groups), return_inverse=True)
    count = int(cluster.max(initial=-1)) + 1
    if count < 4:
        return []
    generator = np.random.default_rng(seed)
    picked = np.zeros((resamples, count), dtype=bool)
    for draw in picked:
        draw[generator.permutation(count)[: count // 2]] = True
    return [np.flatnonzero(draw[cluster]) for draw in picked]


def score_classification(
    embedding: np.ndarray,
    labels: np.ndarray,
    patients: Sequence[str],
    *,
    probabilities: np.ndarray | None,
    resamples: int,
    seed: int,
    cache: Path | None = None,
    workers: int = 2,
    title: str | None = None,
) -> Scored:
    """Score an embedding.

    Args:
        embedding: [N, D].
        labels: Class indices [N], or 0 and 1 [N, K].
        patients: Of each row; "" is unknown.
        probabilities: Of the encoder's own classifier [N, Z], or None.
        resamples: Random halves, at most `MOST_DRAWS` for some scores.
        seed: Of draws, folds and mixtures.
        cache: Folder to keep the numbers in, or None.
        workers: Threads.
        title: Of the progress bar, or None.
    """
    groups = np.array(clusters(patients))

    def plain(name: str) -> Callable[[np.ndarray], float]:
        return lambda rows: transferability.FEATURE_SCORES[name](embedding[rows], labels[rows])

    calls = {name: plain(name) for name in transferability.FEATURE_SCORES if name not in (*PROBES, "n_leep")}
    calls["n_leep"] = lambda rows: transferability.n_leep(embedding[rows], labels[rows], seed=seed)
    calls["knn_accuracy"] = lambda rows: transferability.knn_accuracy(embedding[rows], labels[rows], groups=groups[rows])
    calls["linear_probe"] = lambda rows: transferability.linear_probe(embedding[rows], labels[rows], groups=groups[rows], seed=seed)
    failures = {}
    if probabilities is None:
        failures = dict.fromkeys(transferability.SOURCE_SCORES, "not applicable: the encoder brings no classifier of its own")
    else:
        source, hard = probabilities, probabilities.argmax(axis=1)
        calls["leep"] = lambda rows: transferability.leep(source[rows], labels[rows])
        calls["nce"] = lambda rows: transferability.nce(hard[rows], labels[rows])
    parts = [embedding, labels, *([] if probabilities is None else [probabilities])]
    return _score(calls, failures, groups, parts, resamples=resamples, seed=seed, cache=cache, workers=workers, title=title)


def score_segmentation(
    features: DenseFeatures,
    patients: Sequence[str],
    *,
    resamples: int,
    seed: int,
    cache: Path | None = None,
    workers: int = 2,
    title: str | None = None,
) -> Scored:
    """Score feature maps by CC-FV; arguments as in `score_classification`."""
    assert features.masks is not None
    masks, groups = features.masks, np.array(clusters(patients))

    def cc_fv(rows: np.ndarray) -> float:
        some = [level[rows] for level in features.levels]
        return transferability.cc_fv(some, masks[rows], groups=groups[rows], samples=DENSE_SAMPLES, pairs=DENSE_PAIRS, seed=seed)

    parts = [*features.levels, masks]
    return _score({"cc_fv": cc_fv}, {}, groups, parts, resamples=resamples, seed=seed, cache=cache, workers=workers, title=title)


def score_denoising(
    features: DenseFeatures,
    patients: Sequence[str],
    *,
    resamples: int,
    seed: int,
    cache: Path | None = None,
    workers: int = 2,
    title: str | None = None,
) -> Scored:
    """Score feature maps of noisy images by the gain of a linear estimate; arguments as in `score_classification`."""
    assert features.noisy is not None
    assert features.clean is not None
    noisy, clean, groups = features.noisy, features.clean, np.array(clusters(patients))

    def gain(rows: np.ndarray) -> float:
        some = [level[rows] for level in features.levels]
        return transferability.denoising_gain(some, noisy[rows], clean[rows], groups=groups[rows], samples=DENSE_SAMPLES, seed=seed)

    parts = [*features.levels, noisy, clean]
    return _score({"denoising_gain": gain}, {}, groups, parts, resamples=resamples, seed=seed, cache=cache, workers=workers, title=title)


def _score(
    calls: Mapping[str, Callable[[np.ndarray], float]],
    failures: Mapping[str, str],
    groups: np.ndarray,
    parts: Sequence[np.ndarray],
    *,
    resamples: int,
    seed: int,
    cache: Path | None,
    workers: int,
    title: str | None,
) -> Scored:
    rows = np.arange(len(groups))
    draws = half_draws(groups.tolist(), resamples=resamples, seed=seed)
    counts = {name: min(len(draws), MOST_DRAWS.get(name, resamples)) for name in calls}
    path, stored = None, None
    if cache is not None:
        digest = hashlib.sha256("\0".join(groups).encode())
        for part in parts:
            digest.update(f"{part.dtype} {part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        wanted = [_VERSION, sorted(counts.items()), resamples, seed, DENSE_SAMPLES, DENSE_PAIRS]
        path = cache / f"{cache_key('scores', digest.hexdigest(), {}, wanted)}.safetensors"
        stored = read_arrays(path, resamples + 1)  # the value, then the draws; NaN beyond their number
    if stored is not None and stored.keys() == calls.keys():
        found = {name: stored[name] for name in calls}
        refused = dict(failures)
    else:
        found, refused = _compute(calls, rows, draws, counts, resamples=resamples, workers=workers, title=title)
        refused |= failures
        if path is not None and found.keys() == calls.keys():  # what was refused is quickly refused again, with its reason
            write_arrays(path, found)
    values = {name: float(array[0]) for name, array in found.items()}
    return Scored(values, {name: array[1 : counts[name] + 1] for name, array in found.items()}, refused)


def _compute(
    calls: Mapping[str, Callable[[np.ndarray], float]],
    rows: np.ndarray,
    draws: Sequence[np.ndarray],
    counts: Mapping[str, int],
    *,
    resamples: int,
    workers: int,
    title: str | None,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    found: dict[str, np.ndarray] = {}
    refused: dict[str, str] = {}
    for name, call in calls.items():
        try:
            value = call(rows)
        except InputError as error:
            refused[name] = str(error)
            continue
        found[name] = np.full(resamples + 1, math.nan)
        found[name][0] = value
    most = max((counts[name] for name in found), default=0)

    def one(number: int) -> dict[str, float]:
        scored = {}
        for name in found:
            if number < counts[name]:
                try:
                    scored[name] = calls[name](draws[number])
                except InputError:  # such as one class only: this half tells nothing
                    scored[name] = math.nan
        return scored

    for number, [scored] in enumerate(load_batches(one, range(most), 1, workers, title)):
        for name, value in scored.items():
            found[name][number + 1] = value
    return found, refused
