"""Settings of a small review, for the tests of its parts."""

from __future__ import annotations

from typing import Any

from umsrep.tasks.evaluation.sides import Settings


def settings(**changes: Any) -> Settings:
    """A review of the training rows with 20 draws; ``changes`` replace fields."""
    values: dict[str, Any] = {
        "split": "train", "split_column": "split", "targets": {}, "tasks": None, "groups": (), "edges": {}, "alpha": 0.25, "resamples": 20,
        "seed": 0, "interval_level": 0.95, "noise": "gaussian", "level": 25.0, "tolerance": 2.0, "tolerance_mm": None, "prevalences": (),
        "filters": (), "batch_size": 8, "workers": 0, "lenient": False, "title": None,
    }  # fmt: skip
    return Settings(**(values | changes))
