"""H-score and its regularised form: how much of the features' variance lies between the classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from umsrep.errors import InputError
from umsrep.zoo.transferability.checks import Floats, Ints, as_features, as_questions, one_hot
from umsrep.zoo.transferability.spectra import centred, spectrum, unit_scale


def h_score(features: Any, labels: Any, *, rcond: float = 1e-10) -> float:
    """H-score: tr(cov(f)^-1 cov(E[f given y])).

    Both covariances divide by N. The inverse is a pseudo-inverse, as features that leave a LayerNorm lie on a hyperplane. The score does
    not change with rotation, scale or shift of the features.

    Args:
        features: [N, D].
        labels: Classes [N] of any kind, or multi-label [N, K] of 0 and 1 (the mean over the columns, each with two classes).
        rcond: Eigenvalues of cov(f) up to this part of the largest are taken for 0.

    Returns:
        0 (features know nothing of the classes) to min(D, C - 1); higher is better.

    Raises:
        InputError: The input cannot be scored; names the row.

    Source:
        Bao et al., An information-theoretic approach to transferability in task transfer learning, ICIP 2019.
    """
    values, shares, classes = _axes(_scaled(features), labels)
    return _mean(np.where(values > rcond * values.max(initial=0), shares, 0), classes)


def regularized_h_score(features: Any, labels: Any, *, shrinkage: float | None = None) -> float:
    """H-score with Ledoit and Wolf's covariance: tr(S_a^-1 (1 - a) cov(g)), S_a = (1 - a) S + a (tr S / D) I.

    f is centred and g is f with each row replaced by the mean of its class; all covariances divide by N.

    Args:
        features: [N, D].
        labels: As for `h_score`.
        shrinkage: a, in 0-1; None estimates it (Ledoit and Wolf, Journal of Multivariate Analysis 88, 2004). Towards 0 the score becomes
            the H-score.

    Returns:
        0 to min(D, C - 1), at most the H-score; higher is better.

    Raises:
        InputError: The input cannot be scored; names the row.

    Source:
        Ibrahim, Ponomareva, Mazumder, Newer is not always better: rethinking transferability metrics, ECML-PKDD 2022.
    """
    if shrinkage is not None and not 0 <= shrinkage <= 1:
        raise InputError(f"shrinkage is {shrinkage}; it lies in 0-1")
    f = _scaled(features)
    values, shares, classes = _axes(f, labels)
    a = _ledoit_wolf(f, values) if shrinkage is None else shrinkage
    kept = (1 - a) * values
    weights = np.divide(kept, kept + a * values.sum() / f.shape[1], out=np.zeros_like(values), where=kept > 0)
    return _mean(weights * shares, classes)


def _scaled(features: Any) -> Floats:
    return unit_scale(centred(as_features(features)))


def _axes(f: Floats, labels: Any) -> tuple[Floats, Floats, Ints]:
    """Return cov(f)'s eigenvalues [k], each question's share of variance between classes along each axis [Q, k], and its C [Q].

    With class indicators divided by the root of the class size as columns of Y and f = U S V', cov(E[f given y]) = V S U'Y Y'U S V' / N:
    in the axes of f, tr(cov(f)^-1 cov(E[f given y])) is the sum of the squares of U'Y, and no matrix is inverted.
    """
    questions = [one_hot(codes) for codes in as_questions(labels, len(f))]
    hot = np.concatenate([q / np.sqrt(q.sum(axis=0)) for q in questions], axis=1)
    squares, reached, _, _ = spectrum(f, hot)
    classes = np.array([q.shape[1] for q in questions])
    shares: Floats = np.add.reduceat(reached, np.cumsum(classes) - classes, axis=1).T
    return squares / len(f), shares, classes


def _ledoit_wolf(f: Floats, values: Floats) -> float:
    """Return the shrinkage from the eigenvalues of S and the norms of the rows; equal to sklearn.covariance.ledoit_wolf_shrinkage."""
    rows, columns = f.shape
    frobenius = (values**2).sum()
    distance = frobenius - values.sum() ** 2 / columns  # ||S - mu I||^2
    noise = ((np.einsum("nd,nd->n", f, f) ** 2).mean() - frobenius) / rows
    return 0.0 if noise <= 0 else float(min(noise / distance, 1)) if distance > 0 else 1.0


def _mean(shares: Floats, classes: Ints) -> float:
    """Return the mean over questions; rounding alone takes a question beyond min(k, C - 1)."""
    return float(np.minimum(shares.sum(axis=1), np.minimum(shares.shape[1], classes - 1)).mean())
