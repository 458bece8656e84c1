"""Augmentation policies: StrongAugment and its 19 operations; RandAugment and TrivialAugment for comparison."""

from umsrep.tasks.augment.automatic import RandAugment, TrivialAugment
from umsrep.tasks.augment.operations import OPERATIONS, Magnitude, Operation, apply_operation
from umsrep.tasks.augment.strong import StrongAugment

__all__ = ["OPERATIONS", "Magnitude", "Operation", "RandAugment", "StrongAugment", "TrivialAugment", "apply_operation"]
