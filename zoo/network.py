"""What the Hub and the way to it can answer: which failures are tried again, and what each of them says in one line."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from huggingface_hub import constants, get_token
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import get_session, httpx  # type: ignore[attr-defined]  # the client that this hub version uses, httpx or httpx2

from umsrep.errors import InputError, nearest
from umsrep.zoo.folder import CARD_FILE
from umsrep.zoo.presets import PRESETS

T = TypeVar("T")
# All that a call to huggingface_hub raises for reasons outside this program. ValueError: a forced download that failed, a bad name;
# RuntimeError: an upload that failed, and the Xet client.
FAILURES = (HfHubHTTPError, httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, RuntimeError)
_XET_TOKEN = re.compile(r"/api/models/[^/\s]+/[^/\s]+/xet-write-token\b")
_WAITS = (0.5, 1.0, 2.0)  # seconds before the second, third and fourth try


def again(call: Callable[[], T], *, also: tuple[type[BaseException], ...] = ()) -> T:
    """Make a call that may be repeated, up to four times: a connection that broke, a body cut short, an answer 5xx.

    Args:
        call: A call to huggingface_hub. It waits for an answer at most six times HF_HUB_DOWNLOAD_TIMEOUT (huggingface_hub itself sets no
            limit on calls to its API).
        also: Further failures that are tried again; huggingface_hub's own downloads repeat what cannot be reached or stalls by themselves.
    """
    for wait in _WAITS:
        try:
            with _time_limit():
                return call()
        except FAILURES as error:
            if not _passing(error, also):
                raise
            time.sleep(wait)
    with _time_limit():
        return call()


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    session = get_session()
    before = session.timeout
    if before == httpx.Timeout(None):  # a user who set a client of their own knows better
        session.timeout = httpx.Timeout(6.0 * constants.HF_HUB_DOWNLOAD_TIMEOUT)
    try:
        yield
    finally:
        session.timeout = before


def _passing(error: BaseException, also: tuple[type[BaseException], ...]) -> bool:
    causes = list(_causes(error))
    if any(isinstance(cause, LocalEntryNotFoundError) for cause in causes):
        return False  # the client has tried six times
    return any(
        isinstance(cause, (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError, *also))
        or (status_of(cause) or 0) >= 500
        or (isinstance(cause, OSError) and "Consistency check failed" in str(cause))
        for cause in causes
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


UNREACHABLE = (httpx.ConnectError, httpx.TimeoutException)


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that a failure carries."""
    return error.response.status_code if isinstance(error, HfHubHTTPError) and error.response is not None else None


def check_token(token: str | bool | None) -> None:
    """Refuse a token that cannot be sent; as in huggingface_hub False means none, True the stored one."""
    if isinstance(token, str) and (not token or not token.isascii() or not token.isprintable() or " " in token):
        raise InputError("token: empty, or with characters that no token has; copy it again from huggingface.co/settings/tokens")


def download_error(
    error: BaseException, name: str, *, file: str, revision: str | None, token: str | bool | None, cache_dir: str | Path | None, local: bool
) -> InputError:
    """Say why ``file`` of the repository ``name`` did not come, and what to do."""
    causes = list(_causes(error))
    credentials = token is not False and (isinstance(token, str) or get_token() is not None)
    for cause in causes:
        if isinstance(cause, GatedRepoError):  # a subclass of RepositoryNotFoundError: first
            what = "your token has no access yet" if credentials else "pass token=... (or run `hf auth login`)"
            return InputError(f"'{name}' is gated: ask for access on {constants.ENDPOINT}/{name}; {what}")
        if isinstance(cause, RevisionNotFoundError):
            return InputError(f"'{name}' has no revision '{revision}' (a branch, tag or commit of 40 hex digits)")
        if isinstance(cause, RemoteEntryNotFoundError):
            return InputError(f"'{name}' has no file {file}{f' at {revision}' if revision else ''}")
        if isinstance(cause, RepositoryNotFoundError) or (status_of(cause) == 401 and not credentials):
            what = "your token may not read it" if credentials else "is private or gated: pass token=... (or run `hf auth login`)"
            return InputError(f"'{name}' is not on the Hub, or {what}{nearest(name.rpartition('/')[2], PRESETS)}")
    if constants.is_offline_mode() or local:
        why = "local_files_only=True" if local else "HF_HUB_OFFLINE"
        where = cache_dir or constants.HF_HUB_CACHE
        what = f"{file} of '{name}' at revision '{revision or constants.DEFAULT_REVISION}'"
        how = f"run `umsrep card {name}` once without" if file == CARD_FILE else "load it once without"  # a load brings no card
        return InputError(f"{what} is not in the cache {where}{_cached(name, where)} and {why} forbids the network; {how}")
    return InputError(f"'{name}' could not be downloaded: {_reason(causes, str(cache_dir or constants.HF_HUB_CACHE))}")


