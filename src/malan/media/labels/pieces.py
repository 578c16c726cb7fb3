"""A labelled file as pieces: stretches copied from the source, and bytes of ours between them.

A carrier says how the new file is put together and touches nothing; `assemble` writes it. What is copied is copied by
the kernel (shared with the source where the file system can), so a label costs a disk copy at most, and media data
never pass through Python. Reading is bounded: a hostile file ends in `Damaged` or `TooMuch`. Start at `Source`.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_FICLONE = 0x40049409  # linux/fs.h: share all blocks of another file
_COPY_AT_ONCE = 1 << 30
_BUFFER = 1 << 20
_BLOCK = 256
_NO_COPY_RANGE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)


class Damaged(Exception):  # an inner signal, turned into a MediaError or a verdict
    """The file does not hold what its structure says. `place` names where."""

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.place = place


class TooMuch(Damaged):
    """More would have to be read than a label is worth: the file is huge in small parts, or built to wear us out."""


class Impossible(Exception):
    """A sound file that a label cannot be written to without harm; `why` is a message code."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Found:
    """A text found in a place where labels are. `is_usual`: where the practice guides put it."""

    text: str
    place: str
    is_usual: bool = True


class Source:
    """A file to read from, with a limit on how often and how much."""

    def __init__(self, fd: int, *, most_reads: int = 400_000, most_bytes: int = 256 << 20) -> None:
        self.fd, self.size = fd, os.fstat(fd).st_size
        self._reads, self._bytes = most_reads, most_bytes

    def read(self, start: int, length: int, place: str = "file") -> bytes:
        """Exactly that many bytes.

        Raises:
            Damaged: The file ends before.
            TooMuch: The limits are used up.
        """
        if start < 0 or length < 0 or start + length > self.size:
            raise Damaged(place)
        self._reads -= 1
        self._bytes -= length
        if self._reads < 0 or self._bytes < 0:
            raise TooMuch(place)
        data = os.pread(self.fd, length, start)
        if len(data) != length:
            raise Damaged(place)
        return data

    def spend(self, count: int, place: str) -> None:
        """Count bytes that became more after they were read.

        Raises:
            TooMuch: The limits are used up.
        """
        self._bytes -= count
        if self._bytes < 0:
            raise TooMuch(place)

    def head(self, start: int, length: int) -> bytes:
        """Up to that many bytes: fewer at the end of the file."""
        return self.read(start, max(0, min(length, self.size - start))) if start < self.size else b""


@dataclass(frozen=True, slots=True)
class Copy:
    """A stretch of the source, end excluded."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Put:
    """Bytes of ours."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)


Piece = Copy | Put


def tidy(pieces: Iterable[Piece]) -> list[Piece]:
    """The same file in as few pieces as it takes: empty ones gone, neighbours joined."""
    found: list[Piece] = []
    ours: list[bytes] = []
    for piece in [*pieces, None]:
        if isinstance(piece, Put):
            ours.append(piece.data)
            continue
        if piece is not None and not piece.size:
            continue
        if data := b"".join(ours):
            found.append(Put(data))
        ours = []
        last = found[-1] if found else None
        if isinstance(piece, Copy) and isinstance(last, Copy) and last.end == piece.start:
            found[-1] = Copy(last.start, piece.end)
        elif piece is not None:
            found.append(piece)
    return found


def bytes_put(pieces: Iterable[Piece]) -> int:
    """How many bytes are ours."""
    return sum(piece.size for piece in pieces if isinstance(piece, Put))


def keeps_places(pieces: Iterable[Piece]) -> bool:
    """Whether everything copied stays where it was."""
    at = 0
    for piece in pieces:
        if isinstance(piece, Copy) and piece.start != at:
            return False
        at += piece.size
    return True


def only_changes(source: Source, pieces: Sequence[Piece]) -> list[Piece]:
    """The same file with as few bytes of ours as need be: what is in its place already counts as copied."""
    if not keeps_places(pieces):
        return list(pieces)
    found: list[Piece] = []
    at = 0
    for piece in pieces:
        if isinstance(piece, Copy):
            found.append(piece)
        else:
            old = source.head(at, piece.size)
            for start in range(0, piece.size, _BLOCK):
                new = piece.data[start : start + _BLOCK]
                is_there = old[start : start + _BLOCK] == new
                found.append(Copy(at + start, at + start + len(new)) if is_there else Put(new))
        at += piece.size
    return tidy(found)


def assemble(source_fd: int, pieces: Sequence[Piece], out_fd: int) -> None:
    """Write the pieces to an empty file. Raises OSError, `ENOSPC` among others."""
    is_shared = keeps_places(pieces) and _clone(source_fd, out_fd)
    at = 0
    for piece in pieces:
        if isinstance(piece, Put):
            _write(out_fd, piece.data, at)
        elif not is_shared:
            _copy(source_fd, piece, out_fd, at)
        at += piece.size
    os.ftruncate(out_fd, at)


def first_difference(source_fd: int, pieces: Sequence[Piece], out_fd: int) -> int | None:
    """Where the new file first differs from its pieces; None when it is what was meant."""
    at = 0
    for piece in pieces:
        if isinstance(piece, Put):
            if os.pread(out_fd, piece.size, at) != piece.data:
                return at
        else:
            for done in range(0, piece.size, _BUFFER):
                length = min(_BUFFER, piece.size - done)
                if os.pread(source_fd, length, piece.start + done) != os.pread(out_fd, length, at + done):
                    return at + done
        at += piece.size
    return None if os.fstat(out_fd).st_size == at else at


def _clone(source_fd: int, out_fd: int) -> bool:
    """Share the blocks of the source, where the file system can."""
    try:
        fcntl.ioctl(out_fd, _FICLONE, source_fd)
    except OSError:
        return False
    return True


def _copy(source_fd: int, piece: Copy, out_fd: int, at: int) -> None:
    start, by_kernel = piece.start, True
    while start < piece.end:
        length = min(_COPY_AT_ONCE, piece.end - start)
        try:
            done = os.copy_file_range(source_fd, out_fd, length, start, at) if by_kernel else 0
        except OSError as error:
            if error.errno not in _NO_COPY_RANGE:
                raise
            done = 0
        if not done:
            by_kernel = False
            data = os.pread(source_fd, min(_BUFFER, length), start)
            if not data:
                raise OSError(errno.EIO, "the source became shorter")
            _write(out_fd, data, at)
            done = len(data)
        start, at = start + done, at + done


def _write(fd: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, at)
        view, at = view[done:], at + done
