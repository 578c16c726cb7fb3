"""Two copies of one log, side by side: the same, one further on, or two stories.

Start at `compare_logs`. A fork is found to the entry, and proven by what the log itself signed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from malan.core.errors import ProofError
from malan.core.merkle import check_consistency
from malan.ledger.checkpoint import Checkpoint
from malan.ledger.note import NoteVerifier
from malan.ledger.split_view import SplitView


class Copy(Protocol):
    """A copy of a log that can be read: `LogReader` is one."""

    def checkpoint(self) -> Checkpoint: ...

    def note(self) -> bytes: ...

    def root(self, size: int) -> bytes: ...

    def prove_consistency(self, old_size: int, new_size: int) -> list[bytes]: ...


class Relation(StrEnum):
    SAME = "same"
    FIRST_AHEAD = "first_ahead"
    SECOND_AHEAD = "second_ahead"
    FORKED = "forked"


@dataclass(frozen=True)
class Comparison:
    """How two copies stand to each other.

    Args:
        relation: Same, one ahead of the other, or forked.
        shared: How many entries from the start both have alike; the next one differs when they are forked.
        first: Checkpoint of the first copy.
        second: Checkpoint of the second copy.
        split_view: The proof, when they are forked.
    """

    relation: Relation
    shared: int
    first: Checkpoint
    second: Checkpoint
    split_view: SplitView | None = None


def compare_logs(first: Copy, second: Copy, verifiers: Iterable[NoteVerifier]) -> Comparison:
    """Compare two copies of a log by their signed checkpoints and their tiles.

    Raises:
        ProofError: They are copies of different logs, or one of them does not lead to its own checkpoint.
    """
    one, two = first.checkpoint(), second.checkpoint()
    if one.origin != two.origin:
        raise ProofError("checkpoint.origin", expected=one.origin[:200], found=two.origin[:200])
    shorter, longer = (first, second) if one.size <= two.size else (second, first)
    split = _contradiction(shorter, longer, list(verifiers))
    if split:
        return Comparison(Relation.FORKED, _shared(shorter, longer), one, two, split)
    return Comparison(_relation(one, two), min(one.size, two.size), one, two)


def _relation(one: Checkpoint, two: Checkpoint) -> Relation:
    if one.size == two.size:
        return Relation.SAME
    return Relation.FIRST_AHEAD if one.size > two.size else Relation.SECOND_AHEAD


def _contradiction(shorter: Copy, longer: Copy, verifiers: list[NoteVerifier]) -> SplitView | None:
    old, new = shorter.checkpoint(), longer.checkpoint()
    root = longer.root(old.size)
    proof = longer.prove_consistency(old.size, new.size)
    check_consistency(old.size, root, new.size, new.root, proof)
    if root == old.root:
        return None
    split = SplitView(shorter.note(), longer.note(), root, tuple(proof))
    split.check(verifiers)
    return split


def _shared(shorter: Copy, longer: Copy) -> int:
    """The longest beginning that both have: roots of beginnings agree up to it and differ from there on."""
    low, high = 0, shorter.checkpoint().size
    while high - low > 1:
        middle = (low + high) // 2
        if shorter.root(middle) == longer.root(middle):
            low = middle
        else:
            high = middle
    return low
