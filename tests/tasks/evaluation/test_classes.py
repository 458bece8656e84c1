"""The classification part of a review for exclusive classes and for labels that occur together."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from umsrep.tasks.classification import Classification
from umsrep.tasks.evaluation.classes import classification_block, scaled
from umsrep.tasks.evaluation.metrics import statistic_of
from umsrep.tasks.evaluation.resample import Draws, sample
from umsrep.tasks.evaluation.reviewed import reviewed
from umsrep.tasks.runfolder import plain


@pytest.mark.parametrize("multi_label", [True, False])
def test_a_block(multi_label: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    task = reviewed(Classification(["a", "b", "c"], multi_label=multi_label))
    assert isinstance(task, Classification)
    logits = torch.randn(80, 3, generator=generator)
    if multi_label:
        target = (torch.rand(80, 3, generator=generator) < 0.4).float()
        target[:20, 1] = math.nan
    else:
        target = torch.randint(3, (80,), generator=generator)
    rows = task.rows(logits, target)
    draws = Draws([str(i // 2) for i in range(80)], resamples=30)
    found, sets = classification_block(
        task,
        rows,
        sample({"all": statistic_of(task, rows)}, draws)["all"],
        draws,
        thresholds=None,
        calibration_rows=rows,
        temperature=2.0,
        groupings=[],
        sites=None,
        definition="column label",
        alpha=0.1,
        shift=False,
        prevalences=[0.1],
    )
    json.dumps(plain(found), allow_nan=False)
    assert [(one["class"], one["observed"]) for one in found["predictive_values"]] == [(c, o) for c in "abc" for o in (True, False)]
    assert list(found["decision_curve"]) == ["a", "b", "c"]
    assert found["calibration"]["after"]["nll"]["value"] != found["calibration"]["before"]["nll"]["value"]
    np.testing.assert_allclose(scaled(task, rows, 1.0), rows["probabilities"], atol=1e-12)
    observed = found["predictive_values"][2]
    if multi_label:
        assert sets is None
        assert "exclusive classes" in found["conformal"]["note"]
        assert found["threshold"] == {"a": 0.5, "b": 0.5, "c": 0.5}
        assert found["prevalence"]["overall"]["b"]["n"] == observed["ppv"]["n"] == 60, "20 rows are not annotated for b"
    else:
        assert sets is not None
        assert found["threshold"] is None
        covered = found["conformal"]["methods"]["lac"]["coverage"]["overall"]["value"]
        assert covered == math.ceil(81 * 0.9) / 80, "on its own calibration rows the coverage is the rank itself"
    assert observed["ppv"]["value"] == pytest.approx(float(statistic_of(task, rows)(np.ones((1, 80)))["ppv/b"][0]), abs=1e-9), (
        "Bayes' rule at the data's own prevalence is the plain share"
    )
