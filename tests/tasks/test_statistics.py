"""Statistics against published tables, hand examples and SciPy's own definitions."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from umsrep.errors import InputError
from umsrep.tasks.statistics import (
    bootstrap_interval,
    cluster_draws,
    friedman,
    holm,
    kendall_tau,
    nemenyi_critical_difference,
    paired_t_test,
    percentile_interval,
    regret,
    smallest_wilcoxon_p,
    weighted_tau,
    welch_t_test,
    wilcoxon,
)

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def test_draws_are_of_whole_patients() -> None:
    groups = ["a", "b", None, "a", "", "b", "a"]
    draws = list(cluster_draws(groups, resamples=200, seed=3))
    for rows in draws:
        counts = np.bincount(rows, minlength=7)
        assert counts[0] == counts[3] == counts[6], "a patient comes with all rows"
        assert counts[1] == counts[5]
        assert counts[0] + counts[1] + counts[2] + counts[4] == 4, "as many patients as there are: a, b and two unknown ones"
    assert len({tuple(r) for r in draws}) > 50
    assert all((a == b).all() for a, b in zip(draws, cluster_draws(groups, resamples=200, seed=3), strict=True))
    mean = np.mean([np.bincount(r, minlength=7) for r in draws], axis=0)
    assert np.allclose(mean, 1, atol=0.25), "every row is expected once"


def test_rows_of_one_patient_are_not_independent() -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(size=40), 10)
    patients = [f"p{i}" for i in np.repeat(np.arange(40), 10)]

    def width(groups: list[str] | list[None]) -> float:
        low, high = bootstrap_interval(lambda rows: float(values[rows].mean()), groups, resamples=500)
        return high - low

    assert width(patients) / width([None] * 400) == pytest.approx(math.sqrt(10), rel=0.2), "ten copies hold no more than one"


def test_an_interval_covers_and_is_that_of_the_normal_approximation() -> None:
    values = np.random.default_rng(1).normal(size=300)
    low, high = bootstrap_interval(lambda rows: float(values[rows].mean()), [None] * 300, resamples=2000)
    error = 1.96 * values.std() / math.sqrt(300)
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.02)
    narrow = bootstrap_interval(lambda rows: float(values[rows].mean()), [None] * 300, resamples=2000, level=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_intervals_that_say_nothing_are_nan() -> None:
    assert all(map(math.isnan, bootstrap_interval(lambda rows: 1.0, ["one"] * 9)))
    assert all(map(math.isnan, bootstrap_interval(lambda rows: math.nan, [None] * 9, resamples=5)))
    assert list(cluster_draws([], resamples=5)) == []
    assert percentile_interval([math.nan, 1.0, math.nan, 3.0], 0.5) == (1.5, 2.5)
    with pytest.raises(InputError, match="level must be above 0"):
        percentile_interval([1.0], 95)
    with pytest.raises(InputError, match="resamples must be 1 or more"):
        next(cluster_draws(["a"], resamples=0))


def test_student_1908() -> None:
    """Hours of sleep gained under two drugs: t = -4.0621, p = .002833 in pairs; Welch -1.8608, p = .07939 (R's help of t.test)."""
    one = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    two = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    paired, welch = paired_t_test(one, two), welch_t_test(one, two)
    assert (paired.statistic, paired.p) == pytest.approx((-4.0621, 0.002833), abs=5e-5)
    assert (welch.statistic, welch.p) == pytest.approx((-1.8608, 0.07939), abs=5e-5)
    assert (paired.difference, welch.difference) == pytest.approx((-1.58, -1.58))
    with_gap = paired_t_test([*one, math.nan, 3.0], [*two, 1.0, math.nan])
    assert (with_gap.p, with_gap.n) == (paired.p, 10)


def test_wilcoxon_is_exact_and_has_a_floor() -> None:
    better = wilcoxon([1.0, 2.0, 3.0, 4.5, 6.0], [0.0] * 5)
    assert better.p == smallest_wilcoxon_p(5) == 0.0625, "five seeds never reach .05"
    assert (better.difference, better.n) == (3.0, 5)
    assert wilcoxon([1.0, 2.0, 3.0, 4.5, 6.0, 7.0], [0.0] * 6).p == smallest_wilcoxon_p(6) == 0.03125


@pytest.mark.parametrize("test", [paired_t_test, welch_t_test, wilcoxon])
def test_what_cannot_be_tested(test: object) -> None:
    assert callable(test)
    assert test([0.5, 0.5], [0.5, 0.5]).p == 1.0
    assert math.isnan(test([], []).p)
    if test is not wilcoxon:
        assert math.isnan(test([0.7], [0.5]).p)
        assert test([0.7], [0.5]).difference == pytest.approx(0.2)
        assert math.isnan(test([0.75, 0.75], [0.5, 0.5]).p), "no spread: neither certain nor equal"
    if test is not welch_t_test:
        with pytest.raises(InputError, match="one length, not 2 and 1"):
            test([1.0, 2.0], [1.0])


def test_rounding_is_neither_spread_nor_order() -> None:
    up, down = [0.9, 0.8, 0.7], [0.8, 0.7, 0.6]  # differences of .1, but for 1e-17
    assert math.isnan(paired_t_test(up, down).p), "no spread, not p = 1e-31"
    assert math.isnan(welch_t_test([0.1 * 3, 0.3], [0.5, 0.5]).p)
    mixed = wilcoxon([0.9, 0.8, 0.6, 0.7], [0.8, 0.7, 0.7, 0.5])
    assert (mixed.statistic, mixed.n) == (2.0, 4), "three equal differences share rank 2, one of them is against"
    assert paired_t_test([0.3, 0.5], [0.1 * 3, 0.5]).p == wilcoxon([0.3, 0.5], [0.1 * 3, 0.5]).p == 1, "equal, but for 5e-17"


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, math.nan, 0.04]) == pytest.approx([0.02, math.nan, 0.04], nan_ok=True)
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_nemenyi_of_demsar_2006() -> None:
    """Table 5(a) of Demšar (2006), q at .05 for 2 to 10 methods; printed from q rounded before the division."""
    table = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]
    for k, q in enumerate(table, start=2):
        assert nemenyi_critical_difference(k, 6) * math.sqrt(36 / (k * (k + 1))) == pytest.approx(q, abs=0.0012)
    assert nemenyi_critical_difference(4, 14) == pytest.approx(1.25, abs=0.01), "his example in 3.2.4"


