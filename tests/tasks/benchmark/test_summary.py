"""Means and tests of a benchmark's cells."""

from __future__ import annotations

import math
import statistics

import pytest

from tests.tasks.benchmark.grids import cell
from umsrep.tasks.benchmark.grid import MAIN_METRICS
from umsrep.tasks.benchmark.summary import OWN_TEST, Column, compare, main_values, spread, summarise_cells
from umsrep.tasks.statistics import holm, paired_t_test, welch_t_test


def test_spread_is_that_of_a_sample() -> None:
    assert spread([1.0, 2.0, 4.0]) == {"mean": pytest.approx(7 / 3), "sd": pytest.approx(statistics.stdev([1, 2, 4])), "n": 3}
    assert spread([5.0]) == {"mean": 5.0, "sd": None, "n": 1}


def test_undefined_numbers_do_not_count() -> None:
    cells = [
        {"variant": "a", "fraction": 1.0, "seed": s, "seconds": 1.0 + s, "test": {"disc": {"n": 4.0, "dice": v}}}
        for s, v in enumerate([0.5, None, 0.7])
    ]
    (row,) = summarise_cells(cells)
    assert row["metrics"] == {"disc/dice": {"mean": pytest.approx(0.6), "sd": pytest.approx(statistics.stdev([0.5, 0.7])), "n": 2}}
    assert row["seconds"]["mean"] == 2.0


def test_sets_and_shifted_tests_stand_apart() -> None:
    shifted = {"nih": {"lesion": {"n": 4.0, "auroc": 0.6}}}
    rows = summarise_cells([cell("a", 0.9, shifted=shifted), cell("a", 0.7, set="us")])
    assert [(r["set"], r["metrics"]["lesion/auroc"]["mean"]) for r in rows] == [("cxr", 0.9), ("us", 0.7)]
    assert rows[0]["shifted"]["nih"]["lesion/auroc"] == {"mean": 0.6, "sd": None, "n": 1}


A, B, C = [0.80, 0.82, 0.81, 0.84, 0.83, 0.80], [0.70, 0.73, 0.71, 0.75, 0.72, 0.70], [0.79, 0.83, 0.81, 0.83, 0.84, 0.80]


def test_comparisons_and_their_family() -> None:
    variants = {"a": A, "b": B, "c": C}
    cells = [cell(name, v, seed=s, set=where) for where in ("cxr", "us") for name, some in variants.items() for s, v in enumerate(some)]
    cells.append(cell("b", 0.9, seed=77))  # a seed that the baseline has not
    values = main_values(cells, MAIN_METRICS)
    assert list(values) == [Column(s, 1.0, OWN_TEST, "lesion", "auroc") for s in ("cxr", "us")]
    found = compare(values, "a/full")
    assert [(c["set"], c["variant"]) for c in found] == [("cxr", "b/full"), ("cxr", "c/full"), ("us", "b/full"), ("us", "c/full")]
    first = found[0]
    assert first["n"] == 6, "pairs are of common seeds"
    assert first["welch"]["p"] == welch_t_test([*B, 0.9], A).p
    assert first["paired"]["p"] == paired_t_test(B, A).p
    assert first["wilcoxon"]["p"] == first["smallest_wilcoxon_p"] == 0.03125
    assert first["difference"] == pytest.approx(statistics.mean([*B, 0.9]) - statistics.mean(A))
    for kind in ("welch", "paired", "wilcoxon"):
        assert [c[kind]["p_holm"] for c in found] == holm([c[kind]["p"] for c in found]), "one family: all four comparisons"


def test_columns_without_the_baseline_or_the_metric_compare_nothing() -> None:
    values = main_values([cell("a", 0.9), cell("b", 0.8, set="us"), cell("b", None)], MAIN_METRICS)
    assert {c.set: list(v) for c, v in values.items()} == {"cxr": ["a/full"], "us": ["b/full"]}
    assert compare(values, "a/full") == []
    one = compare(main_values([cell("a", 0.9), cell("b", 0.8)], MAIN_METRICS), "a/full")
    assert math.isnan(one[0]["welch"]["p"]), "one seed tests nothing"
    assert main_values([cell("a", 0.9)], MAIN_METRICS | {"classification": "f1"}) == {}


def test_titles() -> None:
    assert Column("cxr", 1.0, OWN_TEST, "lungs", "dice").title == "cxr lungs"
    assert Column("", 0.1, "nih", "lungs", "dice").title == "lungs on nih, 0.1 of labels"
