"""Headless Chromium, steered over a pipe by the DevTools protocol: no driver and no package is needed.

Also a command, which makes the pictures of the docs: ``python -m tests.browser PAGE PICTURE --width 1240 --height 900 --run "..."``.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --hide-scrollbars --remote-debugging-pipe"
)


def find() -> str | None:
    """Return the browser on PATH."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One page. ``console`` holds errors and warnings it logged, ``requests`` every address it asked for."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._out, self._in = os.fdopen(to_browser, "wb"), os.fdopen(from_browser, "rb")
        self._number, self._rest = 0, b""
        self._session: str | None = None
        self.console: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """Let go of the pipe, at which the browser ends."""
        self._session = None
        with contextlib.suppress(OSError):
            self.call("Browser.close")
        self._out.close()
        self._in.close()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the protocol and return its result; what the page reports meanwhile is kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._out.write(json.dumps(message | ({"sessionId": self._session} if self._session else {})).encode() + b"\0")
        self._out.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])
            self._note(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self._in], [], [], 60)[0]:
                raise TimeoutError("the browser says nothing")
            part = os.read(self._in.fileno(), 1 << 20)
            if not part:
                raise BrokenPipeError("the browser has gone")
            self._rest += part
        one, self._rest = self._rest.split(b"\0", 1)
        return dict(json.loads(one))

    def _note(self, event: dict[str, Any]) -> None:
        values = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(values["request"]["url"])
            case "Runtime.exceptionThrown":
                self.console.append(values["exceptionDetails"].get("exception", {}).get("description", "exception"))
            case "Runtime.consoleAPICalled" if values["type"] in ("error", "warning", "assert"):
                self.console.append(str([one.get("value", one.get("description")) for one in values["args"]]))
            case "Log.entryAdded" if values["entry"]["level"] in ("error", "warning"):
                self.console.append(values["entry"]["text"])

    def size(self, width: int, height: int) -> None:
        """Set the size of the window, in CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def scheme(self, name: str) -> None:
        """Prefer "light" or "dark"."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def open(self, address: str) -> Self:
        """Load a page, and wait until it is."""
        self.call("Page.navigate", url="about:blank")  # so that another fragment of the same page is loaded anew too
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")
        self.call("Page.bringToFront")
        return self

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression, or of its promise."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"].get("description", script))
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until a JavaScript condition holds; ten seconds at most."""
        end = time.monotonic() + 10
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < end, f"waited in vain for {condition}"
            time.sleep(0.02)

    def click(self, selector: str) -> None:
        """Click with the mouse on the middle of an element (of its first line, if it is wrapped), which must be what lies there."""
        at = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            "const b = e.getClientRects()[0], x = b.x + b.width / 2, y = b.y + b.height / 2, top = document.elementFromPoint(x, y);"
            "return e === top || e.contains(top) ? [x, y] : null; })()"
        )
        assert at, f"{selector} is not there to be clicked"
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left", clickCount=1)

    def key(self, name: str, code: int, text: str = "", *, shift: bool = False) -> None:
        """Press and release a key: its DOM name, its Windows code, and what it types."""
        common = {"key": name, "code": name, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    def picture(self, path: Path) -> None:
        """Write what is seen as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextlib.contextmanager
def browse() -> Iterator[Page]:
    """Start the browser with a new profile; it ends with the block."""
    program = find()
    assert program is not None
    (child_in, ours_out), (ours_in, child_out) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(prefix="umsrep-browser-", ignore_cleanup_errors=True) as profile:
        script = f'exec "$0" "$@" 3<&{child_in} 4>&{child_out}'  # the protocol's two ends are the numbers 3 and 4
        command = ["bash", "-c", script, program, *_OPTIONS.split(), f"--user-data-dir={profile}"]
        quiet = subprocess.DEVNULL
        with subprocess.Popen(command, pass_fds=(child_in, child_out), stdin=quiet, stdout=quiet, stderr=quiet) as process:
            os.close(child_in)
            os.close(child_out)
            try:
                page = Page(ours_out, ours_in)
                yield page
                page.close()
            finally:
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()


def main() -> None:
    """Take a picture of a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", help="address, or path of a file")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=1240)
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--scheme", choices=("light", "dark"), default="light")
    parser.add_argument("--run", metavar="JS", help="before the picture")
    arguments = parser.parse_args()
    path = Path(arguments.page)
    with browse() as page:
        page.size(arguments.width, arguments.height)
        page.scheme(arguments.scheme)
        page.open(path.resolve().as_uri() if path.is_file() else arguments.page)
        if arguments.run:
            page.run(arguments.run)
            page.run("new Promise((done) => setTimeout(done, 300))")
        page.picture(arguments.picture)


if __name__ == "__main__":
    main()
