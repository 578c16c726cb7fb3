"""Merkle trees as certificate logs use them: root, inclusion and consistency proofs, checks (RFC 6962, RFC 9162 §2.1).

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
    return inclusion_proofs(leaves, [index])[0]


def inclusion_proofs(leaves: Sequence[bytes], indexes: Sequence[int]) -> list[list[bytes]]:
    """The proofs of many leaves; the tree is hashed once."""
    for index in indexes:
        if not 0 <= index < len(leaves):
            raise IndexError(index)
    levels = _levels(leaves) if indexes else []
    return [_neighbours(levels, index) for index in indexes]


def _neighbours(levels: Sequence[Sequence[bytes]], index: int) -> list[bytes]:
    proof = []
    for level in levels[:-1]:
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


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> list[bytes]:
    """The nodes that show that the first `old_size` leaves stand unchanged in the whole tree (RFC 6962 §2.1.2)."""
    if not 0 <= old_size <= len(leaves):
        raise IndexError(old_size)
    if old_size in (0, len(leaves)):
        return []
    return _subproof(leaves, old_size, whole=True)


def check_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that a tree only grew: its first leaves are those of the older one, in order (RFC 9162 §2.1.4.2).

    Raises:
        ProofError: It did not only grow, or the proof is too long or too short.
    """
    if not 0 <= old_size <= new_size:
        raise ProofError("proof.shrunk", old=old_size, new=new_size)
    if old_size in (0, new_size):
        _check_trivial(old_size, old_root, new_root, proof)
        return
    path = [*([old_root] if old_size & (old_size - 1) == 0 else []), *proof]
    if not path:
        raise ProofError("proof.length", found=0)
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = path[0]
    for neighbour in path[1:]:
        if last == 0:
            raise ProofError("proof.length", found=len(proof))
        if node & 1 or node == last:
            old, new = node_hash(neighbour, old), node_hash(neighbour, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, neighbour)
        node, last = node >> 1, last >> 1
    if last != 0:
        raise ProofError("proof.length", found=len(proof))
    _same_root(old_root, old)
    _same_root(new_root, new)


def _check_trivial(old_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Everything grows from nothing, and a tree is consistent with itself: neither needs a proof."""
    if proof:
        raise ProofError("proof.length", found=len(proof))
    _same_root(merkle_root([]) if old_size == 0 else new_root, old_root)


def _same_root(root: bytes, found: bytes) -> None:
    if root != found:
        raise ProofError("proof.root", root=root.hex(), found=found.hex())


def _subproof(leaves: Sequence[bytes], old_size: int, *, whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962 §2.1.2; `whole` while the old tree is known to whoever checks."""
    if old_size == len(leaves):
        return [] if whole else [merkle_root(leaves)]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if old_size <= split:
        return [*_subproof(leaves[:split], old_size, whole=whole), merkle_root(leaves[split:])]
    return [*_subproof(leaves[split:], old_size - split, whole=False), merkle_root(leaves[:split])]


def _levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """All levels from the leaves to the root; an odd last node rises unchanged, which gives the RFC's tree."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        pairs = [node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
        levels.append(pairs + below[len(below) - len(below) % 2 :])
    return levels
