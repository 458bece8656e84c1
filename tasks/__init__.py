"""Joint fine-tuning, evaluation and prediction: denoising, segmentation and classification on one encoder."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umsrep.tasks.classification import Classification
    from umsrep.tasks.config import FineTuneConfig
    from umsrep.tasks.denoising import Denoising
    from umsrep.tasks.segmentation import Segmentation

_HOMES = {
    "Classification": "umsrep.tasks.classification",
    "Denoising": "umsrep.tasks.denoising",
    "FineTuneConfig": "umsrep.tasks.config",
    "Segmentation": "umsrep.tasks.segmentation",
}

__all__ = ["Classification", "Denoising", "FineTuneConfig", "Segmentation"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in ("active", "adapt", "augment", "data", "shift"):
        return importlib.import_module(f"umsrep.tasks.{name}")
    raise AttributeError(f"module 'umsrep.tasks' has no attribute '{name}'")
