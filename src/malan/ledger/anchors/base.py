"""What every anchor promises, and what exactly is anchored."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from malan.core.errors import ProofError
from malan.ledger.checkpoint import Checkpoint
from malan.ledger.note import parse_note

MOST_SKEW = timedelta(hours=1)


@dataclass(frozen=True)
class Anchored:
    """A token to keep beside the checkpoint, and the time it states (UTC)."""

    token: bytes = field(repr=False)
    time: datetime


class Anchor(Protocol):
    """Someone who states when a checkpoint existed.

    `anchor` returns only what `check` accepts. Asking twice gives two tokens; both hold.
    """

    @property
    def name(self) -> str:
        """How settings and events call it."""
        ...

    def anchor(self, note: bytes) -> Anchored:
        """Have a checkpoint note stated, over the network.

        Raises:
            Rejected: It refuses; asking again changes nothing.
            RetryLater: It cannot be reached, is slow, or asks to come back.
            ProofError: What it answers does not hold.
        """
        ...

    def check(self, token: bytes, note: bytes) -> datetime:
        """The time a token states for a checkpoint note; opens no connection.

        Raises:
            ProofError: The token is not this anchor's, not for this checkpoint, or was changed.
        """
        ...


def digest_of(note: bytes) -> bytes:
    """What is anchored: SHA-256 over the text of the checkpoint, without its signature lines.

    Raises:
        ProofError: It is no checkpoint.
    """
    text = parse_note(note).text
    Checkpoint.parse(text)
    return hashlib.sha256(text.encode()).digest()


def check_fresh(name: str, stated: datetime, now: datetime) -> None:
    """Refuse a statement just asked for that names a time far from ours: one of the two clocks is wrong."""
    if abs(stated - now) > MOST_SKEW:
        raise ProofError("anchor.time", name=name, stated=_shown(stated), now=_shown(now))


def _shown(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC")
