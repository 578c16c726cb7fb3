"""From entries to bundles and tiles: what a log of some size becomes on disk when entries are added.

Full and partial files are written whole under their final names; a checkpoint that covers them comes later, elsewhere.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from malan.core.errors import StoreError
from malan.ledger.edge import Edge
from malan.ledger.files import Staged
from malan.ledger.tiles import ENTRIES, WIDTH, Tile, leaf_hashes, pack


def integrate(folder: Path, edge: Edge, held: Sequence[bytes], entries: Sequence[bytes]) -> list[Tile]:
    """Write the bundles and tiles that change when `entries` are added, durably.

    Args:
        folder: The log.
        edge: The tree so far; afterwards, the tree with the entries.
        held: The entries of its last, partial bundle.
        entries: What is added.

    Returns:
        The tiles of all levels that became full; partial ones of the same place may go once a checkpoint covers these.
    """
    full = []
    first = edge.size - len(held)
    every = [*held, *entries]
    with Staged(folder) as files:
        for at in range(0, len(every), WIDTH):
            bundle = every[at : at + WIDTH]
            files.add(Tile(ENTRIES, (first + at) // WIDTH, len(bundle)).path, pack(bundle))
            for tile, hashes in edge.add(leaf_hashes(bundle[max(0, len(held) - at) :])):
                files.add(tile.path, b"".join(hashes))
                full.append(tile)
        for tile, hashes in edge.partials():
            files.add(tile.path, b"".join(hashes))
    return full


def remove_partials(folder: Path, full: Iterable[Tile], *, old_size: int, size: int) -> None:
    """Delete the partial files that others supersede, now that a checkpoint covers `size` entries.

    Where a tile became full, all its partials go. Of a tile that is not full, older ones stay: older checkpoints need
    them (tlog-tiles, "Partial Tiles"). A bundle holds whole entries, and a longer one serves as well: only the one
    before stays, for whoever has just read the checkpoint before.

    Raises:
        StoreError: One could not be deleted.
    """
    bundle = Tile(ENTRIES, size // WIDTH)
    kept = {str(size - bundle.first_entry), str(old_size - bundle.first_entry)}
    try:
        for tile in full:
            for level in (tile.level, *([ENTRIES] if tile.level == 0 else [])):
                partials = folder / f"{Tile(level, tile.index).path}.p"
                if partials.is_dir():
                    shutil.rmtree(partials)
        for path in (folder / f"{bundle.path}.p").glob("*"):
            if path.name not in kept:
                path.unlink()
    except OSError as error:
        raise StoreError("ledger.write", path=bundle.path, detail=str(error)) from error
