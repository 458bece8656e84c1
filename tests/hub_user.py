"""A user of the Hub in a process of its own: huggingface_hub reads its settings once, when it is imported.

`HubUser` starts the process and sends it one request at a time; the process says what came of it: the sha256 of all tensors that were
loaded, or the one line of an `InputError` with the type of its cause. Whatever else is raised ends the process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HASTE = 50  # times shorter than real are the pauses between tries


class HubUser:
    """The process; give it back with `close`."""

    def __init__(self, endpoint: str, home: Path, **settings: str) -> None:
        """Start it.

        Args:
            endpoint: Address of the server.
            home: Its HF_HOME.
            settings: Further environment.
        """
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and not k.lower().endswith("_proxy")}
        network = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DOWNLOAD_TIMEOUT": "1", "HF_HUB_ETAG_TIMEOUT": "1"}
        environment = {**kept, **network, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", **settings}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.hub_user"], env=environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def send(self, call: str, *arguments: Any, limit: int = 0, **options: Any) -> None:
        """Ask for something; at most ``limit`` bytes a file may be written (0: no limit)."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([call, arguments, options, limit], default=str) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for what came of it."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the process ended: see its traceback"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, call: str, *arguments: Any, limit: int = 0, **options: Any) -> dict[str, Any]:
        """`send`, then `answer`."""
        self.send(call, *arguments, limit=limit, **options)
        return self.answer()

    def error(self, call: str, *arguments: Any, limit: int = 0, **options: Any) -> str:
        """Return the one line of the error, which must come, and keep its cause."""
        answer = self.ask(call, *arguments, limit=limit, **options)
        assert "error" in answer, answer
        line: str = answer["error"]
        assert "\n" not in line
        assert len(line) < 700
        return line

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


def digest_of(module: Any) -> str:
    """Return one sha256 over the names, types, shapes and bits of all tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _limited(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size or soft, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _do(call: str, arguments: list[Any], options: dict[str, Any]) -> dict[str, Any]:
    import umsrep
    from umsrep.zoo import hub
    from umsrep.zoo.listing import list_hub

    if call in ("Encoder", "MultiTaskModel"):
        return {"digest": digest_of(getattr(umsrep, call).from_pretrained(*arguments, **options))}
    if call == "push":
        published = hub.push(Path(arguments[0]), *arguments[1:], **options)
        return {"url": str(published), "commit": published.commit}
    if call == "push_to_hub":
        published = umsrep.MultiTaskModel.from_pretrained(arguments[0]).push_to_hub(*arguments[1:], **options)
        return {"url": str(published), "commit": published.commit}
    if call == "verify":
        return {"files": [[c.file, c.size, c.sha256, c.ok] for c in hub.verify(*arguments, **options)]}
    if call == "list":
        return {"entries": [dataclasses.asdict(e) for e in list_hub(*arguments, **options)]}
    if call == "run":
        names: dict[str, Any] = {}
        exec(arguments[0], names)  # the snippet of a card
        return {"digest": digest_of(names["model"])}
    assert call == "resolve"
    return {"folder": str(hub.resolve(*arguments, **options))}


def main() -> None:
    """Answer requests until standard input ends."""
    out, sys.stdout = sys.stdout, sys.stderr
    sleep = time.sleep
    time.sleep = lambda seconds: sleep(float(seconds) / HASTE)
    from umsrep.errors import InputError

    for line in sys.stdin:
        call, arguments, options, limit = json.loads(line)
        started = time.monotonic()
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                with _limited(limit):
                    answer = _do(call, arguments, options)
            except InputError as error:
                answer = {"error": str(error), "cause": type(error.__cause__).__name__}
        answer |= {"seconds": time.monotonic() - started, "warnings": [str(w.message) for w in warned]}
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
