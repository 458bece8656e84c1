"""Images and labels in a NumPy archive of parts (train, val, test), opened without holding the pixels in memory."""

from __future__ import annotations

import bisect
import contextlib
import errno
import itertools
import math
import os
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, overload

import numpy as np

from umsrep.errors import InputError
from umsrep.tasks.progress import track
from umsrep.zoo.stored import DAMAGED, MAX_VALUES, MIN_SIDE

IN_MEMORY = 64 * 2**20
"""Compressed arrays below this many bytes are held in memory; others are unpacked to the cache and mapped."""
MOST_BYTES = 64 * 2**30
"""The largest array opened; the largest of MedMNIST (PathMNIST at 224 px) has 13 GB in its training part."""
_MOST_LABELS = 256 * 2**20
_MOST_COLUMNS = 1_000
_MOST_RATIO = 100  # deflate reaches 1,030; published sets stay below 10
_MOST_CELLS = 2**25  # of the labels: each becomes a text
_BLOCK = 1 << 20
_NOT_WRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


class NpzImages(Sequence[np.ndarray]):
    """All images of an archive's parts in a row; each is read when it is asked for.

    It is pickled as a path, so that worker processes map the same file instead of getting a copy.

    Attributes:
        path: The archive.
        labels: Part to its labels, [N, L] of whole numbers.
    """

    def __init__(self, path: Path, parts: Sequence[str]) -> None:
        """Open the archive.

        Args:
            path: npz with ``PART_images`` [N, H, W] or [N, H, W, 3] uint8 and ``PART_labels`` [N, L].
            parts: Names of its parts, in order.

        Raises:
            InputError: if it is missing, damaged or of another form, or a member unpacks to more than 64 GiB, or to more than 64 MiB
                and 100 times its size.
        """
        self.path, self.parts = path, tuple(parts)
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        self.labels: dict[str, np.ndarray] = {}
        self._arrays: list[np.ndarray] = []
        try:
            self._stamp = _stamp(path)
            with zipfile.ZipFile(path) as archive:
                for part in parts:
                    self._open_part(archive, part)
        except InputError:
            raise
        except (*DAMAGED, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: damaged npz ({str(error).splitlines()[0] if str(error) else type(error).__name__})") from error
        self._ends = list(itertools.accumulate(len(array) for array in self._arrays))

    def _open_part(self, archive: zipfile.ZipFile, part: str) -> None:
        pixels, targets = (_Member(self.path, archive, f"{part}_{what}") for what in ("images", "labels"))
        whole = targets.dtype.kind in "biu"
        if (len(pixels.shape) == 4 and pixels.shape[3] != 3) or len(pixels.shape) == 5:
            raise InputError(f"{self.path}: {part}_images {pixels.shape} holds volumes; umsrep reads 2-D MedMNIST sets")
        if pixels.dtype != np.uint8 or len(pixels.shape) not in (3, 4) or len(targets.shape) != 2 or pixels.shape[:1] != targets.shape[:1]:
            raise InputError(
                f"{self.path}: {part}_images {pixels.dtype} {pixels.shape} and {part}_labels {targets.shape} are not a 2-D MedMNIST set"
            )
        if min(pixels.shape[1:3]) < MIN_SIDE or math.prod(pixels.shape[1:]) > MAX_VALUES:
            raise InputError(
                f"{self.path}: {part}_images {pixels.shape}: images have {MIN_SIDE} pixels a side or more, {MAX_VALUES:,} values at most"
            )
        if targets.shape[1] > _MOST_COLUMNS or math.prod(targets.shape) > _MOST_CELLS:
            raise InputError(
                f"{self.path}: {part}_labels {targets.shape}: {_MOST_COLUMNS:,} labels a row and {_MOST_CELLS:,} in all are the most"
            )
        if not whole or not targets.shape[1]:
            raise InputError(f"{self.path}: {part}_labels {targets.dtype} {targets.shape}: labels are whole numbers, one or more a row")
        self.labels[part] = targets.read(_MOST_LABELS).astype(np.int64)
        self._arrays.append(pixels.map())

    def __len__(self) -> int:
        """Number of images in all parts."""
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        """Return one image, [H, W] or [H, W, 3] uint8, or a list of them."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        part = bisect.bisect_right(self._ends, index)
        return np.array(self._arrays[part][index - (self._ends[part - 1] if part else 0)])

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the same file again; see `_reopen`."""
        return _reopen, (self.path, self.parts, self._stamp)


def _reopen(path: Path, parts: tuple[str, ...], stamp: tuple[int, int]) -> NpzImages:
    images = NpzImages(path, parts)
    if images._stamp != stamp:
        raise InputError(f"{path}: changed while it was in use")
    return images


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


class _Member:
    """One array of the archive: its header, checked against what the archive says of its size."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, name: str) -> None:
        self.path, self.archive, self.name = path, archive, name
        try:
            self.info = archive.getinfo(f"{name}.npy")
        except KeyError:
            raise InputError(f"{path}: no array '{name}' in it; a MedMNIST file has train, val and test images and labels") from None
        with archive.open(self.info) as file:
            version = np.lib.format.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                raise InputError(f"{path}: {name}: unknown npy version {version}")
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            self.shape, fortran, self.dtype = read(file)
            self.start = file.tell()
        if self.dtype.hasobject:
            raise InputError(f"{path}: {name} holds pickled objects, which are not opened")
        if fortran and len(self.shape) > 1:
            raise InputError(f"{path}: {name} is stored in Fortran order; save it in C order (np.ascontiguousarray)")
        size = self.info.file_size
        if any(n < 0 for n in self.shape) or self.start + math.prod(self.shape) * self.dtype.itemsize != size:
            raise InputError(f"{path}: damaged npz ({name} {self.shape} {self.dtype} does not have the {size} bytes stored for it)")
        if size > MOST_BYTES or (size > IN_MEMORY and size > _MOST_RATIO * max(1, self.info.compress_size)):
            raise InputError(f"{path}: {name} would unpack from {self.info.compress_size:,} to {size:,} bytes; refused")

    def read(self, most: int) -> np.ndarray:
        if self.info.file_size > most:
            raise InputError(f"{self.path}: {self.name} has {self.info.file_size:,} bytes; {most:,} is the most")
        data = self.archive.read(self.info)  # checks the CRC
        return np.frombuffer(data, self.dtype, offset=self.start).reshape(self.shape)

    def map(self) -> np.ndarray:
        """Return the array without its pixels in memory, unless it is small."""
        if not math.prod(self.shape):
            return np.empty(self.shape, self.dtype)
        if self.info.compress_type == zipfile.ZIP_STORED:
            return self._mapped(self.path, self._data_offset() + self.start)
        if self.info.file_size < IN_MEMORY:
            return self.read(IN_MEMORY)
        size, changed = _stamp(self.path)
        unpacked = cache_folder() / "npz" / f"{self.path.stem}-{self.name}-{self.info.CRC:08x}-{size}-{changed}.npy"
        if not unpacked.is_file() or unpacked.stat().st_size != self.info.file_size:
            blocks = -(-self.info.file_size // _BLOCK)
            with self.archive.open(self.info) as packed, write_whole(unpacked) as file:
                for block in track(iter(lambda: packed.read(_BLOCK), b""), f"unpacking {self.name} of {self.path.name}", total=blocks):
                    file.write(block)
        return self._mapped(unpacked, self.start)

    def _mapped(self, path: Path, offset: int) -> np.ndarray:
        return np.memmap(path, self.dtype, mode="r", offset=offset, shape=self.shape)

    def _data_offset(self) -> int:
        """Where a stored member's bytes begin: after its local header, whose name and extra field have lengths of their own."""
        with self.path.open("rb") as file:
            file.seek(self.info.header_offset)
            header = file.read(30)
        return self.info.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")


def cache_folder() -> Path:
    """Return ``$UMSREP_CACHE``, or ``~/.cache/umsrep``: what is fetched or unpacked; it can be removed at any time."""
    named = os.environ.get("UMSREP_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "umsrep"


@contextlib.contextmanager
def write_whole(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that appears when it is complete, or not at all.

    Raises:
        InputError: if the disk is full or the folder cannot be written to.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, suffix=".part", delete=False) as file:
            temporary = Path(file.name)
            yield file
        temporary.replace(path)
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:  # the source's fault, not the disk's
            raise
        raise InputError(f"{path}: cannot be written ({error.strerror}); UMSREP_CACHE names another folder") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
