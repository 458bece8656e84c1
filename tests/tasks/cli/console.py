"""Running the command line in a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from umsrep.tasks.cli import main

Capture = pytest.CaptureFixture[str]


def refused(capsys: Capture, *words: str | Path) -> str:
    """Run a command that must fail as the user's input does: exit 2, one line, nothing on standard output. Returns the line."""
    capsys.readouterr()
    assert main([str(w) for w in words]) == 2
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("umsrep: ")]
    assert len(lines) == 1, captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    return lines[0]


def printed(capsys: Capture, *words: str | Path) -> str:
    """Run a command that must succeed; returns its standard output."""
    capsys.readouterr()
    assert main([str(w) for w in words]) == 0, capsys.readouterr().err
    return capsys.readouterr().out
