"""What workers are asked to do with one file. Runs in a process that may die; imports neither the library nor the
database.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from malan.core.errors import MediaError
from malan.media.probe import Probe
from malan.media.register import register


@dataclass(frozen=True, slots=True)
class FileRead:
    """All that registering a file learned: digest of its bytes, what it holds, and the packet index as bytes."""

    digest: str
    probe: Probe
    index: bytes | None
    size_bytes: int
    mtime_ns: int


def read_file(path: str) -> FileRead:
    """Read a file once: digest, probe and packet index belong to the same bytes."""
    before = os.stat(path)  # noqa: PTH116  # keeps odd bytes as they are
    found = register(path)
    after = os.stat(path)  # noqa: PTH116
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise MediaError("media.changed", path=path)
    index = None if found.index is None else found.index.to_bytes()
    return FileRead(found.digest, found.probe, index, after.st_size, after.st_mtime_ns)
