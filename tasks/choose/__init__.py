"""Which encoder for a data set: the best evidence there is before training, and how far to trust it."""

from __future__ import annotations

from umsrep.tasks.choose.choice import Choice
from umsrep.tasks.choose.choosing import choose

__all__ = ["Choice", "choose"]
