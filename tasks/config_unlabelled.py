"""Training with images that have no annotation: semi-supervised (``unlabelled``), and on a target of its own (``adapt``)."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from umsrep.errors import InputError

LOSS_METHODS = ("coral", "mmd", "dann")
DEFAULT_WEIGHTS = {"mmd": 0.1}
"""Weights of methods that do harm at 1: MMD then takes a classifier's AUROC at home from .96 to .54 (docs/adaptation.md)."""
"""Methods of ``adapt`` that add a loss on features."""


@dataclasses.dataclass(frozen=True)
class UnlabelledConfig:
    """Mean-teacher consistency (Tarvainen & Valpola 2017) on rows without annotation (docs/semi_supervised.md).

    The teacher is the run's moving average (``ema``), which is what is evaluated and saved.

    Attributes:
        weight: Factor of the consistency loss, beside the tasks' own weights.
        batch_size: Unlabelled rows of a batch over all processes; null takes the run's ``batch_size``.
        ramp_up: Share of all steps over which the weight rises from exp(-5) of itself to all of it.
        loss: Between the probabilities of teacher and student: kl (Kullback-Leibler) or mse; denoising has its task's loss.
        threshold: The teacher's probability from which on an image, label or pixel counts (FixMatch: Sohn et al. 2020); 0 counts all.
        align: Bring the teacher's class probabilities to the classes' shares among the labelled rows (distribution alignment,
            Berthelot et al. 2020). It assumes that the unlabelled images have these shares.
        intensity: The student's changes of brightness, contrast and gamma are this many times those of ``augment``, or with its policy
            ``strong`` those of that; the teacher sees none.
        noise: Most Gaussian noise in the student's image, in 8-bit grey levels; drawn for each image from 0 on.
        partly: Also take rows that are annotated for some of the tasks; else only rows annotated for none.
        pair_column: Column that names what frames of one static scene show (noise2noise, Lehtinen et al. 2018), for denoising: another
            frame of the scene is the target. Only for frames with the same clean signal and independent noise of mean zero.
    """

    weight: float = 1.0
    batch_size: int | None = None
    ramp_up: float = 0.3
    loss: Literal["kl", "mse"] = "kl"
    threshold: float = 0.0
    align: bool = False
    intensity: float = 2.0
    noise: float = 10.0
    partly: bool = False
    pair_column: str | None = None


@dataclasses.dataclass(frozen=True)
class AdaptConfig:
    """Adaptation to a target data set, of which only images are read (docs/adaptation.md).

    Attributes:
        path: The target, as ``data.path``.
        method: coral, mmd or dann (a loss on the encoder's features of source and target), fda (source images get the low-frequency
            amplitudes of target images), mean-teacher (consistency on target images, with the settings of ``unlabelled``), or adabn
            (ordinary training; at the end the norms take the target's statistics).
        weight: Factor of the loss of coral, mmd, dann or mean-teacher; null is `DEFAULT_WEIGHTS`, else 1.
        split: Rows to use: a split, or all. A target without the column is used whole.
        split_column: Where the splits stand.
        batch_size: Target rows of a batch over all processes; null takes the run's ``batch_size``.
        beta: Of fda: half the side of the exchanged square of frequencies, as a share of the image's.
        bandwidths: Of mmd: standard deviations of the kernels; null takes the median distance times 1/4 to 4, anew in each step.
    """

    path: str
    method: Literal["coral", "mmd", "dann", "fda", "mean-teacher", "adabn"] = "coral"
    weight: float | None = None
    split: Literal["train", "validation", "test", "all"] = "train"
    split_column: str = "split"
    batch_size: int | None = None
    beta: float = 0.05
    bandwidths: list[float] | None = None

    @property
    def factor(self) -> float:
        """The weight, or the method's own where none was given."""
        return DEFAULT_WEIGHTS.get(self.method, 1.0) if self.weight is None else self.weight


def check_unlabelled(unlabelled: UnlabelledConfig) -> None:
    """Check what types cannot say.

    Raises:
        InputError: naming the first key that is out of range.
    """
    _check_common("unlabelled", unlabelled.weight, unlabelled.batch_size)
    for key, most in (("ramp_up", 1.0), ("threshold", 1.0), ("intensity", math.inf), ("noise", 255.0)):
        value = getattr(unlabelled, key)
        if not 0 <= value <= most or math.isinf(value):
            raise InputError(f"config: unlabelled.{key} must be from 0 to {most:g} and finite, not {value}")


def check_adapt(adapt: AdaptConfig, *, unlabelled: bool) -> None:
    """Check what types cannot say; ``unlabelled``: whether the configuration has that block.

    Raises:
        InputError: naming the first key that is out of range or would be ignored.
    """
    _check_common("adapt", adapt.weight, adapt.batch_size)
    default = AdaptConfig("")
    if unlabelled and adapt.method != "mean-teacher":
        raise InputError(
            f"config: adapt.method {adapt.method} and unlabelled do not train together; leave one out, or set adapt.method to mean-teacher"
        )
    if unlabelled and (adapt.weight, adapt.batch_size) != (default.weight, default.batch_size):
        raise InputError("config: adapt.weight and adapt.batch_size: beside the block unlabelled, set them there")
    for key, methods in (("weight", (*LOSS_METHODS, "mean-teacher")), ("batch_size", (*LOSS_METHODS, "mean-teacher"))):
        if adapt.method not in methods and getattr(adapt, key) != getattr(default, key):
            raise InputError(f"config: adapt.{key} has no effect with method {adapt.method}; leave it out")
    if adapt.beta != default.beta and adapt.method != "fda":
        raise InputError(f"config: adapt.beta has no effect with method {adapt.method}; leave it out")
    if adapt.bandwidths is not None and adapt.method != "mmd":
        raise InputError(f"config: adapt.bandwidths has no effect with method {adapt.method}; leave it out")
    if not 0 < adapt.beta <= 1:
        raise InputError(f"config: adapt.beta must be above 0 and at most 1, not {adapt.beta}")
    if adapt.bandwidths is not None and not (adapt.bandwidths and all(0 < b < math.inf for b in adapt.bandwidths)):
        raise InputError(f"config: adapt.bandwidths must be one or more numbers above 0, not {adapt.bandwidths}")


def _check_common(block: str, weight: float | None, batch_size: int | None) -> None:
    if weight is not None and not 0 <= weight < math.inf:
        raise InputError(f"config: {block}.weight must be 0 or more and finite, not {weight}")
    if batch_size is not None and batch_size < 1:
        raise InputError(f"config: {block}.batch_size must be 1 or more, or null, not {batch_size}")
