"""A workspace's own log, as services use it: append, read back, and find events by what they are about.

Opened when first asked for, published after every append. The index beside the log may be deleted: it is made from the
log again. Start at `LogBook`; which keys an event is found by, `keys_of_event` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path

from malan.ledger.envelope import open_payload
from malan.ledger.index import LogIndex
from malan.ledger.keys import KeyRing
from malan.ledger.log import LogWriter
from malan.ledger.note import sign_note
from malan.ledger.reader import LogReader
from malan.ledger.receipt import receipt_for
from malan.ledger.rotation import write_rotation
from malan.ledger.statement import Statement


def keys_of_event(entry: bytes) -> list[str]:
    """What an event is found by: its kind, its id, everything it is about, and the digest of what it states."""
    statement = Statement.parse(open_payload(entry))
    about = [f"{statement.kind} {urn}" for urn in statement.urns]
    return [statement.kind, f"id {statement.id}", f"once {statement.once}", *about]


class LogBook:
    """The log in the folder `log/` of a workspace, written with the keys in `keys/`.

    Args:
        folder: Where tiles and checkpoint lie; public.
        keys: The keys of the workspace; those of the log are made when the first event is written.
        index: File of the index; not part of the log.
    """

    def __init__(self, folder: Path, keys: KeyRing, index: Path) -> None:
        self.folder, self.keys = folder, keys
        self._index_file = index

    @cached_property
    def writer(self) -> LogWriter:
        """The log, opened for writing; made if there is none.

        Raises:
            ProofError: The log is not what it was when it was last written.
        """
        self.keys.start()
        former = [signer.verifier for signer in self.keys.retired_log_signers()]
        return LogWriter.open(self.folder, self.keys.log_signer(), verifiers=former)

    @property
    def reader(self) -> LogReader:
        """The published log, every entry checked against the newest checkpoint."""
        return self.writer.reader

    @cached_property
    def _index(self) -> LogIndex:
        return LogIndex(self._index_file, self.writer, keys_of_event)

    def exclusive(self) -> AbstractContextManager[None]:
        """Nobody else appends inside the block: look first, then append."""
        return self.writer.exclusive()

    def append(self, entries: Sequence[bytes]) -> list[int]:
        """Add entries; durable and published when it returns. Their places."""
        places = list(self.writer.append(entries))
        if places:
            self.writer.publish()
        return places

    def find(self, key: str) -> list[int]:
        """Places of the events found by a key, the oldest first."""
        return self.find_many([key])[key]

    def find_many(self, keys: Iterable[str]) -> dict[str, list[int]]:
        """Places of events by each of the keys."""
        with self.exclusive():  # also what another process wrote a moment ago
            return self._index.find_many(keys)

    def keys_from(self, prefix: str) -> list[str]:
        """Keys that begin so, sorted."""
        with self.exclusive():
            return self._index.keys_from(prefix)

    def check_index(self) -> int:
        """Compare the index with the log; how many rows agree.

        Raises:
            ProofError: A row is wrong, missing or too many.
        """
        with self.exclusive():
            return self._index.check()

    def hand_over(self) -> None:
        """Sign the newest checkpoint, whose last event is the rotation, with the key that waits too, and keep a receipt
        for those who know the old one."""
        with self.exclusive():
            checkpoint = self.writer.publish()
            old, new = self.keys.log_signer(), self.keys.next_log_signer()
            note = sign_note(checkpoint.text(), [old, new])
            self.writer.publish_cosigned(note)
            write_rotation(self.folder, checkpoint.size, receipt_for(self.reader, checkpoint.size - 1))

    def close(self) -> None:
        """Let go of the log and the index; asked again, they are opened with the keys as they stand then."""
        if "_index" in self.__dict__:
            self._index.close()
            del self._index
        if "writer" in self.__dict__:
            self.writer.close()
            del self.writer
