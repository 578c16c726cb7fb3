"""Where the hashes and entries of a log lie, and how they are spelled (C2SP tlog-tiles).

A tile holds up to 256 neighbouring hashes of one level; each hash of level n+1 is the root of a full tile of level n. A
bundle holds the entries below a tile of level 0. This module knows names and bytes; it opens no file.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from malan.core.errors import ProofError
from malan.core.merkle import leaf_hash, node_hash

WIDTH = 256
HASH_BYTES = 32
LARGEST_ENTRY_BYTES = 0xFFFF
LARGEST_BUNDLE_BYTES = WIDTH * (2 + LARGEST_ENTRY_BYTES)
ENTRIES = -1  # the level of bundles
HIGHEST_LEVEL = 63

_LENGTH = struct.Struct(">H")
_PATH = re.compile(r"tile/(entries|0|[1-9]\d?)/((?:x\d{3}/)*\d{3})(?:\.p/([1-9]\d{0,2}))?", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """Name of a tile, or of a bundle where `level` is ENTRIES; `width` below 256 makes it a partial one."""

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        level = "entries" if self.level == ENTRIES else str(self.level)
        partial = f".p/{self.width}" if self.width < WIDTH else ""
        return f"tile/{level}/{_spell(self.index)}{partial}"

    @classmethod
    def parse(cls, path: str) -> Tile | None:
        """The tile a path names, or None when it is not the one spelling of any."""
        found = _PATH.fullmatch(path)
        if not found:
            return None
        level = ENTRIES if found[1] == "entries" else int(found[1])
        tile = cls(level, int(found[2].replace("/", "").replace("x", "")), int(found[3] or WIDTH))
        return tile if tile.path == path and level <= HIGHEST_LEVEL else None

    @property
    def first_entry(self) -> int:
        """Index of the first entry below it."""
        return self.index << 8 * (max(self.level, 0) + 1)

    @property
    def size_bytes(self) -> int:
        return self.width * HASH_BYTES

    def full(self) -> Tile:
        return Tile(self.level, self.index)


def tile_at(level: int, index: int, size: int) -> Tile:
    """The tile as a log of `size` entries has it; of width 0 when the log does not reach so far."""
    below = size >> 8 * max(level, 0)
    return Tile(level, index, max(0, min(WIDTH, below - index * WIDTH)))


def tiles_of(size: int) -> Iterator[Tile]:
    """All tiles and bundles of a log of this size, level by level, bundles first."""
    yield from _level_tiles(ENTRIES, size)
    level = 0
    while size >> 8 * level:
        yield from _level_tiles(level, size)
        level += 1


def edge_tiles(size: int) -> list[Tile]:
    """The last, not yet full tile of each level from 0 up; of width 0 where a level ends with a full one."""
    tiles = []
    level = 0
    while below := size >> 8 * level:
        tiles.append(Tile(level, below // WIDTH, below % WIDTH))
        level += 1
    return tiles


def pack(entries: Sequence[bytes]) -> bytes:
    """A bundle: each entry after its length as two bytes, the high one first."""
    return b"".join([part for entry in entries for part in (_LENGTH.pack(len(entry)), entry)])


def unpack(data: bytes, count: int) -> list[bytes]:
    """The entries of a bundle that is known to be whole.

    Raises:
        ValueError: The bytes are not `count` entries.
    """
    entries, at = [], 0
    for _ in range(count):
        entry, at = _entry_at(data, at)
        entries.append(entry)
    if at != len(data):
        raise ValueError(at)
    return entries


def unpack_proved(data: bytes, hashes: Sequence[bytes], tile: Tile) -> list[bytes]:
    """The entries of a bundle, each checked against its proved leaf hash.

    `tile` names the bundle; of a full bundle, fewer hashes than entries may be given: only so many are read then.

    Raises:
        ProofError: An entry was changed, or there are not so many; `entry` and `byte` say where.
    """
    entries, at = [], 0
    for number, expected in enumerate(hashes, tile.first_entry):
        try:
            entry, end = _entry_at(data, at)
        except ValueError as error:
            raise ProofError("ledger.bundle_short", path=tile.path, entry=number, byte=at) from error
        if hashlib.sha256(b"\0" + entry).digest() != expected:
            raise ProofError("ledger.entry", path=tile.path, entry=number, byte=at)
        entries.append(entry)
        at = end
    if at != len(data) and len(hashes) == tile.width:
        raise ProofError("ledger.bundle_long", path=tile.path, entry=tile.first_entry + tile.width, byte=at)
    return entries


def leaf_hashes(entries: Sequence[bytes]) -> list[bytes]:
    return [leaf_hash(entry) for entry in entries]


def split_hashes(data: bytes) -> list[bytes]:
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def tile_rows(hashes: Sequence[bytes]) -> list[list[bytes]]:
    """The tree inside a tile: row h holds the roots of its complete subtrees of 2**h hashes, row 0 the hashes."""
    rows = [list(hashes)]
    while len(rows[-1]) > 1:
        below = rows[-1]
        rows.append([node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)])
    return rows


def full_root(hashes: Sequence[bytes]) -> bytes:
    """Root over a full tile: the hash the tile above holds for it."""
    return tile_rows(hashes)[8][0]


def _entry_at(data: bytes, at: int) -> tuple[bytes, int]:
    """The entry whose length stands at this byte, and where the next one begins."""
    start = at + 2
    if start > len(data):
        raise ValueError(at)
    end = start + (data[at] << 8 | data[at + 1])
    if end > len(data):
        raise ValueError(at)
    return data[start:end], end


def _level_tiles(level: int, size: int) -> Iterator[Tile]:
    below = size >> 8 * max(level, 0)
    yield from (Tile(level, index) for index in range(below // WIDTH))
    if below % WIDTH:
        yield Tile(level, below // WIDTH, below % WIDTH)


def _spell(index: int) -> str:
    """Three digits a path element, all but the last after an x: 1234067 is x001/x234/067."""
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    return "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
