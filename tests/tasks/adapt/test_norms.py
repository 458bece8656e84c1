from __future__ import annotations

from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from umsrep.errors import InputError
from umsrep.tasks.adapt.norms import batch_norms, refuse


def test_finds_batch_norms_of_torch_and_timm_and_nothing_else() -> None:
    shared = nn.BatchNorm1d(2)
    model = nn.ModuleDict(
        {"a": shared, "b": shared, "c": BatchNormAct2d(3), "d": nn.LayerNorm(2), "e": nn.InstanceNorm2d(2), "f": nn.GroupNorm(1, 2)}
    )
    assert list(batch_norms(model)) == ["a", "c"]


def test_refusal_names_method_and_model() -> None:
    error = refuse("Tent", nn.Linear(1, 1), "no batch norm")
    assert isinstance(error, InputError)
    assert str(error).startswith("Tent: Linear has no batch norm")
