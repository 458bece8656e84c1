"""A loss on the encoder's features of source and target: Deep CORAL, MMD, or DANN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from umsrep.tasks.adapt import DomainDiscriminator, GradientReversal, dann_weight, deep_coral_loss, domain_adversarial_loss, mmd_loss
from umsrep.tasks.config_unlabelled import AdaptConfig


class DomainLoss(nn.Module):
    """The distance between the features of a batch's labelled images and those of its target images.

    CORAL and MMD are computed on the features of all processes, so that they and their gradients do not depend on how many there are.
    DANN's discriminator is a part of this module, so that it is trained, wrapped and saved with the rest.

    Attributes:
        progress: Steps done as a share of the run's, for DANN's lambda; set before each step.
        pooled: Whether it wants the encoder's features: yes.
    """

    pooled = True

    def __init__(self, config: AdaptConfig, features: int) -> None:
        """Set up for features [n, ``features``]."""
        super().__init__()
        self.config = config
        self.progress = 0.0
        if config.method == "dann":
            self.discriminator = DomainDiscriminator(features)
            self.reversal = GradientReversal(0.0)

    @property
    def names(self) -> list[str]:
        """What it adds to a step's losses."""
        return [f"adapt/{self.config.method}"]

    def forward(
        self, outputs: Mapping[str, Tensor], features: Tensor | None, batch: Mapping[str, Any], world_size: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what to differentiate and what to report.

        Args:
            outputs: Not used.
            features: [B + U, D] of this process: labelled images first.
            batch: Its ``image`` has the B rows of the source.
            world_size: Gradients are averaged over this many processes.

        Returns:
            The weighted term, and this process's part of the loss.
        """
        assert features is not None
        count = len(batch["image"])
        source, target = features[:count].float(), features[count:].float()
        if self.config.method == "dann":
            self.reversal.weight = dann_weight(self.progress)
            loss = domain_adversarial_loss(self.discriminator, self.reversal, source, target)
            return self.config.factor * loss, {self.names[0]: loss.detach() / world_size}
        source, target = _of_all(source, world_size), _of_all(target, world_size)
        loss = deep_coral_loss(source, target) if self.config.method == "coral" else mmd_loss(source, target, self.config.bandwidths)
        # each process differentiates by its own rows alone: the average over processes is made the sum
        return world_size * self.config.factor * loss, {self.names[0]: loss.detach() / world_size}


def _of_all(own: Tensor, world_size: int) -> Tensor:
    """Return the rows of all processes, of which only this one's own have a gradient; equally many on each."""
    if world_size == 1 or not torch.distributed.is_initialized():
        return own
    parts = [torch.empty_like(own) for _ in range(world_size)]
    torch.distributed.all_gather(parts, own.detach().contiguous())
    parts[torch.distributed.get_rank()] = own
    return torch.cat(parts)
