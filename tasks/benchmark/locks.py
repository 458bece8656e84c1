"""How several processes, also of several hosts that share a folder, take different cells of one benchmark and read each other's files."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from umsrep.tasks.progress import say

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def write_whole(path: Path, text: str) -> None:
    """Write a file that others may read at any time, and that is whole even if this process is killed."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


@contextlib.contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Hold an exclusive lock while entered, if nobody else does.

    It is a POSIX record lock: the kernel (for NFS, its server) lets go of it when the process that holds it ends, however it ends, so
    that no lock is ever stale and none has to be guessed to be. The file itself stays and means nothing.

    Where the system or the file system has no such locks, a line says so once a process and everything is granted: run one process then.

    Args:
        path: The lock's file, made if need be.

    Yields:
        Whether the lock is held.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        yield _lock(file.fileno(), path)


def _lock(descriptor: int, path: Path) -> bool:
    if fcntl is not None:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            if error.errno not in _NO_LOCKS:
                raise
    if not _said:
        _said.append(path)
        say(f"{path.parent}: cannot be locked here; do not run a second process on this benchmark")
    return True


_said: list[Path] = []
