"""The model that evaluations under shift are tested on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tasks.runs import tiny_model
from umsrep.tasks.model import MultiTaskModel


@pytest.fixture(scope="module")
def model(tiny_data: Path) -> MultiTaskModel:
    """An untrained model that takes the images of `tiny_data` at their own size."""
    made = tiny_model(tiny_data)
    made.encoder.contract = made.encoder.contract.replace(size=(40, 48))
    return made.eval()
