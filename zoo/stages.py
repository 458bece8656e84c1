"""The stages of a backbone, from input to output."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from timm.models._manipulate import group_with_matcher
from torch import Tensor, nn


def stages_of(backbone: nn.Module, *, coarse: bool, buffers: bool = False) -> list[list[str]]:
    """Return the names of a timm model's parameters, grouped from input to output.

    Args:
        backbone: A timm model.
        coarse: Stages instead of single blocks.
        buffers: With the names of buffers, such as the statistics of batch norms.
    """

    def tensors() -> Iterator[tuple[str, Tensor]]:
        yield from backbone.named_parameters()
        if buffers:
            yield from backbone.named_buffers()

    matcher = cast(Any, backbone).group_matcher(coarse=coarse)
    groups = cast("dict[int, list[str]]", group_with_matcher(tensors(), matcher))
    return [groups[k] for k in sorted(groups)]
