"""Building without memory or random values gives the same model as timm's own way, and never a larger one than its weights."""

from __future__ import annotations

import itertools
import threading
from typing import Any, cast

import pytest
import timm
import torch
from torch import nn

from tests.conformance import perturb
from umsrep.errors import InputError
from umsrep.zoo.construction import MOST_TENSORS, Construction, TooLarge, recompute, unfilled

# one of each family that computes something when it is built: positions, rotary tables, masks, scales, attention biases
ARCHS = [
    "test_vit",
    "test_vit_relpos",
    "test_convnext2",
    "test_efficientnet",
    "test_nfnet",
    "test_maxvit",
    "test_coatnet",
    "levit_128s",
    "efficientformerv2_s0",
    "xcit_nano_12_p16_224",
    "swin_tiny_patch4_window7_224",
    "swinv2_cr_tiny_224",
    "eva02_tiny_patch14_224",
]


@pytest.mark.parametrize("arch", ARCHS)
def test_assigned_weights_make_the_same_model(arch: str) -> None:
    reference = timm.create_model(arch, num_classes=0)
    perturb(reference)
    reference.eval()
    with Construction("here"):
        model = timm.create_model(arch, num_classes=0)
    model.load_state_dict(reference.state_dict(), strict=True, assign=True)
    recompute(model)
    assert not unfilled(model)
    own, theirs = dict(model.named_buffers()), dict(reference.named_buffers())  # also those that are not stored
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[name], theirs[name]) for name in own)
    size = cast(Any, reference).pretrained_cfg["input_size"]
    x_BCHW = torch.rand(2, *size)
    with torch.no_grad():
        assert torch.equal(model.eval()(x_BCHW), reference(x_BCHW))
    assert [p.requires_grad for p in model.parameters()] == [p.requires_grad for p in reference.parameters()]


def test_weights_take_no_memory_and_the_rest_is_real() -> None:
    with Construction("here"):
        layer = nn.Sequential(nn.Linear(100_000, 100_000), nn.BatchNorm2d(4))  # 40 GB
    assert unfilled(layer) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert torch.equal(layer.state_dict()["1.running_var"], torch.ones(4))


def test_plain_attributes_are_found() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.empty(3)

    with Construction("here"):
        assert unfilled(nn.Sequential(Odd())) == ["0.table"]


@pytest.mark.parametrize(
    "build", [lambda: torch.zeros(11), lambda: torch.ones((3, 4)), lambda: torch.full((11,), 1.0), lambda: torch.randn(size=(2, 6))]
)
def test_real_tensors_have_a_limit(build: object) -> None:
    assert callable(build)
    with pytest.raises(TooLarge, match="here: asks for a model that is far larger than its weights"), Construction("here", elements=10):
        build()
    with Construction("here", elements=12):
        build()


def test_copied_weights_have_a_limit_too() -> None:
    with Construction("here", elements=1000, empty_on_meta=False):
        assert not nn.Linear(10, 10).weight.is_meta
    with pytest.raises(InputError), Construction("here", elements=1000, empty_on_meta=False):
        nn.Linear(10**6, 10**6)


def test_a_model_of_endless_layers_is_stopped() -> None:
    built = itertools.count()
    with pytest.raises(TooLarge), Construction("here"):
        nn.Sequential(*(nn.Linear(1, next(built) * 0 + 1) for _ in itertools.count()))
    assert next(built) == MOST_TENSORS // 2 + 1


def test_a_computed_giant_is_stopped_on_the_meta_device() -> None:
    with pytest.raises(TooLarge, match="a tensor of 2,500,000,000 values"), Construction("here"), torch.device("meta"):
        torch.arange(50_000)[:, None] - torch.arange(50_000)[None, :]


def test_other_threads_are_left_alone() -> None:
    found: list[torch.Tensor] = []
    with Construction("here"):
        thread = threading.Thread(target=lambda: found.append(torch.empty(3)))
        thread.start()
        thread.join()
        assert torch.empty(3).is_meta
    assert not found[0].is_meta
