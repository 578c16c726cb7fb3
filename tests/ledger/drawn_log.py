"""A log in memory for tests: leaves, the key that signs, and every proof computed the slow and obvious way."""

from __future__ import annotations

from malan.core.merkle import consistency_proof, leaf_hash, merkle_root
from malan.ledger.checkpoint import Checkpoint
from malan.ledger.note import NoteSigner, NoteVerifier, sign_note

ORIGIN = "log.example/drawn"


class DrawnLog:
    """Entries `0`, `1`, … of a story; logs of two stories differ from the entry where the second one sets in."""

    def __init__(self, size: int, *, story: str = "", since: int = 0, signer: NoteSigner | None = None) -> None:
        self.signer = signer or NoteSigner.from_private(ORIGIN, b"\x07" * 32)
        self.leaves = [leaf_hash(f"{story if i >= since else ''}{i}".encode()) for i in range(size)]

    @property
    def keys(self) -> tuple[NoteVerifier, ...]:
        return (self.signer.verifier,)

    def at(self, size: int) -> DrawnLog:
        shorter = DrawnLog(0, signer=self.signer)
        shorter.leaves = self.leaves[:size]
        return shorter

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(self.signer.verifier.name, len(self.leaves), self.root(len(self.leaves)))

    def note(self) -> bytes:
        return sign_note(self.checkpoint().text(), [self.signer])

    def root(self, size: int) -> bytes:
        return merkle_root(self.leaves[:size])

    def prove_consistency(self, old_size: int, new_size: int) -> list[bytes]:
        return consistency_proof(self.leaves[:new_size], old_size)
