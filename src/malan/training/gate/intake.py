"""Taking what a run left in its output folder: a closed list of plain files, each up to its limit, and nothing else.

The folder was written by a stranger. No name in it is followed, opened or told unless it is on the list.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from malan.core.errors import Rejected

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MOST_ENTRIES = 64


def collect_outputs(
    folder: Path, limits: Mapping[str, int], *, optional: frozenset[str] = frozenset()
) -> dict[str, bytes]:
    """The bytes of the listed files.

    Args:
        folder: Where the run wrote; it must have ended, so that nothing changes any more.
        limits: The name of each file and the most bytes it may have.
        optional: Those that may be missing.

    Raises:
        Rejected: Anything else is there, one is missing, is no plain file, has a second name (hard link) or is too
            large. Nothing is read before all of them are known to be in order.
    """
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = _names(directory)
        if extra := len(found - limits.keys()):
            raise Rejected("gate.extra_files", extra=extra)
        if missing := sorted(limits.keys() - found - optional):
            raise Rejected("gate.missing_file", name=missing[0])
        for name in found:
            _check_plain(name, os.stat(name, dir_fd=directory, follow_symlinks=False), limits[name])
        return {name: _read(directory, name, limits[name]) for name in sorted(found)}
    finally:
        os.close(directory)


def _names(directory: int) -> set[str]:
    names: set[str] = set()
    with os.scandir(directory) as entries:
        for entry in entries:
            names.add(entry.name)
            if len(names) > _MOST_ENTRIES:
                break
    return names


def _check_plain(name: str, status: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        raise Rejected("gate.not_a_file", name=name)
    if status.st_size > most:
        raise Rejected("gate.file_too_large", name=name, size=status.st_size, most=most)


def _read(directory: int, name: str, most: int) -> bytes:
    try:
        file = os.open(name, _FLAGS, dir_fd=directory)
    except OSError as error:
        raise Rejected("gate.not_a_file", name=name) from error
    with os.fdopen(file, "rb") as opened:
        _check_plain(name, os.fstat(opened.fileno()), most)
        data = opened.read(most + 1)
    if len(data) > most:
        raise Rejected("gate.file_too_large", name=name, size=len(data), most=most)
    return data
