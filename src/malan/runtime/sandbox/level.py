"""How well a run is shut in: measured by what its attacks met, never assumed.

Levels are those that terms of use name: `none`, `process` (limits, no privileges), `sandbox` (every wall held);
`confidential` (the operator cannot look in either) is never reached here. Start reading at `judge`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from malan.core.errors import Rejected, UsageError

LEVELS = ("none", "process", "sandbox", "confidential")
_NAMESPACES = ("user", "pid", "net", "ipc", "uts", "mnt", "cgroup")
_OF_A_PROCESS = ("own.limits", "own.no_new_privileges", "own.capabilities", "own.user", "own.descriptors")


@dataclass(frozen=True, slots=True)
class Probe:
    """One attack: what it tried, whether the wall held, and what the kernel said."""

    name: str
    held: bool
    met: str = ""


@dataclass(frozen=True, slots=True)
class Level:
    """The level reached, with every attack that shows it."""

    name: str
    landlock_abi: int
    probes: tuple[Probe, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        """The attacks that got through."""
        return tuple(probe.name for probe in self.probes if not probe.held)

    def evidence(self) -> dict[str, Any]:
        """For the receipt: level, counts and each attack with what it met."""
        return {
            "level": self.name,
            "landlock_abi": self.landlock_abi,
            "held": sum(probe.held for probe in self.probes),
            "tried": len(self.probes),
            "probes": {probe.name: [probe.held, probe.met] for probe in self.probes},
        }


def judge(probes: Iterable[Probe], landlock_abi: int) -> Level:
    """The level that these attacks show: one that got through is enough to lose the name of a sandbox."""
    tried = tuple(probes)
    held = {probe.name for probe in tried if probe.held}
    if tried and len(held) == len(tried) and landlock_abi:
        name = "sandbox"
    else:
        name = "process" if held.issuperset(_OF_A_PROCESS) else "none"
    return Level(name, landlock_abi, tried)


def check_floor(floor: str) -> None:
    """Refuse a floor that no run can reach, before anything is started.

    Raises:
        UsageError: No such level.
        Rejected: `confidential`.
    """
    if floor not in LEVELS:
        raise UsageError("sandbox.no_level", name=floor, known=", ".join(LEVELS))
    if floor == LEVELS[-1]:
        raise Rejected("sandbox.below_floor", floor=floor, level=LEVELS[-2], failed="–")


def refuse_below(floor: str, level: Level) -> None:
    """Raise unless the level reaches the floor.

    Raises:
        Rejected: It does not; the error names the attacks that got through.
    """
    if LEVELS.index(level.name) < LEVELS.index(floor):
        raise Rejected("sandbox.below_floor", floor=floor, level=level.name, failed=", ".join(level.failed) or "–")


def namespaces(pid: int) -> list[Probe]:
    """Whether a process lives in namespaces of its own, seen from here."""
    found = []
    for name in _NAMESPACES:
        try:
            is_own = Path(f"/proc/{pid}/ns/{name}").readlink() != Path(f"/proc/self/ns/{name}").readlink()
        except OSError as error:
            found.append(Probe(f"namespace.{name}", False, error.strerror or ""))
        else:
            found.append(Probe(f"namespace.{name}", is_own))
    return found
