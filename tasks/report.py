"""What a run ended with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from umsrep.tasks.validation import Metrics


@dataclasses.dataclass(frozen=True)
class Report:
    """What a run ended with.

    Attributes:
        output: The run folder.
        model: The model folder in it (the best model).
        epoch: Epoch of the best model, counted from 1.
        score: Its selection score.
        validation: Task's name to its metrics on the validation rows.
        test: The same on the test rows, where there are any.
        seconds: Of training and validation, all sessions of the run together.
    """

    output: Path
    model: Path
    epoch: int
    score: float
    validation: Metrics
    test: Metrics
    seconds: float
