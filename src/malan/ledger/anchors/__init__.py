"""Anchors: someone outside states when a checkpoint existed. One protocol, two plug-ins.

`TimestampAuthority` asks for an RFC 3161 time-stamp token, `EvidenceChain` posts to an evidence service (存证). What is
anchored is the text of the checkpoint: cosignatures added later change nothing. `check` never opens a connection.
"""

from __future__ import annotations

from malan.ledger.anchors.base import Anchor, Anchored, digest_of
from malan.ledger.anchors.evidence import EvidenceChain, EvidenceFields, KeyPair, SharedSecret
from malan.ledger.anchors.tsa import TimestampAuthority

__all__ = [
    "Anchor",
    "Anchored",
    "EvidenceChain",
    "EvidenceFields",
    "KeyPair",
    "SharedSecret",
    "TimestampAuthority",
    "digest_of",
]
