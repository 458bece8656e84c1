"""Tiny networks with batch norms, for the tests of adaptation."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Plain(nn.Module):
    """Two convolutions with norms and dropout between them; classifies [B, 3], or segments [B, 3, H, W]."""

    def __init__(self, *, dense: bool = False, classes: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6)
        )
        self.head = nn.Conv2d(6, classes, 1)
        self.dense = dense

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        out: Tensor = self.head(self.body(x).relu())
        return out if self.dense else out.mean((2, 3))


def trained_norms(model: nn.Module) -> nn.Module:
    """Give norms statistics, gamma and beta that are not those of a new model."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    return model.eval()


def images(n: int = 20, side: int = 8) -> Tensor:
    """Images of a target: brighter and of more contrast than a norm expects."""
    return torch.rand(n, 1, side, side) * 3 + torch.rand(n, 1, 1, 1)