def upload_error(error: BaseException, repo_id: str, *, revision: str | None) -> InputError:
    """Say why the repository could not be published, and what to do."""
    causes = list(_causes(error))
    start = f"'{repo_id}' could not be published"
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in causes):
        return InputError(f"{start}: HF_HUB_OFFLINE forbids the network; unset it")
    if not constants.HF_HUB_DISABLE_XET and any(map(_without_xet, causes)):
        return InputError(f"{start}: this server does not take the Xet protocol; set HF_HUB_DISABLE_XET=1 and publish again")
    for cause in causes:
        if isinstance(cause, RevisionNotFoundError):
            return InputError(f"{start}: it has no branch '{revision}'")
        if (code := status_of(cause)) in (401, 403, 404):
            what = "the token has no write right there" if code == 403 else "log in with `hf auth login`, or pass a token that is valid"
            return InputError(f"{start} (HTTP {code}): {what}")
    return InputError(f"{start}: {_reason(causes, 'the local disk')}")


def _without_xet(cause: BaseException) -> bool:
    """Say whether the server knows no token for the Xet storage; the Xet client tells the address and status in its message alone."""
    return _XET_TOKEN.search(str(cause)) is not None and re.search(r"\b40[13]\b", str(cause)) is None


def _cached(name: str, cache: str | Path) -> str:
    """Name the revisions of a repository that are cached, those with a name first."""
    folder = Path(cache, repo_folder_name(repo_id=name, repo_type="model"))
    refs = {p.relative_to(folder / "refs").as_posix(): p for p in sorted((folder / "refs").rglob("*")) if p.is_file()}
    commits = {p.name for p in (folder / "snapshots").glob("*")}
    named = {ref: p.read_text(encoding="utf-8", errors="replace") for ref, p in refs.items()}
    found = [ref for ref, commit in named.items() if commit in commits] + sorted(commits - set(named.values()))
    return f" (cached: {', '.join(found[:5])}{', ...' if len(found) > 5 else ''})" if found else ""


def _proxy() -> str:
    """Name the variable with the proxy that requests to the Hub take; its value may hold a password."""
    parts = urlsplit(constants.ENDPOINT)
    proxies = getproxies_environment()
    kind = next((kind for kind in (parts.scheme, "all") if kind in proxies), None)
    if kind is None or proxy_bypass(parts.netloc):
        return ""
    name = next((n for n in (f"{kind}_proxy", f"{kind}_proxy".upper()) if os.environ.get(n)), f"{kind}_proxy")
    return f" through the proxy that {name} names"


def _reason(causes: list[BaseException], disk: str) -> str:
    """Say in one line what went wrong on the way, by the first cause that tells."""
    for cause in causes:
        if isinstance(cause, httpx.ProxyError):
            return f"the proxy failed ({first_line(cause)}){_proxy()}; check HTTPS_PROXY, HTTP_PROXY and NO_PROXY"
        if isinstance(cause, httpx.TimeoutException):
            return (
                f"{constants.ENDPOINT} did not answer in time{_proxy()}; try again, or raise HF_HUB_ETAG_TIMEOUT (now "
                f"{constants.HF_HUB_ETAG_TIMEOUT} s) and HF_HUB_DOWNLOAD_TIMEOUT (now {constants.HF_HUB_DOWNLOAD_TIMEOUT} s)"
            )
        if isinstance(cause, httpx.ConnectError):
            return (
                f"{constants.ENDPOINT} cannot be reached{_proxy()} ({first_line(cause)}); check the network, HF_ENDPOINT and proxy settings"
            )
        if isinstance(cause, httpx.LocalProtocolError | httpx.InvalidURL | httpx.UnsupportedProtocol):
            return f"a request could not be made ({first_line(cause)}); check the token, HF_ENDPOINT and proxy settings"
        if isinstance(cause, httpx.TransportError):
            return f"the connection to {constants.ENDPOINT} broke ({first_line(cause) or type(cause).__name__}); try again"
        if isinstance(cause, HFValidationError):
            return f"no valid name of a repository on the Hub: {first_line(cause)}"
        if (code := status_of(cause)) is not None:
            what = {401: "the token is wrong or expired", 403: "the token has no right to that", 429: "too many requests: wait a while"}
            return f"HTTP {code}: {what.get(code) or ('the server is ill: try again later' if code >= 500 else first_line(cause))}"
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return f"no space left in {disk}; make room, or choose another place with cache_dir=... or HF_HOME"
        if isinstance(cause, OSError) and "Consistency check failed" in str(cause):
            return "a file came with the wrong length, again and again; try again later"
        if isinstance(cause, OSError) and cause.errno is not None:
            return f"{cause.strerror} ({cause.filename or disk})"
    return first_line(causes[0])


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
