"""Where a log stands for whoever writes to it, and how it is found again after anything: `LogState.load`.

The journal says which checkpoint it follows. The one on disk is the same, or a later one that the journal's entries
lead to (a publishing broke off after it, and is finished here), or else somebody changed the log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from malan.core.errors import ProofError
from malan.ledger.checkpoint import Checkpoint
from malan.ledger.edge import Edge
from malan.ledger.folder import LogFiles
from malan.ledger.integrate import remove_partials
from malan.ledger.journal import NAME as JOURNAL
from malan.ledger.journal import Journal
from malan.ledger.tiles import leaf_hashes


@dataclass
class LogState:
    """The tree as published, the journal that follows it, and its entries."""

    journal: Journal
    edge: Edge
    pending: list[bytes] = field(default_factory=list)
    pending_bytes: int = 0

    @classmethod
    def load(cls, files: LogFiles, standing: Callable[[Journal], Checkpoint]) -> LogState:
        """Read the journal and the edge of the tree, and finish what broke off.

        Args:
            files: The log.
            standing: Gives the checkpoint on disk, for the journal found.

        Raises:
            ProofError: Journal, tiles and checkpoint do not belong together; nothing was written.
        """
        journal = Journal.open(files.folder)
        try:
            checkpoint = standing(journal)
            state = cls(journal, _load_edge(files, journal.base))
            if checkpoint.size < journal.base.size:
                raise ProofError("ledger.rolled_back", found=checkpoint.size, known=journal.base.size)
            state.read_records()
            return state if checkpoint == journal.base else state._finished(files, checkpoint)
        except BaseException:
            journal.close()
            raise

    @property
    def published(self) -> Checkpoint:
        return self.journal.base

    @property
    def size(self) -> int:
        """How many entries are acknowledged."""
        return self.edge.size + len(self.pending)

    def add(self, entries: list[bytes], size_bytes: int) -> None:
        """Count entries that are in the journal."""
        self.pending += entries
        self.pending_bytes += size_bytes

    def read_records(self) -> None:
        """Take in what stands in the journal after what was read; wipe what was never finished."""
        for record in self.journal.read():
            self.add(record.entries, record.size_bytes)
        if self.journal.torn is not None:
            self.journal.wipe()

    def after(self, files: LogFiles, checkpoint: Checkpoint, edge: Edge) -> LogState:
        """The state once a checkpoint stands: a new journal, with the entries it does not cover."""
        rest = self.pending[edge.size - self.edge.size :]
        journal = Journal.create(files.folder, checkpoint)
        if rest:
            journal.write(rest)
        self.journal.close()
        return LogState(journal, edge, rest, sum(map(len, rest)))

    def _finished(self, files: LogFiles, checkpoint: Checkpoint) -> LogState:
        """A publishing broke off between its checkpoint and the new journal: see that they fit, then begin that one."""
        if checkpoint.size > self.size:
            raise ProofError("ledger.journal_behind", path=JOURNAL, size=checkpoint.size, known=self.size)
        edge = self.edge.copy()
        full = [tile for tile, _ in edge.add(leaf_hashes(self.pending[: checkpoint.size - edge.size]))]
        if edge.root() != checkpoint.root:
            raise ProofError("ledger.forked", size=checkpoint.size, root=edge.root().hex())
        remove_partials(files.folder, full, old_size=self.edge.size, size=edge.size)
        return self.after(files, checkpoint, edge)


def _load_edge(files: LogFiles, base: Checkpoint) -> Edge:
    edge = Edge.load(base.size, files.hashes)
    if edge.root() != base.root:
        raise ProofError("ledger.edge", path=JOURNAL, size=base.size, found=edge.root().hex())
    return edge
