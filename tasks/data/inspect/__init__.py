"""What is in a data set, per task, split and site, and what is wrong with it."""

from __future__ import annotations

from umsrep.tasks.data.inspect.report import inspect

__all__ = ["inspect"]
