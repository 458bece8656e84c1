"""Blending: a straight line between two sets of weights, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from umsrep.errors import InputError
from umsrep.zoo import Encoder, InputContract
from umsrep.zoo.blending import blend

ARCH = "test_resnet"


def encoder(seed: int) -> Encoder:
    torch.manual_seed(seed)
    return Encoder.create(ARCH, contract=InputContract(size=32))


@pytest.fixture
def start(tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    """Other weights of the same architecture, as a file."""
    state = {name: value.clone() for name, value in encoder(1).model.state_dict().items()}
    for name, value in state.items():
        if name.endswith("running_var"):
            value.fill_(3.0)
    save_file(state, tmp_path / "start.safetensors")
    return tmp_path / "start.safetensors", state


def test_weights_and_norm_buffers_lie_on_the_line(start: tuple[Path, dict[str, Tensor]]) -> None:
    path, other = start
    for share in (0.25, 1.0):
        made = encoder(0)
        own = {name: value.clone() for name, value in made.model.state_dict().items()}
        blend(made, path, share)
        for name, value in made.model.state_dict().items():
            wanted = share * own[name] + (1 - share) * other[name] if value.is_floating_point() else own[name]
            torch.testing.assert_close(value, wanted, msg=name)
    assert any(not torch.equal(own[name], other[name]) for name in own), "the two differ"


def test_the_encoder_still_works_and_saves(start: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    made = encoder(0).eval()
    blend(made, start[0], 0.5)
    made.save_pretrained(tmp_path / "blend")
    x = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(Encoder.from_pretrained(tmp_path / "blend")(x)[-1], made(x)[-1])


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_out_of_range_is_refused(share: float, start: tuple[Path, dict[str, Tensor]]) -> None:
    with pytest.raises(InputError, match="share must be above 0 and at most 1"):
        blend(encoder(0), start[0], share)


@pytest.mark.parametrize("share", ["a", None, True])
def test_a_share_that_is_no_number_is_refused(share: Any, start: tuple[Path, dict[str, Tensor]]) -> None:
    with pytest.raises(InputError, match="share must be above 0 and at most 1"):
        blend(encoder(0), start[0], share)


def test_a_start_that_is_no_weights_is_refused(start: tuple[Path, dict[str, Tensor]]) -> None:
    nothing: Any = None
    with pytest.raises(InputError, match="must name a safetensors file"):
        blend(encoder(0), nothing)
    state = start[1] | {"conv1.0.weight": torch.full_like(start[1]["conv1.0.weight"], float("nan"))}
    save_file(state, start[0])
    with pytest.raises(InputError, match=r"conv1\.0\.weight holds NaN"):
        blend(encoder(0), start[0])


def test_weights_of_another_architecture_are_refused(start: tuple[Path, dict[str, Tensor]]) -> None:
    torch.manual_seed(0)
    other = Encoder.create("test_efficientnet", contract=InputContract(size=32))
    with pytest.raises(InputError, match=r"start\.safetensors"):
        blend(other, start[0], 0.5)
