"""DANN: features from which a discriminator cannot tell the domains (Ganin et al. 2016)."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from umsrep.errors import InputError


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        return gradients[0] * -ctx.weight, None


class GradientReversal(nn.Module):
    """The identity, whose gradient is ``-weight`` times the one that comes back (Ganin et al. 2016, equations 10 and 11).

    Attributes:
        weight: Lambda, 0 or more; set it anew in every step, for example to `dann_weight`.
    """

    def __init__(self, weight: float = 1.0) -> None:
        """Set the weight."""
        super().__init__()
        self.weight = weight

    @property
    def weight(self) -> float:
        """Lambda."""
        return self._weight

    @weight.setter
    def weight(self, value: float) -> None:
        if not math.isfinite(value) or value < 0:
            raise InputError(f"GradientReversal: weight must be a number of 0 or more, not {value}")
        self._weight = float(value)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``."""
        return cast(Tensor, _Reverse.apply(x, self._weight))

    def extra_repr(self) -> str:
        """Show the weight."""
        return f"weight={self._weight:g}"


def dann_weight(progress: float) -> float:
    """Return DANN's schedule ``lambda = 2 / (1 + exp(-10 p)) - 1`` (Ganin et al. 2016, section 5.2.2).

    Args:
        progress: p, from 0 in the first step to 1 in the last one of the whole training: ``step / max(1, steps - 1)``. Counted within
            an epoch, or over more steps than are made, lambda would never come to 1.

    Returns:
        0 at the beginning, 0.9999 at the end.

    Raises:
        InputError: for a progress outside 0-1.
    """
    if not 0 <= progress <= 1:
        raise InputError(f"dann_weight: progress must be between 0 and 1, not {progress}")
    return 2 / (1 + math.exp(-10 * progress)) - 1


class DomainDiscriminator(nn.Module):
    """Tells target features from source ones: two hidden layers, one logit.

    Without batch norm, whose statistics would tell it which domain a batch is from.
    """

    def __init__(self, features: int, hidden: int = 256) -> None:
        """Build the layers.

        Args:
            features: d.
            hidden: Units of each hidden layer.
        """
        super().__init__()
        if features < 1 or hidden < 1:
            raise InputError(f"DomainDiscriminator: features and hidden must be 1 or more, not {features} and {hidden}")
        self.layers = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Return [n] logits of being from the target, from features [n, d]."""
        return cast(Tensor, self.layers(features)).squeeze(-1)


def domain_adversarial_loss(discriminator: nn.Module, reversal: GradientReversal, source: Tensor, target: Tensor) -> Tensor:
    """Return the discriminator's loss behind the reversal; to be added to the tasks' losses and made small together with them.

    The discriminator learns to tell the domains, the features learn that it cannot: their gradient is reversed. The loss is the mean of
    the two domains' mean cross-entropies (nats), so that sets of different sizes count equally; ln 2 = 0.693 means that the domains
    cannot be told. A discriminator that outputs nothing but a guess has this value too, so it proves nothing alone.

    Args:
        discriminator: Such as `DomainDiscriminator`: [n, d] to [n].
        reversal: Holds lambda.
        source: [n, d], n 1 or more.
        target: [m, d], m 1 or more.

    Raises:
        InputError: for features of other axes or different d, or an empty set, or a loss that is not finite.
    """
    if source.ndim != 2 or target.ndim != 2 or source.shape[1] != target.shape[1] or not len(source) or not len(target):
        raise InputError(
            "domain_adversarial_loss: source and target must be features [N, D] of the same D, "
            f"not {list(source.shape)} and {list(target.shape)}"
        )
    logits = discriminator(reversal(torch.cat([source, target]))).float()
    of_source, of_target = logits[: len(source)], logits[len(source) :]
    loss = (F.softplus(of_source).mean() + F.softplus(-of_target).mean()) / 2
    if not bool(torch.isfinite(loss)):
        raise InputError("domain_adversarial_loss: the loss is not finite; lower the learning rate or check the images")
    return loss
