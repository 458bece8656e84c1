"""Locks: one holder at a time, and none that outlives its process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from umsrep.tasks.benchmark import locks
from umsrep.tasks.benchmark.locks import claim, write_whole

# another process that locks by the same system call; it imports nothing of ours, so that it starts at once
HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "a")
try:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
except OSError:
    print("refused", flush=True)
"""


def hold(path: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", HOLD, str(path), str(seconds)], stdout=subprocess.PIPE, text=True)


def test_a_lock_has_one_holder_and_dies_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "cell"
    first = hold(path, 60)
    assert first.stdout is not None
    try:
        assert first.stdout.readline() == "held\n"
        with claim(path) as mine:
            assert not mine
        with claim(tmp_path / "locks" / "other") as mine:
            assert mine
    finally:
        first.kill()  # kill -9: nothing of its own can clean up
        first.communicate()
    with claim(path) as mine:
        assert mine, "no stale lock"
        assert hold(path, 0).communicate(timeout=60)[0] == "refused\n"
    assert hold(path, 0).communicate(timeout=60)[0] == "held\n", "given back at the end"


def test_without_locks_all_is_granted_and_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(locks, "fcntl", None)
    monkeypatch.setattr(locks, "_said", [])
    monkeypatch.setattr(locks, "say", said.append)
    for _ in range(2):
        with claim(tmp_path / "cell") as mine:
            assert mine
    assert len(said) == 1
    assert "do not run a second process" in said[0]


def test_a_file_is_whole_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cost.json"
    write_whole(path, "old")
    real = Path.replace

    def look(self: Path, target: Path) -> Path:
        assert path.read_text() == "old", "who reads meanwhile finds the old one, not a part of the new"
        return real(self, target)

    monkeypatch.setattr(Path, "replace", look)
    write_whole(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["cost.json"]
    assert path.read_text() == "new"
