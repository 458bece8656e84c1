"""What must be the same for a run to go on from its checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from umsrep.errors import InputError
from umsrep.tasks import checkpoint, runfolder
from umsrep.tasks.config import FineTuneConfig

_MAY_CHANGE = (
    *("output", "workers", "prefetch", "trackers", "processes", "timeout_minutes", "checkpoint_minutes"),
    *("epochs", "max_steps", "validate_every", "schema_version", "guard"),
    *("gradient_checkpointing", "channels_last", "compile", "tf32"),  # how the same numbers are computed
)
"""Where a run is, how long it lasts, how it is watched and computed; `fixed` leaves out the places of data sets and the patience too."""
_LATER = ("data", "early_stopping")
"""What checkpoints did not tell at first."""
_ROWS = "batch_size x optimiser.accumulate"


def fixed(config: FineTuneConfig) -> dict[str, Any]:
    """Return what a run that goes on must have kept, names joined by dots."""
    values = {k: v for k, v in dataclasses.asdict(config).items() if k not in _MAY_CHANGE}
    # tables are compared by their fingerprints; here, which of their rows serve which tasks
    values["data"] = {str(number): {k: v for k, v in data.items() if k != "path"} for number, data in enumerate(values["data"])}
    for data in values["data"].values():
        if not data["unlabelled"]:  # checkpoints of before had no such key
            del data["unlabelled"]
    if values["adapt"] is not None:
        del values["adapt"]["path"]
    del values["early_stopping"]["patience"]
    return runfolder.leaves(values)


def check_same(began: Mapping[str, Any], now: Mapping[str, Any], output: Path) -> None:
    """Refuse to go on with other settings than the run began with; batches may be smaller where more of them make the same step.

    Args:
        began: `fixed` of the configuration that the run began with.
        now: The same of this one.
        output: Named in the error.

    Raises:
        InputError: naming the first key that differs.
    """
    old, new = _comparable(began), _comparable(now)
    told = {key.partition(".")[0] for key in old}
    for key in sorted({*old, *new}):
        if key not in old and new[key] == _DEFAULTS.get(key):  # a key that this run's umsrep did not have yet
            continue
        if (top := key.partition(".")[0]) in _LATER and top not in told:
            continue
        if old.get(key) != new.get(key):
            raise InputError(
                f"output {output}: the run began with {key} = {old.get(key)}, not {new.get(key)}; go on with its config.yaml, or start a "
                "new output"
            )


def kept(output: Path) -> str:
    """Return, for people, which checkpoint a run can go on from."""
    found = sorted((output / checkpoint.FOLDER).glob("step-*.pt"))
    return f"{found[-1].name} is kept in {output}, --resume goes on from there" if found else f"no checkpoint was written yet in {output}"


def batches_done(batches: int, began: Mapping[str, Any], config: FineTuneConfig) -> int:
    """Return how many batches of today's size are what so many batches of the former size were (a step begins after them)."""
    return batches * int(began["batch_size"]) // config.batch_size


def _comparable(values: Mapping[str, Any]) -> dict[str, Any]:
    rest = {k: v for k, v in values.items() if k not in ("batch_size", "optimiser.accumulate")}
    return rest | {_ROWS: values["batch_size"] * values["optimiser.accumulate"]}


_DEFAULTS = {
    f.name: f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
    for f in dataclasses.fields(FineTuneConfig)
    if f.default_factory is not dataclasses.MISSING or f.default is not dataclasses.MISSING
}
