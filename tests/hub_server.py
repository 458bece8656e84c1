"""A Hub on 127.0.0.1 for tests: the routes that huggingface_hub 2 uses for models, repositories on disk, and faults on demand.

Repositories have commits, branches, tags, pull requests, tokens, private and gated access; large files go through plain LFS (upload,
verify, download with Range). It has no Xet: a client that insists on Xet for an upload is refused as the real Hub refuses a wrong
address. A `Fault` strikes the first requests whose "METHOD /path" matches it.

`python -m tests.hub_server` serves until its standard input is closed and prints its address first.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
import re
import socket
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from umsrep.zoo.card import metadata_of

LARGE = (".safetensors", ".bin")


@dataclasses.dataclass
class Fault:
    """What happens to a matching request.

    Attributes:
        match: Regular expression found in "METHOD /path".
        kind: "drop" closes and "reset" resets the connection after `at` bytes of the body; "stall" sends `at` bytes and then nothing;
            "corrupt" flips one bit of byte `at`, same length; "short" announces and sends only `at` bytes; "status" answers `status`;
            "lost" does what was asked, then resets without an answer; "mute" never answers.
        at: Bytes.
        times: How many requests it strikes.
        status: For kind "status".
    """

    match: str
    kind: str
    at: int = 0
    times: int = 1
    status: int = 503


@dataclasses.dataclass
class User:
    """Who holds a token."""

    name: str
    write: bool = True
    namespaces: tuple[str, ...] = ()


@dataclasses.dataclass
class Repo:
    """A repository: commits are {path: (hex digest of its object, is it LFS)}."""

    private: bool = False
    gated: bool = False
    branches: dict[str, str] = dataclasses.field(default_factory=dict)
    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    requests: dict[str, str] = dataclasses.field(default_factory=dict)
    commits: dict[str, dict[str, tuple[str, bool]]] = dataclasses.field(default_factory=dict)
    messages: list[str] = dataclasses.field(default_factory=list)

    def find(self, revision: str) -> str | None:
        """Return the commit of a branch, tag, pull request or 40 digits."""
        for known in (self.branches, self.tags, self.requests):
            if revision in known:
                return known[revision]
        return revision if revision in self.commits else None


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str, code: str | None = None, **body: str) -> None:
        super().__init__(message)
        self.status, self.code, self.body = status, code, {"error": message, **body}


class HubServer(ThreadingHTTPServer):
    """The server; see the module."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, root: Path) -> None:
        """Make an empty Hub whose objects lie under ``root``."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.repos: dict[str, Repo] = {}
        self.users: dict[str, User] = {}
        self.faults: list[Fault] = []
        self.log: list[str] = []
        self.lock = threading.RLock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        # under another host's name, as the real Hub's: the client then takes the redirect for the file's metadata
        self.storage_url = f"http://localhost:{self.server_address[1]}"
        self.closing = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep broken connections, which tests cause on purpose, out of the output."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def keep(self, content: bytes) -> str:
        """Store an object."""
        digest = hashlib.sha256(content).hexdigest()
        (self.root / digest).write_bytes(content)
        return digest

    def publish(
        self, repo_id: str, files: dict[str, bytes] | Path, *, branch: str = "main", private: bool = False, gated: bool = False
    ) -> str:
        """Commit files (or all files of a folder) without HTTP; makes the repository; returns the commit."""
        contents = files if isinstance(files, dict) else {p.name: p.read_bytes() for p in files.iterdir()}
        with self.lock:
            repo = self.repos.setdefault(repo_id, Repo(private=private, gated=gated))
            return self.commit(repo, branch, {n: (self.keep(c), n.endswith(LARGE)) for n, c in contents.items()}, "put there")

    def commit(self, repo: Repo, branch: str, changes: dict[str, tuple[str, bool]], message: str, *, request: bool = False) -> str:
        """Add a commit to a branch, or open a pull request with it."""
        parent = repo.branches.get(branch)
        files = {**(repo.commits[parent] if parent else {}), **changes}
        sha = hashlib.sha1(repr((parent, sorted(files.items()), message, len(repo.commits))).encode()).hexdigest()
        repo.commits[sha] = files
        repo.messages.append(message)
        if request:
            repo.requests[f"refs/pr/{len(repo.requests) + 1}"] = sha
        else:
            repo.branches[branch] = sha
        return sha

    def strike(self, line: str) -> Fault | None:
        """Return the fault of this request, if any is left."""
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.match, line):
                    fault.times -= 1
                    return fault
        return None


@contextlib.contextmanager
def serving(root: Path) -> Iterator[HubServer]:
    """Serve in a thread of this process."""
    server = HubServer(root)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer
    fault: Fault | None
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _run(self) -> None:
        parts = urlsplit(self.path)
        self.query = parse_qs(parts.query)
        line = f"{self.command} {parts.path}"  # still quoted: a branch may hold slashes
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self._chunks() if self.headers.get("Transfer-Encoding") == "chunked" else self.rfile.read(length)
        self.server.log.append(line)
        self.fault = self.server.strike(line)
        if self.fault is not None and self.fault.kind == "mute":
            self.server.closing.wait()
            return
        try:
            if self.fault is not None and self.fault.kind == "status":
                raise Refused(self.fault.status, "the server is ill")
            for pattern, route in _ROUTES:
                if match := re.fullmatch(pattern, line):
                    slow = route in (_Handler.resolve, _Handler.download)  # they only read, and may stall
                    with contextlib.nullcontext() if slow else self.server.lock:
                        answer = route(self, *map(unquote, match.groups()))
                    break
            else:
                raise Refused(404, "Not Found")
        except Refused as refusal:
            headers = {"X-Error-Message": str(refusal)} | ({"X-Error-Code": refusal.code} if refusal.code else {})
            self._send(refusal.status, json.dumps(refusal.body).encode(), headers)
            return
        if self.fault is not None and self.fault.kind == "lost":
            self._reset()
        elif answer is not None:
            self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    do_GET = do_HEAD = do_POST = do_PUT = _run

    def _chunks(self) -> bytes:
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _reset(self) -> None:
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() then sends RST, not FIN
        self.connection.close()
        self.close_connection = True

    def _send(self, status: int, body: bytes | memoryview, headers: dict[str, str], length: int | None = None) -> None:
        fault = self.fault if self.fault is not None and self.fault.kind in ("drop", "reset", "stall", "corrupt", "short") else None
        if fault is not None and fault.kind == "corrupt":
            changed = bytearray(body)
            changed[fault.at % len(changed)] ^= 1
            body = bytes(changed)
        if fault is not None and fault.kind == "short":
            body = body[: fault.at]
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body) if length is None else length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            if fault is not None and fault.kind == "reset":
                self._reset()
            return
        if fault is None or fault.kind in ("corrupt", "short"):
            self.wfile.write(body)
            return
        self.wfile.write(body[: fault.at])
        if fault.kind == "stall":
            self.wfile.flush()
            self.server.closing.wait()
        if fault.kind == "reset":
            self._reset()
        self.close_connection = True

    # ---- rights ----------------------------------------------------------------------------------------------------
    def _user(self) -> User | None:
        header = self.headers.get("Authorization")
        if header is None:
            return None
        user = self.server.users.get(header.removeprefix("Bearer "))
        if user is None:
            raise Refused(401, "Invalid credentials in Authorization header")
        return user

    def _repo(self, repo_id: str, *, write: bool = False, content: bool = False) -> Repo:
        user, repo = self._user(), self.server.repos.get(repo_id)
        member = user is not None and repo_id.partition("/")[0] in (user.name, *user.namespaces)
        if repo is None or (repo.private and not member):
            # as the real Hub: who is not logged in does not learn whether it exists
            raise Refused(404, "Repository not found", "RepoNotFound") if user else Refused(401, "Invalid username or password.")
        if content and repo.gated and not member:
            raise Refused(403 if user else 401, f"Access to model {repo_id} is restricted.", "GatedRepo")
        if write and not (user is not None and user.write and member):
            raise Refused(403 if user else 401, "You don't have the rights to write here")
        return repo

    def _commit(self, repo: Repo, revision: str) -> str:
        sha = repo.find(revision)
        if sha is None:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return sha

    # ---- routes ----------------------------------------------------------------------------------------------------
    def whoami(self) -> dict[str, Any]:
        user = self._user()
        if user is None:
            raise Refused(401, "Invalid username or password.")
        return {"type": "user", "name": user.name, "orgs": [{"name": n} for n in user.namespaces]}

    def models(self) -> list[dict[str, Any]]:
        author = self.query.get("author", [""])[0]
        chosen = [(n, r) for n, r in self.server.repos.items() if n.startswith(f"{author}/") and not r.private]
        known = {"private": False, "tags": ["umsrep"]}
        return [{"id": n, "modelId": n, "sha": r.branches.get("main")} | known | self._card(r) for n, r in chosen]

    def _card(self, repo: Repo) -> dict[str, Any]:
        """Return the metadata of main's card, as `cardData` asks for it."""
        digest, _ = repo.commits[repo.branches["main"]].get("README.md", ("", False))
        text = (self.server.root / digest).read_text(encoding="utf-8") if digest else ""
        return {"cardData": found} if (found := metadata_of(text)) else {}

    def organization(self, name: str) -> dict[str, Any]:
        if not any(name in user.namespaces for user in self.server.users.values()):
            raise Refused(404, "This organization does not exist")
        return {"name": name, "fullname": name, "avatarUrl": ""}

    def person(self, name: str) -> dict[str, Any]:
        if not any(name == user.name for user in self.server.users.values()):
            raise Refused(404, "This user does not exist")
        return {"user": name, "fullname": name, "avatarUrl": ""}

    def create(self) -> dict[str, Any]:
        asked = json.loads(self.body)
        user = self._user()
        if user is None:
            raise Refused(401, "Invalid username or password.")
        owner = asked.get("organization") or user.name
        if not user.write or owner not in (user.name, *user.namespaces):
            raise Refused(403, f'You don\'t have the rights to create a model under the namespace "{owner}"')
        repo_id = f"{owner}/{asked['name']}"
        if repo_id in self.server.repos:
            raise Refused(409, "You already created this model repo", url=f"{self.server.url}/{repo_id}")
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        repo = self.server.repos[repo_id] = Repo(private=private)
        self.server.commit(repo, "main", {".gitattributes": (self.server.keep(b"*.safetensors filter=lfs\n"), False)}, "initial commit")
        return {"url": f"{self.server.url}/{repo_id}", "name": repo_id}

    def validate(self) -> dict[str, Any]:
        return {"errors": [], "warnings": []}

    def preupload(self, repo_id: str, revision: str) -> dict[str, Any]:
        repo = self._repo(repo_id, write=True)
        files = repo.commits[self._commit(repo, revision)]
        answers = []
        for asked in json.loads(self.body)["files"]:
            path = asked["path"]
            mode = "lfs" if path.endswith(LARGE) else "regular"
            oid = self._oid(*files[path]) if path in files else None
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return {"files": answers}

    def _oid(self, digest: str, large: bool) -> str:
        content = (self.server.root / digest).read_bytes()
        return digest if large else hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def batch(self, repo_id: str) -> dict[str, Any]:
        self._repo(repo_id, write=True)
        objects: list[dict[str, Any]] = []
        for asked in json.loads(self.body)["objects"]:
            entry = {"oid": asked["oid"], "size": asked["size"]}
            if not (self.server.root / asked["oid"]).is_file():
                links = {"upload": f"storage/{repo_id}/{asked['oid']}", "verify": f"{repo_id}.git/info/lfs/verify"}
                entry["actions"] = {name: {"href": f"{self.server.url}/{link}"} for name, link in links.items()}
            objects.append(entry)
        return {"transfer": "basic", "objects": objects}

    def put(self, repo_id: str, digest: str) -> dict[str, Any]:
        if hashlib.sha256(self.body).hexdigest() != digest:
            raise Refused(400, "the content has another digest")
        self.server.keep(self.body)
        return {}

    def verify(self, repo_id: str) -> dict[str, Any]:
        asked = json.loads(self.body)
        path = self.server.root / asked["oid"]
        if not path.is_file() or path.stat().st_size != asked["size"]:
            raise Refused(404, "no such object")
        return {}

    def add_commit(self, repo_id: str, revision: str) -> dict[str, Any]:
        repo = self._repo(repo_id, write=True)
        self._commit(repo, revision)
        changes: dict[str, tuple[str, bool]] = {}
        message = ""
        for entry in map(json.loads, self.body.splitlines()):
            value = entry["value"]
            if entry["key"] == "header":
                message = value["summary"]
            elif entry["key"] == "file":
                changes[value["path"]] = (self.server.keep(base64.b64decode(value["content"])), False)
            elif entry["key"] == "lfsFile":
                if not (self.server.root / value["oid"]).is_file():
                    raise Refused(400, "that object was never uploaded")
                changes[value["path"]] = (value["oid"], True)
            else:
                raise Refused(400, f"unknown operation {entry['key']}")
        request = self.query.get("create_pr") == ["1"]
        sha = self.server.commit(repo, revision, changes, message, request=request)
        answer = {"success": True, "commitOid": sha, "commitUrl": f"{self.server.url}/{repo_id}/commit/{sha}", "hookOutput": ""}
        return answer | ({"pullRequestUrl": f"{self.server.url}/{repo_id}/discussions/{len(repo.requests)}"} if request else {})

    def branch(self, repo_id: str, name: str) -> dict[str, Any]:
        repo = self._repo(repo_id, write=True)
        if name in repo.branches:
            raise Refused(409, "Reference already exists")
        start = json.loads(self.body or b"{}").get("startingPoint", "main")
        repo.branches[name] = self._commit(repo, start)
        return {}

    def tag(self, repo_id: str, revision: str) -> dict[str, Any]:
        repo = self._repo(repo_id, write=True)
        name = json.loads(self.body)["tag"]
        if name in repo.tags:
            raise Refused(409, "Tag reference exists already")
        repo.tags[name] = self._commit(repo, revision)
        return {}

    def refs(self, repo_id: str) -> dict[str, Any]:
        repo = self._repo(repo_id)

        def entries(kind: str, known: dict[str, str]) -> list[dict[str, str]]:
            return [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": sha} for n, sha in known.items()]

        return {"branches": entries("heads", repo.branches), "tags": entries("tags", repo.tags), "converts": [], "pullRequests": []}

    def revision(self, repo_id: str, revision: str = "main") -> dict[str, Any]:
        repo = self._repo(repo_id)
        sha = self._commit(repo, revision)
        siblings = [{"rfilename": path} for path in repo.commits[sha]]
        access = {"private": repo.private, "gated": repo.gated}
        return {"id": repo_id, "modelId": repo_id, "sha": sha, "siblings": siblings, "tags": []} | access

    def tree(self, repo_id: str, revision: str) -> list[dict[str, Any]]:
        repo = self._repo(repo_id)
        entries = []
        for path, (digest, large) in repo.commits[self._commit(repo, revision)].items():
            size = (self.server.root / digest).stat().st_size
            entry: dict[str, Any] = {"type": "file", "path": path, "size": size, "oid": self._oid(digest, False)}
            entries.append(entry | ({"lfs": {"oid": digest, "size": size, "pointerSize": 134}} if large else {}))
        return entries

    def resolve(self, repo_id: str, revision: str, path: str) -> None:
        repo = self._repo(repo_id, content=True)
        sha = self._commit(repo, revision)
        entry = repo.commits[sha].get(path)
        if entry is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found", "X-Repo-Commit": sha})
            return
        digest, large = entry
        size = (self.server.root / digest).stat().st_size
        headers = {"X-Repo-Commit": sha, "ETag": f'"{self._oid(digest, large)}"', "Accept-Ranges": "bytes"}
        if large:
            headers |= {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(size)}
            headers["Location"] = f"{self.server.storage_url}/storage/{repo_id}/{digest}"
            self._send(302, b"", headers)
            return
        self._send_file(digest, headers)

    def download(self, repo_id: str, digest: str) -> None:
        self._send_file(digest, {"ETag": f'"{digest}"', "Accept-Ranges": "bytes"})

    def _send_file(self, digest: str, headers: dict[str, str]) -> None:
        path = self.server.root / digest
        size = path.stat().st_size
        if self.command == "HEAD":
            self._send(200, b"", headers, length=size)
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked is None and self.fault is None:  # the quick way, for benchmarks
            self.send_response(200)
            for name, value in {"Content-Length": str(size), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with path.open("rb") as file:
                self.connection.sendfile(file)
            return
        content = memoryview(path.read_bytes())
        if asked is None:
            self._send(200, content, headers)
            return
        start, stop = int(asked[1]), int(asked[2] or size - 1) + 1
        if start >= size:
            raise Refused(416, "Range Not Satisfiable")
        self._send(206, content[start:stop], {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{size}"})


_ID = r"([^/]+/[^/]+)"
_REVISION = r"([^/]+)"
_ROUTES: list[tuple[str, Callable[..., Any]]] = [
    (r"GET /api/whoami-v2", _Handler.whoami),
    (r"GET /api/models", _Handler.models),
    (r"GET /api/organizations/([^/]+)/overview", _Handler.organization),
    (r"GET /api/users/([^/]+)/overview", _Handler.person),
    (r"POST /api/repos/create", _Handler.create),
    (r"POST /api/validate-yaml", _Handler.validate),
    (rf"POST /api/models/{_ID}/preupload/{_REVISION}", _Handler.preupload),
    (rf"POST /{_ID}\.git/info/lfs/objects/batch", _Handler.batch),
    (rf"POST /{_ID}\.git/info/lfs/verify", _Handler.verify),
    (rf"PUT /storage/{_ID}/([0-9a-f]{{64}})", _Handler.put),
    (rf"(?:GET|HEAD) /storage/{_ID}/([0-9a-f]{{64}})", _Handler.download),
    (rf"POST /api/models/{_ID}/commit/{_REVISION}", _Handler.add_commit),
    (rf"POST /api/models/{_ID}/branch/{_REVISION}", _Handler.branch),
    (rf"POST /api/models/{_ID}/tag/{_REVISION}", _Handler.tag),
    (rf"GET /api/models/{_ID}/refs", _Handler.refs),
    (rf"GET /api/models/{_ID}/revision/{_REVISION}", _Handler.revision),
    (rf"GET /api/models/{_ID}/tree/{_REVISION}", _Handler.tree),
    (rf"GET /api/models/{_ID}", _Handler.revision),
    (rf"(?:GET|HEAD) /{_ID}/resolve/{_REVISION}/(.+)", _Handler.resolve),
]


def main() -> None:
    """Serve the folders named as REPO=FOLDER until standard input closes."""
    with tempfile.TemporaryDirectory() as root, serving(Path(root)) as server:
        for argument in sys.argv[1:]:
            repo_id, _, folder = argument.partition("=")
            server.publish(repo_id, Path(folder))
        sys.stdout.write(server.url + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
