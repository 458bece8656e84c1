"""Gradient checkpointing (Chen et al. 2016): keep a block's input alone, and compute the block again for its gradients.

timm's own switch does not serve here: a block that is computed again in training mode counts its batch a second time in the running
statistics (timm 1.0.31: resnet18, tf_efficientnet_lite0, mobilenetv3, densenet121 and regnetx). Noisy images moreover pass the encoder with
the batch norms in evaluation mode, and by the time of the second computation these are in training mode again.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from umsrep.errors import InputError
from umsrep.tasks.model import MultiTaskModel
from umsrep.zoo.stages import stages_of

LEAST = 3
"""An encoder of fewer blocks gains nothing: one block at a time is all of it."""


def blocks_of(model: MultiTaskModel) -> list[nn.Module]:
    """Return the modules to compute again: the blocks of the encoder, as timm groups them, and the decoders.

    Raises:
        InputError: for an encoder that is not made of blocks.
    """
    backbone = model.encoder.model
    group_of = {name: number for number, names in enumerate(stages_of(backbone, coarse=False)) for name in names}
    blocks = list(_within_a_group(backbone, "", group_of))
    if len(blocks) < LEAST:
        raise InputError(
            f"config: gradient_checkpointing: {model.encoder.arch} is not made of blocks that can be computed one by one; set it to false, "
            "or lower batch_size"
        )
    own_decoders = (getattr(head, "decoder", None) for head in model.heads.values())
    return [*blocks, *model.decoders.values(), *(decoder for decoder in own_decoders if isinstance(decoder, nn.Module))]


def _within_a_group(module: nn.Module, prefix: str, group_of: Mapping[str, int]) -> Iterator[nn.Module]:
    """Give the largest modules whose weights are of one group, layers alone left out: to compute one anew keeps as much as it frees."""
    for name, child in module.named_children():
        groups = {group_of[f"{prefix}{name}.{parameter}"] for parameter, _ in child.named_parameters()}
        if len(groups) > 1:
            yield from _within_a_group(child, f"{prefix}{name}.", group_of)
        elif sum(any(True for _ in layer.parameters(recurse=False)) for layer in child.modules()) > 1:
            yield child


@contextlib.contextmanager
def recomputed(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Within it, forward passes of these modules keep only their inputs."""
    for block in blocks:
        # on the instance, and only for this pass: copies of the model (its moving average) must not run this one's weights
        block.forward = functools.partial(_run, block)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


def _run(block: nn.Module, *args: Any, **options: Any) -> Any:
    before = _AsBefore({module: module.training for module in block.modules()})
    forward = functools.partial(type(block).forward, block)
    now = [list(value) if isinstance(value, list) else value for value in args]  # DenseNet's list of features grows after this
    return checkpoint(forward, *now, use_reentrant=False, context_fn=lambda: (contextlib.nullcontext(), before), **options)


class _AsBefore(contextlib.AbstractContextManager[None]):
    """Puts modules into the modes that they had in the first pass, batch norms without counting the batch again; any number of times."""

    def __init__(self, modes: dict[nn.Module, bool]) -> None:
        self.modes = modes
        self.now: dict[nn.Module, bool] = {}
        self.counting = [m for m, training in modes.items() if training and isinstance(m, _BatchNorm) and m.track_running_stats]
        self.statistics: list[dict[str, Tensor | None]] = []

    def __enter__(self) -> None:
        self.now = {module: module.training for module in self.modes}
        for module, training in self.modes.items():
            module.training = training
        self.statistics = [dict(norm._buffers) for norm in self.counting]
        for norm in self.counting:  # copies are counted into; without any, other tensors would be kept than in the first pass
            norm._buffers.update({name: None if value is None else value.clone() for name, value in norm._buffers.items()})

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for module, training in self.now.items():
            module.training = training
        for norm, buffers in zip(self.counting, self.statistics, strict=True):
            norm._buffers.update(buffers)
        self.statistics = []
