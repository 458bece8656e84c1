"""Whether a run that goes on is the run that began."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from umsrep.errors import InputError
from umsrep.tasks import runfolder
from umsrep.tasks.pretrain.config import PretrainConfig

_MAY_CHANGE = (
    *("output", "data", "workers", "trackers", "processes", "checkpoint_minutes"),  # the data are compared by their fingerprints
    *("epochs", "max_steps", "validate_every", "schema_version"),
)


def identity(config: PretrainConfig, data: Mapping[str, str]) -> dict[str, Any]:
    """Return what a run that goes on must have kept: its configuration (but where it is and how long it lasts) and its data.

    Args:
        config: The run.
        data: Path of a set to its fingerprint.
    """
    kept = runfolder.leaves({k: v for k, v in dataclasses.asdict(config).items() if k not in _MAY_CHANGE})
    return {"config": kept, "data": dict(data)}


def check_same_run(began: Mapping[str, Any], now: Mapping[str, Any], output: str) -> None:
    """Compare two `identity`.

    Raises:
        InputError: naming the first key that differs.
    """
    if sorted(began["data"].values()) != sorted(now["data"].values()):  # the folders may have moved
        raise InputError(f"output {output}: the data sets ({', '.join(now['data'])}) are not what this run began with")
    for key in sorted({*now["config"], *began["config"]}):
        was, wanted = began["config"].get(key), now["config"].get(key)
        if was != wanted:
            raise InputError(f"output {output}: the run began with {key} = {was}, not {wanted}; go on with its config.yaml")
