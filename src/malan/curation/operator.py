"""What an operator is, what it is given and what it may say.

    scan ─ one shared decode ─▶ Batch (views of clips) ─▶ operator.run ─▶ findings and vectors

An operator declares what it reads and emits, receives batches, and touches nothing else: no file, no clock, no state
between batches. The planner decodes only what the chosen operators read. Start at `Operator`, then `ClipView`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from malan.core import Clip, Finding
from malan.core.errors import UsageError
from malan.curation.samples import Burst
from malan.curation.scaling import Sample
from malan.curation.sound import Sound

READS = frozenset({"pictures", "motion", "packets", "sound", "speech", "damage"})
ENTRY_POINTS = "malan.operators"


@dataclass(frozen=True)
class PacketView:
    """What the packets of a clip's frames weigh, presentation order; nothing is decoded for it."""

    size_bytes: NDArray[np.int32]
    is_key: NDArray[np.bool_]


@dataclass(frozen=True)
class Damage:
    """Where decoding went wrong, in seconds; `frames` counts those lost or marked as damaged."""

    start_s: float
    end_s: float
    frames: int
    track: str  # video, audio


@dataclass(frozen=True)
class ClipView:
    """All an operator sees of one clip. What no operator reads is empty or None.

    `samples` rise in time and lie outside of transitions where the clip has such frames; a clip that could not be
    decoded has none. `is_whole` marks the one view that stands for the whole track; it carries no pictures.
    """

    clip: Clip
    start_s: float
    end_s: float
    rate_hz: float = 0.0  # frames per second around here
    samples: tuple[Sample, ...] = ()
    bursts: tuple[Burst, ...] = ()
    packets: PacketView | None = None
    sound: Sound | None = None  # this clip's stretch only
    damage: tuple[Damage, ...] = ()
    is_whole: bool = False

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Batch:
    """Some clips of one asset in order of time. Clips of one asset come in several batches."""

    views: tuple[ClipView, ...]


@dataclass(frozen=True)
class Vector:
    """A thing learned about a clip that is numbers for machines: an embedding, a fingerprint."""

    clip: Clip
    kind: str
    producer: str
    version: str
    values: NDArray[Any]


Learned = Finding | Vector


@runtime_checkable
class Operator(Protocol):
    """One thing to learn about clips.

    `name` and `version` name the producer of every finding; a change of what comes out is a new version. `reads` is a
    subset of `READS`, `emits` are the kinds of findings and vectors. `run` is a pure function of the batch.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def reads(self) -> frozenset[str]: ...

    @property
    def emits(self) -> tuple[str, ...]: ...

    def run(self, batch: Batch) -> Sequence[Learned]:
        """What is learned about the clips of the batch; a clip about which nothing can be said is left out."""
        ...


def finding(
    operator: Operator,
    view: ClipView,
    kind: str,
    value: Mapping[str, Any],
    *,
    confidence: float | None = None,
    reason: str | None = None,
) -> Finding:
    """A finding of this operator about this clip; numbers are rounded to four places so that ids are stable."""
    return Finding(
        clip=view.clip,
        kind=kind,
        producer=operator.name,
        version=operator.version,
        value=_plain(value),
        confidence=None if confidence is None else round(float(confidence), 3),
        reason=reason,
    )


def check_operators(operators: Iterable[Operator]) -> tuple[Operator, ...]:
    """The operators, once each is known to keep the protocol.

    Raises:
        UsageError: Two have the same name, or one reads what nobody offers.
    """
    found: dict[str, Operator] = {}
    for operator in operators:
        if operator.name in found:
            raise UsageError("operator.twice", name=operator.name)
        unknown = sorted(set(operator.reads) - READS)
        if unknown:
            raise UsageError("operator.reads", name=operator.name, what=", ".join(unknown))
        found[operator.name] = operator
    return tuple(found.values())


def _plain(value: Any) -> Any:
    """Plain JSON: NumPy numbers become Python's, floats are rounded, not-a-number becomes None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return round(float(value), 4) if np.isfinite(value) else None
    return value
