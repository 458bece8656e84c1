"""Figures hold what the results say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.tasks.study.test_summary import cell
from umsrep.tasks.study import figures
from umsrep.tasks.study.figures import draw_comparison, draw_figures
from umsrep.tasks.study.summary import steps_to


def results(*inits: str) -> dict[str, Any]:
    cells: list[dict[str, Any]] = []
    arms = []
    for i, init in enumerate(inits):
        own = [cell(init, seed, 0.5 + 0.05 * i, 0.6 + 0.05 * i + 0.02 * seed, None if init == "gabor" else 0.7) for seed in (0, 1)]
        cells += [{**c, "steps_to_threshold": steps_to(c["curve"], 0.68)} for c in own]
        value = {"mean": 0.7 + 0.02 * i, "sd": 0.01}
        arm = {k: own[0][k] for k in ("arch", "init", "stages", "parameters")} | own[0]["similarity"]
        arms.append(arm | {"test_auroc": value, "best_auroc": value, "mean_auroc": value, "steps_to_threshold": None})
    return {"task": "size", "threshold": 0.68, "seeds": [0, 1], "arms": arms, "cells": cells}


def test_all_figures_and_depth_only_where_stages_were_reused(tmp_path: Path) -> None:
    names = [p.stem for p in draw_figures(results("random", "gabor"), tmp_path)]
    assert names == ["convergence", "threshold", "sizes", "similarity"]
    names = [p.stem for p in draw_figures(results("random", "transfuse:2", "frozen:2", "pretrained"), tmp_path)]
    assert names == ["convergence", "threshold", "sizes", "similarity", "depth"]


def test_depth_runs_from_random_to_pretrained() -> None:
    figure = figures._depth(results("random", "transfuse:2", "pretrained"))
    assert figure is not None
    (axis,) = figure.axes
    drawn = {str(c.get_label()): c.lines[0].get_xydata() for c in axis.containers}  # type: ignore[attr-defined]
    np.testing.assert_allclose(drawn["best, all trains"], [[0, 0.70], [2, 0.72], [4, 0.74]])


def test_convergence_draws_every_arm_and_the_threshold() -> None:
    (axis,) = figures._convergence(results("random", "pretrained")).axes
    lines = {str(line.get_label()): np.asarray(line.get_ydata()) for line in axis.lines}
    np.testing.assert_allclose(lines["random"], [0.5, 0.61, 0.7])
    assert 0.68 in axis.lines[-1].get_ydata()  # type: ignore[operator]


def test_comparison_of_two_encoders(tmp_path: Path) -> None:
    matrices = {"linear CKA": np.eye(2, 3), "SVCCA": np.full((2, 3), 0.5)}
    draw_comparison(matrices, ("a", ["1", "2"]), ("b", ["1", "2", "3"]), tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.size[0] > picture.size[1]
