"""Proof that a log told two stories: two checkpoints it signed that cannot both be true.

`SplitView` holds both notes and, when their sizes differ, the root that the longer story has at the length of the
shorter one, with the proof of that. Anyone with the key of the log can check it; nothing of the log itself is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from malan.core.canonical import canonical_json, read_canonical
from malan.core.errors import ProofError
from malan.core.merkle import check_consistency
from malan.ledger.checkpoint import Checkpoint, open_checkpoint
from malan.ledger.note import NoteVerifier

KIND = "malan-split-view/v1"
LARGEST_BYTES = 1024 * 1024

_HASH_HEX = 64


@dataclass(frozen=True)
class SplitView:
    """Two signed checkpoints of one log that contradict each other.

    Args:
        shorter: The note of the smaller checkpoint, or of the one seen first when the sizes are equal.
        longer: The other note.
        root: The root of the longer tree at the size of the shorter one; its own root when the sizes are equal.
        proof: Consistency proof from `root` to the longer root; empty when the sizes are equal.
    """

    shorter: bytes
    longer: bytes
    root: bytes
    proof: tuple[bytes, ...] = ()

    def check(self, verifiers: Iterable[NoteVerifier]) -> Checkpoint:
        """Check that the log contradicts itself; returns the shorter checkpoint.

        Raises:
            ProofError: A signature does not hold, or the two can both be true.
        """
        keys = list(verifiers)
        first, _ = open_checkpoint(self.shorter, keys)
        second, _ = open_checkpoint(self.longer, keys, origin=first.origin)
        check_consistency(first.size, self.root, second.size, second.root, self.proof)
        if first.root == self.root:
            raise ProofError("split_view.none", origin=first.origin[:200], size=first.size)
        return first

    def to_bytes(self) -> bytes:
        """As one line of canonical JSON."""
        return canonical_json(
            {
                "type": KIND,
                "shorter": self.shorter.decode(),
                "longer": self.longer.decode(),
                "root": self.root.hex(),
                "proof": [node.hex() for node in self.proof],
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> SplitView:
        """Read what `to_bytes` wrote; believe it only after `check`.

        Raises:
            ProofError: It is not such a file.
        """
        if len(data) > LARGEST_BYTES:
            raise ProofError("split_view.shape")
        held = read_canonical(data)
        match held:
            case {
                "type": str(kind),
                "shorter": str(shorter),
                "longer": str(longer),
                "root": str(root),
                "proof": list(proof),
            } if kind == KIND and len(held) == 5:
                nodes = [_hash(node) for node in proof]
                return cls(shorter.encode(), longer.encode(), _hash(root), tuple(nodes))
        raise ProofError("split_view.shape")


def contradiction(
    shorter: bytes, longer: bytes, proof: Iterable[bytes], verifiers: Iterable[NoteVerifier]
) -> SplitView | None:
    """The split view in two notes and a proof that should have joined them; None when they prove no contradiction.

    A proof that leads to the longer root from another root than the shorter one is the log's own word against it.
    """
    keys, nodes = list(verifiers), tuple(proof)
    first, _ = open_checkpoint(shorter, keys)
    second, _ = open_checkpoint(longer, keys, origin=first.origin)
    try:
        root = _root_before(first, second, nodes)
        found = SplitView(shorter, longer, root, nodes)
        found.check(keys)
    except ProofError:
        return None
    return found


def _root_before(first: Checkpoint, second: Checkpoint, proof: tuple[bytes, ...]) -> bytes:
    """The root at the first size that the proof starts from, as the checking of it computes it."""
    if first.size == second.size:
        return second.root
    try:
        check_consistency(first.size, first.root, second.size, second.root, proof)
    except ProofError as error:
        return _hash(str(error.values.get("found", "")))
    return first.root


def _hash(text: object) -> bytes:
    if not isinstance(text, str) or len(text) != _HASH_HEX or not text.isascii() or text.lower() != text:
        raise ProofError("split_view.shape")
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise ProofError("split_view.shape") from error
