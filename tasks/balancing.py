"""Tasks that pull the shared weights apart: measured by their gradients, and projected against each other where wanted."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from accelerate import Accelerator
from torch import Tensor

from umsrep.tasks.step import JointStep


class Balancer:
    """From the tasks' terms of the loss to the gradients of all weights.

    Attributes:
        synchronised: Whether a distributed wrapper shall average the gradients; with projection this class does, task by task.
    """

    def __init__(self, accelerator: Accelerator, module: JointStep, *, project: bool, seed: int) -> None:
        """Set up; ``project`` uses `project_conflicts`, whose random order comes from ``seed``."""
        self.accelerator, self.module, self.project, self.seed = accelerator, module, project, seed
        self.synchronised = not project

    def backward(self, terms: Mapping[str, Tensor], draw: int) -> None:
        """Add the gradient of the sum of the terms to the weights' ``grad``; ``draw`` counts the batches of the run."""
        if not self.project:
            self.accelerator.backward(torch.stack(list(terms.values())).sum())
            return
        parameters = [p for p in self.module.parameters() if p.requires_grad]
        shared = {id(p) for part in (self.module.model.encoder, self.module.model.decoders) for p in part.parameters()}
        gradients = [self._gradient(term, parameters) for term in terms.values()]
        places = torch.cat([torch.full((p.numel(),), id(p) in shared) for p in parameters]).to(gradients[0].device)
        generator = torch.Generator().manual_seed(zlib.crc32(f"{self.seed}/{draw}".encode()))  # the same on every process
        merged = torch.stack(gradients).sum(0)
        merged[places] = project_conflicts([g[places] for g in gradients], generator)
        for parameter, part in zip(parameters, torch.split(merged, [p.numel() for p in parameters]), strict=True):
            part = part.view_as(parameter)
            parameter.grad = part.clone() if parameter.grad is None else parameter.grad + part

    def compare(self, terms: Mapping[str, Tensor]) -> dict[str, float]:
        """Measure the tasks' gradients on the encoder's weights, over the global batch.

        Returns:
            ``norm/<task>`` of each weighted term, and ``cosine/<task>|<task>`` of each pair: below 0 two tasks pull the encoder
            apart. Nothing while the encoder is frozen.
        """
        parameters = [p for p in self.module.model.encoder.parameters() if p.requires_grad]
        if not parameters:
            return {}
        gradients = {name: self._gradient(term, parameters) for name, term in terms.items()}
        scale = 1.0 if self.accelerator.scaler is None else float(self.accelerator.scaler.get_scale())
        norms = {name: float(g.norm()) for name, g in gradients.items()}
        result = {f"norm/{name}": norm / scale for name, norm in norms.items()}
        for one, two in itertools.combinations(gradients, 2):
            product = norms[one] * norms[two]
            result[f"cosine/{one}|{two}"] = float(gradients[one] @ gradients[two]) / product if product else 0.0
        return result

    def _gradient(self, term: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """Return one term's gradient, averaged over the processes, as one vector [sum of sizes]."""
        if self.accelerator.scaler is not None:
            term = self.accelerator.scaler.scale(term)
        parts = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        flat = torch.cat([torch.zeros_like(p).flatten() if g is None else g.flatten() for p, g in zip(parameters, parts, strict=True)])
        if self.accelerator.num_processes > 1:
            flat = cast(Tensor, self.accelerator.reduce(flat, reduction="mean"))
        return flat


def project_conflicts(gradients: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    """Sum gradients after taking out of each what conflicts with another (PCGrad: Yu et al. 2020, algorithm 1).

    Args:
        gradients: One vector a task.
        generator: Of the order in which the others are gone through.

    Returns:
        The sum of the projected vectors; the plain sum where no pair has a negative product.
    """
    total = torch.zeros_like(gradients[0])
    for i, own in enumerate(gradients):
        projected = own.clone()
        others = [j for j in torch.randperm(len(gradients), generator=generator).tolist() if j != i]
        for j in others:
            product = projected @ gradients[j]
            if product < 0:
                projected -= product / gradients[j].square().sum() * gradients[j]
        total += projected
    return total
