"""Progress goes to standard error; standard output stays clean for machines."""

from __future__ import annotations

import io
import sys
import threading

import pytest
from rich.console import Console

from umsrep.tasks import progress


def test_without_a_terminal_nothing_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track([1, 2, 3], "working", total=3)) == [1, 2, 3]
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_on_a_terminal_a_bar_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=screen, force_terminal=True, width=100, legacy_windows=False))
    assert list(progress.track(iter("abc"), "epoch 1/2", total=3)) == ["a", "b", "c"]
    assert "epoch 1/2" in screen.getvalue()
    assert "3/3" in screen.getvalue()


def test_no_title_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=screen, force_terminal=True))
    assert list(progress.track([1], None)) == [1]
    assert screen.getvalue() == ""


def test_leaving_early_and_errors_leave_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=screen, force_terminal=True, width=100))
    for number in progress.track(range(5), "x", total=5):
        if number == 1:
            break

    def fail() -> None:
        for _ in progress.track(range(5), "x", total=5):
            raise RuntimeError("in the loop")

    with pytest.raises(RuntimeError, match="in the loop"):
        fail()
    assert list(progress.track([7], "again", total=1)) == [7], "rich allows one live bar; the earlier ones are gone"


def test_say_writes_one_line_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=screen, width=20))
    progress.say("[bold]a long line of more than twenty columns[/bold] 12 %")
    assert screen.getvalue() == "[bold]a long line of more than twenty columns[/bold] 12 %\n"
    assert isinstance(progress.console, Console)


def test_a_bar_has_no_thread_and_leaves_a_piped_standard_output_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=screen, force_terminal=True, width=100))
    threads = threading.active_count()
    for _ in progress.track(range(2), "x", total=2):
        assert threading.active_count() == threads, "a loader process forked now could inherit the lock of the terminal"
        sys.stdout.write("data\n")
    assert capsys.readouterr().out == "data\ndata\n"
    assert "data" not in screen.getvalue()
