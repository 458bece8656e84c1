"""A fine-tuned encoder averaged with the weights that it was fine-tuned from: WiSE-FT.

Wortsman et al. 2022, Robust fine-tuning of zero-shot models.
"""

from __future__ import annotations

from pathlib import Path

import torch

from umsrep.errors import InputError
from umsrep.zoo import hub
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
        InputError: for a share out of range, or weights that are missing, of another architecture, or not finite.
    """
    check_share(share)
    if not weights:  # from Python also None, which elsewhere stands for random weights
        raise InputError("blend: weights must name a safetensors file")
    given = encoder._fitting(hub.read_tensors(Path(weights)), str(weights))
    for name, start in given.items():
        if start.is_floating_point() and not bool(torch.isfinite(start).all()):
            raise InputError(f"{weights}: {name} holds NaN or infinite values")
    with torch.no_grad():
        own = encoder.model.state_dict()
        mixed = {k: v.lerp(given[k].to(v), 1 - share) if v.is_floating_point() else v.clone() for k, v in own.items()}
        encoder.model.load_state_dict(mixed)


def check_share(share: object, where: str = "") -> None:
    """Refuse a share that is no number above 0 and at most 1.

    Raises:
        InputError: beginning with ``where``.
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:  # NaN compares as false
        raise InputError(f"{where}share must be above 0 and at most 1, not {share!r}")
