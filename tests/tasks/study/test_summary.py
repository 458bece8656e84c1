"""Means over seeds, and runs that did not get there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tasks.study.studies import study_values
from umsrep.tasks.study.config import study_from_dict
from umsrep.tasks.study.summary import markdown, steps_to, summarise


def cell(init: str, seed: int, *aurocs: float | None, test: float | None = 0.8) -> dict[str, Any]:
    """A finished cell with validations every ten steps."""
    return {
        "arch": "cbr_tiny",
        "init": init,
        "seed": seed,
        "stages": 4,
        "parameters": 1000,
        "curve": [{"step": 10 * (i + 1), "auroc": a} for i, a in enumerate(aurocs)],
        "test": None if test is None else {"auroc": test},
        "similarity": {"cka": [[1.0, 0.2], [0.3, 0.5 + seed / 10]], "svcca": [[1.0, 0.0], [0.0, 1.0]]},
        "seconds": 2.0,
    }


def test_steps_to_the_threshold() -> None:
    curve = cell("random", 0, None, 0.5, 0.9, 0.7, 0.95)["curve"]
    assert [steps_to(curve, t) for t in (0.5, 0.51, 0.9, 0.91, 0.96)] == [20, 30, 30, 50, None]


def test_means_sds_and_what_was_not_reached(tiny_data: Path, tmp_path: Path) -> None:
    values = study_values(tiny_data, tmp_path)
    values["encoders"]["cbr_tiny"]["inits"] = ["random", "pretrained"]
    cells = [cell("random", 0, 0.5, 0.55), cell("random", 1, 0.5, 0.7, test=0.6)]
    cells += [cell("pretrained", 0, 0.5, 0.7), cell("pretrained", 1, 0.8, 0.9, test=None)]
    results = summarise(cells, study_from_dict(values))
    random, pretrained = results["arms"]
    assert random["test_auroc"]["mean"] == pytest.approx(0.7)
    assert random["test_auroc"]["sd"] == pytest.approx(0.02**0.5)
    assert random["best_auroc"]["mean"] == pytest.approx(0.625)
    assert random["mean_auroc"]["mean"] == pytest.approx(0.5625)
    assert (random["reached"], random["steps_to_threshold"]) == (1, None)
    assert pretrained["steps_to_threshold"] == {"mean": 15.0, "sd": pytest.approx(50**0.5)}
    assert pretrained["test_auroc"] is None, "a mean of some seeds alone is none"
    assert pretrained["cka"][1][1] == pytest.approx(0.55)
    text = markdown(results).splitlines()
    assert text[4] == "| cbr_tiny | 1,000 | random | 0.700 ± 0.141 | 0.625 ± 0.106 | 0.562 ± 0.053 | reached by 1 of 2 | 1.00 0.55 |"
    assert "| pretrained | - | 0.800 ± 0.141 | 0.725 ± 0.177 | 15 ± 7 |" in text[5]
