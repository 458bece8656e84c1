"""Build a model that stored weights will fill: without memory for them, without random values, and never larger than it may be."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from umsrep.errors import InputError

MOST_TENSORS = 6_000  # timm's efficientnet_l2 and hrnet_w64 store about 1,950
MOST_ELEMENTS = 2**27  # in one computed tensor, such as a table of relative positions
# what only gives values: without effect on the meta device, where torch takes long to find that out
_ARITHMETIC = ("normal_", "uniform_", "zero_", "fill_", "mul_", "div_", "add_", "sub_", "clamp_", "erfinv_", "copy_")
_INITS = ("ones_", "zeros_", "constant_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_", "xavier_normal_", "xavier_uniform_")
_FILLS = frozenset(_ARITHMETIC + _INITS)
_SIZED = frozenset({torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn})


class TooLarge(InputError):
    """The configuration asks for a model that its weights cannot fill."""


class Construction(TorchFunctionMode):
    """While active, ``torch.empty`` (in which layers keep what is still to be filled) is made on the meta device.

    So weights take no memory and their random initial values no time, while everything computed (batch-norm statistics, tables of
    positions, tensors of zeros or ones) is real. Acts on this thread alone. Whoever uses it assigns every parameter afterwards, calls
    `recompute` and checks with `unfilled` that nothing was left.
    """

    def __init__(self, where: str, *, elements: int = MOST_ELEMENTS, empty_on_meta: bool = True) -> None:
        """Prepare.

        Args:
            where: Named in the error.
            elements: How many values the real tensors may have together; asked for before memory is taken.
            empty_on_meta: False for models that will be filled by copying.
        """
        super().__init__()
        self.where, self.left, self.empty_on_meta = where, elements, empty_on_meta
        self.tensors = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count what is asked for, move torch.empty to the meta device, and do everything else."""
        kwargs = kwargs or {}
        filled = args[0] if args else kwargs.get("tensor")
        if isinstance(filled, Tensor) and filled.is_meta and getattr(func, "__name__", "") in _FILLS:
            return filled
        if func in _SIZED:
            self.tensors += 1
            if func is torch.empty and self.empty_on_meta:
                kwargs = {**kwargs, "device": "meta"}
            elif str(kwargs.get("device")) != "meta":
                self.left -= _elements(args, kwargs)
            if self.tensors > MOST_TENSORS or self.left < 0:
                raise TooLarge(f"{self.where}: asks for a model that is far larger than its weights")
        result = func(*args, **kwargs)
        computed = isinstance(result, Tensor) and func not in _SIZED and not any(result is given for given in (*args, *kwargs.values()))
        if computed and result.is_meta and result.numel() > MOST_ELEMENTS:
            raise TooLarge(f"{self.where}: asks for a model with a tensor of {result.numel():,} values")
        return result


def unfilled(module: torch.nn.Module) -> list[str]:
    """Return the names of tensors that are still on the meta device: parameters, buffers and plain attributes."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    tensors += [(f"{name}.{key}", v) for name, part in module.named_modules() for key, v in vars(part).items() if isinstance(v, Tensor)]
    return [name for name, tensor in tensors if tensor.is_meta]


def recompute(module: torch.nn.Module) -> None:
    """Give computed buffers that timm first makes empty (tables of positions, masks) their values, by timm's own convention."""
    for part in module.modules():
        compute = getattr(part, "init_non_persistent_buffers", None)
        empty = {name: buffer for name, buffer in part._buffers.items() if buffer is not None and buffer.is_meta}
        if empty and compute is not None:
            for name, buffer in empty.items():  # a value that timm left out would not pass unseen
                part._buffers[name] = torch.full_like(buffer, float("nan") if buffer.is_floating_point() else -1, device="cpu")
            compute()


def _elements(args: Any, kwargs: Any) -> int:
    sizes = kwargs.get("size", args)
    if len(sizes) and isinstance(sizes[0], list | tuple):
        sizes = sizes[0]
    return math.prod(n for n in sizes if isinstance(n, int))
