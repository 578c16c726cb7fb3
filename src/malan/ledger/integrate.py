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


def remove_partials(folder: Path, full: Iterable[Tile]) -> None:
    """Delete the partial files that full ones supersede; those of unfinished tiles stay, for older checkpoints.

    Raises:
        StoreError: One could not be deleted.
    """
    for tile in full:
        for level in (tile.level, *([ENTRIES] if tile.level == 0 else [])):
            partials = folder / (Tile(level, tile.index).path + ".p")
            try:
                if partials.is_dir():
                    shutil.rmtree(partials)
            except OSError as error:
                raise StoreError("ledger.write", path=str(partials), detail=str(error)) from error
