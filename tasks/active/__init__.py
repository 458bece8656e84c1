"""Active learning: which rows to annotate next, and why."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umsrep.tasks.active.acquiring import Acquired, acquire
    from umsrep.tasks.active.core_set import core_set_select
    from umsrep.tasks.active.library import library_select
    from umsrep.tasks.active.medal import medal_select
    from umsrep.tasks.active.orb import orb_initial_set
    from umsrep.tasks.active.random_choice import random_select
    from umsrep.tasks.active.uncertainty import entropy, entropy_select

_HOMES = {
    "Acquired": "acquiring",
    "acquire": "acquiring",
    "core_set_select": "core_set",
    "entropy": "uncertainty",
    "entropy_select": "uncertainty",
    "library_select": "library",
    "medal_select": "medal",
    "orb_initial_set": "orb",
    "random_select": "random_choice",
}

__all__ = [
    "Acquired",
    "acquire",
    "core_set_select",
    "entropy",
    "entropy_select",
    "library_select",
    "medal_select",
    "orb_initial_set",
    "random_select",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"umsrep.tasks.active.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'umsrep.tasks.active' has no attribute '{name}'")
