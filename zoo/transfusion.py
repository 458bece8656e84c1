"""What of pretrained weights helps: their scale alone, their first stages, or the shape of the first filters (Transfusion).

Raghu, Zhang, Kleinberg, Bengio: Transfusion: Understanding Transfer Learning for Medical Imaging, NeurIPS 2019.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from umsrep.errors import InputError
from umsrep.zoo.encoder import Encoder
from umsrep.zoo.stages import stages_of

ModelT = TypeVar("ModelT", bound=nn.Module)
_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
_ORIENTATIONS = 8


@dataclasses.dataclass(frozen=True)
class Initialisation(Generic[ModelT]):
    """A newly initialised copy of a model, and where each of its tensors comes from, by timm's names in the backbone.

    Attributes:
        model: The copy; the models it was made from stay as they are.
        copied: Taken over bit by bit.
        drawn: Drawn or computed anew.
        reset: Norms set to their start (weight 1, bias 0, mean 0, variance 1) and biases set to 0.
        kept: As they were in the target.
    """

    model: ModelT
    copied: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
    reset: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def mean_var_init(target: ModelT, pretrained: nn.Module, *, generator: torch.Generator | None = None) -> Initialisation[ModelT]:
    """Draw each convolution and linear layer from the normal distribution that has the mean and variance of its pretrained weights.

    It keeps the scale of each layer and none of its features (section 5.1 of the paper). Biases become 0 and norms start anew: a
    running variance drawn like a weight could be negative. What is neither (position embeddings, class tokens, layer scales) is kept.

    Args:
        target: Encoder or timm model; left as it is.
        pretrained: Encoder or timm model with the same layers and shapes.
        generator: Of the draws, on the CPU; None takes torch's own.

    Raises:
        InputError: where a layer is missing or has another shape.
    """
    made = copy.deepcopy(target)
    own, source = _backbone(made), _backbone(pretrained)
    weights = _matching(own.state_dict(), source.state_dict(), list(own.state_dict()), "mean_var_init")
    drawn, reset = [], []
    with torch.no_grad():
        for name, module in own.named_modules():
            prefix = f"{name}." if name else ""
            if isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
                values = weights[f"{prefix}weight"].double()
                noise = torch.randn(module.weight.shape, generator=generator, dtype=torch.float64)
                module.weight.copy_(values.mean().cpu() + values.std(correction=0).cpu() * noise)
                drawn.append(f"{prefix}weight")
                if module.bias is not None:
                    module.bias.zero_()
                    reset.append(f"{prefix}bias")
            elif isinstance(module, _NORMS):
                module.reset_parameters()
                reset += [f"{prefix}{n}" for n in module.state_dict()]
    return _made(made, drawn=drawn, reset=reset)


def transfuse(target: ModelT, source: nn.Module, stages: int) -> Initialisation[ModelT]:
    """Copy the first stages of a model into another, whose other stages stay (weight transfusion, section 5.2 of the paper).

    For the paper's experiment the target has random weights and all of it trains; for a frozen prefix train with ``strategy:
    partial``. The upper stages may have other widths than the source's (the paper's slim hybrids).

    Args:
        target: Encoder or timm model; left as it is.
        source: Encoder or timm model whose first stages have the same layers and shapes.
        stages: How many: 0 copies nothing, the number of `stages_of` everything. The first is the stem.

    Raises:
        InputError: for another number of stages, or a copied layer that is missing or has another shape.
    """
    made = copy.deepcopy(target)
    own = _backbone(made)
    groups = stages_of(own, coarse=True, buffers=True)
    if not 0 <= stages <= len(groups):
        raise InputError(f"transfuse: stages must be 0 to {len(groups)} for this architecture, not {stages}")
    state = own.state_dict()
    names = [name for group in groups[:stages] for name in group if name in state]  # buffers that are computed are not in it
    given = _matching(state, _backbone(source).state_dict(), names, f"transfuse: stages 1 to {stages}")
    with torch.no_grad():
        for name in names:
            state[name].copy_(given[name])
    return _made(made, copied=names)


def gabor_init(target: ModelT) -> Initialisation[ModelT]:
    """Give the first convolution Gabor filters and keep the rest (section 5.2 of the paper: features of edges without any training).

    Args:
        target: Encoder or timm model; left as it is. The filters have the standard deviation of the weights that they replace.

    Raises:
        InputError: where the first convolution is smaller than 3x3 or grouped.
    """
    made = copy.deepcopy(target)
    own = _backbone(made)
    name, first = next(((n, m) for n, m in own.named_modules() if isinstance(m, nn.Conv2d)), ("", None))
    if first is None or min(first.kernel_size) < 3 or first.groups != 1:
        raise InputError("gabor_init: the model's first layer is no ungrouped convolution of 3x3 or more")
    height, width = first.kernel_size
    with torch.no_grad():
        filters = gabor_filters(first.out_channels, (height, width))[:, None].expand_as(first.weight)
        first.weight.copy_(filters * (first.weight.std(correction=0) / filters.std(correction=0)))
        if first.bias is not None:
            first.bias.zero_()
    return _made(made, drawn=[f"{name}.weight"], reset=[f"{name}.bias"] if first.bias is not None else [])


def gabor_filters(count: int, size: tuple[int, int]) -> Tensor:
    """Return Gabor filters, float64 [count, height, width]; each has mean 0 and sum of squares 1.

    A wave cos(2 pi f u + phase) under a Gaussian of one octave (standard deviation 0.56 / f, at most a third of the kernel), u
    along the orientation: 8 orientations, even and odd phase, and as many frequencies as are needed, evenly spaced in octaves from
    one period a kernel to one in three pixels.
    """
    height, width = size
    v, u = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in (height, width)),
        indexing="ij",
    )
    low, high = 1 / max(size), 1 / 3
    levels = -(-count // (2 * _ORIENTATIONS))
    filters = []
    for k in range(count):
        turn, level, odd = k % _ORIENTATIONS, k // _ORIENTATIONS // 2, k // _ORIENTATIONS % 2
        angle = math.pi * turn / _ORIENTATIONS
        frequency = low * (high / low) ** (level / max(1, levels - 1)) if levels > 1 else math.sqrt(low * high)
        deviation = min(0.56 / frequency, max(size) / 3)
        along = u * math.cos(angle) + v * math.sin(angle)
        envelope = torch.exp(-(u**2 + v**2) / (2 * deviation**2))
        wave = torch.cos(2 * math.pi * frequency * along - odd * math.pi / 2) * envelope
        wave = wave - envelope * (wave.sum() / envelope.sum())  # no answer to a flat image
        filters.append(wave / wave.norm())
    return torch.stack(filters)


def _backbone(model: nn.Module) -> nn.Module:
    return model.model if isinstance(model, Encoder) else model


def _matching(own: dict[str, Tensor], given: dict[str, Tensor], names: list[str], what: str) -> dict[str, Tensor]:
    """Return the given tensors of these names, which must have the shapes of the own."""
    for name in names:
        if name not in given:
            raise InputError(f"{what}: the source has no '{name}'; both must be of the same architecture there")
        if given[name].shape != own[name].shape:
            raise InputError(f"{what}: '{name}' has shape {tuple(given[name].shape)} in the source, {tuple(own[name].shape)} in the target")
    return {name: given[name] for name in names}


def _made(model: ModelT, **parts: list[str]) -> Initialisation[ModelT]:
    named = {name for names in parts.values() for name in names}
    kept = [name for name in _backbone(model).state_dict() if name not in named]
    return Initialisation(model, kept=tuple(kept), **cast(Any, {part: tuple(names) for part, names in parts.items()}))
