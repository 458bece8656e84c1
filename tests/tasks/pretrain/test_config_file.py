"""Pretraining configurations in YAML."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from umsrep.errors import InputError
from umsrep.tasks.config import FineTuneConfig
from umsrep.tasks.pretrain.config import PretrainConfig
from umsrep.tasks.pretrain.config_file import dump_pretrain_config, load_pretrain_config, pretrain_config_from_dict

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
BASE: dict[str, Any] = {"method": "masked", "data": [{"path": "d"}], "output": "o", "encoder": {"arch": "resnet18"}}


def test_round_trip_and_overrides(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(BASE | {"masked": {"ratio": 0.5}, "precision": False, "optimiser": {"learning_rate": 0.002}}))
    config = load_pretrain_config(path, ["--masked.patch", "8", "--data.0.label=x", "--augment.flip", "0"])
    assert isinstance(config, PretrainConfig)
    assert config.masked is not None
    assert (config.masked.ratio, config.masked.patch, config.data[0].label, config.precision) == (0.5, 8, "x", "no")
    assert (config.optimiser.learning_rate, config.optimiser.encoder_factor, config.optimiser.weight_decay) == (0.002, 1.0, 0.05), (
        "the rest"
    )
    assert config.augment is not None
    assert config.augment.flip == 0
    path.write_text(dump_pretrain_config(config))
    assert load_pretrain_config(path) == config


def test_supervised_is_a_fine_tuning_configuration() -> None:
    tasks = {"size": {"kind": "classification", "classes": ["a", "b"]}}
    config = pretrain_config_from_dict(BASE | {"method": "supervised", "tasks": tasks})
    assert isinstance(config, FineTuneConfig)
    with pytest.raises(InputError, match="unknown key 'moco'"):
        pretrain_config_from_dict(BASE | {"method": "supervised", "tasks": tasks, "moco": {}})


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (BASE | {"method": "mocko"}, "method must be one of .*moco"),
        (BASE | {"epoch": 3}, "unknown key 'epoch'.*epochs"),
        (BASE | {"masked": {"ratoi": 3}}, "unknown key 'masked.ratoi'.*ratio"),
        (BASE | {"data": [{"path": "d", "tasks": []}]}, r"unknown key 'data.0.tasks'"),
        (BASE | {"data": [{"label": "d"}]}, "missing key 'data.0.path'"),
        (BASE | {"encoder": 3}, "encoder must be a mapping"),
        (BASE | {"epochs": "many"}, "epochs"),
        ({k: v for k, v in BASE.items() if k != "output"}, "missing key 'output'"),
        (BASE | {"masked": {"ratio": 2}}, "ratio between 0 and 1"),
    ],
)
def test_mistakes_are_named(values: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        pretrain_config_from_dict(values)
    assert "\n" not in str(caught.value)


def test_given_values_stay_as_they_are() -> None:
    values = copy.deepcopy(BASE)
    pretrain_config_from_dict(values)
    assert values == BASE


def test_files_that_are_none(tmp_path: Path) -> None:
    for content, match in (("- 1", "a mapping of keys"), ("a: [", "not valid YAML"), ("\xff", "not valid YAML|mapping")):
        path = tmp_path / "c.yaml"
        path.write_text(content, encoding="latin-1")
        with pytest.raises(InputError, match=match):
            load_pretrain_config(path)
    with pytest.raises(InputError, match="no such configuration"):
        load_pretrain_config(tmp_path / "absent.yaml")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("pretrain_*.yaml")), ids=lambda p: p.stem)
def test_examples_are_valid(path: Path) -> None:
    load_pretrain_config(path)


def test_there_is_an_example_for_each_kind() -> None:
    methods = {yaml.safe_load(path.read_text(encoding="utf-8"))["method"] for path in EXAMPLES.glob("pretrain_*.yaml")}
    assert methods == {"supervised", "denoising", "masked", "moco", "dino"}
