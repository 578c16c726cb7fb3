"""Reading a whole log and saying exactly what is wrong with it: every entry, tile, partial, the journal, every file.

A hash is believed when it leads to the signed root. Where a stored tile does not, it is made anew from what lies below;
if that leads to the root, the tile was changed and the entries are whole, otherwise an entry was. Start at `audit`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from malan.core.errors import MalanError, ProofError
from malan.ledger.audit_files import check_names, list_files, read_journal
from malan.ledger.checkpoint import Checkpoint
from malan.ledger.edge import Edge
from malan.ledger.folder import CHECKPOINT, LogFiles
from malan.ledger.note import NoteVerifier
from malan.ledger.reader import LogReader
from malan.ledger.tiles import ENTRIES, HASH_BYTES, WIDTH, Tile, edge_tiles, full_root, leaf_hashes, tile_at

Progress = Callable[[int, int], None]
Hashes = list[bytes]

_STEP = 64  # bundles between two words of progress


@dataclass(frozen=True)
class Audit:
    """What an audit found. `damages` say what was changed and where; `remarks` what is unusual and does no harm.

    Each is an error that can be shown in both languages; its `values` hold `path` and, where known, `entry`, `byte`
    and the place of the tile. `pending` counts entries that are durable and not published.
    """

    checkpoint: Checkpoint
    pending: int
    damages: tuple[MalanError, ...]
    remarks: tuple[MalanError, ...]

    @property
    def is_whole(self) -> bool:
        return not self.damages


def audit(
    folder: Path,
    verifiers: Sequence[NoteVerifier],
    *,
    origin: str | None = None,
    expected: Collection[str] = (),
    progress: Progress | None = None,
) -> Audit:
    """Check every byte of a log against its signed checkpoint. Safe while somebody writes to it.

    Args:
        folder: The log.
        verifiers: Keys trusted to sign its checkpoints.
        origin: Name of the log; without it, the name of the first key.
        expected: Further files that may lie here, checked by the caller.
        progress: Told how many entries of how many are done.

    Raises:
        NotFound: There is no log here.
        ProofError: The checkpoint cannot be believed, so there is nothing to compare with.
    """
    names = [
        name for name in list_files(folder) if name not in expected
    ]  # first the names, then the journal, then the checkpoint: so none is ahead of the next
    journal = read_journal(folder)
    checkpoint = LogReader(folder, verifiers, origin=origin).signed_checkpoint()
    tree = TreeAudit(LogFiles(folder), checkpoint)
    tree.run(progress)
    damages, remarks = check_names(folder, names, checkpoint.size, max(checkpoint.size, journal.size), tree.proved)
    more_damages, more_remarks = journal.compare(checkpoint, tree.proved)
    return Audit(
        checkpoint,
        max(0, journal.size - checkpoint.size),
        (*tree.damages, *more_damages, *damages),
        (*more_remarks, *remarks),
    )


class TreeAudit:
    """Entries and tiles, from the signed root down."""

    def __init__(self, files: LogFiles, checkpoint: Checkpoint) -> None:
        self.damages: list[MalanError] = []
        self.proved = lru_cache(maxsize=8)(self._proved)
        self._files = files
        self._checkpoint = checkpoint
        self._edge = self._proved_edge()

    def run(self, progress: Progress | None = None) -> None:
        size = self._checkpoint.size
        bundles = -(-size // WIDTH)
        for index in range(bundles):
            self._check_bundle(index)
            if progress and (index % _STEP == _STEP - 1 or index == bundles - 1):
                progress(min(size, (index + 1) * WIDTH), size)

    def _check_bundle(self, index: int) -> None:
        """Compare the entries with their proved hashes, or at least with the stored ones where none are proved."""
        tile = tile_at(0, index, self._checkpoint.size)
        hashes = self.proved(0, index) or self._stored(tile)
        try:
            if hashes is not None:
                self._files.entries(index, hashes)
        except MalanError as error:
            self.damages.append(error)

    def _proved(self, level: int, index: int) -> Hashes | None:
        """The hashes of a tile that lead to the signed root; None when neither it nor what lies below does."""
        tile = tile_at(level, index, self._checkpoint.size)
        if tile.width < WIDTH:
            return self._edge.get(level)
        above = self.proved(level + 1, index // WIDTH)
        if above is None:
            return None
        stored, expected = self._stored(tile), above[index % WIDTH]
        if stored and full_root(stored) == expected:
            return stored
        right = next((row for row in self._rebuilt(tile) if full_root(row) == expected), None)
        self._blame(tile, right)
        return right

    def _proved_edge(self) -> dict[int, Hashes]:
        """The last tile of each level: together they give the root. Which one was changed shows when it is replaced."""
        tiles = [tile for tile in edge_tiles(self._checkpoint.size) if tile.width]
        stored = {tile.level: self._stored(tile) or [] for tile in tiles}
        if self._gives_root(stored):
            return stored
        rebuilt = [(tile, row) for tile in tiles for row in self._rebuilt(tile)]
        first = {tile.level: row for tile, row in reversed(rebuilt)}
        for rows in (*(stored | {tile.level: row} for tile, row in rebuilt), first):
            if self._gives_root(rows):
                for tile in tiles:
                    if rows[tile.level] != stored[tile.level]:
                        self._blame(tile, rows[tile.level])
                return rows
        found = self._edge_of(stored).root().hex()
        self.damages.append(ProofError("ledger.edge", path=CHECKPOINT, size=self._checkpoint.size, found=found))
        return {}

    def _gives_root(self, rows: dict[int, Hashes]) -> bool:
        edge = self._edge_of(rows)
        are_whole = all(len(edge.rows[tile.level]) == tile.width for tile in edge_tiles(self._checkpoint.size))
        return are_whole and edge.root() == self._checkpoint.root

    def _edge_of(self, rows: dict[int, Hashes]) -> Edge:
        size = self._checkpoint.size
        return Edge(size, [rows.get(tile.level, []) for tile in edge_tiles(size)])

    def _stored(self, tile: Tile) -> Hashes | None:
        try:
            return self._files.hashes(tile)
        except MalanError:
            return None

    def _rebuilt(self, tile: Tile) -> list[Hashes]:
        """What the hashes of a tile may have been, the likelier first: from the entries, or from the tiles below.

        A tile below counts as it is stored when tile and stored hash agree, else as its own entries or tiles give it;
        and, second, always as it is stored.
        """
        if tile.level == 0:
            return self._from_entries(tile)
        below = [self._stored(Tile(tile.level - 1, tile.index * WIDTH + i)) for i in range(tile.width)]
        roots = [full_root(row) if row else b"" for row in below]
        said = self._stored(tile) or roots
        mixed = [
            root if root and root == said[i] else self._rebuilt_root(Tile(tile.level - 1, tile.index * WIDTH + i), root)
            for i, root in enumerate(roots)
        ]
        return [row for row in (mixed, roots) if all(row)]

    def _rebuilt_root(self, tile: Tile, otherwise: bytes) -> bytes:
        return next((full_root(row) for row in self._rebuilt(tile)), otherwise)

    def _from_entries(self, tile: Tile) -> list[Hashes]:
        try:
            return [leaf_hashes(self._files.raw_entries(Tile(ENTRIES, tile.index, tile.width)))]
        except (MalanError, ValueError):
            return []

    def _blame(self, tile: Tile, right: Hashes | None) -> None:
        """Note that a tile is damaged: missing, of the wrong length, or from which byte on it is not what it was."""
        place = {"level": tile.level, "index": tile.index, "width": tile.width, "entry": tile.first_entry}
        try:
            stored = self._files.hashes(tile)
        except MalanError as error:
            self.damages.append(error)
            return
        if right is None:
            self.damages.append(ProofError("ledger.tile", path=tile.path, **place))
            return
        at = _first_difference(b"".join(stored), b"".join(right))
        place["entry"] += at // HASH_BYTES << 8 * tile.level
        self.damages.append(ProofError("ledger.tile_byte", path=tile.path, byte=at, **place))


def _first_difference(one: bytes, other: bytes) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
