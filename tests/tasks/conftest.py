"""One small model for all tests that use a trained one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tasks.runs import run_config
from umsrep.tasks.trainer import Report, fit


@pytest.fixture(scope="session")
def trained(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A finished run of three tasks on `tiny_data`. Tests read its folder and leave it as it is."""
    return fit(run_config(tiny_data, tmp_path_factory.mktemp("runs") / "trained", epochs=3, optimiser={"learning_rate": 0.005}))
