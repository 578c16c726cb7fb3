"""The write-ahead file of a log: entries that are durable but not yet in a signed checkpoint.

    header   lines of text: what this is; origin, size and root of the log it follows; SHA-256; then zeros to 4,096
    record   payload length, entry count, CRC-32 of these two (4 bytes each), SHA-256, payload (a bundle)
    zeros    to the end of the file, so a record is written over blocks the disk already has: one flush, no metadata

The SHA-256 of a record covers the one before it (the first one covers the header), so no record can be changed, moved
or taken from the middle. The last record may be `torn` by a power cut or a kill: some sector of it was never written.
Then it was never acknowledged and is wiped. A record that was written in full and is wrong is damage, and nothing is
appended to such a log. Start at `Journal.open`.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from malan.core.errors import ProofError, StoreError
from malan.ledger.checkpoint import Checkpoint
from malan.ledger.files import FILE_MODE, UNFINISHED, sync_folder, write_all
from malan.ledger.tiles import pack, unpack

NAME = "journal"
KIND = "malan-journal/v1"
HEADER_BYTES = 4096
FIRST_BYTES = 64 * 1024
LARGEST_GROWTH_BYTES = 4 * 1024 * 1024
LARGE_RECORD_BYTES = 128 * 1024
LARGEST_RECORD_BYTES = 64 * 1024 * 1024
SECTOR_BYTES = 512  # the least a disk writes whole

_HEAD = struct.Struct(">III")
_DIGEST_BYTES = 32
_FRAME_BYTES = _HEAD.size + _DIGEST_BYTES


@dataclass(frozen=True)
class Record:
    """What one append wrote, and where in the file it begins."""

    at: int
    size_bytes: int
    entries: list[bytes]


class Journal:
    """An open journal, read up to `end`. One user at a time: the writer's lock sees to that."""

    def __init__(self, folder: Path, descriptor: int, base: Checkpoint) -> None:
        self.base = base
        self.end = HEADER_BYTES
        self.torn: int | None = None  # where a record breaks off that was never acknowledged
        self._descriptor = descriptor
        self._digest = hashlib.sha256(_header(base)).digest()
        self._path = str(folder / NAME)
        status = os.fstat(descriptor)
        self._inode = (status.st_dev, status.st_ino)
        self._size = status.st_size

    @classmethod
    def create(cls, folder: Path, base: Checkpoint) -> Journal:
        """A journal without records, in place of the one that was there, durable when this returns."""
        unfinished = folder / (NAME + UNFINISHED)
        try:
            descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
            write_all(descriptor, _header(base).ljust(FIRST_BYTES, b"\0"))
            os.fsync(descriptor)
            unfinished.replace(folder / NAME)
            sync_folder(folder)
        except OSError as error:
            raise StoreError("ledger.write", path=NAME, detail=str(error)) from error
        return cls(folder, descriptor, base)

    @classmethod
    def open(cls, folder: Path, *, writable: bool = True) -> Journal:
        """The journal of a log; its records are read with `read`.

        Raises:
            ProofError: There is none, or its header was changed.
        """
        flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(folder / NAME, flags)
        except FileNotFoundError as error:
            raise ProofError("ledger.no_journal", path=NAME) from error
        except OSError as error:
            raise StoreError("ledger.read", path=NAME, detail=str(error)) from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ProofError("ledger.no_file", path=NAME)
            if status.st_size < FIRST_BYTES:
                raise ProofError("ledger.journal_cut", path=NAME, byte=status.st_size)
            return cls(folder, descriptor, _read_header(os.pread(descriptor, HEADER_BYTES, 0)))
        except BaseException:
            os.close(descriptor)
            raise

    def is_replaced(self) -> bool:
        """Whether another journal has taken this one's place since."""
        try:
            status = os.stat(self._path)  # noqa: PTH116 - once an append; a Path costs more than the call
        except FileNotFoundError as error:
            raise ProofError("ledger.no_journal", path=NAME) from error
        return (status.st_dev, status.st_ino) != self._inode

    def has_more(self) -> bool:
        """Whether something stands after `end`: another process has written, or was killed while it wrote."""
        return any(self._pread(_HEAD.size, self.end))

    def read(self) -> Iterator[Record]:
        """The records after `end`; advances it. A torn one ends the journal and is noted in `torn`.

        Raises:
            ProofError: A record was changed; `byte` says where it begins.
        """
        self._size = os.fstat(self._descriptor).st_size
        self.torn = None
        while (record := self._next()) is not None:
            yield record

    def write(self, entries: Sequence[bytes]) -> None:
        """Append one record with a single flush; when this returns, it is durable.

        Raises:
            StoreError: The disk is full or failing; the record was taken back.
        """
        head, payload, digest = _frame(self._digest, entries)
        data = b"".join((head, digest, payload))
        try:
            self._make_room(len(data))
            write_all(self._descriptor, data, self.end)
            os.fdatasync(self._descriptor)
        except OSError as error:
            self.wipe()
            raise StoreError("ledger.write", path=NAME, detail=str(error)) from error
        self.end += len(data)
        self._digest = digest

    def wipe(self) -> None:
        """Overwrite everything after `end` with zeros, durably: what is there was never acknowledged."""
        try:
            at, size = self.end, os.fstat(self._descriptor).st_size
            while at < size:
                write_all(self._descriptor, bytes(min(LARGEST_GROWTH_BYTES, size - at)), at)
                at += min(LARGEST_GROWTH_BYTES, size - at)
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise StoreError("ledger.write", path=NAME, detail=str(error)) from error
        self.torn = None

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _make_room(self, length: int) -> None:
        """Lengthen the file so that a record and the end after it fit; first, so that a torn record never shortens it.

        Small records find zeros already on disk, more of them the longer the journal: their flush then writes no
        metadata. A large one would only be written twice, so its place stays a hole until it is.
        """
        missing = self.end + length + _HEAD.size - self._size
        if missing <= 0:
            return
        if length >= LARGE_RECORD_BYTES:
            os.ftruncate(self._descriptor, self._size + missing)
            self._size += missing
            return
        growth = max(missing, min(self._size, LARGEST_GROWTH_BYTES))
        write_all(self._descriptor, bytes(growth), self._size)
        os.fsync(self._descriptor)
        self._size += growth

    def _next(self) -> Record | None:
        head = self._pread(_HEAD.size, self.end)
        if len(head) < _HEAD.size:
            raise ProofError("ledger.journal_cut", path=NAME, byte=self.end + len(head))
        if not any(head):
            self._check_end()
            return None
        length, count, checksum = _HEAD.unpack(head)
        if checksum != zlib.crc32(head[:8]):
            self._check_torn(self.end + _HEAD.size)
            return None
        if self.end + _FRAME_BYTES + length > self._size:
            raise ProofError("ledger.journal_cut", path=NAME, byte=self._size)
        frame = self._pread(_FRAME_BYTES + length, self.end)
        if frame[_HEAD.size : _FRAME_BYTES] != _chain(self._digest, head, frame[_FRAME_BYTES:]):
            self._check_torn(self.end + len(frame))
            return None
        record = Record(self.end, length, self._unpacked(frame[_FRAME_BYTES:], count))
        self._digest = frame[_HEAD.size : _FRAME_BYTES]
        self.end += len(frame)
        return record

    def _pread(self, length: int, at: int) -> bytes:
        try:
            return os.pread(self._descriptor, length, at)
        except OSError as error:
            raise StoreError("ledger.read", path=NAME, detail=str(error)) from error

    def _unpacked(self, payload: bytes, count: int) -> list[bytes]:
        try:
            return unpack(payload, count)
        except ValueError as error:
            raise ProofError("ledger.journal_damaged", path=NAME, byte=self.end) from error

    def _check_end(self) -> None:
        """No record begins here; what stands behind can only be the far end of one that was never finished."""
        rest = self._pread(self._size - self.end, self.end)
        if not any(rest):
            return
        first = self.end + len(rest) - len(rest.lstrip(b"\0"))
        if first // SECTOR_BYTES == self.end // SECTOR_BYTES:
            raise ProofError("ledger.journal_damaged", path=NAME, byte=first)
        self.torn = first

    def _check_torn(self, end: int) -> None:
        """A record whose bytes up to `end` do not hold: torn when a sector of it was never written, else damaged."""
        first = self.end // SECTOR_BYTES * SECTOR_BYTES
        data = self._pread(-(-end // SECTOR_BYTES) * SECTOR_BYTES - first, first)
        if all(any(data[at : at + SECTOR_BYTES]) for at in range(0, len(data), SECTOR_BYTES)):
            raise ProofError("ledger.journal_damaged", path=NAME, byte=self.end)
        self.torn = self.end


def _header(base: Checkpoint) -> bytes:
    root = base64.b64encode(base.root).decode()
    text = f"{KIND}\n{base.origin}\n{base.size}\n{root}\n".encode()
    return text + hashlib.sha256(text).hexdigest().encode() + b"\n"


def _read_header(data: bytes) -> Checkpoint:
    """What a header states; it must be the one spelling of that."""
    try:
        lines = data.rstrip(b"\0").decode().split("\n")
        base = Checkpoint.parse("\n".join([*lines[1:4], ""]))
    except (UnicodeDecodeError, ProofError) as error:
        raise ProofError("ledger.journal_damaged", path=NAME, byte=0) from error
    if _header(base).ljust(HEADER_BYTES, b"\0") != data:
        raise ProofError("ledger.journal_damaged", path=NAME, byte=0)
    return base


def _frame(digest: bytes, batch: Sequence[bytes]) -> tuple[bytes, bytes, bytes]:
    payload = pack(batch)
    sizes = struct.pack(">II", len(payload), len(batch))
    head = sizes + struct.pack(">I", zlib.crc32(sizes))
    return head, payload, _chain(digest, head, payload)


def _chain(digest: bytes, head: bytes, payload: bytes) -> bytes:
    hasher = hashlib.sha256(digest)
    hasher.update(head)
    hasher.update(payload)
    return hasher.digest()
