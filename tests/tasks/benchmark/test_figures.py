"""Pictures of a benchmark: what they rank and join, and that they are drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.tasks.benchmark.grids import cell
from umsrep.tasks.benchmark.figures import cliques, draw_compute, draw_critical_difference, pareto, rank_variants
from umsrep.tasks.benchmark.grid import MAIN_METRICS
from umsrep.tasks.benchmark.summary import main_values
from umsrep.tasks.statistics import nemenyi_critical_difference

CELLS = [
    cell(name, 0.5 + 0.1 * quality + 0.01 * seed, seed=seed, set=where)
    for where, order in (("cxr", "abc"), ("us", "abc"), ("mri", "bac"))
    for quality, name in enumerate(order)
    for seed in (0, 1)
]


def test_variants_are_ranked_over_sets_not_seeds() -> None:
    ranked = rank_variants(main_values([*CELLS, cell("a", 0.9, set="alone")], MAIN_METRICS))
    assert ranked is not None
    names, test = ranked
    assert names == ["c/full", "b/full", "a/full"]
    assert test.ranks == pytest.approx([1, 7 / 3, 8 / 3])
    assert test.blocks == 3, "three sets; the fourth has not all variants, and seeds are no sets"
    assert test.critical_difference == nemenyi_critical_difference(3, 3)
    assert rank_variants(main_values([cell("a", 0.9), cell("b", 0.8)], MAIN_METRICS)) is None, "one set"
    assert rank_variants({}) is None


def test_fractions_and_further_tests_of_a_set_are_no_sets() -> None:
    more = [c | {"fraction": 0.1, "shifted": {"nih": {"lesion": {"n": 4.0, "auroc": 0.5}}}} for c in CELLS]
    ranked = rank_variants(main_values([*CELLS, *more], MAIN_METRICS))
    assert ranked is not None
    assert ranked[1].blocks == 3
    assert rank_variants(main_values([c for c in [*CELLS, *more] if c["set"] == "us"], MAIN_METRICS)) is None
    gap = rank_variants(main_values([*CELLS, *(c for c in more if c["variant"] != "a/full" or c["set"] != "us")], MAIN_METRICS))
    assert gap is not None
    assert gap[1].blocks == 2, "a variant that lacks a fraction of a set is not ranked on the others"


def test_cliques() -> None:
    assert cliques([1.0, 1.5, 3.0, 3.4, 5.0], 1.0) == [(0, 1), (2, 3)]
    assert cliques([1.0, 1.8, 2.6, 3.4], 1.7) == [(0, 2), (1, 3)]
    assert cliques([1.0, 2.0], 1.0) == [], "a difference that equals the critical one counts"
    assert cliques([2.0, 2.0, 2.0], 0.5) == [(0, 2)]


def test_pareto() -> None:
    assert pareto([(1, 0.5), (2, 0.4), (3, 0.8), (3, 0.7), (2, 0.5)]) == [0, 2]
    assert pareto([(2, 0.9), (1, 0.9)]) == [1]
    assert pareto([(1, 0.9), (1, 0.9)]) == [0, 1]


def test_pictures(tmp_path: Path) -> None:
    values = main_values(CELLS, MAIN_METRICS)
    assert draw_critical_difference(values, tmp_path / "cd.png")
    assert not draw_critical_difference({}, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    draw_compute(CELLS, values, tmp_path / "compute.png")
    for name in ("cd.png", "compute.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 200
            assert len(picture.convert("L").getcolors() or ()) > 20, "not empty"
