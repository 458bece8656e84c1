"""Signals that ask a run to stop: Ctrl-C, SIGTERM (schedulers, containers) and SIGUSR1 (SLURM's warning before the time limit)."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interrupted(KeyboardInterrupt):
    """A run was asked to stop, and has saved where it stood.

    Attributes:
        signal: Which signal asked.
        code: Exit code of a process that ends for it, by the shell's convention 128 + its number.
    """

    def __init__(self, number: int, message: str) -> None:
        """Keep the signal's number and what to tell people."""
        super().__init__(message)
        self.signal = signal.Signals(number)
        self.code = 128 + number


class Watch:
    """While entered, the first signal only sets `received`; a second Ctrl-C interrupts at once.

    Outside the main thread, where Python allows no handlers, nothing is caught.
    """

    def __init__(self) -> None:
        """Nothing has been received."""
        self.received = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Watch:
        """Start catching."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Put the former handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number


def ignore_signals(_worker: int) -> None:
    """Let a loader process outlive the signals that its whole group gets, so that the main process can finish the step."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
