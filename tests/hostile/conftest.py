"""The one process in which all hostile files are opened, and what it measured."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.hostile.harness import Worker

_MEASURED: list[str] = []


@pytest.fixture(scope="session")
def worker() -> Iterator[Worker]:
    """Open files elsewhere; see `tests.hostile.harness`."""
    if not sys.platform.startswith("linux"):
        pytest.skip("memory is measured by /proc, which only Linux has")
    worker = Worker()
    yield worker
    worker.close()
    _MEASURED.append(
        f"hostile files: {worker.calls:,} opened, slowest {worker.slowest:.2f} CPU s, at most {worker.largest / 2**20:,.0f} MiB more memory"
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what was measured."""
    for line in _MEASURED:
        terminalreporter.write_line(line)
