"""Receipts: one file that shows offline what is in a log (C2SP tlog-proof), the entry itself in its `extra` line.

A receipt is believed for what the signatures under its checkpoint say. Start at `receipt_for` and `check_receipt`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from malan.core.errors import ProofError
from malan.core.merkle import check_inclusion, leaf_hash
from malan.ledger.checkpoint import Checkpoint, parse_size
from malan.ledger.note import LARGEST_NOTE_BYTES, NoteVerifier, decode_base64
from malan.ledger.policy import Accepted, Policy
from malan.ledger.tiles import LARGEST_ENTRY_BYTES

if TYPE_CHECKING:
    from malan.ledger.reader import LogReader

KIND = "c2sp.org/tlog-proof@v1"
MOST_HASHES = 63
LARGEST_RECEIPT_BYTES = LARGEST_NOTE_BYTES + 2 * LARGEST_ENTRY_BYTES


@dataclass(frozen=True)
class Receipt:
    """What a receipt says; nothing of it is believed yet.

    Args:
        entry: The bytes of the entry, or None where the proof leaves them out.
        index: Where it stands in the log.
        proof: Neighbours from the leaf to the root, lowest first.
        note: The checkpoint as it was published.
    """

    entry: bytes | None
    index: int
    proof: tuple[bytes, ...]
    note: bytes

    def to_bytes(self) -> bytes:
        extra = [] if self.entry is None else [f"extra {_base64(self.entry)}"]
        lines = [KIND, *extra, f"index {self.index}", *map(_base64, self.proof), "", ""]
        return "\n".join(lines).encode() + self.note

    @classmethod
    def parse(cls, data: bytes) -> Receipt:
        """Read a receipt without believing it.

        Raises:
            ProofError: It is not spelled as the standard says; `line` tells where.
        """
        if len(data) > LARGEST_RECEIPT_BYTES:
            raise ProofError("receipt.too_large", size=len(data), most=LARGEST_RECEIPT_BYTES)
        top, blank, note = data.partition(b"\n\n")
        try:
            lines = top.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise ProofError("receipt.line", line=data.count(b"\n", 0, error.start) + 1) from error
        if not blank:
            raise ProofError("receipt.line", line=len(lines))
        return _read(lines, note)


@dataclass(frozen=True)
class Proved:
    """An entry that is in a log, where, and under which accepted checkpoint."""

    entry: bytes
    index: int
    accepted: Accepted

    @property
    def checkpoint(self) -> Checkpoint:
        return self.accepted.checkpoint


def receipt_for(reader: LogReader, index: int) -> bytes:
    """The receipt of an entry under the newest checkpoint, with the cosignatures that stand under it.

    Raises:
        NotFound: The entry is not published yet.
        ProofError: The log is damaged.
    """
    checkpoint, note = reader.standing()
    entry, proof = reader.entry(index), reader.prove(index, checkpoint.size)
    return Receipt(entry, index, tuple(proof), note).to_bytes()


def check_receipt(data: bytes, verifiers: Iterable[NoteVerifier] = (), *, policy: Policy | None = None) -> Proved:
    """The entry a receipt proves.

    Args:
        data: The receipt.
        verifiers: Keys trusted to sign for their log.
        policy: Further logs, and which witnesses must have cosigned; without it, the log alone is believed.

    Raises:
        ProofError: The receipt is malformed, its checkpoint is not accepted, or the entry is not in the log.
    """
    receipt = Receipt.parse(data)
    accepted = (policy or Policy(())).accept(receipt.note, logs=verifiers)
    return check_entry(receipt, accepted)


def check_entry(receipt: Receipt, accepted: Accepted) -> Proved:
    """The entry of a receipt, once its checkpoint has been accepted."""
    if receipt.entry is None:
        raise ProofError("receipt.no_entry")
    checkpoint = accepted.checkpoint
    check_inclusion(leaf_hash(receipt.entry), receipt.index, checkpoint.size, receipt.proof, checkpoint.root)
    return Proved(receipt.entry, receipt.index, accepted)


def _read(lines: list[str], note: bytes) -> Receipt:
    if lines[0] != KIND:
        raise ProofError("receipt.line", line=1)
    at, entry = 1, None
    if len(lines) > 1 and lines[1].startswith("extra "):
        at, entry = 2, _unbase64(lines[1].removeprefix("extra "), 2)
    if len(lines) <= at or not lines[at].startswith("index "):
        raise ProofError("receipt.line", line=at + 1)
    try:
        index = parse_size(lines[at].removeprefix("index "))
    except ProofError as error:
        raise ProofError("receipt.line", line=at + 1) from error
    proof = [_hash(line, number) for number, line in enumerate(lines[at + 1 :], at + 2)]
    if len(proof) > MOST_HASHES:
        raise ProofError("receipt.line", line=at + 2 + MOST_HASHES)
    return Receipt(entry, index, tuple(proof), note)


def _hash(line: str, number: int) -> bytes:
    held = _unbase64(line, number)
    if len(held) != 32:
        raise ProofError("receipt.line", line=number)
    return held


def _unbase64(text: str, number: int) -> bytes:
    held = decode_base64(text)
    if held is None:
        raise ProofError("receipt.line", line=number)
    return held


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
