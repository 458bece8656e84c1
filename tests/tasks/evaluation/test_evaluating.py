"""`umsrep evaluate` with intervals: its own numbers, patients of several sources, and where there is no interval."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from umsrep.errors import InputError
from umsrep.tasks.data.dataset import JointDataset, Source
from umsrep.tasks.data.manifest import load_manifest
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.evaluate import evaluate
from umsrep.tasks.evaluation.evaluating import evaluate_with_intervals, patients_of, thresholds_of
from umsrep.tasks.model import MultiTaskModel


def test_metrics_are_those_of_evaluate_and_intervals_hold_them(untrained: MultiTaskModel, tiny_data: Path) -> None:
    plain = evaluate(untrained, tiny_data, split="train", tasks=["size"], title=None)["size"]
    found = evaluate_with_intervals(untrained, tiny_data, split="train", tasks=["size"], title=None, resamples=50)["size"]
    assert {k: v for k, v in found.items() if k not in ("patients", "intervals")} == pytest.approx(plain, nan_ok=True)
    assert found["patients"] == 8
    low, high = found["intervals"]["balanced_accuracy"]
    assert low <= plain["balanced_accuracy"] <= high
    wider = evaluate_with_intervals(untrained, tiny_data, split="train", tasks=["size"], title=None, resamples=50, interval_level=0.99)[
        "size"
    ]["intervals"]["auroc"]
    assert wider[0] <= found["intervals"]["auroc"][0] <= found["intervals"]["auroc"][1] <= wider[1]


def test_four_rows_have_no_interval(untrained: MultiTaskModel, tiny_data: Path) -> None:
    found = evaluate_with_intervals(untrained, tiny_data, tasks=["size"], title=None, resamples=5)["size"]
    assert found["n"] == 4
    assert all(math.isnan(end) for end in found["intervals"]["auroc"])


def test_patients_of_two_sources_are_two_patients(untrained: MultiTaskModel, tiny_data: Path) -> None:
    manifest = load_manifest(tiny_data)
    tasks, contract = {"denoising": Denoising()}, untrained.encoder.contract
    one = Source(manifest, [0, 1, 2], ["denoising"], {})
    alone = JointDataset([one], tasks, contract, seed=0)
    both = JointDataset([one, Source(manifest, [1], ["denoising"], {})], tasks, contract, seed=0)
    assert patients_of(alone, [2, 0, 1]) == ["001", "000", "000"]
    assert patients_of(both, range(4)) == ["0/000", "0/000", "0/001", "1/000"]
    manifest.columns["patient_id"][0] = ""
    assert patients_of(alone, [0, 1]) == [None, "000"]
    del manifest.columns["patient_id"]
    assert patients_of(both, [0, 3]) == [None, None]


def test_only_heads_that_classify_have_thresholds(untrained: MultiTaskModel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert thresholds_of(untrained) == {"size": None}
    monkeypatch.setattr(dict(untrained.heads.items())["size"], "thresholds", (0.3,))
    assert thresholds_of(untrained) == {"size": (0.3,)}


def test_batches_of_nothing_are_refused(untrained: MultiTaskModel, tiny_data: Path) -> None:
    for options in ({"batch_size": 0}, {"workers": -1}):
        with pytest.raises(InputError, match="batch_size must be 1 or more and workers 0 or more"):
            evaluate_with_intervals(untrained, tiny_data, title=None, **options)  # type: ignore[arg-type]  # two types of options
