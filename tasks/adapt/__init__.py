"""Domain adaptation: to a target that has images but no labels, in training (`finetune`'s ``adapt``) and when a model is used."""

from __future__ import annotations

from umsrep.tasks.adapt.adabn import adabn
from umsrep.tasks.adapt.adversarial import DomainDiscriminator, GradientReversal, dann_weight, domain_adversarial_loss
from umsrep.tasks.adapt.fourier import fourier_domain_adapt
from umsrep.tasks.adapt.losses import BANDWIDTH_FACTORS, deep_coral_loss, median_bandwidths, mmd_loss
from umsrep.tasks.adapt.norms import batch_norms
from umsrep.tasks.adapt.tent import Tent, prediction_entropy

__all__ = [
    "BANDWIDTH_FACTORS",
    "DomainDiscriminator",
    "GradientReversal",
    "Tent",
    "adabn",
    "batch_norms",
    "dann_weight",
    "deep_coral_loss",
    "domain_adversarial_loss",
    "fourier_domain_adapt",
    "median_bandwidths",
    "mmd_loss",
    "prediction_entropy",
]
