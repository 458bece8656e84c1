"""What a configuration may hold, and what its defaults mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tasks.runs import run_values
from umsrep.errors import InputError
from umsrep.tasks.config import DataConfig, FineTuneConfig
from umsrep.tasks.config_file import config_from_dict


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    return run_values(tmp_path / "data", tmp_path / "run")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("epoch", 3, "unknown key 'epoch'; did you mean 'epochs'"),
        ("encoder.archs", "x", "unknown key 'encoder.archs'; did you mean 'arch'"),
        ("tasks.disc.decodr", "unet", "unknown key 'tasks.disc.decodr'; did you mean 'decoder'"),
        ("data.0.pth", "x", "unknown key 'data.0.pth'; did you mean 'path'"),
        ("data.0.targets.size.colum", "x", "unknown key 'data.0.targets.size.colum'; did you mean 'column'"),
        ("augment.rotat", 1, "did you mean 'rotate'"),
        ("augment.rotate", -4, "augment.rotate must be from 0 to 180"),
        ("augment", None, "augment must be a mapping"),
        ("encoder", "resnet18", "encoder must be a mapping"),
        ("tasks.disc", "segmentation", "tasks.disc must be a mapping"),
        ("epochs", "many", "epochs"),
        ("epochs", 0, "epochs must be 1 or more"),
        ("batch_size", -8, "batch_size must be 1 or more"),
        ("seed", -1, "seed must be 0 or more"),
        ("ema", 1.0, "ema must be 0 or more and below 1"),
        ("strategy", "fll", "strategy"),
        ("precision", "fp8", "precision"),
        ("schema_version", 2, "schema_version 2 is newer"),
        ("tasks", {}, "no tasks"),
        ("data", [], "no data"),
        ("data", "folder", "data"),
        ("encoder.name", "x", "either name"),
        ("optimiser.accumulate", 0, "accumulate 1 or more"),
        ("optimiser.learning_rate", 0, "learning_rate above 0"),
        ("optimiser.learning_rate", float("nan"), "optimiser.learning_rate must be 0 or more and finite"),
        ("optimiser.clip_norm", -1, "optimiser.clip_norm must be 0 or more"),
        ("optimiser.weight_decay", -0.1, "optimiser.weight_decay must be 0 or more"),
        ("optimiser.layer_decay", 0, "layer_decay must be above 0"),
        ("max_steps", 0, "max_steps must be 1 or more"),
        ("processes", 0, "processes must be 1 or more"),
        ("early_stopping.patience", -1, "patience must be 0 or more"),
        ("train_heads", [], "leave train_heads out"),
        ("image_size", [3, 4, 5], "image_size must be one side or"),
        ("sampling", 1.5, "sampling must be from 0 to 1"),
        ("size_factors", [0.5, 1.5], "size_factors must be above 0 and at most 1"),
        ("size_factors", [0.0], "size_factors must be above 0 and at most 1"),
        ("trainable_stages", 0, "trainable_stages must be 1 or more"),
        ("checkpoint_minutes", -1, "checkpoint_minutes must be 0 or more"),
        ("timeout_minutes", 0, "timeout_minutes must be above 0"),
        ("prefetch", 0, "prefetch must be 1 or more"),
        ("augment_on_device", "gpu", "augment_on_device"),
        ("augment.policy", "stong", "augment.policy"),
        ("tasks.disc.spectral_decoupling", -1, "spectral_decoupling"),
        ("data.0.fraction", 0, "fraction must be above 0"),
        ("data.0.targets", ["a"], "data.0.targets must be a mapping"),
        ("data.0.tasks", ["disk"], "names task 'disk'; did you mean 'disc'"),
        ("data.0.targets.sise.column", "x", "names task 'sise'; did you mean 'size'"),
        ("train_heads", ["diss"], "train_heads names 'diss'; did you mean 'disc'"),
        ("tasks.disc.kind", "segment", "kind"),
        ("tasks.disc.noise", "gaussian", "tasks.disc.noise: no key of kind segmentation"),
        ("tasks.denoising.classes", ["a"], "tasks.denoising.classes: no key of kind denoising"),
        ("tasks.size.classes", None, "tasks.size needs classes"),
        ("tasks.size.weight", 0, "weight must be above 0"),
    ],
)
def test_faults_are_one_line_with_the_key(path: str, value: Any, message: str, values: dict[str, Any], tmp_path: Path) -> None:
    node: Any = values
    *parents, last = path.split(".")
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
    node[last] = value
    with pytest.raises(InputError) as caught:
        config_from_dict(values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400, "one readable line"


def test_the_configuration_is_frozen_and_public(values: dict[str, Any]) -> None:
    config = config_from_dict(values)
    assert isinstance(config, FineTuneConfig)
    assert isinstance(config.data[0], DataConfig)
    with pytest.raises(AttributeError):
        config.epochs = 3  # type: ignore[misc]


def test_defaults_that_depend_on_the_rest(values: dict[str, Any]) -> None:
    config = config_from_dict(values)
    assert {name: task.factor for name, task in config.tasks.items()} == {
        name: 10.0 if task.kind == "denoising" else 1.0 for name, task in config.tasks.items()
    }
    scratch = {**values, "encoder": {"arch": "resnet18"}}
    assert not config_from_dict(scratch).frozen_norm, "random weights have no statistics to keep"
    for encoder in ({"arch": "resnet18", "weights": "w.safetensors"}, {"name": "a/b"}, {"arch": "hf-hub:timm/resnet18.a1_in1k"}):
        assert config_from_dict({**values, "encoder": encoder}).frozen_norm
        assert not config_from_dict({**values, "encoder": encoder, "batch_norm": "clean"}).frozen_norm


def test_the_compiler_and_gradient_checkpointing_exclude_each_other(values: dict[str, Any]) -> None:
    config_from_dict(values | {"compile": True})
    with pytest.raises(InputError, match="compile and gradient_checkpointing exclude each other"):
        config_from_dict(values | {"compile": True, "gradient_checkpointing": True})


def test_policies_other_than_default_are_refused_on_the_device(values: dict[str, Any]) -> None:
    values |= {"augment": {"policy": "strong"}, "augment_on_device": True}
    with pytest.raises(InputError, match=r"true is for augment\.policy default without .*; augment\.policy strong runs in the loader"):
        config_from_dict(values)
    with pytest.raises(InputError, match=r"augment\.noise runs in the loader"):
        config_from_dict(values | {"augment": {"noise": 20}})
    assert config_from_dict(values | {"augment_on_device": "auto"}).augment.policy == "strong"
