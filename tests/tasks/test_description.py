"""What a card says about a model and its run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tests.tasks.runs import run_config, tiny_model
from umsrep.heads.decoder import DECODERS
from umsrep.tasks.config_data import BlendConfig, EncoderConfig
from umsrep.tasks.description import cost_of_model, features_of, fitting_decoders, run_results
from umsrep.tasks.trainer import Report
from umsrep.zoo import Encoder, InputContract
from umsrep.zoo.results import Results


def test_decoders_that_fit() -> None:
    cnn = Encoder.create("test_efficientnet", contract=InputContract(size=64))
    assert fitting_decoders(cnn) == DECODERS
    transformer = Encoder.create("test_vit", contract=InputContract(size=64))
    assert fitting_decoders(transformer) == ("dpt",)
    assert features_of(transformer).decoders is None


def test_cost_of_encoder_and_heads(tiny_data: Path) -> None:
    model = tiny_model(tiny_data)
    cost = cost_of_model(model)
    assert cost.size == (1, 32, 32)
    assert cost.model is not None
    assert cost.model.parameters == sum(p.numel() for p in model.parameters())
    assert cost.encoder.parameters == sum(p.numel() for p in model.encoder.parameters())
    assert 0 < cost.encoder.macs < cost.model.macs
    assert model.training, "counting must not change the model"


def test_a_run_tells_data_metrics_and_where_it_lies(tiny_data: Path) -> None:
    report = Report(
        output=Path("runs/a"),
        model=Path("runs/a/model"),
        epoch=2,
        score=0.5,
        validation={"disc": {"n": 4.0, "dice": 0.5}},
        test={"disc": {"n": 3.0, "dice": 0.25, "hd95": float("nan")}},
        seconds=1.0,
    )
    results = run_results(report, run_config(tiny_data, Path("runs/a")), tiny_model(tiny_data))
    rows = [(m.head, m.metric, m.data, m.split, m.value, m.images) for m in results.measurements]
    assert rows == [
        ("disc", "dice", "discs", "test", 0.25, 3),
        ("disc", "hd95", "discs", "test", None, 3),
        ("disc", "dice", "discs", "validation", 0.5, 4),
    ]
    assert [d.name for d in results.data] == ["discs"]
    assert results.training is not None
    assert "from random weights" in results.training
    assert (results.name, results.location) == ("a", "./runs/a/model")
    assert str(tiny_data) not in json.dumps(results.to_dict()), "no path of the data"
    config = run_config(tiny_data, Path("runs/a"), image_size=128, size_factors=[0.5, 1.0])
    blended = dataclasses.replace(
        config, encoder=EncoderConfig(name="ums-cxr-cbr-tiny", blend=BlendConfig("old/imagenet.safetensors", 0.25))
    )
    model = tiny_model(tiny_data)
    model.encoder.contract = model.encoder.contract.replace(size=128)
    told = run_results(report, blended, model).training
    assert told is not None
    assert "from `ums-cxr-cbr-tiny` averaged with `imagenet.safetensors` (WiSE-FT, share 0.25)" in told
    assert "batches of 64, 128 px in turn" in told


@pytest.mark.parametrize("key", ["patient", "site"])
def test_nothing_from_inside_the_data_is_told(trained: Report, key: str) -> None:
    text = (trained.output / "results.json").read_text()
    assert Results.from_dict(json.loads(text)).measurements
    assert key not in text
