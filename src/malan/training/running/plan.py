"""What one run of an algorithm needs, all of it decided before it starts. Start reading at `RunPlan`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from malan.core.errors import UsageError
from malan.runtime.sandbox import RunLimits
from malan.training.gate import Policy
from malan.training.loader import Loader, split_facts
from malan.training.running.recall import Recall

ENTRY, ORDERS = "malan_run.py", "malan_run.json"
BOOTSTRAP = b'"""Ours: calls the phases of the algorithm beside it."""\n\nfrom malan_inside.job import main\n\nmain()\n'
MIB = 1 << 20


class Needs(Protocol):
    """What a program must find installed."""

    @property
    def packages(self) -> tuple[str, ...]: ...


class Program(Protocol):
    """The part of an algorithm package that runs."""

    @property
    def files(self) -> Mapping[str, bytes]: ...
    @property
    def entry(self) -> Mapping[str, str]:
        """Phase → `module:function`; `train` and `evaluate` are there, `prepare` and `export` may be."""
        ...

    @property
    def environment(self) -> Needs: ...


@dataclass(frozen=True)
class RunPlan:
    """One run.

    Args:
        package: What runs.
        parameters: Plain values, settled.
        seed: What every random choice follows from.
        data: What training sees.
        held_out: What the result is held against; training never sees it.
        policy: What the gate will hold the result against.
        limits: Of each of the sandboxes of the run.
        floor: The least level of isolation.
        tier: `recipe`, `recipe-dp` or `code`; told to nobody inside.
        base: Files of the base model by their name in its folder; None: from nothing.
        restored: A checkpoint to go on from.
        facts: More of what the run is told.
        window, sound: What `batches` asks for unless the algorithm says otherwise.
        threads: Of numeric libraries.
        recall: What the trial asks to find out what was learned by heart; None: nothing.
        checkpoint_bytes: The most that one checkpoint may hold; ten thousand of them are taken.

    Raises:
        UsageError: A file of the package has a name that is ours.
    """

    package: Program
    parameters: Mapping[str, Any]
    seed: int
    data: Loader
    held_out: Loader
    policy: Policy
    limits: RunLimits = field(default_factory=RunLimits)
    floor: str = "sandbox"
    tier: str = "recipe"
    base: Mapping[str, Path] | None = None
    restored: bytes | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    window: Mapping[str, Any] = field(default_factory=dict)
    sound: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 1
    checkpoint_bytes: int = 256 * MIB
    recall: Recall | None = None

    def __post_init__(self) -> None:
        for name in (ENTRY, ORDERS):
            if name in self.package.files:
                raise UsageError("running.reserved_file", name=name)

    @property
    def all_facts(self) -> dict[str, Any]:
        """What the run is told of its data."""
        return {**split_facts(self.data, self.held_out), **self.facts}

    def orders(self, phases: tuple[str, ...], *, weights: bool, base: str) -> dict[str, Any]:
        """What the bootstrap reads. Nothing here tells of clips but their number.

        Args:
            phases: Which to call; those the package does not have are left out.
            weights: Whether there are weights to be handed in.
            base: Where the base model's folder is inside.
        """
        return {
            "parameters": dict(self.parameters),
            "seed": self.seed,
            "facts": self.all_facts,
            "phases": [phase for phase in phases if phase in self.package.entry],
            "entry": dict(self.package.entry),
            "data": self._set(self.data),
            "held_out": self._set(self.held_out),
            "weights": weights,
            "restored": self.restored is not None,
            "base": base if self.base else "",
        }

    def _set(self, loader: Loader) -> dict[str, Any]:
        return {
            "size": len(loader),
            "deliver": list(loader.deliver),
            "window": dict(self.window),
            "audio": dict(self.sound),
        }
