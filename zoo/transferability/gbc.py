"""GBC: how much the classes' Gaussians overlap."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from umsrep.errors import InputError, nearest
from umsrep.zoo.transferability.checks import Floats, Ints, as_features, as_questions
from umsrep.zoo.transferability.spectra import centred, principal_components

Covariance = Literal["diagonal", "spherical", "spherical-legacy"]

VARIANCE_FLOOR = 1e-4
COMPONENTS = 64


def gbc(features: Any, labels: Any, covariance: Covariance = "diagonal") -> float:
    """Gaussian Bhattacharyya coefficient: -sum over ordered pairs of classes of exp(-D_B).

    The features are projected on their first 64 principal components (min(N, D) where there are fewer); each class is a Gaussian whose
    variances divide by N, with a floor of 1e-4. D_B = 1/8 dmu' S^-1 dmu + 1/2 ln(det S / sqrt(det Si det Sj)), S = (Si + Sj) / 2. The
    score does not change with rotation or shift of the features; with their scale it does, by the floor alone.

    Args:
        features: [N, D].
        labels: Classes [N] of any kind, or multi-label [N, K] of 0 and 1 (the mean over the columns, each with two classes).
        covariance: "diagonal"; "spherical": one variance, the mean over the d components (with d times its logarithm in the
            log-determinant); "spherical-legacy": the spherical form of public code, whose logarithm counts once and not d times: for
            comparison with numbers that were published with it.

    Returns:
        -C (C - 1) (all classes alike) to 0 (no overlap); higher is better.

    Raises:
        InputError: The input cannot be scored; names the row.

    Source:
        Pandy et al., Transferability estimation using Bhattacharyya class separability, CVPR 2022.
    """
    known = ("diagonal", "spherical", "spherical-legacy")
    if covariance not in known:
        raise InputError(f"covariance {covariance!r} is unknown{nearest(covariance, known)}")
    f = as_features(features)
    questions = as_questions(labels, len(f))
    points = principal_components(centred(f), most=COMPONENTS)
    return float(np.mean([_overlap(points, codes, covariance) for codes in questions]))


def _overlap(points: Floats, codes: Ints, covariance: Covariance) -> float:
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(codes.max() + 1))
    sizes = np.bincount(codes)[:, None]
    means = np.add.reduceat(points[order], starts) / sizes
    variances = np.add.reduceat((points - means[codes])[order] ** 2, starts) / sizes
    variances = np.maximum(variances, VARIANCE_FLOOR)
    times = 1
    if covariance != "diagonal":
        times = points.shape[1] if covariance == "spherical" else 1
        variances = variances.mean(axis=1, keepdims=True)
    logs = np.log(variances).sum(axis=1)
    total = 0.0
    for k in range(len(means) - 1):  # one row of pairs at a time: 1,000 classes need no million distances of 64 components at once
        mixed = (variances[k] + variances[k + 1 :]) / 2
        apart = ((means[k] - means[k + 1 :]) ** 2 / mixed).sum(axis=1) / 8
        unlike = (np.log(mixed).sum(axis=1) - (logs[k] + logs[k + 1 :]) / 2) * times / 2
        total += np.exp(-np.maximum(apart + unlike, 0)).sum()  # rounding alone takes a distance below 0
    return -2 * float(total)
