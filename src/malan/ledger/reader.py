"""Reading a log: the signed checkpoint, entries below it, and proofs. Any number of readers, none ever writes.

What a reader returns has been checked up to a checkpoint that a trusted key signed; `ProofError` names the file that is
wrong. Entries that are durable but not published yet belong to the writer (`malan.ledger.log`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from malan.core.errors import NotFound, ProofError, UsageError
from malan.core.merkle import check_consistency, merkle_root
from malan.ledger.cache import MOST_TILES, ProvedTiles
from malan.ledger.checkpoint import Checkpoint, open_checkpoint
from malan.ledger.folder import CHECKPOINT, LogFiles
from malan.ledger.note import NoteVerifier
from malan.ledger.proofs import consistency_path, inclusion_path
from malan.ledger.tiles import WIDTH


class LogReader:
    """A log on disk, as of its newest checkpoint.

    Args:
        folder: Where `checkpoint` and `tile/` lie.
        verifiers: Keys trusted to sign checkpoints of this log; after a change of key the old and the new one.
        origin: Name of the log; without it, the name of the first key.
        most_tiles: How many tiles to keep in memory.
    """

    def __init__(
        self,
        folder: Path,
        verifiers: Sequence[NoteVerifier],
        *,
        origin: str | None = None,
        most_tiles: int = MOST_TILES,
    ) -> None:
        if not verifiers:
            raise UsageError("ledger.no_key")
        self.folder = folder
        self._files = LogFiles(folder)
        self.origin = origin or verifiers[0].name
        self._verifiers = tuple(verifiers)
        self._most_tiles = most_tiles
        self._turn = threading.RLock()
        self._note = b""
        self._tree: ProvedTiles | None = None

    def checkpoint(self) -> Checkpoint:
        """The newest checkpoint.

        Raises:
            NotFound: There is no log here.
            ProofError: Nobody trusted signed it, it is another log's, or it does not continue the one seen before.
        """
        return self._newest().checkpoint

    def standing(self) -> tuple[Checkpoint, bytes]:
        """The newest checkpoint, and the note it stands in with all its signature lines, as published."""
        with self._turn:
            return self._newest().checkpoint, self._note

    def note(self) -> bytes:
        """The newest checkpoint as published."""
        return self.standing()[1]

    def signed_checkpoint(self) -> Checkpoint:
        """What the checkpoint on disk says, with its signatures checked and nothing else: tiles are not opened."""
        return self._open(self._files.note())

    @property
    def size(self) -> int:
        """How many entries are published."""
        return self.checkpoint().size

    def entry(self, index: int) -> bytes:
        """The bytes of one entry.

        Raises:
            NotFound: The log is not so long yet.
            ProofError: The entry, or a tile above it, is not what was signed.
        """
        tree = self._tree_with(index)
        return self._bundle(tree, index // WIDTH)[index % WIDTH]

    def entries(self, first: int, end: int) -> Iterator[bytes]:
        """The entries [first, end) in order, each checked; read bundle by bundle."""
        if not 0 <= first <= end:
            raise UsageError("ledger.range", first=first, end=end)
        if first == end:
            return
        tree = self._tree_with(end - 1)
        for bundle in range(first // WIDTH, -(-end // WIDTH)):
            start = bundle * WIDTH
            yield from self._bundle(tree, bundle)[max(0, first - start) : end - start]

    def leaf_hash(self, index: int) -> bytes:
        """The leaf hash of one entry, proved."""
        return self._tree_with(index).leaf_hashes(index // WIDTH)[index % WIDTH]

    def root(self, size: int) -> bytes:
        """Root of the first `size` entries, as a checkpoint of that size would state it."""
        return self._tree_with(size - 1).root_of(0, size) if size else merkle_root([])

    def prove(self, index: int, size: int | None = None) -> list[bytes]:
        """Inclusion proof of an entry in the tree of `size` entries, by default that of the newest checkpoint."""
        tree = self._tree_with(index if size is None else max(index, size - 1))
        size = tree.checkpoint.size if size is None else size
        if not 0 <= index < size:
            raise NotFound("ledger.no_entry", index=index, size=size)
        return inclusion_path(index, size, tree.root_of)

    def prove_consistency(self, old_size: int, new_size: int | None = None) -> list[bytes]:
        """Consistency proof between two sizes, by default up to the newest checkpoint."""
        tree = self._newest()
        new_size = tree.checkpoint.size if new_size is None else new_size
        if not 0 <= old_size <= new_size <= tree.checkpoint.size:
            raise NotFound("ledger.no_size", old=old_size, new=new_size, size=tree.checkpoint.size)
        return consistency_path(old_size, new_size, tree.root_of)

    def _tree_with(self, index: int) -> ProvedTiles:
        """The tree, read anew only when the one at hand is too short."""
        tree = self._tree
        if tree is None or index >= tree.checkpoint.size:
            tree = self._newest()
        if not 0 <= index < tree.checkpoint.size:
            raise NotFound("ledger.no_entry", index=index, size=tree.checkpoint.size)
        return tree

    def _newest(self) -> ProvedTiles:
        with self._turn:
            note = self._files.note()
            if self._tree is None or note != self._note:
                checkpoint = self._open(note)
                if self._tree and checkpoint.size < self._tree.checkpoint.size:
                    raise ProofError("ledger.rolled_back", found=checkpoint.size, known=self._tree.checkpoint.size)
                tree = ProvedTiles(checkpoint, self._files.hashes, self._most_tiles)
                self._check_continues(tree)
                self._note, self._tree = note, tree
            return self._tree

    def _open(self, data: bytes) -> Checkpoint:
        try:
            checkpoint, note = open_checkpoint(data, self._verifiers, origin=self.origin)
            if self.origin not in note.verified:
                raise ProofError("ledger.not_signed", origin=self.origin)
        except ProofError as error:
            error.values.setdefault("path", CHECKPOINT)
            raise
        return checkpoint

    def _check_continues(self, tree: ProvedTiles) -> None:
        """A log only grows: what was seen before must be the beginning of what is seen now."""
        if self._tree is None:
            return
        old, new = self._tree.checkpoint, tree.checkpoint
        try:
            path = consistency_path(old.size, new.size, tree.root_of)
            check_consistency(old.size, old.root, new.size, new.root, path)
        except ProofError as error:
            raise ProofError("ledger.forked", size=old.size, root=old.root.hex()) from error

    def _bundle(self, tree: ProvedTiles, index: int) -> list[bytes]:
        return self._files.entries(index, tree.leaf_hashes(index))
