"""Augmentation policies: StrongAugment and its 19 operations."""

from umsrep.tasks.augment.operations import OPERATIONS, Magnitude, Operation, apply_operation

__all__ = ["OPERATIONS", "Magnitude", "Operation", "apply_operation"]
