"""What a run may take. Start reading at `RunLimits`.

`usage.py` watches what spans processes, `inside/stage.py` sets what the kernel enforces for each.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class RunLimits:
    """What a run may take before it is ended. Seconds are wall seconds unless the name says CPU.

    Memory is that of all its processes, what they share counted once, and what lies in its scratch space.
    """

    memory_bytes: int = 2048 * MIB
    wall_s: float = 3600.0
    cpu_s: float = 4 * 3600.0
    processes: int = 64  # threads count
    open_files: int = 256
    scratch_bytes: int = 256 * MIB
    scratch_files: int = 10_000
    log_bytes: int = MIB  # kept; sixteen times as much ends the run

    def rlimits(self) -> dict[str, int]:
        """What the kernel enforces for each process.

        Address space is bounded loosely, since numeric libraries reserve far more than they touch.
        """
        return {
            "CORE": 0,
            "CPU": round(self.cpu_s) + 5,  # the watch is exact; this holds if it is late
            "DATA": 2 * self.memory_bytes,
            "AS": 4 * self.memory_bytes + 16 * 1024 * MIB,
            "FSIZE": self.scratch_bytes,
            "NOFILE": self.open_files,
            "NPROC": self.processes,
            "MEMLOCK": 8 * MIB,
            "MSGQUEUE": 0,
            "STACK": 8 * MIB,
        }
