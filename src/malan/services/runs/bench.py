"""What a worker needs of whatever carries a run out: a policy for the gate, the run itself, a trial of its result.

The worker knows this much and no more, so the life of a run does not depend on how a program is fed and shut in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from malan.core.decisions import Reason
from malan.training.gate import Policy, Trial

if TYPE_CHECKING:
    from malan.services.runs.rows import Run
    from malan.workspace import Workspace

END_OK, END_FAILED, END_LIMIT = "ok", "failed", "limit"


@dataclass(frozen=True)
class Ended:
    """How a program ended, as those who ran it tell. `files` is for the gate, and empty unless the end is ok."""

    end: str
    limit: str | None
    level: str
    wall_s: float
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0
    attempts: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    epsilon: str | None = None
    delta: str | None = None
    reason: Reason | None = None

    def as_record(self) -> dict[str, Any]:
        """For the row of the run."""
        told: dict[str, Any] = {
            "end": self.end,
            "limit": self.limit,
            "level": self.level,
            "wall_s": round(self.wall_s, 3),
            "cpu_s": round(self.cpu_s, 3),
            "peak_memory_bytes": self.peak_memory_bytes,
            "attempts": dict(self.attempts),
        }
        privacy = {"epsilon": self.epsilon, "delta": self.delta}
        return told | {name: value for name, value in privacy.items() if value is not None}


class Bench(Protocol):
    """One run, checked and ready to begin."""

    @property
    def policy(self) -> Policy:
        """What the gate will ask."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """What is known of the data, for the model's card."""
        ...

    def run(
        self,
        *,
        restored: bytes | None,
        log: Path,
        on_progress: Callable[[str, int], None],
        on_checkpoint: Callable[[bytes], None],
        stop: Callable[[], bool],
    ) -> Ended:
        """Carry it out; returns when all of it is gone."""
        ...

    def trial(self, stop: Callable[[], bool]) -> Trial:
        """What tries a result for the gate."""
        ...


Prepare = Callable[["Workspace", "Run"], Bench]
"""Checks a run once more and makes it ready. What it raises ends the run before anything of it has begun."""
