"""A workspace's own log, as services use it: append, read back, and find events by what they are about.

Opened when first asked for, published after every append. The index beside the log may be deleted: it is made from the
log again. Start at `LogBook`; which keys an event is found by, `keys_of_event` says.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from malan.core.errors import NotFound, ProofError, StoreError
from malan.ledger.envelope import open_payload
from malan.ledger.folder import CHECKPOINT
from malan.ledger.index import LogIndex
from malan.ledger.keys import SYSTEM, KeyRing
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


@dataclass(frozen=True, slots=True)
class _Opened:
    """The log and its index as they were opened, under the system key of that moment."""

    writer: LogWriter
    index: LogIndex
    key: tuple[int, int] | None  # which file the system key was


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
        self._gate = threading.RLock()  # guards `_opened`
        self._held = threading.local()  # `opened`: what this thread has the turn at
        self._opened: _Opened | None = None

    @property
    def writer(self) -> LogWriter:
        """The log, opened for writing; made if there is none. Opened anew when its key was replaced, by whomever.

        Raises:
            ProofError: The log is not what it was when it was last written.
        """
        return self._open().writer

    @property
    def reader(self) -> LogReader:
        """The published log, every entry checked against the newest checkpoint."""
        return self.writer.reader

    @contextmanager
    def exclusive(self) -> Iterator[LogWriter]:
        """Nobody else appends inside the block, and nobody replaces the log's key: look first, then append."""
        with self._turn() as opened:
            yield opened.writer

    def append(self, entries: Sequence[bytes]) -> list[int]:
        """Add entries; durable and published when it returns. Their places."""
        with self.exclusive() as writer:
            places = list(writer.append(entries))
            if places:
                writer.publish()
            return places

    def find(self, key: str) -> list[int]:
        """Places of the events found by a key, the oldest first."""
        return self.find_many([key])[key]

    def find_many(self, keys: Iterable[str]) -> dict[str, list[int]]:
        """Places of events by each of the keys."""
        with self._turn() as opened:  # also what another process wrote a moment ago
            return opened.index.find_many(keys)

    def keys_from(self, prefix: str) -> list[str]:
        """Keys that begin so, sorted."""
        with self._turn() as opened:
            return opened.index.keys_from(prefix)

    def check_index(self) -> int:
        """Compare the index with the log; how many rows agree.

        Raises:
            ProofError: A row is wrong, missing or too many.
        """
        with self._turn() as opened:
            return opened.index.check()

    def hand_over(self, place: int) -> None:
        """Sign the newest checkpoint with the key that waits too, and keep a receipt of the rotation, which stands at
        `place`, for those who know the old key."""
        with self.exclusive() as writer:
            checkpoint = writer.publish()
            old, new = self.keys.log_signer(), self.keys.next_log_signer()
            note = sign_note(checkpoint.text(), [old, new])
            writer.publish_cosigned(note)
            write_rotation(self.folder, checkpoint.size, receipt_for(writer.reader, place))

    def close(self) -> None:
        """Let go of the log and the index; asked again, they are opened with the keys as they stand then."""
        with self._gate:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.index.close()
            opened.writer.close()

    def _open(self) -> _Opened:
        held: _Opened | None = getattr(self._held, "opened", None)
        if held is not None:  # nobody replaces the key meanwhile
            return held
        with self._gate:
            if self._opened is None or self._opened.key != self.keys.mark(SYSTEM):
                self._drop()
                self._check_keys()
                self.keys.start()
                mark = self.keys.mark(SYSTEM)
                former = [signer.verifier for signer in self.keys.retired_log_signers()]
                writer = LogWriter.open(self.folder, self.keys.log_signer(), verifiers=former)
                self._opened = _Opened(writer, LogIndex(self._index_file, writer, keys_of_event), mark)
            return self._opened

    def _check_keys(self) -> None:
        """Keys are made for a new log only: one that lost its keys needs them back, and no others."""
        if self.keys.mark(SYSTEM) is None and (self.folder / CHECKPOINT).exists():
            raise NotFound("ledger.keys_gone", folder=str(self.keys.folder))

    def _drop(self) -> None:
        """Let go without a word: a key that was replaced signs nothing any more."""
        if self._opened is not None:
            self._opened.index.close()
            self._opened.writer.close(publish=False)
            self._opened = None

    @contextmanager
    def _turn(self) -> Iterator[_Opened]:
        """The turn at the log under the key it has now; another process may have replaced it while we waited."""
        while True:
            opened = self._open()
            with ExitStack() as held:
                try:
                    held.enter_context(opened.writer.exclusive())
                except (ProofError, StoreError):
                    if self._is_current(opened):
                        raise
                    continue
                if self._is_current(opened):
                    before = getattr(self._held, "opened", None)
                    self._held.opened = opened
                    held.callback(setattr, self._held, "opened", before)
                    yield opened
                    return

    def _is_current(self, opened: _Opened) -> bool:
        if getattr(self._held, "opened", None) is opened:
            return True
        return self._opened is opened and opened.key == self.keys.mark(SYSTEM)
