"""NCE, LEEP and N-LEEP: how well source classes, or clusters that stand in for them, foretell the target's classes."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np

from umsrep.errors import InputError
from umsrep.zoo.transferability.checks import Floats, Ints, array_of, as_codes, as_features, as_matrix, as_questions, one_hot
from umsrep.zoo.transferability.spectra import centred, principal_components, unit_scale

MixtureCovariance = Literal["diag", "full", "tied", "spherical"]


def nce(source_labels: Any, labels: Any) -> float:
    """Negative conditional entropy of the target's classes given the source's: -H(Y given Z), in nats.

    Args:
        source_labels: [N], the class of the source task that the encoder's own classifier gives each image, of any kind.
        labels: Classes [N] of any kind, or multi-label [N, K] of 0 and 1 (the mean over the columns).

    Returns:
        -H(Y) to 0; higher is better.

    Raises:
        InputError: The input cannot be scored; names the row.

    Source:
        Tran, Nguyen, Hassner, Transferability and hardness of supervised classification tasks, ICCV 2019.
    """
    rows = len(array_of(labels))
    source = as_codes(source_labels, rows, "source_labels") if rows else np.empty(0, dtype=np.int64)
    if not rows:
        raise InputError("labels are empty")
    return float(np.mean([_conditional(source, codes) for codes in as_questions(labels, rows)]))


def _conditional(source: Ints, codes: Ints) -> float:
    joint = np.zeros((int(source.max()) + 1, int(codes.max()) + 1))
    np.add.at(joint, (source, codes), 1)
    given = joint / joint.sum(axis=1, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(given[seen])).sum() / len(codes))


def leep(source_probabilities: Any, labels: Any) -> float:
    """Log expected empirical prediction: the mean log likelihood of a classifier that reads the target's class off the source's, in nats.

    P(y, z) is the mean over rows of class y of theta(z); the score is mean_i log sum_z P(y_i given z) theta_i(z). A source class without
    mass says nothing and counts nothing. With one-hot theta it is NCE.

    Args:
        source_probabilities: theta, [N, Z], softmax of the source classifier; rows sum to 1 within 0.01 (they may come from float16)
            and are divided by their sum.
        labels: As for `nce`.

    Returns:
        At most 0; higher is better.

    Raises:
        InputError: The input cannot be scored; names the row.

    Source:
        Nguyen et al., LEEP: a new measure to evaluate transferability of learned representations, ICML 2020.
    """
    theta = as_matrix(source_probabilities, "source_probabilities")
    sums = theta.sum(axis=1)
    wrong = (theta < 0).any(axis=1) | (np.abs(sums - 1) > 0.01)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"source_probabilities: row {row} (counted from 0) sums to {sums[row]:g}, its smallest is {theta[row].min():g}; "
            "give the softmax, not logits"
        )
    theta = theta / sums[:, None]
    return float(np.mean([_expected_prediction(theta, codes) for codes in as_questions(labels, len(theta))]))


def _expected_prediction(theta: Floats, codes: Ints) -> float:
    joint = one_hot(codes).T @ theta  # [C, Z]
    mass = joint.sum(axis=0)
    given = np.divide(joint, mass, out=np.zeros_like(joint), where=mass > 0)
    likelihood = np.concatenate(
        [np.einsum("nz,nz->n", theta[k : k + 4096], given[codes[k : k + 4096]]) for k in range(0, len(codes), 4096)]
    )
    return float(np.log(np.minimum(likelihood, 1)).mean())  # rounding alone takes a mean of probabilities beyond 1


def n_leep(
    features: Any,
    labels: Any,
    *,
    variance: float = 0.8,
    components_per_class: int = 5,
    covariance: MixtureCovariance = "diag",
    fit_rows: int | None = 10_000,
    max_iter: int = 100,
    seed: int = 0,
) -> float:
    """LEEP without a source classifier: its classes are the components of a Gaussian mixture of the target's features, in nats.

    PCA keeps ``variance`` of the variance; scikit-learn's `GaussianMixture` (k-means initialisation) is fitted; LEEP is taken on the
    posteriors of all rows. The coordinates are divided by their common standard deviation first, so that scikit-learn's floor of the
    variances (1e-6) does not depend on the scale of the features. As the mixture sees the rows that it is scored on, the score nears 0
    when components are not far fewer than rows. It rests on a seed: the same call gives the same number, another order of rows may not.

    Args:
        features: [N, D].
        labels: Classes [N] of any kind, or multi-label [N, K] of 0 and 1 (one mixture with ``2 * components_per_class`` components; the
            mean of its LEEP over the columns).
        variance: Share of the variance that PCA keeps, above 0, at most 1.
        components_per_class: Components of the mixture by classes; never more components than rows that it is fitted on.
        covariance: Form of the components' covariance. The paper does not say; "diag" is what is fast on many columns.
        fit_rows: The mixture is fitted on a random part of so many rows, drawn with the classes' shares (at least one row of each;
            multi-label: without regard to labels); None takes all.
        max_iter: Steps of expectation-maximisation at the most.
        seed: Of the draw and the initialisation.

    Returns:
        At most 0; higher is better.

    Raises:
        InputError: The input cannot be scored; names the row.

    Source:
        Li et al., Ranking neural checkpoints, CVPR 2021.
    """
    if not 0 < variance <= 1 or components_per_class < 1 or (fit_rows is not None and fit_rows < 2):
        raise InputError("n_leep: variance lies above 0 and up to 1, components_per_class is at least 1 and fit_rows at least 2")
    f = unit_scale(centred(as_features(features)))
    questions = as_questions(labels, len(f))
    if not f.any():  # one cluster
        return float(np.mean([_conditional(np.zeros(len(f), dtype=np.int64), codes) for codes in questions]))
    points = principal_components(f, variance=variance)
    points /= points.std()
    rows = stratified_rows(questions[0] if len(questions) == 1 else np.zeros(len(f), dtype=np.int64), fit_rows, seed)
    classes = max(int(codes.max()) + 1 for codes in questions)
    theta = _posteriors(points, rows, min(components_per_class * classes, len(rows)), covariance, max_iter, seed)
    return float(np.mean([_expected_prediction(theta, codes) for codes in questions]))


def _posteriors(points: Floats, rows: Ints, components: int, covariance: MixtureCovariance, max_iter: int, seed: int) -> Floats:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(components, covariance_type=covariance, max_iter=max_iter, random_state=seed)
    with warnings.catch_warnings():
        # ending at max_iter is part of the definition, as are repeated points, which k-means warns of
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(points[rows])
    posteriors: Floats = mixture.predict_proba(points)
    return posteriors


def stratified_rows(codes: Ints, count: int | None, seed: int) -> Ints:
    """Draw rows with the shares of the classes.

    Args:
        codes: int64 [N], dense from 0.
        count: How many; more come where each class needs its one row, None means all.
        seed: Of the draw.

    Returns:
        Row indices, sorted.
    """
    if count is None or count >= len(codes):
        return np.arange(len(codes), dtype=np.int64)
    order = np.random.default_rng(seed).permutation(len(codes))
    sizes = np.bincount(codes)
    quota = np.maximum(np.floor(sizes * count / len(codes)), 1)
    rank = np.empty(len(codes), dtype=np.int64)
    by_class = order[np.argsort(codes[order], kind="stable")]
    rank[by_class] = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.flatnonzero(rank < quota[codes])
