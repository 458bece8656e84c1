"""Signals: the first only asks, a second Ctrl-C insists, handlers are put back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from tests.tasks.runs import run_values
from umsrep.tasks.cli import main
from umsrep.tasks.interruption import SIGNALS, Interrupted, Watch, ignore_signals


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_only_asks(number: signal.Signals) -> None:
    before = [signal.getsignal(s) for s in SIGNALS]
    with Watch() as watch:
        assert watch.received == 0
        os.kill(os.getpid(), number)
        assert watch.received == number
    assert [signal.getsignal(s) for s in SIGNALS] == before


def test_a_second_ctrl_c_insists() -> None:
    with Watch() as watch:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert watch.received == signal.SIGTERM


def test_threads_may_watch_too() -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            with Watch():
                pass
        except ValueError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not failures, "Python allows handlers in the main thread only"


def test_exit_codes_follow_the_shell() -> None:
    assert [Interrupted(s, "").code for s in (signal.SIGINT, signal.SIGTERM)] == [130, 143]


def test_loader_processes_outlive_the_signals() -> None:
    script = "import os, signal\nfrom umsrep.tasks.interruption import SIGNALS, ignore_signals\nignore_signals(0)\n"
    script += "[os.kill(os.getpid(), s) for s in SIGNALS]\nprint('alive')"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "alive\n"
    assert callable(ignore_signals)


def test_the_command_line_says_where_it_stopped(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(run_values(tiny_data, tmp_path / "run")))
    entered = Watch.__enter__

    def enter(self: Watch) -> Watch:
        entered(self)
        os.kill(os.getpid(), signal.SIGTERM)
        return self

    monkeypatch.setattr(Watch, "__enter__", enter)
    assert main(["finetune", "--config", str(path)]) == 143
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("umsrep: ")]
    assert "stopped by SIGTERM after step 1 of 4" in line
    assert "--resume" in line
    assert list((tmp_path / "run" / "checkpoints").glob("step-*.pt"))
