"""A run's numbers in experiment trackers, by Accelerate's names; what a tracker's server does never ends a run."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from umsrep.errors import InputError
from umsrep.tasks.progress import say
from umsrep.tasks.runfolder import leaves

PROJECT = "umsrep"
"""Project (wandb, trackio) or experiment (mlflow) that all runs belong to."""
_IDENTITIES = "trackers.json"
_CONFIG_AGAIN = ("trackio", "wandb")
"""Trackers that take a run's hyper-parameters again when it goes on, for epochs may have been added."""
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""MLflow waits for its server in the training loop, by default up to a quarter of an hour: longer than NCCL lets the other processes
wait. What could not be delivered is sent again after the next epoch."""


class Trackers:
    """A context manager around a run that keeps its trackers; only the main process has any.

    A run that is resumed goes on in the same run of a tracker, found by the identity that ``trackers.json`` in its folder names.
    """

    def __init__(self, names: Sequence[str], output: Path, accelerator: Accelerator, config: Mapping[str, Any], *, resumed: bool) -> None:
        """Set up.

        Args:
            names: Of the trackers, as `umsrep.tasks.launch.check_trackers` lets them pass.
            output: The run folder, whose name is the run's name.
            accelerator: Of the run.
            config: What to store as hyper-parameters.
            resumed: Whether the run goes on from a checkpoint.
        """
        self.names = list(dict.fromkeys(names)) if accelerator.is_main_process else []
        self.output, self.config, self.resumed = output, config, resumed
        self._open: dict[str, GeneralTracker] = {}
        self._waiting: dict[str, list[tuple[dict[str, float], int]]] = {}

    def __enter__(self) -> Trackers:
        """Start the trackers.

        Raises:
            InputError: if one cannot be started; a run that goes on, perhaps unattended, is warned instead and goes on without it.
        """
        file = self.output / _IDENTITIES
        known: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if self.resumed and file.is_file() else {}
        for name in self.names:
            for variable, value in _PATIENCE.items() if name == "mlflow" else ():
                os.environ.setdefault(variable, value)
            kind = LOGGER_TYPE_TO_CLASS[name]
            place = [str(self.output)] if kind.requires_logging_directory else []
            try:
                with contextlib.redirect_stdout(sys.stderr):
                    tracker = kind(PROJECT, *place, **self._options(name, known.get(name)))
                    tracker.start()
                    if name not in known or name in _CONFIG_AGAIN:
                        tracker.store_init_configuration(hyperparameters(self.config))
            except Exception as error:  # each tracker has errors of its own for a server, a login or a disk
                problem = f"tracker '{name}' cannot be started: {_first_line(error)}"
                if not self.resumed:
                    self.__exit__(type(error), error, None)
                    raise InputError(f"{problem}; mend that, or leave it out of trackers (metrics.jsonl is always written)") from error
                say(f"{problem}; the run goes on without it, metrics.jsonl has all numbers")
                continue
            self._open[name], self._waiting[name] = tracker, []
            known[name] = _identity(name, tracker)
        if self._open:
            file.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
        return self

    def _options(self, name: str, identity: str | None) -> dict[str, Any]:
        """Return what names the run to a tracker, or names it again."""
        title = self.output.resolve().name
        if name == "wandb":
            again = {"id": identity, "resume": "allow"} if identity else {}
            return {"name": title, "dir": str(self.output), **again}
        if name == "trackio":
            # found again by its name, so that must be its own
            return {"name": identity, "resume": "allow"} if identity else {"name": f"{title}-{secrets.token_hex(3)}"}
        if name == "mlflow":
            return {"run_id": identity} if identity else {"run_name": title}
        return {}

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send some numbers of a step; what a tracker does not take now is sent again with the next ones, after one warning."""
        # "|" is no letter for MLflow, and "step" is Trackio's own
        sent = {name.replace("|", " vs "): value for name, value in values.items() if name != "step"}
        for name, tracker in self._open.items():
            waiting = self._waiting[name]
            behind = len(waiting)
            waiting.append((sent, step))
            try:
                with contextlib.redirect_stdout(sys.stderr):
                    while waiting:
                        tracker.log(waiting[0][0], step=waiting[0][1])
                        waiting.pop(0)
            except Exception as error:  # noqa: BLE001  # as above
                if not behind:
                    say(f"tracker '{name}' took no numbers at step {step}: {_first_line(error)}; they are sent again with the next ones")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the trackers, and say what they have not got."""
        for name, tracker in self._open.items():
            try:
                with contextlib.redirect_stdout(sys.stderr):  # what it says is for people, as all progress
                    tracker.finish()
            except Exception as failure:  # noqa: BLE001  # as above
                say(f"tracker '{name}' could not be closed: {_first_line(failure)}")
            if self._waiting[name]:
                say(f"tracker '{name}' lacks the last {len(self._waiting[name])} entries; {self.output / 'metrics.jsonl'} has them")
        self._open = {}


def hyperparameters(config: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Return a configuration as trackers take it: one flat name a value, no empty values, lists of plain values as text."""
    result: dict[str, bool | int | float | str] = {}
    for name, value in leaves(config).items():
        if isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
            for number, item in enumerate(value):
                result |= hyperparameters({f"{name}.{number}": item})
        elif isinstance(value, bool | int | float | str):
            result[name] = value
        elif value:
            result[name] = json.dumps(value, default=str)
    return result


def _identity(name: str, tracker: GeneralTracker) -> str:
    """Return by what a tracker finds the run again."""
    if name == "mlflow":
        return str(tracker.tracker.info.run_id)
    return str(getattr(tracker.tracker, "name" if name == "trackio" else "id", ""))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
