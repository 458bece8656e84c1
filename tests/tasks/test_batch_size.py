"""Finding a size of batch: what is tried, what is chosen, and that a step stays a step."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.tasks.runs import run_config
from umsrep.errors import InputError
from umsrep.tasks import batch_size
from umsrep.tasks.assembly import Assembly
from umsrep.tasks.batch_size import Trial, choose, find_batch_size, sizes, table
from umsrep.tasks.memory import Peak
from umsrep.tasks.trainer import fit


def trial(size: int, speed: float | None, accumulate: int | None = 1) -> Trial:
    return Trial(size, speed, 2**30, accumulate)


def test_sizes_halve_and_double() -> None:
    config = run_config(Path("data"), Path("run"), batch_size=12, optimiser={"accumulate": 2})
    assert sizes(config, 1, 1000) == [3, 6, 12, 24, 48, 96]
    assert sizes(config, 2, 1000) == [6, 12, 24, 48, 96]
    assert sizes(config, 1, 30) == [3, 6, 12, 24], "no more rows than there are"
    assert sizes(dataclasses.replace(config, batch_size=16), 1, 10) == [2, 4, 8, 16]


def test_the_fastest_wins_and_the_configured_one_where_it_is_about_as_fast() -> None:
    assert choose([trial(4, 10.0), trial(8, 20.0), trial(2, 5.0)], 4).batch_size == 8
    assert choose([trial(4, 10.0), trial(8, 10.3)], 4).batch_size == 4
    assert choose([trial(2, 5.0), trial(1, 4.0)], 4).batch_size == 2, "the configured one does not fit"


def test_the_table_says_what_was_tried() -> None:
    config = run_config(Path("data"), Path("run"), batch_size=4, optimiser={"accumulate": 3})
    trials = [trial(4, 10.0, 3), trial(8, 20.0, None), Trial(16, None, None, None)]
    lines = table(trials, trials[0], config)
    assert lines[0] == "batch_size     4: 10.0 img/s, 1.00 GiB"
    assert "no whole number of them makes a step of 12 rows" in lines[1]
    assert "does not fit" in lines[2]
    assert lines[-1] == "chosen: batch_size 4 x accumulate 3 = 12 rows a step, as configured"


def test_real_steps_and_a_run_with_what_was_found(tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = run_config(tiny_data, tmp_path / "run", batch_size=2, epochs=1, optimiser={"accumulate": 4})
    found = find_batch_size(config)
    assert found.batch_size * found.optimiser.accumulate == 8
    assert dataclasses.replace(found, batch_size=2, optimiser=config.optimiser) == config, "nothing else is changed"
    shown = capsys.readouterr().err
    assert "batch_size     2: " in shown
    assert "batch_size     4: " in shown
    assert "chosen: batch_size" in shown
    assert not (tmp_path / "run").exists(), "trying leaves nothing behind"
    fit(dataclasses.replace(config, batch_size=4, optimiser=dataclasses.replace(config.optimiser, accumulate=2)))
    with pytest.raises(InputError, match="holds a run already"):
        find_batch_size(config)
    kept = find_batch_size(dataclasses.replace(config, epochs=2), resume=True)
    assert (kept.batch_size, kept.optimiser.accumulate) == (4, 2), "a run with a checkpoint keeps what it has"
    assert "the run has a checkpoint" in capsys.readouterr().err
    assert fit(kept, resume=True).epoch >= 1


def test_sizes_that_do_not_fit_are_passed_over(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def seconds(assembly: Assembly, rows: int) -> float:
        tried.append(rows)
        if rows > most:
            raise MemoryError
        return 1.0

    monkeypatch.setattr(batch_size, "_seconds", seconds)
    config = run_config(tiny_data, tmp_path / "run", batch_size=8)
    most = 4
    found = find_batch_size(config)
    assert (found.batch_size, found.optimiser.accumulate) == (4, 2)
    assert tried == [2, 4, 8]
    most = 0
    with pytest.raises(InputError, match="no batch_size of 2 fits"):
        find_batch_size(config)


def test_a_size_that_would_need_too_much_is_not_tried(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU's system would kill the process: 1 GiB and 1 GiB a row, of 8 GiB."""
    tried: list[int] = []

    def seconds(assembly: Assembly, rows: int) -> float:
        tried.append(rows)
        return 1.0

    monkeypatch.setattr(batch_size, "_seconds", seconds)
    monkeypatch.setattr(Peak, "bytes", lambda self: (1 + tried[-1]) * 2**30)
    monkeypatch.setattr(batch_size, "available", lambda device: 8 * 2**30)
    found = find_batch_size(run_config(tiny_data, tmp_path / "run", batch_size=8))
    assert tried == [2, 4], "eight rows would need nine"
    assert (found.batch_size, found.optimiser.accumulate) == (4, 2)
