"""What a model costs: parameters, and multiply-accumulates counted by running it without numbers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from umsrep.zoo.results import Part

DEFAULT_SIZE = (224, 224)
"""Height and width taken where a contract keeps the size of the file."""


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters; a tensor that two modules share counts once, and buffers do not."""
    return sum(p.numel() for p in model.parameters())


def count_macs(model: nn.Module, size: Sequence[int], *, method: str = "forward") -> int:
    """Count the multiply-accumulates of one image.

    Those of convolutions, matrix products and attention, as papers do; norms, activations and resizing are left out. The model runs
    on the meta device in evaluation mode: no memory, no numbers, and ``model`` itself is not touched.

    Args:
        model: Takes [1, channels, height, width].
        size: (channels, height, width).
        method: Of the model that is called, for example "embed" for an `Encoder`.

    Returns:
        Multiply-accumulates; a common count of FLOPs is twice that.
    """
    shadow = _meta_copy(model)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        getattr(shadow, method)(torch.empty(1, *size, device="meta"))
    return int(counter.get_total_flops()) // 2


def cost_of(model: nn.Module, size: Sequence[int], *, method: str = "forward") -> Part:
    """Return parameters and multiply-accumulates; arguments as in `count_macs`."""
    return Part(parameters=count_parameters(model), macs=count_macs(model, size, method=method))


def _meta_copy(model: nn.Module) -> Any:
    """Copy the structure without copying the weights."""
    memo: dict[int, Any] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        empty = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty
    return copy.deepcopy(model, memo).eval()
