"""``--targets.TASK.column C`` and ``--targets.TASK.map.VALUE CLASS``, as commands that take a data set read them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from umsrep.errors import InputError, nearest

if TYPE_CHECKING:
    from umsrep.tasks.data.dataset import Target


def read_targets(words: Sequence[str]) -> dict[str, Target]:
    """Read where tasks' targets stand.

    Args:
        words: ``--targets.TASK.key VALUE`` pairs.

    Returns:
        Task to target.

    Raises:
        InputError: for an unknown key (with the nearest), or a map that is none.
    """
    from umsrep.tasks.config import TargetConfig
    from umsrep.tasks.config_file import apply_overrides, text_keys
    from umsrep.tasks.data.dataset import Target

    targets: dict[str, Target] = {}
    known = [f.name for f in dataclasses.fields(TargetConfig)]
    for name, values in apply_overrides({"targets": {}}, words)["targets"].items():
        if isinstance(values, dict) and not isinstance(values.get("map") or {}, dict):
            raise InputError(f"--targets.{name}.map: give one stored value each, as --targets.{name}.map.VALUE CLASS")
        for key in values if isinstance(values, dict) else [values]:
            if key not in known or not isinstance(values, dict):
                raise InputError(f"--targets.{name}: unknown key '{key}'{nearest(str(key), known)}")
        column = values.get("column")
        targets[name] = Target(tuple(column) if isinstance(column, list) else column, text_keys(values.get("map") or {}))
    return targets
