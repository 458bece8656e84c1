"""From a configuration to encoder and objective."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.tasks.runs import ARCH
from umsrep.errors import InputError
from umsrep.tasks.pretrain.config import PretrainConfig
from umsrep.tasks.pretrain.config_file import pretrain_config_from_dict
from umsrep.tasks.pretrain.objectives import DenoisingObjective, MaskedObjective
from umsrep.tasks.pretrain.setup import build_encoder, build_objective
from umsrep.zoo import Encoder, InputContract


def config(**changes: Any) -> PretrainConfig:
    base: dict[str, Any] = {"method": "masked", "data": [{"path": "d"}], "output": "o", "encoder": {"arch": ARCH}, "image_size": 32}
    made = pretrain_config_from_dict(base | changes)
    assert isinstance(made, PretrainConfig)
    return made


def test_encoders_from_arch_and_from_a_folder(tmp_path: Path) -> None:
    encoder = build_encoder(config(encoder={"arch": ARCH, "in_channels": 3, "mean": 0.4, "modality": "us"}))
    assert (encoder.contract.channels, encoder.contract.size, encoder.contract.mean, encoder.modality) == (3, (32, 32), 0.4, "us")
    Encoder.create(ARCH, contract=InputContract(size=64), modality="cxr").save_pretrained(tmp_path / "e")
    named = {"encoder": {"name": str(tmp_path / "e")}, "image_size": None}
    assert (build_encoder(config(**named)).contract.size, build_encoder(config(**named)).modality) == ((64, 64), "cxr")
    assert build_encoder(config(**named | {"image_size": [32, 64]})).contract.size == (32, 64)
    with pytest.raises(InputError, match="a model opened by name has its own"):
        config(encoder={"name": str(tmp_path / "e"), "mean": 0.3})
    with pytest.raises(InputError, match="set image_size"):
        build_encoder(config(image_size=None))
    with pytest.raises(InputError, match="unknown arch"):
        build_encoder(config(encoder={"arch": "resnet5"}))


def test_a_blended_start(tmp_path: Path) -> None:
    Encoder.create(ARCH, contract=InputContract(size=32)).save_pretrained(tmp_path / "e")
    start = Encoder.create(ARCH, contract=InputContract(size=32)).model.state_dict()
    save_file(start, tmp_path / "start.safetensors")
    named = {"name": str(tmp_path / "e")}
    plain = build_encoder(config(encoder=named)).model.state_dict()
    mixed = build_encoder(config(encoder=named | {"blend": {"weights": str(tmp_path / "start.safetensors"), "share": 0.25}}))
    weights = {k: v for k, v in mixed.model.state_dict().items() if v.is_floating_point()}
    assert all(torch.allclose(v, 0.25 * plain[k] + 0.75 * start[k], atol=1e-6) for k, v in weights.items())


def test_each_method_has_its_objective() -> None:
    masked = build_objective(config(masked={"patch": 4}), build_encoder(config()))
    assert isinstance(masked, MaskedObjective)
    assert masked.patch == 4
    denoising = config(method="denoising", denoising={"noise": "speckle", "level": [5, 10]})
    objective = build_objective(denoising, build_encoder(denoising))
    assert isinstance(objective, DenoisingObjective)
    assert (objective.task.noise, objective.task.level) == ("speckle", (5.0, 10.0))
    pytest.importorskip("lightly")
    from umsrep.tasks.pretrain.contrasting import DinoObjective, MocoObjective

    moco = build_objective(config(method="moco", moco={"queue": 8, "dim": 4, "hidden": 4}), build_encoder(config()))
    assert isinstance(moco, MocoObjective)
    assert moco.get_extra_state()["queue"].shape == (8, 4)
    assert isinstance(build_objective(config(method="dino", dino={"outputs": 8}), build_encoder(config())), DinoObjective)
