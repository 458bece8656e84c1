"""A study from beginning to end: its starts, its files, and going on where it stopped."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.tasks.study.studies import study_values
from umsrep.errors import InputError
from umsrep.tasks import trainer
from umsrep.tasks.cli import main
from umsrep.tasks.study import transfusion
from umsrep.tasks.study.config import Cell, Init, StudyConfig, load_study, study_from_dict
from umsrep.tasks.study.transfusion import initial_encoder, run_study
from umsrep.zoo import Encoder, InputContract

ROOT = Path(__file__).resolve().parents[3]


def short(data: Path, folder: Path, *inits: str) -> StudyConfig:
    """A study of one seed with only these starts."""
    values = study_values(data, folder) | {"seeds": [0]}
    values["encoders"]["cbr_tiny"]["inits"] = list(inits)
    return study_from_dict(values)


def test_starts_are_what_they_say_and_share_their_random_weights(tiny_data: Path, tmp_path: Path) -> None:
    study = study_from_dict(study_values(tiny_data, tmp_path))
    weights = study.encoders["cbr_tiny"][0]

    def start(init: str, seed: int = 0) -> dict[str, torch.Tensor]:
        return initial_encoder(study, Cell("cbr_tiny", weights, Init.parse(init), seed)).model.state_dict()

    assert weights is not None
    random, pretrained, part, gabor = start("random"), load_file(weights), start("transfuse:2"), start("gabor")
    other, again, drawn, whole = start("random", 1), start("random"), start("mean-var"), start("pretrained")
    for name, value in random.items():
        assert torch.equal(value, again[name])
        assert torch.equal(whole[name], pretrained[name])
        reused = name.startswith(("blocks.0", "blocks.1"))
        assert torch.equal(part[name], pretrained[name] if reused else value)
        assert torch.equal(gabor[name], value) == (name != "blocks.0.conv.weight")
        if name.endswith("conv.weight"):
            assert not torch.equal(value, other[name])
            assert not torch.equal(drawn[name], value)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = Encoder.create("cbr_tiny", contract=InputContract(size=32))
    assert torch.equal(plain.model.state_dict()["blocks.3.conv.weight"], random["blocks.3.conv.weight"])


def test_a_study_from_the_command_line_and_going_on(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    values = study_values(tiny_data, tmp_path) | {"seeds": [0]}
    values["encoders"]["cbr_tiny"]["inits"] = ["random", "frozen:3"]
    path, output = tmp_path / "study.yaml", tmp_path / "study"
    path.write_text(yaml.safe_dump(values))
    assert main(["study", "transfusion", "--config", str(path), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results == json.loads((output / "results.json").read_text())
    assert [(arm["init"], arm["parameters"], arm["stages"]) for arm in results["arms"]] == [
        ("random", 1_076_960, 4),
        ("frozen:3", 1_076_960, 4),
    ]
    for cell in results["cells"]:
        text = (output / "cells" / f"cbr_tiny_{cell['init'].replace(':', '-')}_0/metrics.jsonl").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        assert cell["curve"] == [{"step": e["step"], "auroc": e["validation"]["size"]["auroc"]} for e in lines]
        assert [p["step"] for p in cell["curve"]] == [1, 2]
        assert cell["test"]["auroc"] is not None
        alike = np.diag(cell["similarity"]["cka"])
        if cell["init"] == "frozen:3":  # batch norms of frozen stages stay, too
            np.testing.assert_allclose(alike[:3], 1, atol=1e-9)
            assert alike[3] < 1 - 1e-9
        else:
            assert (alike[1:] < 1 - 1e-9).all()
    assert "| cbr_tiny | 1,076,960 | frozen:3 |" in (output / "results.md").read_text()
    for name in ("convergence", "threshold", "sizes", "similarity", "depth"):
        with Image.open(output / f"{name}.png") as picture:
            assert min(picture.size) > 150
    assert not list(output.rglob("*.safetensors"))
    assert not list(output.rglob("*.pt"))

    def never(*_: Any) -> None:
        raise AssertionError("all cells are done")

    monkeypatch.setattr(transfusion, "_run_cell", never)
    assert main(["study", "transfusion", "--config", str(path)]) == 0
    assert capsys.readouterr().out.startswith("Transfusion study of size: 1 seed(s)")
    assert main(["study", "transfusion", "--config", str(path), "--base.epochs", "3"]) == 2
    assert "made with another base configuration or other weights" in capsys.readouterr().err


def test_a_cell_that_was_killed_before_its_end_goes_on_to_the_same_result(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = short(tiny_data, tmp_path, "transfuse:2")
    whole = run_study(dataclasses.replace(study, output=str(tmp_path / "whole")))
    real = trainer.fit

    def stopped(config: Any, **options: Any) -> Any:
        real(config, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(transfusion, "fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_study(study)
    assert not list((tmp_path / "study/cells").glob("*.json"))
    monkeypatch.setattr(transfusion, "fit", real)
    after = run_study(study)
    assert after["cells"][0]["test"] == whole["cells"][0]["test"]
    assert after["cells"][0]["curve"] == whole["cells"][0]["curve"]


def test_depths_that_are_not_there_are_refused_before_any_run(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="init 'frozen:4': stages must be 1 to 3; all of them is pretrained"):
        run_study(short(tiny_data, tmp_path, "random", "frozen:4"))
    assert not (tmp_path / "study").exists()


@pytest.mark.slow
def test_a_real_study_of_chest_radiographs(unpacked: Callable[[str], Path], shared_weights: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """ImageNet's weights learn faster than random ones, and their scale alone does not (one seed, a quarter of the example's steps)."""
    monkeypatch.chdir(ROOT)
    study = load_study(ROOT / "examples/study_transfusion.yaml")
    arch = "tf_efficientnet_lite0"
    encoders: dict[str, tuple[str | None, tuple[Init, ...]]] = {
        arch: (str(shared_weights / f"{arch}.imagenet.safetensors"), tuple(map(Init.parse, ("random", "mean-var", "pretrained"))))
    }
    data = [{"path": str(unpacked("cxr_guangzhou")), "fraction": 0.0625}]
    base = study.base | {"data": data, "epochs": 3}
    study = dataclasses.replace(study, output=str(tmp_path / "study"), seeds=(0,), encoders=encoders, base=base)
    results = run_study(study)
    random, scale, pretrained = (arm["best_auroc"]["mean"] for arm in results["arms"])
    assert pretrained > max(random, scale)
    assert pretrained > 0.8
    with (unpacked("cxr_guangzhou") / "metadata.csv").open() as table:
        assert sum(row["split"] == "train" for row in csv.DictReader(table)) > 4000
