"""The files of a log by what they hold: checkpoint, tiles, bundles. Sizes are checked here, hashes by the user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from malan.core.errors import NotFound, ProofError
from malan.ledger.files import read_whole
from malan.ledger.note import LARGEST_NOTE_BYTES
from malan.ledger.tiles import (
    ENTRIES,
    HASH_BYTES,
    LARGEST_BUNDLE_BYTES,
    WIDTH,
    Tile,
    split_hashes,
    unpack,
    unpack_proved,
)

CHECKPOINT = "checkpoint"


@dataclass(frozen=True)
class LogFiles:
    """A folder laid out as C2SP tlog-tiles says."""

    folder: Path

    def note(self) -> bytes:
        """The checkpoint as published.

        Raises:
            NotFound: There is no log here.
        """
        try:
            return read_whole(self.folder, CHECKPOINT, LARGEST_NOTE_BYTES)
        except NotFound as error:
            raise NotFound("ledger.none", folder=self.folder) from error

    def hashes(self, tile: Tile) -> list[bytes]:
        """The hashes of a tile, as they stand there.

        Raises:
            ProofError: It is missing, or not as long as its name says.
        """
        found, data = self._read(tile, WIDTH * HASH_BYTES)
        if len(data) != found.size_bytes:
            raise ProofError("ledger.tile_size", path=found.path, expected=found.size_bytes, found=len(data))
        return split_hashes(data)[: tile.width]

    def entries(self, index: int, hashes: Sequence[bytes]) -> list[bytes]:
        """The entries of a bundle, each checked against its proved leaf hash.

        Raises:
            ProofError: The bundle is missing, or an entry is not the one that was hashed.
        """
        found, data = self._read(Tile(ENTRIES, index, len(hashes)), LARGEST_BUNDLE_BYTES)
        return unpack_proved(data, hashes, found)

    def raw_entries(self, tile: Tile) -> list[bytes]:
        """The entries of a bundle as they stand there, unproved.

        Raises:
            ProofError: The bundle is missing.
            ValueError: Its bytes are not so many entries.
        """
        found, data = self._read(tile, LARGEST_BUNDLE_BYTES)
        return unpack(data, found.width)[: tile.width]

    def _read(self, tile: Tile, most_bytes: int) -> tuple[Tile, bytes]:
        """A file; a partial one may have given way to a longer or the full one since (tlog-tiles, "Partial Tiles")."""
        for found in chain([tile], self._longer(tile)):
            try:
                return found, read_whole(self.folder, found.path, most_bytes)
            except NotFound:
                continue
        raise ProofError("ledger.tile_missing", path=tile.path, entry=tile.first_entry)

    def _longer(self, tile: Tile) -> Iterator[Tile]:
        """What else begins as a partial tile does: longer partial ones, the full one. The disk is asked only now."""
        if tile.width == WIDTH:
            return
        folder = self.folder / f"{tile.full().path}.p"
        widths = sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal())
        yield from (Tile(tile.level, tile.index, width) for width in widths if tile.width < width < WIDTH)
        yield tile.full()
