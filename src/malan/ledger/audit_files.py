"""The part of an audit that looks at names and at the journal: too many, unfinished, older, or not published."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from malan.core.errors import MalanError, ProofError
from malan.core.merkle import leaf_hash
from malan.ledger.checkpoint import Checkpoint
from malan.ledger.files import LOCK, UNFINISHED, read_whole
from malan.ledger.folder import CHECKPOINT
from malan.ledger.journal import NAME as JOURNAL
from malan.ledger.journal import Journal
from malan.ledger.tiles import ENTRIES, LARGEST_BUNDLE_BYTES, WIDTH, Tile, tile_at, unpack_proved

Proved = Callable[[int, int], list[bytes] | None]
Verdict = tuple[list[MalanError], list[MalanError]]


def list_files(folder: Path) -> list[str]:
    """Every file below the folder, and every link that poses as one or as a folder."""
    return sorted(_walk(folder))


def check_names(folder: Path, names: list[str], size: int, known: int, proved: Proved) -> Verdict:
    """Damages and remarks about the names in a log of `size` published and `known` acknowledged entries."""
    damages: list[MalanError] = []
    remarks: list[MalanError] = []
    for name in names:
        tile = Tile.parse(name)
        if name in (CHECKPOINT, JOURNAL, LOCK):
            continue
        if name.endswith(UNFINISHED):
            remarks.append(ProofError("ledger.unfinished", path=name))
        elif tile is None or tile.width > tile_at(tile.level, tile.index, known).width:
            damages.append(ProofError("ledger.extra", path=name))
        elif tile.width > tile_at(tile.level, tile.index, size).width:
            remarks.append(ProofError("ledger.unfinished", path=name))
        elif tile.width < tile_at(tile.level, tile.index, size).width:
            damages += _check_older(folder, tile, proved)
    return damages, remarks


@dataclass
class JournalRead:
    """The journal as an audit found it."""

    base: Checkpoint | None = None
    entries: list[bytes] = field(default_factory=list)
    damage: MalanError | None = None
    remark: MalanError | None = None

    @property
    def size(self) -> int:
        return self.base.size + len(self.entries) if self.base else 0

    def compare(self, checkpoint: Checkpoint, proved: Proved) -> Verdict:
        """Whether the checkpoint is the one the journal follows, or one that follows from the journal."""
        damages = [self.damage] if self.damage else []
        remarks = [self.remark] if self.remark else []
        if self.base is not None:
            damages += self._compare(self.base, checkpoint, proved)
        return damages, remarks

    def _compare(self, base: Checkpoint, checkpoint: Checkpoint, proved: Proved) -> Iterator[MalanError]:
        if base.origin != checkpoint.origin:
            yield ProofError("checkpoint.origin", expected=checkpoint.origin, found=base.origin[:200], path=JOURNAL)
        elif base.size > checkpoint.size:
            yield ProofError("ledger.rolled_back", found=checkpoint.size, known=base.size, path=CHECKPOINT)
        elif base.size == checkpoint.size and base.root != checkpoint.root:
            yield ProofError("ledger.forked", size=base.size, root=base.root.hex(), path=CHECKPOINT)
        elif self.damage is None and self.size < checkpoint.size:
            yield ProofError("ledger.journal_behind", size=checkpoint.size, known=self.size, path=JOURNAL)
        for index, entry in enumerate(self.entries[: max(0, checkpoint.size - base.size)], base.size):
            hashes = proved(0, index // WIDTH)
            if hashes is not None and hashes[index % WIDTH] != leaf_hash(entry):
                yield ProofError("ledger.journal_entry", path=JOURNAL, entry=index)
                return


def read_journal(folder: Path) -> JournalRead:
    """Read the journal without changing it."""
    found = JournalRead()
    if not (folder / JOURNAL).exists():
        found.remark = ProofError("ledger.copy", path=JOURNAL)
        return found
    try:
        journal = Journal.open(folder, writable=False)
    except MalanError as error:
        found.damage = error
        return found
    try:
        found.base = journal.base
        for record in journal.read():
            found.entries += record.entries
        if journal.torn is not None:
            found.remark = ProofError("ledger.torn", path=JOURNAL, byte=journal.torn)
    except MalanError as error:
        found.damage = error
    finally:
        journal.close()
    return found


def _check_older(folder: Path, tile: Tile, proved: Proved) -> Iterator[MalanError]:
    """A partial file of an older checkpoint must be the beginning of what stands there now."""
    hashes = proved(max(tile.level, 0), tile.index)
    if hashes is None:
        return
    try:
        data = read_whole(folder, tile.path, LARGEST_BUNDLE_BYTES)
        if tile.level == ENTRIES:
            unpack_proved(data, hashes[: tile.width], tile)
        elif data != (right := b"".join(hashes[: tile.width])):
            at = next(
                (i for i, (a, b) in enumerate(zip(data, right, strict=False)) if a != b), min(len(data), len(right))
            )
            yield ProofError("ledger.older", path=tile.path, byte=at, entry=tile.first_entry)
    except MalanError as error:
        yield error


def _walk(folder: Path) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        base = Path(root)
        links = [name for name in folders if (base / name).is_symlink()]
        yield from ((base / name).relative_to(folder).as_posix() for name in (*files, *links))
