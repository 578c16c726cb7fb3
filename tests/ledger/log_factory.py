"""Logs on disk for tests: always the same key and entries, so that the same log has the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from malan.ledger.log import LogWriter
from malan.ledger.note import NoteSigner
from malan.ledger.reader import LogReader

ORIGIN = "log.example/golden"
SIGNER = NoteSigner.from_private(ORIGIN, bytes(range(32)))
KEY = SIGNER.verifier
ANOTHER = NoteSigner.from_private(ORIGIN, bytes(range(1, 33)))


def entries(first: int, end: int) -> list[bytes]:
    """Entries of different lengths, the empty one among them."""
    return [(f"entry {i} " + "存证" * (i % 7)).encode() if i else b"" for i in range(first, end)]


def write_log(folder: Path, sizes: Sequence[int], pending: int = 0) -> Path:
    """A log published at these sizes, with some entries more in its journal."""
    with LogWriter.open(folder, SIGNER) as log:
        for size in sizes:
            log.append(entries(log.size, size))
            log.publish()
    if pending:
        log = LogWriter.open(folder, SIGNER)
        log.append(entries(log.size, log.size + pending))
        log.close(publish=False)
    return folder


def reader(folder: Path) -> LogReader:
    return LogReader(folder, [KEY])


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def flip(path: Path, at: int, by: int = 1) -> None:
    """Change one byte of a file."""
    path.write_bytes(flipped(path.read_bytes(), at, by))


def flipped(data: bytes, at: int, by: int = 1) -> bytes:
    changed = bytearray(data)
    changed[at] ^= by
    return bytes(changed)
