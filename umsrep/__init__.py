"""umsrep: a zoo of shared encoders for medical images. For research only, never for clinical use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from umsrep import timm_models

__version__ = "0.1.0"

if TYPE_CHECKING:
    from umsrep.errors import InputError
    from umsrep.tasks.config import FineTuneConfig
    from umsrep.tasks.model import MultiTaskModel
    from umsrep.tasks.predict import Prediction
    from umsrep.tasks.trainer import Report, fit
    from umsrep.zoo import Encoder, InputContract, list_encoders

# Each public name and where it lives; loaded when first used, so that `import umsrep` costs no more than it must.
_HOMES = {
    "Encoder": "umsrep.zoo",
    "FineTuneConfig": "umsrep.tasks.config",
    "InputContract": "umsrep.zoo",
    "InputError": "umsrep.errors",
    "MultiTaskModel": "umsrep.tasks.model",
    "Prediction": "umsrep.tasks.predict",
    "Report": "umsrep.tasks.trainer",
    "fit": "umsrep.tasks.trainer",
    "list_encoders": "umsrep.zoo",
}
_PACKAGES = ("heads", "tasks", "zoo")

__all__ = [
    "Encoder",
    "FineTuneConfig",
    "InputContract",
    "InputError",
    "MultiTaskModel",
    "Prediction",
    "Report",
    "fit",
    "list_encoders",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _PACKAGES:
        return importlib.import_module(f"umsrep.{name}")
    raise AttributeError(f"module 'umsrep' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, *_PACKAGES, "__version__"])


timm_models.register()
