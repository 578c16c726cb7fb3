"""The tiles a reader used last, each believed only because it leads to a signed root.

A full tile must hash to what the tile above holds for it; the last tiles of all levels together must give the root of
the checkpoint. So every hash taken from here is proved, and a wrong one is found in the tile it stands in.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from malan.core.errors import ProofError
from malan.core.merkle import node_hash
from malan.ledger.checkpoint import Checkpoint
from malan.ledger.edge import Edge
from malan.ledger.tiles import WIDTH, Tile, tile_at, tile_rows

MOST_TILES = 1024  # about 35 MB

Rows = list[list[bytes]]


class ProvedTiles:
    """The tree of one checkpoint; `read` gives the hashes of a tile from disk, unproved."""

    def __init__(self, checkpoint: Checkpoint, read: Callable[[Tile], list[bytes]], most: int = MOST_TILES) -> None:
        self.checkpoint = checkpoint
        self._read = read
        self._most = most
        self._turn = threading.Lock()
        self._kept: OrderedDict[tuple[int, int], Rows] = OrderedDict()
        self._edge = self._prove_edge()

    def node(self, height: int, index: int) -> bytes:
        """Root of the complete subtree over entries [index·2**height, (index+1)·2**height)."""
        level, inner = divmod(height, 8)
        first = index << inner
        rows = self.rows(level, first // WIDTH)
        return rows[inner][first % WIDTH >> inner]

    def root_of(self, first: int, end: int) -> bytes:
        """Root over the entries [first, end), cut as RFC 6962 §2.1 cuts a tree."""
        count = end - first
        if count & (count - 1) == 0:
            height = count.bit_length() - 1
            return self.node(height, first >> height)
        split = first + (1 << (count - 1).bit_length() - 1)
        return node_hash(self.root_of(first, split), self.root_of(split, end))

    def leaf_hashes(self, index: int) -> list[bytes]:
        """The hashes of the tile of level 0 with this index."""
        return self.rows(0, index)[0]

    def rows(self, level: int, index: int) -> Rows:
        """The tree inside a tile.

        Raises:
            ProofError: The tile is damaged.
        """
        key = (level, index)
        with self._turn:
            if (rows := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return rows
        rows = self._edge.get(key) or self._prove(tile_at(level, index, self.checkpoint.size))
        with self._turn:
            self._kept[key] = rows
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return rows

    def _prove(self, tile: Tile) -> Rows:
        rows = tile_rows(self._read(tile))
        above = Tile(tile.level + 1, tile.index // WIDTH)
        if rows[8][0] != self.rows(above.level, above.index)[0][tile.index % WIDTH]:
            raise ProofError("ledger.tile", path=tile.path, **_place(tile))
        return rows

    def _prove_edge(self) -> dict[tuple[int, int], Rows]:
        size = self.checkpoint.size
        edge = Edge.load(size, self._read)
        if edge.root() != self.checkpoint.root:
            raise ProofError("ledger.edge", size=size, path="checkpoint", found=edge.root().hex())
        return {(tile.level, tile.index): tile_rows(hashes) for tile, hashes in edge.partials()}


def _place(tile: Tile) -> dict[str, int]:
    return {"level": tile.level, "index": tile.index, "width": tile.width, "entry": tile.first_entry}
