"""What all processes of a run take at this moment, read from outside through /proc. Start reading at `tree_usage`."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class TreeUsage:
    """Bytes, CPU seconds and counts of a whole run."""

    memory_bytes: int
    cpu_s: float
    processes: int
    scratch_bytes: int
    scratch_files: int


def tree_usage(init_pid: int, limit_bytes: int) -> TreeUsage:
    """What the process `init_pid` and all below it take; orphans of a process namespace hang below its init.

    Resident memory counts pages that forked processes share once each, so when it is near the limit the exact sum is
    taken, which costs more.
    """
    pids = tree(init_pid)
    scratch_bytes, scratch_files = _scratch(init_pid)
    memory = sum(_anonymous_bytes(pid) for pid in pids)
    if memory + scratch_bytes > limit_bytes:
        memory = sum(_exact_bytes(pid) for pid in pids)
    return TreeUsage(memory + scratch_bytes, sum(_cpu_s(pid) for pid in pids), len(pids), scratch_bytes, scratch_files)


def tree(root: int) -> list[int]:
    """A process and all below it."""
    found: list[int] = []
    waiting = [root]
    while waiting and len(found) < 10_000:
        pid = waiting.pop()
        found.append(pid)
        with suppress(OSError, ValueError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
    return found


def _anonymous_bytes(pid: int) -> int:
    return _kilobytes(f"/proc/{pid}/status", "RssAnon:")


def _exact_bytes(pid: int) -> int:
    """Shared pages divided by how many share them."""
    return _kilobytes(f"/proc/{pid}/smaps_rollup", "Pss_Anon:")


def _kilobytes(path: str, key: str) -> int:
    """Bytes behind a key. Read as bytes: the name of a process stands there too, which it may set to anything."""
    with suppress(OSError, ValueError):
        for line in Path(path).read_bytes().split(b"\n"):
            if line.startswith(key.encode()):
                return int(line.split()[1]) * 1024
    return 0


def _cpu_s(pid: int) -> float:
    """Of a process and those of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return sum(int(fields[at]) for at in (11, 12, 13, 14)) / _TICKS_PER_S


def _scratch(init_pid: int) -> tuple[int, int]:
    """Bytes and files in the only writable place. Its mount point cannot be replaced from inside."""
    try:
        found = os.statvfs(f"/proc/{init_pid}/root/tmp")
    except OSError:
        return 0, 0
    return (found.f_blocks - found.f_bfree) * found.f_frsize, found.f_files - found.f_ffree
