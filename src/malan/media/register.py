"""Take in a file: its digest, what it holds and its packet index, in one read of its bytes.

Nothing is written here; the library does that. Start at `register`.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from malan.core.errors import MediaError
from malan.media.index import PacketIndex
from malan.media.open import open_plain, opened
from malan.media.probe import Probe, describe, is_still
from malan.media.sniff import shown
from malan.media.survey import Survey, picture_of

_BLOCK = 1 << 20
_CATCH_UP = 32 << 20  # a skip of the demuxer up to this long is read at once, while the disk is there


@dataclass(frozen=True)
class Registered:
    """A file as it was when it was read. `index` is None for what has no moving picture."""

    digest: str  # SHA-256, 64 hex digits
    probe: Probe
    index: PacketIndex | None


def register(path: str | Path) -> Registered:
    """Digest, probe and packet index of a file.

    The digest is taken of the bytes as the demuxer reads them, so the file is read from the disk once. Memory stays
    bounded: 37 bytes a packet and one block.

    Raises:
        NotFound: There is no such file.
        MediaError: `media.changed` if it was written to meanwhile; otherwise why it cannot be used.
    """
    fd = open_plain(path)
    try:
        before = _state(os.fstat(fd))
        file = HashedFile(fd)
        found = _read(file, fd, path)
        digest = file.digest()
        if _state(os.fstat(fd)) != before or _state_of(path) != before or file.size != before[2]:
            raise MediaError("media.changed", path=shown(path))
        return Registered(digest, *found)
    except OSError as error:
        raise MediaError("media.unreadable", path=shown(path), detail=error.strerror or str(error)) from error
    finally:
        os.close(fd)


class HashedFile:
    """A file object for libav that hashes each byte the first time it passes.

    libav may seek: what was hashed is not hashed again, and what it skips is caught up with, at once or at the end.
    """

    def __init__(self, fd: int) -> None:
        self._fd, self._at = fd, 0
        self._hash, self._hashed = hashlib.sha256(), 0

    @property
    def size(self) -> int:
        """Bytes hashed."""
        return self._hashed

    def read(self, size: int) -> bytes:
        data = os.pread(self._fd, size, self._at)
        if self._hashed < self._at <= self._hashed + _CATCH_UP:
            self._hash_until(self._at)
        if self._at <= self._hashed < self._at + len(data):
            self._hash.update(memoryview(data)[self._hashed - self._at :])
            self._hashed = self._at + len(data)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: os.fstat(self._fd).st_size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def digest(self) -> str:
        """SHA-256 of the whole file; reads what has not passed yet."""
        self._hash_until(None)
        return self._hash.hexdigest()

    def _hash_until(self, end: int | None) -> None:
        while end is None or self._hashed < end:
            data = os.pread(self._fd, _BLOCK if end is None else min(_BLOCK, end - self._hashed), self._hashed)
            if not data:
                return
            self._hash.update(data)
            self._hashed += len(data)


def _read(file: HashedFile, fd: int, path: str | Path) -> tuple[Probe, PacketIndex | None]:
    with opened(path, fd, cast(BinaryIO, file)) as container:
        survey = Survey(container, path, picture_of(container))
        survey.read(container.streams)
        indexed = None if is_still(container, fd) or survey.first_frame is None else survey.index()
        return describe(container, survey, indexed, fd, path), None if indexed is None else indexed[0]


def _state(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _state_of(path: str | Path) -> tuple[int, int, int, int] | None:
    try:
        return _state(Path(path).stat())
    except OSError:
        return None
