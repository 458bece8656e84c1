"""An untrained model and what it gives on the training rows: enough for the parts of a review."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tasks.evaluation.sides import settings
from tests.tasks.runs import tiny_model
from umsrep.tasks.evaluation.sides import Side, items_of, measure
from umsrep.tasks.model import MultiTaskModel


@pytest.fixture(scope="session")
def untrained(tiny_data: Path) -> MultiTaskModel:
    """Three heads with random weights. Tests leave it as it is."""
    return tiny_model(tiny_data).eval()


@pytest.fixture(scope="session")
def side(untrained: MultiTaskModel, tiny_data: Path) -> Side:
    """That model on the 16 training rows of `tiny_data`, measured once. Tests leave it as it is."""
    return measure(
        "untrained", untrained, items_of(untrained, tiny_data, settings(), split="train", targets={}, tasks=None), settings(), None
    )
