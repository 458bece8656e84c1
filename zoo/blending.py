"""A fine-tuned encoder averaged with the weights that it was fine-tuned from: WiSE-FT.

Wortsman et al. 2022, Robust fine-tuning of zero-shot models.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

from umsrep.errors import InputError
from umsrep.zoo.encoder import Encoder


def blend(encoder: Encoder, weights: str | Path, share: float = 0.5) -> None:
    """Replace an encoder's weights W by ``share`` W + (1 - ``share``) W0, buffers of norms likewise.

    Fine-tuning on few labels specialises features; the average keeps more of what W0 knows. Heads that were trained on W do not fit
    it any more: train them again, with the encoder frozen. Averages of weights that do not descend from W0 are of no use, and nothing
    here can tell.

    Args:
        encoder: Changed in place.
        weights: W0, a safetensors file in timm's key names, as `Encoder.create` takes it.
        share: Of the encoder's own weights, above 0 and at most 1.

    Raises:
        InputError: for a share out of range, or weights of another architecture.
    """
    if not 0 < share <= 1 or math.isnan(share):
        raise InputError(f"share must be above 0 and at most 1, not {share}")
    start = Encoder.create(encoder.arch, contract=encoder.contract, weights=weights).state_dict()
    with torch.no_grad():
        for name, value in encoder.state_dict().items():
            if value.is_floating_point():
                value.lerp_(start[name].to(value), 1 - share)
