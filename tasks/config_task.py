"""The configuration of one task and its head."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from umsrep.errors import InputError, nearest


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """One task and its head; which keys count depends on ``kind``.

    Attributes:
        kind: denoising, segmentation or classification.
        weight: Factor of its loss (with balancing fixed or pcgrad); default 1, and 10 for denoising, whose L1 in 0-1 is some ten times
            smaller than the others' losses (docs/LOG.md: .0175 beside .15 and .23 at the end of a run).
        noise: Denoising: gaussian, speckle, poisson or mixed.
        level: Denoising: strength in 8-bit grey levels, one number or [low, high] (validated and tested at the middle).
        classes: Segmentation, classification: names, in the order of mask values.
        target: Default column of the target; several for labels that occur together.
        multi_label: Classes may occur together.
        loss: Denoising, segmentation: see `umsrep.tasks.Denoising`, `umsrep.tasks.Segmentation`.
        class_weights: Segmentation, classification: one number a class, or "balanced" (classification).
        label_smoothing: Classification.
        specificity: Classification: where sensitivity is read off.
        dropout: Classification.
        spectral_decoupling: Segmentation, classification: lambda of the penalty lambda / 2 times the squared logits (Pezeshki et al.
            2021), added to the loss of each row; default 0, no penalty.
        decoder: Denoising, segmentation: one of `umsrep.heads.DECODERS`.
        share: Denoising, segmentation: one decoder for all heads that share.
        width: Denoising: channels of the full-resolution branch.
        depth: Denoising: convolutions of the full-resolution branch.
    """

    kind: Literal["denoising", "segmentation", "classification"]
    weight: float | None = None
    noise: str | None = None
    level: float | list[float] | None = None
    classes: list[str] | None = None
    target: str | list[str] | None = None
    multi_label: bool | None = None
    loss: str | None = None
    class_weights: list[float] | Literal["balanced"] | None = None
    label_smoothing: float | None = None
    specificity: float | None = None
    dropout: float | None = None
    spectral_decoupling: float | None = None
    decoder: str | None = None
    share: bool | None = None
    width: int | None = None
    depth: int | None = None

    @property
    def factor(self) -> float:
        """The weight, or its default for this kind."""
        return self.weight if self.weight is not None else 10.0 if self.kind == "denoising" else 1.0


_TASK_KEYS = {
    "denoising": ("noise", "level", "loss", "decoder", "share", "width", "depth"),
    "segmentation": ("classes", "target", "multi_label", "loss", "class_weights", "spectral_decoupling", "decoder", "share"),
    "classification": (
        "classes",
        "target",
        "multi_label",
        "class_weights",
        "label_smoothing",
        "specificity",
        "dropout",
        "spectral_decoupling",
    ),
}


def check_task(name: str, task: TaskConfig) -> None:
    """Check what types cannot say of one task.

    Raises:
        InputError: for a key that its kind does not have, missing classes, or a weight that is not above 0.
    """
    allowed = ("kind", "weight", *_TASK_KEYS[task.kind])
    for field in dataclasses.fields(task):
        if getattr(task, field.name) is not None and field.name not in allowed:
            raise InputError(f"config: tasks.{name}.{field.name}: no key of kind {task.kind}{nearest(field.name, allowed)}")
    if task.kind != "denoising" and not task.classes:
        raise InputError(f"config: tasks.{name} needs classes")
    if task.spectral_decoupling is not None and not 0 <= task.spectral_decoupling < math.inf:
        raise InputError(f"config: tasks.{name}.spectral_decoupling must be 0 or more and finite, not {task.spectral_decoupling}")
    if not task.factor > 0:
        raise InputError(f"config: tasks.{name}.weight must be above 0, not {task.weight}")
