"""The batch norms of a model, as test-time adaptation sees them."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from umsrep.errors import InputError


def batch_norms(model: nn.Module) -> dict[str, _BatchNorm]:
    """Return a model's batch norms by name, timm's with an activation among them; a module that appears twice comes once."""
    return {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}


def refuse(what: str, model: nn.Module, lack: str) -> InputError:
    """Return the error of a method that needs what a model does not have."""
    return InputError(f"{what}: {type(model).__name__} has {lack}; models of layer or group norms cannot be adapted in this way")
