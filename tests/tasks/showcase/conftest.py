"""A measured model of the tiny data, whose pictures are credited as simulated ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tasks.runs import tiny_model
from umsrep.tasks.data.manifest import Manifest, load_manifest
from umsrep.tasks.evaluate import tasks_of
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.showcase.measuring import Measured, measure


class Tiny:
    """An untrained model, and any of its heads measured on all rows of the tiny data."""

    def __init__(self, folder: Path) -> None:
        self.model: MultiTaskModel = tiny_model(folder).eval()
        self.manifest: Manifest = load_manifest(folder)
        self.rows = list(range(len(self.manifest)))
        self.tasks = tasks_of(self.model)

    def measure(self, name: str, of: str = "doppler") -> Measured:
        return measure(self.model, name, self.tasks[name], of, self.manifest, self.rows)


@pytest.fixture
def tiny(tiny_data: Path) -> Tiny:
    return Tiny(tiny_data)
