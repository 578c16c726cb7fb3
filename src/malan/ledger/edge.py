"""The right edge of a tree: all that is needed to add leaves to it and to know its root.

Of ten million entries the edge is at most 255 hashes on each of three levels, so a log of any length opens at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from malan.core.merkle import merkle_root, node_hash
from malan.ledger.tiles import WIDTH, Tile, edge_tiles, full_root


@dataclass
class Edge:
    """The hashes of the last, not yet full tile of each level."""

    size: int = 0
    rows: list[list[bytes]] = field(default_factory=list)

    @classmethod
    def load(cls, size: int, read: Callable[[Tile], list[bytes]]) -> Edge:
        """The edge of a tree of this size; `read` gives the hashes of a tile. One tile a level is read."""
        return cls(size, [read(tile) if tile.width else [] for tile in edge_tiles(size)])

    def copy(self) -> Edge:
        return Edge(self.size, [list(row) for row in self.rows])

    def root(self) -> bytes:
        """Root of the tree (RFC 6962 §2.1): complete subtrees, joined from the smallest up."""
        root: bytes | None = None
        for row in self.rows:
            end = len(row)
            while end:
                width = end & -end
                subtree = merkle_root(row[end - width : end])
                root = subtree if root is None else node_hash(subtree, root)
                end -= width
        return merkle_root([]) if root is None else root

    def add(self, hashes: Sequence[bytes]) -> list[tuple[Tile, list[bytes]]]:
        """Append leaf hashes; returns the tiles that became full, in the order they did."""
        filled: list[tuple[Tile, list[bytes]]] = []
        at = 0
        while at < len(hashes):
            part = hashes[at : at + WIDTH - len(self._row(0))]
            self.rows[0] += part
            self.size += len(part)
            at += len(part)
            filled += self._carry()
        return filled

    def partials(self) -> Iterator[tuple[Tile, list[bytes]]]:
        """The tiles of the edge as they are published."""
        for tile in edge_tiles(self.size):
            if tile.width:
                yield tile, self.rows[tile.level]

    def _carry(self) -> Iterator[tuple[Tile, list[bytes]]]:
        """Move every full row into the one above."""
        level = 0
        while len(row := self._row(level)) == WIDTH:
            yield Tile(level, (self.size >> 8 * (level + 1)) - 1), row
            self.rows[level] = []
            self._row(level + 1).append(full_root(row))
            level += 1

    def _row(self, level: int) -> list[bytes]:
        while len(self.rows) <= level:
            self.rows.append([])
        return self.rows[level]
