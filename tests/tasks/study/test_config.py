"""The study's configuration: what it makes of YAML, and one line for every mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tasks.study.studies import study_values
from umsrep.errors import InputError
from umsrep.tasks.study.config import Init, load_study, study_from_dict

ROOT = Path(__file__).resolve().parents[3]


def test_cells_and_their_runs(tiny_data: Path, tmp_path: Path) -> None:
    study = study_from_dict(study_values(tiny_data, tmp_path))
    names = [cell.name for cell in study.cells()]
    assert names[:3] == ["cbr_tiny_random_0", "cbr_tiny_mean-var_0", "cbr_tiny_transfuse-2_0"]
    assert [cell.seed for cell in study.cells()] == [0] * (len(names) // 2) + [1] * (len(names) // 2)
    assert study.task == "size"
    config = study.run_config(next(study.cells()), output=tmp_path / "run", weights="w.safetensors", strategy="partial")
    assert (config.encoder.arch, config.encoder.weights, config.batch_norm, config.strategy) == (
        "cbr_tiny",
        "w.safetensors",
        "clean",
        "partial",
    )
    assert not config.frozen_norm, "all arms train their norms"


def test_yaml_and_overrides(tiny_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study_values(tiny_data, tmp_path)))
    assert load_study(path) == study_from_dict(study_values(tiny_data, tmp_path))
    changed = load_study(path, ["--base.epochs", "3", "--seeds", "[4]"])
    assert (changed.base["epochs"], changed.seeds) == (3, (4,))


def test_the_example_is_a_study(monkeypatch: pytest.MonkeyPatch, shared_weights: Path) -> None:
    monkeypatch.chdir(ROOT)
    study = load_study(ROOT / "examples/study_transfusion.yaml")
    assert study.task == "pneumonia"
    assert {init.kind for _, inits in study.encoders.values() for init in inits} == {
        "random",
        "mean-var",
        "gabor",
        "transfuse",
        "frozen",
        "pretrained",
    }


@pytest.mark.parametrize("text", ["random", "mean-var", "gabor", "pretrained", "transfuse:3", "frozen:12"])
def test_init_round_trip(text: str) -> None:
    assert str(Init.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("randon", "unknown init 'randon'; did you mean .*'random'"),
        ("transfuse", "write transfuse:STAGES with a number from 1"),
        ("transfuse:0", "write transfuse:STAGES"),
        ("random:2", "write random alone"),
        ("random:", "write random alone"),
    ],
)
def test_wrong_inits(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Init.parse(text)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "unknown key 'seed'; did you mean .*'seeds'"),
        ({"seeds": [1, 1]}, "seeds must be a list of different whole numbers"),
        ({"threshold": 90}, "threshold must be an AUROC between 0 and 1"),
        ({"similarity_images": 3}, "similarity_images must be a whole number from 4"),
        ({"schema_version": 2}, "schema_version must be 1"),
        ({"encoders": {"cbr_tiny": {"inits": ["pretrained"]}}}, "init 'pretrained' needs weights"),
        ({"encoders": {"cbr_tiny": {"inits": ["gabor", "gabor"]}}}, "holds one twice"),
        ({"encoders": {"cbr_tiny": {"inits": ["random"], "weights": "absent.safetensors"}}}, "no such file: absent"),
        ({"encoders": {"cbr_tiny": {"init": ["random"]}}}, "unknown key 'encoders.cbr_tiny.init'; did you mean .*'inits'"),
        ({"task": "disc"}, "task must name the classification task to follow, one of: size"),
        ({"base.seed": 3}, "base.seed is set by the study"),
        ({"base.encoder": {"name": "x"}}, "base.encoder.name is set by the study"),
        ({"base.epoch": 3}, "unknown key 'epoch'; did you mean .*'epochs'"),
        ({"base.batch_size": 0}, "batch_size must be 1 or more"),
    ],
)
def test_wrong_studies(change: dict[str, Any], words: str, tiny_data: Path, tmp_path: Path) -> None:
    values = study_values(tiny_data, tmp_path)
    for key, value in change.items():
        base, _, inner = key.partition(".")
        if inner:
            values[base][inner] = value
        else:
            values[key] = value
    with pytest.raises(InputError, match=words) as caught:
        study_from_dict(values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["output", "seeds", "encoders", "base", "threshold"])
def test_missing_keys(key: str, tiny_data: Path, tmp_path: Path) -> None:
    values = study_values(tiny_data, tmp_path)
    del values[key]
    with pytest.raises(InputError, match=f"missing key '{key}'"):
        study_from_dict(values)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such configuration file"):
        load_study(tmp_path / "absent.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(InputError, match="a mapping of keys"):
        load_study(tmp_path / "list.yaml")