def test_friedman_of_demsar_2006() -> None:
    """Table 6: C4.5 with four settings on 14 sets; average ranks 3.143, 2.000, 2.893, 1.964, chi-squared 9.28."""
    rows = """.763 .768 .771 .798  .599 .591 .590 .569  .954 .971 .968 .967  .628 .661 .654 .657  .882 .888 .886 .898  .936 .931 .916 .931
    .661 .668 .609 .685  .583 .583 .563 .625  .775 .838 .866 .875  1.000 1.000 1.000 1.000  .940 .962 .965 .962  .619 .666 .614 .669
    .972 .981 .9751 .975  .957 .978 .946 .970"""
    result = friedman(np.array([float(v) for v in rows.split()]).reshape(14, 4))
    assert result.ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    assert result.blocks == 14
    assert result.critical_difference == pytest.approx(1.25, abs=0.01)
    assert result.p < 0.05
    with_gap = friedman(np.array([[1.0, 2.0], [np.nan, 3.0]]))
    assert (with_gap.ranks, with_gap.blocks) == ([2.0, 1.0], 1)
    assert math.isnan(with_gap.p)
    assert math.isnan(friedman(np.empty((0, 3))).critical_difference)


def published(name: str) -> dict[str, dict[str, dict[str, object]]]:
    values: dict[str, dict[str, dict[str, object]]] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return values


CHAVES = [(t, s) for t, taus in published("chaves2023.json")["published_kendall"].items() for s in taus]


@pytest.mark.parametrize(("task", "score"), CHAVES)
def test_kendall_of_chaves_2023(task: str, score: str) -> None:
    """All 21 cells of their table, from their own scores and fine-tuned accuracies, rounded twice as their script does."""
    values = published("chaves2023.json")
    encoders = values["tasks"][task]["encoders"]
    assert isinstance(encoders, dict)
    assert len(encoders) == 10
    tau = kendall_tau([e["scores"][score] for e in encoders.values()], [e["truth"] for e in encoders.values()])
    assert float(f"{round(tau, 3):.2f}") == values["published_kendall"][task][score]


TLL = published("transfer_learning_library.json")
# Both print equal scores for two models, whose order the unrounded scores had decided.
ROUNDED_TIES = {("Caltech101", "log_me"), ("CIFAR100", "log_me")}


@pytest.mark.parametrize(("task", "score"), [(t, s) for t, taus in TLL["published_weighted"].items() for s in taus])
def test_weighted_tau_of_the_transfer_learning_library(task: str, score: str) -> None:
    encoders = TLL["tasks"][task]["encoders"]
    assert isinstance(encoders, dict)
    scores = [e["scores"][score] for e in encoders.values()]
    tau = weighted_tau(scores, [e["truth"] for e in encoders.values()])
    if (task, score) in ROUNDED_TIES:
        assert len(set(scores)) < len(scores)
        assert tau == pytest.approx(TLL["published_weighted"][task][score], abs=0.03)
    else:
        assert tau == pytest.approx(TLL["published_weighted"][task][score], abs=5.1e-4)


def test_rank_correlations_that_are_undefined() -> None:
    for tau in (kendall_tau, weighted_tau):
        assert tau([1, 2, 3], [4, 5, 9]) == pytest.approx(1)
        assert tau([1, 2, 3], [9, 5, 4]) == pytest.approx(-1)
        for undefined in (tau([1, 1], [4, 5]), tau([1], [4]), tau([1, math.nan], [4, 5])):
            assert math.isnan(undefined)


def test_regret() -> None:
    truth = [0.7, 0.9, 0.8]
    assert regret([3, 9, 1], truth) == 0
    assert regret([9, 3, 1], truth) == pytest.approx(0.2)
    assert regret([9, 3, 9], truth) == pytest.approx(0.15), "ties: the mean, as if one were drawn"
    assert regret([9, 3, 9], truth, normalised=True) == pytest.approx(0.75)
    assert regret([9, math.nan, 1], truth) == pytest.approx(0.2), "one without a score can still be the best"
    assert regret([9, 3, 1], [math.nan, 0.9, 0.8]) == 0, "one without a truth cannot be judged"
    assert math.isnan(regret([math.nan] * 3, truth))
    assert regret([1, 2], [0.5, 0.5], normalised=True) == 0
