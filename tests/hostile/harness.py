"""Opening hostile files in another process, so that memory and time can be measured and a crash or a hang is only a finding."""

from __future__ import annotations

import dataclasses
import json
import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PRESET = ROOT / "zoo" / "weights" / "ums-cxr-efficientnet-lite0"
SECONDS = 2.0
"""CPU seconds, of all threads, that a refusal may take (not seconds on the wall, which depend on what else the machine does)."""
BYTES = 2**30
"""By how much memory may grow at its peak."""
LONGEST = 2_100
"""Characters of a message."""
_HANGS = 30.0
_SETTINGS = """
encoder: {arch: resnet18}
tasks: {finding: {kind: classification, classes: [a, b]}}
data: [{path: nowhere}]
image_size: 32
output: nowhere
"""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a call ended: ``done``, ``refused`` (an InputError), ``raised`` (another exception), ``hung`` or ``died``."""

    ending: str
    message: str = ""
    trace: str = ""
    value: Any = None
    seconds: float = 0.0
    bytes: int = 0

    def check(self, case: object = "") -> Outcome:
        """Assert what holds for every file: done or refused in one printable line, and within time and memory."""
        assert self.ending in ("done", "refused"), (case, self.ending, self.message, self.trace)
        assert self.message.isprintable(), (case, self.message)
        assert len(self.message) <= LONGEST, (case, len(self.message))
        assert self.seconds <= SECONDS, (case, self.seconds, self.message)
        assert self.bytes <= BYTES, (case, self.bytes, self.message)
        return self

    def refused(self, *words: str) -> Outcome:
        """Assert that the file was refused, and with these words."""
        self.check()
        assert self.ending == "refused", self.value
        for word in words:
            assert word in self.message, self.message
        return self


class Worker:
    """The process; started when first asked and again after it hung or died.

    Attributes:
        slowest: CPU seconds of the slowest call so far.
        largest: Bytes of the most memory a call has taken so far.
        calls: How many there were.
    """

    def __init__(self) -> None:
        self.slowest, self.largest, self.calls = 0.0, 0, 0
        self._folder = tempfile.TemporaryDirectory(prefix="umsrep-hostile-")
        self._process: subprocess.Popen[str] | None = None
        picture, settings = Path(self._folder.name, "warm.png"), Path(self._folder.name, "warm.yaml")
        Image.fromarray(np.zeros((16, 16), np.uint8)).save(picture)
        settings.write_text(_SETTINGS, encoding="utf-8")
        self._words = [sys.executable, "-P", "-m", "tests.hostile.worker", str(PRESET), str(picture), str(settings)]

    def __call__(self, call: str, **arguments: Any) -> Outcome:
        """Make one call of `tests.hostile.worker`."""
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"call": call, "arguments": arguments}) + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], _HANGS)
        line = process.stdout.readline() if ready else ""
        if not line:
            process.kill()
            code = process.wait()
            self._process = None
            return Outcome("died" if ready else "hung", f"exit status {code}" if ready else f"no answer in {_HANGS:.0f} s")
        outcome = Outcome(**json.loads(line))
        self.calls += 1
        self.slowest, self.largest = max(self.slowest, outcome.seconds), max(self.largest, outcome.bytes)
        return outcome

    def _start(self) -> subprocess.Popen[str]:
        # Freed memory goes back at once (or the peak of one call would be hidden by what the last one left), one thread, no network
        told = {"MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_ARENA_MAX": "1"}
        told |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "UMSREP_CACHE": str(Path(self._folder.name, "cache"))}
        told |= {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")]), "NO_COLOR": "1"}
        process = subprocess.Popen(
            self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **told}, encoding="utf-8"
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                pipe.close()
        self._folder.cleanup()
