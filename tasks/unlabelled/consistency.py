"""Mean teacher: the student's outputs for unlabelled images are to be those of its moving average (Tarvainen & Valpola 2017)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from umsrep.tasks.classification import Classification
from umsrep.tasks.config_unlabelled import UnlabelledConfig
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.task import Task
from umsrep.tasks.unlabelled.rows import EXTRA

CONSISTENCY, CONFIDENT = "unlabelled/consistency", "unlabelled/confident"
MEMORY = 0.99
"""Of the running mean of the teacher's predictions, by batches."""


class Consistency(nn.Module):
    """The consistency loss, and what distribution alignment must remember (buffers, so that a checkpoint holds it).

    Attributes:
        progress: Steps done as a share of the run's, for the ramp; set before each step.
        pooled: Whether it wants the encoder's features: no.
    """

    pooled = False

    def __init__(
        self, config: UnlabelledConfig, tasks: Mapping[str, Task], weights: Mapping[str, float], rows: int, priors: Mapping[str, Tensor]
    ) -> None:
        """Set up.

        Args:
            config: Settings.
            tasks: Name to task; all are made consistent.
            weights: Name to the factor of its loss.
            rows: Unlabelled rows of a global batch.
            priors: Name of a classification task to each class's share among labelled rows; where given, predictions are aligned.
        """
        super().__init__()
        self.config, self.tasks, self.weights, self.rows = config, dict(tasks), dict(weights), rows
        self.progress = 0.0
        self.prior: dict[str, Tensor] = dict(priors)
        for name, prior in priors.items():
            self.register_buffer(f"mean_{name}", torch.zeros_like(prior))  # zeros: nothing seen yet

    @property
    def names(self) -> list[str]:
        """What it adds to a step's losses."""
        return [CONSISTENCY, *([CONFIDENT] if self.config.threshold else [])]

    @property
    def ramp(self) -> float:
        """Factor on the weight at this progress: exp(-5 (1 - t)^2), t from 0 to 1 in the ramp."""
        t = min(1.0, self.progress / self.config.ramp_up) if self.config.ramp_up else 1.0
        return math.exp(-5 * (1 - t) ** 2)

    @torch.no_grad()
    def teach(self, teacher: MultiTaskModel, batch: Mapping[str, Any], accelerator: Accelerator | None) -> dict[str, Any]:
        """Return the batch with the teacher's answers to its unlabelled rows, ``teacher.<name>``; all processes must call it.

        Args:
            teacher: In evaluation mode.
            batch: As `umsrep.tasks.unlabelled.rows.collate_joined` makes it.
            accelerator: Of the run; None keeps this process to itself.
        """
        answers: dict[str, Tensor] = {}
        plain = [name for name, task in self.tasks.items() if not isinstance(task, Denoising)]
        outputs = teacher(batch[f"{EXTRA}_weak"], plain) if plain else {}
        for name in plain:
            logits = outputs[name].float()
            answers[name] = logits.softmax(1) if _exclusive(self.tasks[name]) else logits.sigmoid()
            if name in self.prior:
                answers[name] = self._align(name, answers[name], accelerator)
        contract = teacher.encoder.contract
        for name in self.tasks.keys() - set(plain):
            twin, paired = batch[f"{EXTRA}_twin/{name}"], batch[f"{EXTRA}_paired/{name}"]
            answer = contract.denormalise(teacher(twin, [name])[name].float())
            answers[name] = torch.where(paired[:, None, None, None], contract.denormalise(twin.float()), answer)
        return {**batch, **{f"teacher.{name}": answers[name] for name in self.tasks}}

    def _align(self, name: str, answers_nK: Tensor, accelerator: Accelerator | None) -> Tensor:
        """Bring predictions to the labelled rows' shares (ReMixMatch, Berthelot et al. 2020, section 3.1; a label alone as two classes)."""
        mean, prior = cast(Tensor, getattr(self, f"mean_{name}")), self.prior[name].to(answers_nK)
        now = answers_nK.mean(0)
        if accelerator is not None and accelerator.num_processes > 1:
            now = cast(Tensor, accelerator.reduce(now, reduction="mean"))
        mean.copy_(torch.where(mean.sum() > 0, MEMORY * mean + (1 - MEMORY) * now, now))
        share = mean.clamp(1e-6, 1 - 1e-6)
        positive = answers_nK * prior / share
        if _exclusive(self.tasks[name]):
            return positive / positive.sum(1, keepdim=True)
        return positive / (positive + (1 - answers_nK) * (1 - prior) / (1 - share))

    def forward(
        self, outputs: Mapping[str, Tensor], features: Tensor | None, batch: Mapping[str, Any], world_size: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what to differentiate and what to report.

        Args:
            outputs: Head's name to the student's outputs for the unlabelled rows of this process.
            features: None.
            batch: With the teacher's answers (`teach`).
            world_size: Gradients are averaged over this many processes.

        Returns:
            The weighted term; and the parts of this process in the mean loss (and share of confident predictions) over the batch.
        """
        total, confident = torch.zeros((), device=batch[EXTRA].device), []
        for name, output in outputs.items():
            answer = batch[f"teacher.{name}"]
            if isinstance(task := self.tasks[name], Denoising):
                difference = output.float() - answer
                rows = torch.where(
                    batch[f"{EXTRA}_paired/{name}"], difference.square().flatten(1).mean(1), task.loss(output.float(), answer)
                )
            else:
                inside = batch[f"{EXTRA}_inside"] if isinstance(task, Segmentation) else None
                rows, sure = _rows(output.float(), answer, self.config, exclusive=_exclusive(task), inside=inside)
                confident.append(sure)
            total = total + self.weights[name] * rows.sum() / self.rows
        losses = {CONSISTENCY: total.detach()}
        if self.config.threshold:
            losses[CONFIDENT] = torch.stack([c.sum() for c in confident]).mean() / self.rows if confident else total.detach() * 0
        return world_size * self.config.weight * self.ramp * total, losses


def _exclusive(task: Task) -> bool:
    assert isinstance(task, Classification | Segmentation)
    return task.softmax if isinstance(task, Segmentation) else not task.multi_label


def _rows(logits: Tensor, answer: Tensor, config: UnlabelledConfig, *, exclusive: bool, inside: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return each row's distance from the teacher, where it is confident, and the share of its entries where it is, each [n]."""
    if exclusive:
        logs = F.log_softmax(logits, 1)
        distance = (logs.exp() - answer).square().mean(1) if config.loss == "mse" else (torch.xlogy(answer, answer) - answer * logs).sum(1)
        sure = answer.amax(1)
    else:
        entropy = -torch.xlogy(answer, answer) - torch.xlogy(1 - answer, 1 - answer)
        cross = F.binary_cross_entropy_with_logits(logits, answer, reduction="none")
        distance = (logits.sigmoid() - answer).square() if config.loss == "mse" else cross - entropy
        sure = torch.maximum(answer, 1 - answer)
    counts = (sure >= config.threshold).float()
    valid = torch.ones_like(counts) if inside is None else (inside if exclusive else inside[:, None]).float().expand_as(counts)
    n, counts = len(counts), counts * valid
    number = valid.reshape(n, -1).sum(1).clamp(min=1)
    return (distance * counts).reshape(n, -1).sum(1) / number, counts.reshape(n, -1).sum(1) / number
