"""NCE, LEEP and N-LEEP."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zoo.transferability.sets import Array, clusters, softmax
from umsrep.errors import InputError
from umsrep.zoo.transferability import leep, n_leep, nce
from umsrep.zoo.transferability.leep import stratified_rows

codes = st.integers(2, 40).flatmap(lambda n: st.tuples(st.lists(st.integers(0, 5), min_size=n, max_size=n), st.permutations(range(n))))


def direct_leep(theta: Array, labels: Array) -> float:
    rows, sources = theta.shape
    joint = {(y, z): theta[labels == y, z].sum() / rows for y in np.unique(labels) for z in range(sources)}
    mass = [theta[:, z].sum() / rows for z in range(sources)]
    return float(
        np.mean([np.log(sum(joint[y, z] / mass[z] * t[z] for z in range(sources) if mass[z])) for y, t in zip(labels, theta, strict=True)])
    )


def entropy(labels: Array) -> float:
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(-(shares * np.log(shares)).sum())


@settings(max_examples=60, deadline=None)
@given(codes)
def test_nce_bounds_and_one_hot_leep(pair: tuple[list[int], list[int]]) -> None:
    source, order = np.array(pair[0]), pair[1]
    labels = np.array([k % 3 for k in order])
    if len(set(labels)) == 1:
        return
    value = nce(source, labels)
    joint = entropy(source * 10 + labels)
    assert value == pytest.approx(entropy(source) - joint, abs=1e-12)  # -H(Y given Z)
    assert -entropy(labels) - 1e-12 <= value <= 0
    assert leep(np.eye(8)[source], labels) == pytest.approx(value, abs=1e-12)  # classes 6 and 7 have no mass: 0 / 0


def test_nce_ends() -> None:
    labels = np.arange(12) % 3
    assert nce(np.zeros(12, dtype=int), labels) == pytest.approx(-np.log(3))
    assert nce(["x", "y", "z"] * 4, labels) == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 30), st.integers(1, 6), st.floats(0.1, 30), st.integers(0, 999))
def test_leep_equals_the_definition(rows: int, sources: int, sharpness: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    theta, labels = softmax(random.normal(size=(rows, sources)) * sharpness), np.arange(rows) % min(3, rows)
    value = leep(theta, labels)
    assert value == pytest.approx(direct_leep(theta, labels), abs=1e-10)
    assert value <= 0
    order = random.permutation(rows)
    assert leep(theta[order][:, ::-1], labels[order]) == pytest.approx(value, abs=1e-12)


def test_leep_source_class_without_mass() -> None:
    theta = np.array([[0.5, 0.5, 0.0], [0.2, 0.8, 0.0], [0.9, 0.1, 0.0]])
    assert leep(theta, [0, 1, 0]) == pytest.approx(leep(theta[:, :2], [0, 1, 0]), rel=1e-14)


def test_leep_takes_float16_softmax_and_refuses_logits() -> None:
    values, labels = clusters(50, 7)
    theta = softmax(values)
    assert leep(theta.astype(np.float16), labels) == pytest.approx(leep(theta, labels), abs=2e-3)
    with pytest.raises(InputError, match=r"source_probabilities: row 0 .* give the softmax, not logits"):
        leep(values, labels)
    theta[9] = [1.5, -0.5, 0, 0, 0, 0, 0]
    with pytest.raises(InputError, match="row 9"):
        leep(theta, labels)


def test_leep_spans_pieces_of_rows() -> None:
    values, labels = clusters(5000, 3)
    assert leep(softmax(values), labels) == pytest.approx(direct_leep(softmax(values), labels), abs=1e-9)


def test_n_leep_is_leep_of_a_mixture_of_the_principal_components() -> None:
    """Separable clusters: each component is of one class, and the score, which has the logarithm, is nearly 0; else -H(Y)."""
    features, labels = clusters(300, 6, 3, apart=20)
    assert -0.01 < n_leep(features, labels) <= 0
    far = np.random.default_rng(0).integers(0, 3, 300)
    assert n_leep(features, far, components_per_class=1) == pytest.approx(-entropy(far), abs=0.05)


@pytest.mark.parametrize("covariance", ["diag", "full", "tied", "spherical"])
def test_n_leep_is_seeded_and_keeps_its_bound(covariance: str) -> None:
    features, labels = clusters(120, 5)
    values = [n_leep(features, labels, covariance=covariance, seed=k) for k in (0, 0, 1)]  # type: ignore[arg-type]
    assert values[0] == values[1]
    assert values[0] != values[2]
    assert max(values) <= 0


def test_n_leep_does_not_depend_on_scale() -> None:
    features, labels = clusters(120, 5)
    for scale in (1e-9, 1e9):
        assert n_leep(features * scale, labels) == pytest.approx(n_leep(features, labels), rel=1e-6)


def test_n_leep_fits_on_a_part_and_scores_all() -> None:
    features, labels = clusters(400, 5, apart=10)
    whole, part = n_leep(features, labels), n_leep(features, labels, fit_rows=150)
    assert part == pytest.approx(whole, abs=0.05)
    assert n_leep(features, labels, fit_rows=400) == n_leep(features, labels, fit_rows=None)
    with pytest.raises(InputError, match="variance"):
        n_leep(features, labels, variance=0)


def test_n_leep_repeated_rows() -> None:
    features, labels = np.repeat(np.eye(3), 20, axis=0), np.repeat([0, 1, 2], 20)
    assert n_leep(features, labels) == pytest.approx(0, abs=1e-6)


def test_stratified_rows() -> None:
    labels = np.array([0] * 900 + [1] * 90 + [2] * 9 + [3])
    rows = stratified_rows(labels, 100, seed=0)
    assert np.bincount(labels[rows]).tolist() == [90, 9, 1, 1]
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert rows.tolist() == stratified_rows(labels, 100, seed=0).tolist() != stratified_rows(labels, 100, seed=1).tolist()
    assert stratified_rows(labels, None, 0).tolist() == list(range(1000))
