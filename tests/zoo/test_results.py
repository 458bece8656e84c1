"""The results file: a strict, versioned form that says where it is broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from umsrep.errors import InputError
from umsrep.zoo.results import METRICS, RESULTS_VERSION, Measurement, Results, load_results, metric

VALUES: dict[str, Any] = {
    "schema_version": 1,
    "license": "mit",
    "verdict": "For tests.",
    "features": {"channels": [8, 16], "strides": [2, 4], "embedding_dim": 32, "decoders": ["unet"]},
    "data": [{"name": "discs", "images": 16, "patients": 8}],
    "measurements": [
        {"group": "results", "head": "disc", "metric": "dice", "data": "discs", "value": 0.95125, "interval": [0.9, 1], "images": 4},
        {"group": "results", "head": "disc", "metric": "hd95", "data": "discs", "value": None},
    ],
    "reliability": [
        {
            "head": "finding",
            "data": "discs",
            "bins": [{"confidence": 0.25, "frequency": 0.0, "count": 3}, {"confidence": 0.75, "frequency": 1.0, "count": 1}],
            "split": "test",
            "class": "disc",
        },
        {"head": "finding", "data": "discs", "bins": [{"confidence": 0.5, "frequency": 0.5, "count": 2}]},
    ],
    "cost": {
        "size": [1, 32, 32],
        "encoder": {"parameters": 100, "macs": 1000},
        "timings": [{"what": "one image", "milliseconds": 1.5, "hardware": "a CPU"}],
    },
    "limits": ["Only discs."],
}

BIN = {"confidence": 0.5, "frequency": 0.25, "count": 4}


def test_round_trip_keeps_every_value() -> None:
    results = Results.from_dict(VALUES)
    assert results.measurements[0].interval == (0.9, 1.0)
    assert results.measurements[1].value is None
    assert (results.reliability[0].class_, results.reliability[1].class_) == ("disc", None)
    assert results.reliability[0].bins[1].frequency == 1.0
    assert results.cost is not None
    assert results.cost.timings[0].milliseconds == 1.5
    assert results.cost.model is None
    assert results.to_dict() == VALUES
    assert Results.from_dict(json.loads(json.dumps(results.to_dict()))) == results
    assert Results().to_dict() == {"schema_version": RESULTS_VERSION, "license": "unknown"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema_version must be 1, not 2; upgrade umsrep"),
        ({"schema_version": None}, "schema_version must be 1, not None"),
        ({"licence": "mit"}, "unknown key 'licence'.*license"),
        ({"verdict": 5}, "verdict: must be a text, not 5"),
        ({"limits": "one"}, "limits: must be a list"),
        ({"measurements": [{"group": "results", "head": "a", "metric": "dice", "data": "d"}]}, r"measurements\[0\]: 'value' is missing"),
        ({"measurements": [{**VALUES["measurements"][0], "value": "0.9"}]}, r"measurements\[0\]: value: must be a finite number"),
        ({"measurements": [{**VALUES["measurements"][0], "value": float("nan")}]}, "must be a finite number"),
        ({"measurements": [{**VALUES["measurements"][0], "value": True}]}, "must be a finite number"),
        ({"measurements": [{**VALUES["measurements"][0], "interval": [1, 2, 3]}]}, r"interval: must be \[low, high\]"),
        ({"measurements": [{**VALUES["measurements"][0], "group": "result"}]}, "unknown group 'result'.*results"),
        ({"measurements": [{**VALUES["measurements"][0], "images": 4.5}]}, "images: must be a whole number"),
        ({"cost": {"size": [1, 32, 32], "encoder": {"parameters": 1}}}, "encoder: 'macs' is missing"),
        ({"reliability": [{"head": "a", "data": "d"}]}, r"reliability\[0\]: 'bins' is missing"),
        ({"reliability": [{"head": "a", "data": "d", "bins": []}]}, r"reliability\[0\]: bins: must be at least one"),
        ({"reliability": [{"head": "a", "data": "d", "bins": [BIN, {**BIN, "confidence": 0.1}]}]}, "bins: .*by rising confidence"),
        ({"reliability": [{"head": "a", "data": "d", "bins": [{**BIN, "frequency": 1.5}]}]}, r"bins\[0\]: frequency: must be 0 to 1"),
        ({"reliability": [{"head": "a", "data": "d", "bins": [{**BIN, "count": 0}]}]}, r"bins\[0\]: count: must be at least 1.*empty bins"),
        ({"reliability": [{"head": "a", "data": "d", "bins": [BIN], "class_": "x"}]}, "unknown key 'class_'.*class"),
        ({"features": []}, "features: must be an object"),
        ({"data": [5]}, r"data\[0\]: must be an object"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^here: .*{message}") as caught:
        Results.from_dict({**VALUES, **change}, where="here")
    assert "\n" not in str(caught.value)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    with pytest.raises(InputError, match="cannot be read"):
        load_results(path)
    path.write_text("{")
    with pytest.raises(InputError, match=r"results\.json: not valid JSON"):
        load_results(path)
    path.write_text("[]")
    with pytest.raises(InputError, match="must be a JSON object"):
        load_results(path)
    path.write_text(json.dumps(VALUES))
    assert load_results(path) == Results.from_dict(VALUES)


def test_metrics_of_one_class_and_unknown_ones() -> None:
    assert (metric("dice/lung").label, metric("dice/lung").hub) == ("Dice, lung", "dice/lung")
    assert metric("auroc").hub == "roc_auc"
    assert (metric("lpips").label, metric("lpips").digits) == ("lpips", 4)
    assert len({m.hub for m in METRICS.values()}) == len(METRICS), "the Hub's name must lead back to ours"


def test_a_measurement_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Measurement("results", "a", "dice", "d", 1.0).value = 2.0  # type: ignore[misc]
