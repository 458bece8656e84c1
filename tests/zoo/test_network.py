"""What is tried again and what each failure says; the failures themselves are real, over HTTP, in test_hub.py and test_publish.py."""

from __future__ import annotations

import errno
import time

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from huggingface_hub.utils import get_session, httpx  # type: ignore[attr-defined]

from umsrep.errors import InputError
from umsrep.zoo.network import UNREACHABLE, again, check_token, download_error, upload_error


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were asked for, in seconds; none is made."""
    asked: list[float] = []
    monkeypatch.setattr(time, "sleep", asked.append)
    return asked


def http_error(status: int) -> HfHubHTTPError:
    """An answer with this status."""
    return HfHubHTTPError(f"{status}", response=httpx.Response(status, request=httpx.Request("GET", "http://hub/")))


class Failing:
    """A call that fails with these errors, one after the other, and then succeeds."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)

    def __call__(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_three_failures_that_pass_are_waited_for(waits: list[float]) -> None:
    cut = OSError("Consistency check failed: file should be of size 2 but has size 1")
    assert again(Failing(httpx.ReadError("reset"), http_error(503), cut)) == "done"
    assert waits == [0.5, 1.0, 2.0]


def test_the_fourth_is_told(waits: list[float]) -> None:
    with pytest.raises(HfHubHTTPError):
        again(Failing(*[http_error(502) for _ in range(4)]))
    assert len(waits) == 3


@pytest.mark.parametrize("error", [http_error(404), http_error(401), http_error(429), OSError(errno.ENOSPC, "full"), ValueError("no")])
def test_what_will_not_pass_is_told_at_once(waits: list[float], error: Exception) -> None:
    with pytest.raises(type(error)):
        again(Failing(error))
    assert not waits


def test_what_the_client_has_tried_is_not_tried_again(waits: list[float]) -> None:
    missing = LocalEntryNotFoundError("not cached")
    missing.__cause__ = http_error(503)
    with pytest.raises(LocalEntryNotFoundError):
        again(Failing(missing))
    with pytest.raises(httpx.ConnectError):
        again(Failing(httpx.ConnectError("refused")))
    assert not waits
    assert again(Failing(httpx.ConnectError("refused")), also=UNREACHABLE) == "done"


def test_calls_without_a_time_limit_get_one_and_lose_it() -> None:
    session = get_session()
    assert session.timeout == httpx.Timeout(None)
    limits = again(lambda: session.timeout)
    assert limits == httpx.Timeout(6.0 * constants.HF_HUB_DOWNLOAD_TIMEOUT)
    assert session.timeout == httpx.Timeout(None)
    session.timeout = httpx.Timeout(3.0)
    try:
        assert again(lambda: session.timeout) == httpx.Timeout(3.0)
    finally:
        session.timeout = httpx.Timeout(None)


def caused(error: BaseException, by: BaseException) -> BaseException:
    """An error with a cause."""
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (httpx.ProxyError("407 Proxy Authentication Required"), r"the proxy failed \(407 .*\); check HTTPS_PROXY, HTTP_PROXY and NO_PROXY"),
        (http_error(429), "HTTP 429: too many requests: wait a while"),
        (http_error(403), "HTTP 403: the token has no right to that"),
        (http_error(500), "HTTP 500: the server is ill: try again later"),
        (OSError(errno.ENOSPC, "No space left on device"), "no space left in /cache; make room"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "no space left in /cache"),
        (PermissionError(errno.EACCES, "Permission denied", "/cache/x"), r"Permission denied \(/cache/x\)"),
        (httpx.UnsupportedProtocol("Request URL is missing an 'http://' or 'https://' protocol."), "check the token, HF_ENDPOINT"),
        (caused(ValueError("Force download failed due to the above error."), httpx.ReadTimeout("timed out")), "did not answer in time"),
    ],
)
def test_one_line_for_every_failure(monkeypatch: pytest.MonkeyPatch, error: BaseException, message: str) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    found = download_error(error, "org/m", file="config.json", revision=None, token=None, cache_dir="/cache", local=False)
    with pytest.raises(InputError, match=f"^'org/m' could not be downloaded: .*{message}"):
        raise found
    assert "\n" not in str(found)


def test_an_upload_that_failed_inside_names_the_inner_reason() -> None:
    error = caused(RuntimeError("Error while uploading 'model.safetensors' to the Hub."), httpx.WriteError("broken pipe"))
    assert "the connection to" in str(upload_error(error, "org/m", revision=None))


XET = "Network error: Request error: HTTP status client error (404 Not Found), domain: http://hub/api/models/org/m/xet-write-token/main"


@pytest.mark.parametrize(
    ("error", "advised"),
    [
        (ConnectionError(XET), True),  # as hf_xet 1.x says it
        (ConnectionError(XET.replace("404 Not Found", "403 Forbidden")), False),
        (ConnectionError("Network error: http://hub/api/models/org/xetty/commit/main"), False),
        (ConnectionError("Network error: http://hub/api/models/org/xet-write-token/commit/main"), False),
    ],
)
def test_xet_is_blamed_only_for_its_own_request(monkeypatch: pytest.MonkeyPatch, error: BaseException, advised: bool) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    assert ("HF_HUB_DISABLE_XET=1" in str(upload_error(error, "org/m", revision=None))) == advised
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    assert "HF_HUB_DISABLE_XET" not in str(upload_error(error, "org/m", revision=None)), "it is set already"


def test_the_variable_of_the_proxy_is_named_but_not_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.example")
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    error = httpx.ConnectError("Connection refused")
    assert "proxy that" not in str(upload_error(error, "org/m", revision=None))
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@127.0.0.1:9")
    said = str(upload_error(error, "org/m", revision=None))
    assert "cannot be reached through the proxy that HTTPS_PROXY names" in said
    assert "secret" not in said
    monkeypatch.setenv("NO_PROXY", "hub.example")
    assert "proxy that" not in str(upload_error(error, "org/m", revision=None))


def test_a_card_that_is_not_cached_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    error = LocalEntryNotFoundError("not cached")
    found = download_error(error, "org/m", file="README.md", revision="v1", token=None, cache_dir="/cache", local=False)
    assert str(found).startswith("README.md of 'org/m' at revision 'v1' is not in the cache /cache and HF_HUB_OFFLINE forbids")
    assert str(found).endswith("run `umsrep card org/m` once without")


@pytest.mark.parametrize("token", ["", " ", "hf_a b", "hf_a\n", "hf_ä"])
def test_tokens_that_cannot_be_sent(token: str) -> None:
    with pytest.raises(InputError, match=r"^token: ") as caught:
        check_token(token)
    assert token.strip() == "" or token not in str(caught.value)  # a secret is never repeated
