"""One joint step: every task's outputs and losses from one batch, in one forward."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from umsrep.tasks.denoising import Denoising
from umsrep.tasks.model import MultiTaskModel, running_statistics
from umsrep.tasks.recompute import blocks_of, recomputed
from umsrep.tasks.task import Task
from umsrep.tasks.unlabelled.consistency import Consistency
from umsrep.tasks.unlabelled.domains import DomainLoss
from umsrep.tasks.unlabelled.rows import EXTRA

POOLED = "pooled features"
"""Among `joint_outputs`: no head can be called that."""


class JointStep(nn.Module):
    """The model with its tasks' losses: what a distributed wrapper wraps, so that a step is one forward and one backward.

    The clean image passes the encoder once for segmentation and classification; the noisy twin is a second input, for which
    shared batch norms use their running statistics; where denoising trains alone there are no clean ones, and the norms follow the
    noisy images. Every head runs on every process in every step: where a process has no
    row for a task, rows of weight 0 stand in, so that no parameter is ever unused.

    Attributes:
        outputs: `joint_outputs`, or what `umsrep.tasks.compiling.compile_step` made of it.
        log_variances: Task's name to s = log sigma^2 of the homoscedastic uncertainty (Kendall et al. 2018), or empty.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        tasks: Mapping[str, Task],
        weights: Mapping[str, float],
        *,
        uncertainty: bool = False,
        frozen_norm: bool = False,
        recompute: bool = False,
        extra: Consistency | DomainLoss | None = None,
    ) -> None:
        """Set up.

        Args:
            model: To train.
            tasks: Name to task.
            weights: Name to the factor of its loss.
            uncertainty: Learn the factors instead.
            frozen_norm: Keep the encoder's norms at their stored statistics.
            recompute: Checkpoint gradients, see `umsrep.tasks.recompute`.
            extra: A loss on the unlabelled images of a batch, which pass the model together with the others.
        """
        super().__init__()
        self.model = model
        self.tasks = dict(tasks)
        self.weights = dict(weights)
        self.frozen_norm = frozen_norm
        self.noisy_norm = all(isinstance(task, Denoising) for task in tasks.values())
        self.blocks = blocks_of(model) if recompute else []
        self.outputs: Callable[..., dict[str, tuple[Tensor, int | None]]] = joint_outputs
        self.log_variances = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in tasks} if uncertainty else {})
        self.extra = extra

    def forward(
        self, batch: Mapping[str, Any], totals: Mapping[str, float], world_size: int = 1
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return what to differentiate, task by task, and each task's loss.

        Args:
            batch: As `umsrep.tasks.data.dataset.collate` makes it.
            totals: Task's name to its annotated rows over all processes.
            world_size: Gradients are averaged over this many processes; the losses are scaled up by it, so that the average is the
                global batch's gradient.

        Returns:
            Each task's weighted term of the sum whose gradient is wanted; and each task's mean loss over the global batch, as far as
            this process's rows make it up (their sum over processes is the mean), 0 for a task without rows. Last, those of ``extra``.
        """
        with recomputed(self.blocks):
            pool = {"pool": True} if self.extra is not None and self.extra.pooled else {}
            outputs = self.outputs(
                self.model, batch, self.tasks, fill=True, frozen_norm=self.frozen_norm, noisy_norm=self.noisy_norm, **pool
            )
        features = outputs.pop(POOLED, (None, None))[0]
        terms, losses, unlabelled = {}, {}, {}
        for name, (out, weight) in outputs.items():
            if (answer := batch.get(f"teacher.{name}")) is not None:
                out, unlabelled[name] = out[: -len(answer)], out[-len(answer) :]
            target = batch.get(f"target.{name}")
            if target is None:
                loss = (out.float() * 0).sum()
            else:
                real = out[: len(target)] if weight is not None else out
                rows = self.tasks[name].loss(real, target)
                loss = rows.sum() / totals[name] + (out.float()[len(target) :] * 0).sum()
            losses[name] = loss.detach()
            if name in self.log_variances:
                s = self.log_variances[name]
                present = float(totals[name] > 0)
                terms[name] = world_size * torch.exp(-s) * loss + present * s / 2
            else:
                terms[name] = world_size * self.weights[name] * loss
        if self.extra is not None:
            term, parts = self.extra(unlabelled, features, batch, world_size)
            losses |= parts
            if term.requires_grad:  # while the encoder is frozen, its features have no gradient
                terms[self.extra.names[0]] = term
        return terms, losses


def joint_outputs(
    model: MultiTaskModel,
    batch: Mapping[str, Any],
    tasks: Mapping[str, Task],
    *,
    fill: bool = False,
    frozen_norm: bool = False,
    noisy_norm: bool = False,
    pool: bool = False,
) -> dict[str, tuple[Tensor, int | None]]:
    """Run the tasks' heads on their annotated rows of a batch.

    Args:
        model: In training or evaluation mode.
        batch: As `umsrep.tasks.data.dataset.collate` makes it.
        tasks: Heads to run.
        fill: Also run heads without rows, on stand-in rows that come after the real ones (see `JointStep`).
        frozen_norm: Keep the encoder's norms at their stored statistics.
        noisy_norm: Let the noisy images decide the statistics of norms in training mode, but for ``frozen_norm``.
        pool: Also return `POOLED`: the embedding of all images [B + U, D], or, where no head classifies, the coarsest map's mean.

    Returns:
        Task's name to (output, number of stand-in rows or None). Denoising outputs are in 0-1. Unlabelled images of the batch pass the
        encoder in one pass with the others (so norms in training mode take the statistics of both); where a teacher answered for a
        head (``teacher.<name>``), its outputs end with theirs.
    """
    image = batch["image"]
    labelled = len(image)
    image = torch.cat([image, batch[EXTRA]]) if EXTRA in batch else image
    contract = model.encoder.contract
    result: dict[str, tuple[Tensor, int | None]] = {}
    clean: dict[str, Tensor | None] = {}
    fillers: dict[str, int | None] = {}
    longer: list[tuple[Tensor | None, Tensor]] = []
    for name, task in tasks.items():
        rows = batch.get(f"rows.{name}")
        if isinstance(task, Denoising) or (rows is None and not fill):
            continue
        chosen, fillers[name] = _rows(rows, labelled, image.device, fill)
        if f"teacher.{name}" in batch and chosen is not None:
            joined = [new for old, new in longer if old is rows]  # the same rows stay one tensor: by that, shared decoders are known
            chosen = joined[0] if joined else torch.cat([chosen, torch.arange(labelled, len(image), device=image.device)])
            longer.append((rows, chosen))
        # None where it is all rows, in order: nothing to pick
        clean[name] = None if chosen is not None and rows is not None and len(chosen) == len(image) and fillers[name] is None else chosen
    if clean:
        padded, size = model.pad(image)
        with running_statistics(model.encoder) if frozen_norm else running_statistics():
            features, embedding = model.encode(padded, clean)
        if pool:
            result[POOLED] = (features[-1].mean((2, 3)) if embedding is None else embedding, None)
        for name, out in model.run_heads(padded, features, embedding, clean).items():
            result[name] = (out[..., : size[0], : size[1]] if out.ndim == 4 else out, fillers[name])
    for name, task in tasks.items():
        if not isinstance(task, Denoising):
            continue
        noisy = batch.get(f"noisy.{name}")
        stand_ins: int | None = None
        if noisy is None:
            if not fill:
                continue
            noisy, stand_ins = image[:1], 1
        if f"teacher.{name}" in batch:
            noisy = torch.cat([noisy, batch[f"{EXTRA}_noisy/{name}"]])
        padded, size = model.pad(noisy)
        held = (model.encoder,) if frozen_norm or not noisy_norm else ()
        with running_statistics(*held, *(() if noisy_norm else (model.decoders,))):
            features, _ = model.encode(padded, [name])
            out = model.run_heads(padded, features, None, {name: None})[name]
        result[name] = (contract.denormalise(out[..., : size[0], : size[1]].float()), stand_ins)
    return result


def _rows(rows: Tensor | None, count: int, device: torch.device, fill: bool) -> tuple[Tensor | None, int | None]:
    """Return the rows to run and how many stand-ins end them: two rows at least when filling, as batch norm needs."""
    have = 0 if rows is None else len(rows)
    if not fill or have >= 2:
        return rows, None
    stand_ins = torch.zeros(2 - have, dtype=torch.long, device=device)
    if count > 1 and rows is not None and have == 1:
        stand_ins = stand_ins + (rows[0] == 0)  # another row than the real one
    return (stand_ins if rows is None else torch.cat([rows.to(device), stand_ins])), 2 - have


def annotated_rows(batch: Mapping[str, Any], names: Sequence[str]) -> Tensor:
    """Return how many rows of a batch each task has, float64 [len(names)]."""
    return torch.tensor([float(len(batch.get(f"target.{name}", ()))) for name in names], dtype=torch.float64)
