"""Trackers that are missing and processes that do not run are errors before a run starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tasks.runs import run_config
from umsrep.errors import InputError
from umsrep.tasks.launch import check_trackers, check_world_size
from umsrep.tasks.trainer import fit


def test_trackers_must_exist_and_be_installed() -> None:
    check_trackers([])
    with pytest.raises(InputError, match="unknown tracker 'tensorbord'; did you mean 'tensorboard'"):
        check_trackers(["tensorbord"])
    with pytest.raises(InputError, match="tracker 'comet_ml' is not installed: pip install comet_ml"):
        check_trackers(["comet_ml"])


def test_the_processes_asked_for() -> None:
    check_world_size(2, 2)
    check_world_size(1, None)  # pytest was not started by accelerate launch
    with pytest.raises(InputError, match=r"3 processes were asked for, but 1 run; .*--multi_gpu --num_processes 3"):
        check_world_size(1, 3)


def test_a_tracker_that_is_not_installed_stops_a_run_before_anything_is_made(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tracker 'comet_ml' is not installed: pip install comet_ml"):
        fit(run_config(tiny_data, tmp_path / "run", trackers=["comet_ml"]))
    assert not (tmp_path / "run").exists()
