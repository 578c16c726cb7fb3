"""A verifier of transparency logs written from the texts of RFC 6962 and C2SP alone. Imports nothing of Malan.

Slow and plain on purpose: what it says about a log, a stranger with the same two documents would say.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def mth(entries: Sequence[bytes]) -> bytes:
    """MTH(D[n]), RFC 6962 §2.1."""
    n = len(entries)
    if n == 0:
        return hashlib.sha256(b"").digest()
    if n == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = 1
    while k * 2 < n:
        k *= 2
    return hashlib.sha256(b"\x01" + mth(entries[:k]) + mth(entries[k:])).digest()


def path(m: int, entries: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n]), RFC 6962 §2.1.1."""
    n = len(entries)
    if n == 1:
        return []
    k = 1
    while k * 2 < n:
        k *= 2
    if m < k:
        return [*path(m, entries[:k]), mth(entries[k:])]
    return [*path(m - k, entries[k:]), mth(entries[:k])]


def proof(m: int, entries: Sequence[bytes]) -> list[bytes]:
    """PROOF(m, D[n]), RFC 6962 §2.1.2."""
    return _subproof(m, entries, True)


def _subproof(m: int, entries: Sequence[bytes], b: bool) -> list[bytes]:
    n = len(entries)
    if m == n:
        return [] if b else [mth(entries)]
    k = 1
    while k * 2 < n:
        k *= 2
    if m <= k:
        return [*_subproof(m, entries[:k], b), mth(entries[k:])]
    return [*_subproof(m - k, entries[k:], False), mth(entries[:k])]


def read_log(folder: Path, vkey: str) -> list[bytes]:
    """All entries of a log on disk, after its signature, every tile and the root were checked (C2SP tlog-tiles)."""
    size, root = read_checkpoint((folder / "checkpoint").read_bytes(), vkey)
    entries: list[bytes] = []
    for n, width in _tiles(size):
        data = (folder / "tile" / "entries" / _name(n, width)).read_bytes()
        for _ in range(width):
            length = int.from_bytes(data[:2], "big")
            entries.append(data[2 : 2 + length])
            data = data[2 + length :]
        assert data == b"", "a bundle holds more than its entries"
    assert mth(entries) == root, "the entries do not give the root"
    level = 0
    while size >> 8 * level:
        for n, width in _tiles(size >> 8 * level):
            data = (folder / "tile" / str(level) / _name(n, width)).read_bytes()
            span = 256**level
            hashes = [mth(entries[(n * 256 + i) * span : (n * 256 + i + 1) * span]) for i in range(width)]
            assert data == b"".join(hashes), f"tile {level}/{n}"
        level += 1
    return entries


def read_checkpoint(note: bytes, vkey: str) -> tuple[int, bytes]:
    """Size and root of a checkpoint (C2SP tlog-checkpoint) that the key signed (C2SP signed-note)."""
    name, key_id, key = vkey.split("+", 2)
    raw = base64.b64decode(key)
    assert hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4].hex() == key_id
    text, _, signatures = note.rpartition(b"\n\n")
    text += b"\n"
    for line in signatures.decode().splitlines():
        dash, signer, encoded = line.split(" ")
        signature = base64.b64decode(encoded)
        if dash == "\u2014" and signer == name and signature[:4].hex() == key_id:
            Ed25519PublicKey.from_public_bytes(raw[1:]).verify(signature[4:], text)
            origin, size, root = text.decode().splitlines()
            assert origin == name
            return int(size), base64.b64decode(root)
    raise AssertionError("not signed by this key")


def _tiles(count: int) -> list[tuple[int, int]]:
    full = [(n, 256) for n in range(count // 256)]
    return full + ([(count // 256, count % 256)] if count % 256 else [])


def _name(n: int, width: int) -> str:
    digits = f"{n % 1000:03}"
    while n := n // 1000:
        digits = f"x{n % 1000:03}/{digits}"
    return digits + (f".p/{width}" if width < 256 else "")
