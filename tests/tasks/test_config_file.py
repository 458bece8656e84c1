"""Configurations: read, overridden, checked with the nearest names, written and read back."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tasks.runs import run_values
from umsrep.errors import InputError
from umsrep.tasks.config import TargetConfig
from umsrep.tasks.config_file import apply_overrides, config_from_dict, dump_config, load_config
from umsrep.tasks.setup import make_head, make_targets, make_task

CONTRACT_EXAMPLE = """
schema_version: 1
output: runs/cxr
seed: 0
image_size: 128
batch_size: 16
epochs: 20
encoder: {arch: tf_efficientnet_lite0, weights: path.safetensors, in_channels: 1}
data:
  - {path: data/cxr_guangzhou, tasks: [denoising, lungs, pneumonia]}
  - path: data/cxr_nih
    tasks: [denoising, pneumonia]
    targets: {pneumonia: {column: label, map: {no_finding: normal}}}
    split_column: split
tasks:
  denoising: {kind: denoising, noise: gaussian, level: [0, 50]}
  lungs:     {kind: segmentation, classes: [background, lung]}
  pneumonia: {kind: classification, classes: [normal, pneumonia], target: label_binary}
strategy: full
"""


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    return run_values(tmp_path / "data", tmp_path / "run")


def write(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_the_example_of_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CONTRACT_EXAMPLE)
    config = load_config(path)
    assert (config.output, config.image_size, config.strategy) == ("runs/cxr", 128, "full")
    assert config.encoder.arch == "tf_efficientnet_lite0"
    assert config.data[1].targets["pneumonia"] == TargetConfig("label", {"no_finding": "normal"})
    assert config.data[0].split_column == "split"
    assert config.tasks["pneumonia"].target == "label_binary"
    targets = make_targets(config.data[0], config.tasks)
    assert targets["pneumonia"].column == "label_binary", "the task's default"
    assert make_targets(config.data[1], config.tasks)["pneumonia"].column == "label", "the data set's own word"


def test_dump_is_read_back_equal(values: dict[str, Any], tmp_path: Path) -> None:
    values |= {"image_size": [32, 48], "early_stopping": {"metric": "disc/dice", "patience": 3}, "augment": {"flip": 0.5}, "seed": 3}
    values["data"][0]["targets"] = {"size": {"column": ["a", "b"], "map": {"x": None}}}
    values["encoder"]["mean"] = [0.4]
    config = config_from_dict(values)
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config))
    assert load_config(path) == config


def test_the_shipped_examples_are_valid() -> None:
    examples = sorted((Path(__file__).resolve().parents[2] / "examples").glob("cxr_*.yaml"))  # the others: tests of pretrain and study
    assert examples
    for path in examples:
        config = load_config(path)
        for name, task in config.tasks.items():
            make_task(name, task, [1.0] * len(task.classes or []))
            make_head(task)


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", "0.001"])
def test_numbers_with_an_exponent_are_numbers(text: str, values: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path, values)
    path.write_text(path.read_text() + f"optimiser: {{learning_rate: {text}}}\n")
    assert load_config(path).optimiser.learning_rate == 1e-3, "YAML 1.1 reads 1e-3 as text; people write it"
    assert load_config(write(tmp_path, values), ["--optimiser.learning_rate", text]).optimiser.learning_rate == 1e-3


def test_precision_no_is_a_word_not_a_boolean(values: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path, values)
    path.write_text(path.read_text() + "precision: no\n")
    assert load_config(path).precision == "no", "YAML 1.1 reads an unquoted no as False; the documented value is no"
    assert load_config(write(tmp_path, values), ["--precision", "no"]).precision == "no"


def test_maps_of_stored_numbers(values: dict[str, Any], tmp_path: Path) -> None:
    values["data"][0]["targets"] = {"size": {"column": "finding_large", "map": {0: "small", 1: "large"}}}
    config = load_config(write(tmp_path, values))
    assert config.data[0].targets["size"].map == {"0": "small", "1": "large"}, "cells are text; people write {0: normal, 1: pneumonia}"


def test_the_given_values_stay_as_they_are(values: dict[str, Any]) -> None:
    before = copy.deepcopy(values)
    config_from_dict(values)
    assert values == before, "the caller may use the same mapping for another run"


def test_overrides_reach_every_key(values: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path, values)
    words = ["--encoder.arch", "resnet18", "--epochs=7", "--data.0.path", "elsewhere", "--tasks.size.classes", "[a, b, c]"]
    words += ["--early_stopping.metric", "size/auroc", "--data.0.targets.size.column=site", "--max_steps", "null"]
    config = load_config(path, words)
    assert config.encoder.arch == "resnet18"
    assert config.epochs == 7
    assert config.data[0].path == "elsewhere"
    assert config.tasks["size"].classes == ["a", "b", "c"]
    assert config.early_stopping.metric == "size/auroc"
    assert config.data[0].targets["size"].column == "site"
    assert config.max_steps is None


def test_overrides_leave_the_given_values_alone(values: dict[str, Any]) -> None:
    before = copy.deepcopy(values)
    assert apply_overrides(values, ["--encoder.arch", "x"])["encoder"]["arch"] == "x"
    assert values == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["epochs"], "'epochs': expected --key value"),
        (["--epochs"], "--epochs needs a value"),
        (["--epochs", "[1"], "not valid YAML"),
        (["--epochs.x", "1"], "'epochs' holds a plain value"),
        (["--data.3.path", "x"], "'3' must be the number of an entry, 0 to 0"),
        (["--data.first.path", "x"], "'first' must be the number of an entry"),
        (["--epohcs", "3"], "unknown key 'epohcs'; did you mean 'epochs'"),
        (["--optimiser.learning_rat", "3"], "unknown key 'optimiser.learning_rat'; did you mean 'learning_rate'"),
    ],
)
def test_faulty_overrides(words: list[str], message: str, values: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_config(write(tmp_path, values), words)
    assert message in str(caught.value)


@pytest.mark.parametrize("key", ["tasks", "data", "output", "encoder"])
def test_missing_keys_are_named(key: str, values: dict[str, Any]) -> None:
    del values[key]
    with pytest.raises(InputError, match=f"missing key '{key}'"):
        config_from_dict(values)


def test_missing_inner_keys_are_named(values: dict[str, Any]) -> None:
    del values["tasks"]["disc"]["kind"]
    with pytest.raises(InputError, match=r"missing key 'tasks\.disc\.kind'"):
        config_from_dict(values)


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.yaml: no such configuration file"):
        load_config(tmp_path / "absent.yaml")
    for text, message in (("a: [1", "not valid YAML"), ("- a", "a configuration is a mapping"), ("", "a configuration is a mapping")):
        path = tmp_path / "c.yaml"
        path.write_text(text)
        with pytest.raises(InputError) as caught:
            load_config(path)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    path.write_bytes(b"output: \xff\xfe")
    with pytest.raises(InputError, match="not valid YAML"):
        load_config(path)


def test_one_licence_may_be_written_without_brackets(tmp_path: Path) -> None:
    config = config_from_dict(run_values([{"path": "d", "licenses": "CC BY 4.0"}], tmp_path / "run"))
    assert list(config.data[0].licenses or ()) == ["CC BY 4.0"]
