"""Merkle trees as certificate logs use them: root, inclusion proof, check (RFC 6962 §2.1, RFC 9162 §2.1.3).

A leaf and a node are hashed with different prefixes, so one can never pass for the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from malan.core.errors import ProofError


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Root over leaf hashes; of none, the hash of nothing (RFC 6962 §2.1)."""
    if not leaves:
        return hashlib.sha256().digest()
    return _levels(leaves)[-1][0]


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The neighbours a verifier needs to get from a leaf to the root, lowest first."""
    if not 0 <= index < len(leaves):
        raise IndexError(index)
    proof = []
    for level in _levels(leaves)[:-1]:
        neighbour = index ^ 1
        if neighbour < len(level):
            proof.append(level[neighbour])
        index >>= 1
    return proof


def check_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that a leaf hash stands at an index of a tree of `size` leaves with this root (RFC 9162 §2.1.3.2).

    Raises:
        ProofError: It does not, or the proof is too long or too short.
    """
    if not 0 <= index < size:
        raise ProofError("proof.index", index=index, size=size)
    node, last, current = index, size - 1, leaf
    for neighbour in proof:
        if last == 0:
            raise ProofError("proof.length", expected=0, found=len(proof))
        if node & 1 or node == last:
            current = node_hash(neighbour, current)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            current = node_hash(current, neighbour)
        node, last = node >> 1, last >> 1
    if last != 0 or current != root:
        raise ProofError("proof.root", root=root.hex(), found=current.hex())


def _levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """All levels from the leaves to the root; an odd last node rises unchanged, which gives the RFC's tree."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        pairs = [node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
        levels.append(pairs + below[len(below) - len(below) % 2 :])
    return levels
