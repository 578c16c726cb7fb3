"""How much one task may take, and how much a process is taking now.

Resident memory and time are watched from outside, through /proc: a limit on address space would refuse libraries that
reserve much and touch little. `confine` is the backstop inside the worker. Start reading at `Limits`.
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one task may take before its worker is ended. Seconds are wall seconds unless the name says CPU."""

    memory_bytes: int = 600 * MIB
    wall_s: float = 600.0
    cpu_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process and the programs it started take at this moment."""

    memory_bytes: int
    cpu_s: float


def usage(pid: int) -> Usage | None:
    """Resident bytes and CPU seconds of a process and its direct children; None once it is gone."""
    own = _usage_of(pid)
    if own is None:
        return None
    children = [used for child in _children(pid) if (used := _usage_of(child))]
    return Usage(own.memory_bytes + sum(u.memory_bytes for u in children), own.cpu_s + sum(u.cpu_s for u in children))


def started_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot: with the pid it names one process for good. None: gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def confine(memory_bytes: int) -> None:
    """Called inside a worker: no core files, first in line when the system runs out, and a ceiling on its heap.

    The ceiling is four times the watched limit, since allocators reserve more than they touch.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    ceiling = 4 * memory_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (ceiling if hard < 0 else min(ceiling, hard), hard))
    try:
        Path("/proc/self/oom_score_adj").write_text("800")
    except OSError:
        return  # only a preference; containers may forbid it


def _usage_of(pid: int) -> Usage | None:
    try:
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, IndexError):
        return None
    return Usage(resident * _PAGE_BYTES, (int(fields[11]) + int(fields[12])) / _TICKS_PER_S)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (OSError, ValueError):
        return []
