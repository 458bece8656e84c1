"""Parameters and multiply-accumulates, against counts by hand and published ones."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from umsrep.zoo.cost import cost_of, count_macs, count_parameters


def test_a_convolution_and_a_linear_layer_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    assert count_macs(model, (3, 10, 12)) == 10 * 12 * 8 * 3 * 9 + 8 * 5
    assert count_parameters(model) == 8 * 3 * 9 + 8 * 5 + 5
    grouped = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8)
    assert count_macs(grouped, (8, 16, 16)) == 8 * 8 * 8 * 9


def test_attention_counts_its_products() -> None:
    class Attend(nn.Module):
        def forward(self, x_BCHW: Tensor) -> Tensor:
            tokens = x_BCHW.flatten(2).transpose(1, 2)  # [1, N, C]
            return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)

    assert count_macs(Attend(), (16, 4, 4)) == 2 * 16 * 16 * 16


def test_the_published_count_of_a_known_model() -> None:
    part = cost_of(timm.create_model("resnet18"), (3, 224, 224))
    assert part.parameters == 11_689_512
    assert part.macs == pytest.approx(1.814e9, rel=1e-3)  # torchvision's table: 1.81 G


def test_shared_tensors_count_once() -> None:
    layer = nn.Linear(4, 4)
    assert count_parameters(nn.Sequential(layer, layer)) == 20


def test_the_model_is_not_touched() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1)).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    count_macs(model, (3, 8, 8))
    assert model.training
    assert all(p.device.type == "cpu" for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
