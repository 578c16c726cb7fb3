"""Writing a log: `append` is durable before it returns, `publish` puts what was appended under a signed checkpoint.

    append ─▶ journal ─ publish ─▶ bundles, tiles ─▶ checkpoint ─▶ old partials go, journal begins anew

The checkpoint is written last, so a reader never sees a root whose tiles are not there. A crash anywhere leaves the
journal, and the next open goes on from it. Threads that append at once share one flush. Processes take turns: the lock
is held for one batch, and what others wrote meanwhile is read from the journal. Start at `LogWriter.open`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TypedDict, Unpack

from malan.core.errors import MalanError, NotFound, ProofError, Rejected, StoreError
from malan.core.merkle import merkle_root
from malan.ledger.checkpoint import Checkpoint, open_checkpoint
from malan.ledger.files import FOLDER_MODE, FolderLock, Staged
from malan.ledger.folder import CHECKPOINT, LogFiles
from malan.ledger.integrate import integrate, remove_partials
from malan.ledger.journal import LARGEST_RECORD_BYTES, Journal
from malan.ledger.note import NoteSigner, NoteVerifier, sign_note
from malan.ledger.reader import LogReader
from malan.ledger.state import LogState
from malan.ledger.tiles import LARGEST_ENTRY_BYTES, WIDTH

PUBLISH_EVERY = 16_384
PUBLISH_EVERY_BYTES = 16 * 1024 * 1024


class _Batch:
    """What one call of `append` brought, and what became of it."""

    __slots__ = ("entries", "error", "first", "size_bytes")

    def __init__(self, entries: Sequence[bytes]) -> None:
        self.entries = list(entries)
        self.size_bytes = sum(map(len, self.entries)) + 2 * len(self.entries)
        self.first: int | None = None
        self.error: BaseException | None = None


class WriterSettings(TypedDict, total=False):
    """How a writer behaves; each has a default.

    verifiers: Further keys whose checkpoint may stand there, such as the one used before.
    check: Called with each entry before it is queued; refuses by raising.
    publish_every: Publish on its own after so many entries.
    publish_after_s: Publish on its own when an append finds older entries waiting so long; never without.
    clock: Seconds that only grow.
    """

    verifiers: Sequence[NoteVerifier]
    check: Callable[[bytes], None]
    publish_every: int
    publish_after_s: float
    clock: Callable[[], float]


class _Exclusive:
    """The turn at a log, as a block. A class: a generator would cost an append a tenth of its time."""

    __slots__ = ("_enter", "_leave")

    def __init__(self, enter: Callable[[], None], leave: Callable[[], None]) -> None:
        self._enter, self._leave = enter, leave

    def __enter__(self) -> None:
        self._enter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._leave()


class LogWriter:
    """A log opened for writing. Safe for many threads; other processes may write to the same log in turn.

    A process that forks opens its own. `reader` reads what is published, with the same keys.
    `publish_error` keeps why the last publishing on its own failed: `append` had succeeded and does not raise for it.
    """

    def __init__(self, folder: Path, signer: NoteSigner, **settings: Unpack[WriterSettings]) -> None:
        self.folder = folder
        self.origin = signer.verifier.name
        self.publish_error: MalanError | None = None
        self._signer = signer
        self._verifiers = tuple(dict.fromkeys((signer.verifier, *settings.get("verifiers", ()))))
        self._check = settings.get("check")
        self._publish_every = settings.get("publish_every", PUBLISH_EVERY)
        self._publish_after_s = settings.get("publish_after_s")
        self._clock = settings.get("clock", time.monotonic)
        self.reader = LogReader(folder, self._verifiers, origin=self.origin)
        self._files = LogFiles(folder)
        self._gate = threading.Lock()  # guards `_waiting`
        self._turn = threading.RLock()  # guards everything below
        self._waiting: list[_Batch] = []
        self._depth = 0
        self._exclusive = _Exclusive(self._enter, self._leave)
        self._lock: FolderLock | None = None
        self._state: LogState | None = None
        self._pending_since = 0.0
        self._failed = (0, 0)  # entries and bytes that were pending when publishing on our own failed

    @classmethod
    def open(cls, folder: Path, signer: NoteSigner, **settings: Unpack[WriterSettings]) -> LogWriter:
        """Open a log, or begin one where nothing is yet. Reads the edge of the tree and the journal, nothing else.

        Args:
            folder: Where the log lies; public, so no key lies in it.
            signer: Key of the log; its name is the log's origin.
            settings: See `WriterSettings`.

        Raises:
            ProofError: The log is damaged, was rolled back or is another's; nothing was written.
            StoreError: The disk is full or failing.
            RetryLater: Another process holds the log.
        """
        log = cls(folder, signer, **settings)
        try:
            log._begin()
        except BaseException:
            log._release()
            raise
        return log

    @property
    def size(self) -> int:
        """How many entries are acknowledged, as far as this process knows; inside `exclusive`, exactly."""
        with self._turn:
            return self._live().size

    @property
    def published(self) -> Checkpoint:
        """The checkpoint everything not pending stands under."""
        with self._turn:
            return self._live().published

    def append(self, entries: Sequence[bytes]) -> range:
        """Add entries, all or none; when this returns they are on disk and their indices are final.

        What `check` raises for one of them is passed on, and none is added.

        Raises:
            Rejected: An entry is larger than a bundle can hold, or the call brings too much at once.
            StoreError: The disk is full or failing; nothing was added.
            ProofError: Somebody changed the log underneath.
        """
        batch = _Batch(entries)
        self._examine(batch)
        if not batch.entries:
            return range(0)
        with self._gate:
            self._waiting.append(batch)
        with self._turn:
            while batch.first is None and batch.error is None:
                self._commit_waiting()
        if batch.first is None:
            raise batch.error or AssertionError
        return range(batch.first, batch.first + len(batch.entries))

    def publish(self) -> Checkpoint:
        """Put everything acknowledged under a signed checkpoint; without news, the one that stands.

        Raises:
            StoreError: The disk is full or failing; the entries stay in the journal, readers see the last checkpoint.
            ProofError: The checkpoint that stands is not the one this log goes on from; nothing was signed.
        """
        with self.exclusive():
            if self._open(self._files.note()) != self._live().published:
                self._load()  # a publishing of ours broke off, or somebody changed the checkpoint
            state = self._live()
            if not state.pending:
                return state.published
            edge = state.edge.copy()
            held = self._files.entries(edge.size // WIDTH, edge.rows[0]) if edge.size % WIDTH else []
            full = integrate(self.folder, edge, held, state.pending)
            checkpoint = Checkpoint(self.origin, edge.size, edge.root())
            self._write_note(sign_note(checkpoint.text(), [self._signer]))
            remove_partials(self.folder, full, old_size=state.edge.size, size=edge.size)
            self._adopt(state.after(self._files, checkpoint, edge))
            return checkpoint

    def publish_cosigned(self, note: bytes) -> None:
        """Put the same checkpoint in place with more signature lines, as witnesses returned them.

        Raises:
            ProofError: It is not the checkpoint that stands.
        """
        with self.exclusive():
            checkpoint = self._open(note)
            if checkpoint != self._live().published:
                raise ProofError("ledger.not_standing", size=checkpoint.size, known=self._live().published.size)
            self._write_note(note)

    def entries(self, first: int, end: int) -> Iterator[bytes]:
        """The entries [first, end), published or pending."""
        with self._turn:
            published = self._live().published.size
            tail = self._live().pending[max(0, first - published) : max(0, end - published)]
        if first < published:
            yield from self.reader.entries(first, min(end, published))
        yield from tail

    def exclusive(self) -> AbstractContextManager[None]:
        """Nobody else appends inside the block, in this process or another: look first, then append."""
        return self._exclusive

    def close(self, *, publish: bool = True) -> None:
        """Publish what is pending and let go of the log; closing twice does no harm."""
        with self._turn:
            try:
                if publish and self._lock is not None:
                    self.publish()
            finally:
                self._release()

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close(publish=kind is None)

    def _enter(self) -> None:
        """Take the turn among threads, then the lock among processes, then see what they did."""
        self._turn.acquire()
        try:
            if self._lock is None:
                raise StoreError("ledger.closed", folder=self.folder)
            if self._depth == 0:
                self._lock.take()
        except BaseException:
            self._turn.release()
            raise
        self._depth += 1
        if self._depth == 1:
            try:
                self._catch_up()
            except BaseException:
                self._leave()
                raise

    def _leave(self) -> None:
        self._depth -= 1
        if self._depth == 0 and self._lock is not None:
            self._lock.give()
        self._turn.release()

    def _examine(self, batch: _Batch) -> None:
        for number, entry in enumerate(batch.entries):
            if len(entry) > LARGEST_ENTRY_BYTES:
                raise Rejected("ledger.oversize", number=number, size=len(entry), most=LARGEST_ENTRY_BYTES)
            if self._check is not None:
                self._check(entry)
        if batch.size_bytes > LARGEST_RECORD_BYTES:
            raise Rejected("ledger.batch", size=batch.size_bytes, most=LARGEST_RECORD_BYTES)

    def _commit_waiting(self) -> None:
        """Write what all waiting threads brought with one flush; whoever comes first does it for the others."""
        batches = self._take_waiting()
        try:
            with self._exclusive:
                state = self._live()
                first = state.size
                entries = batches[0].entries if len(batches) == 1 else [e for batch in batches for e in batch.entries]
                state.journal.write(entries)
                if not state.pending:
                    self._pending_since = self._clock()
                for batch in batches:
                    state.add(batch.entries, batch.size_bytes)
                    batch.first = first
                    first += len(batch.entries)
                self._publish_when_due(state)
        except BaseException as error:
            refused = [batch for batch in batches if batch.first is None]
            for batch in refused:
                batch.error = error
            if not refused or not isinstance(error, Exception):
                raise

    def _take_waiting(self) -> list[_Batch]:
        with self._gate:
            count, total = 0, 0
            for batch in self._waiting:
                total += batch.size_bytes
                if count and total > LARGEST_RECORD_BYTES:
                    break
                count += 1
            taken, self._waiting = self._waiting[:count], self._waiting[count:]
            return taken

    def _publish_when_due(self, state: LogState) -> None:
        """Publish on our own; after a failure, not again before as much has come anew."""
        waiting, waiting_bytes = len(state.pending) - self._failed[0], state.pending_bytes - self._failed[1]
        is_late = self._publish_after_s is not None and self._clock() - self._pending_since >= self._publish_after_s
        if waiting < self._publish_every and waiting_bytes < PUBLISH_EVERY_BYTES and not is_late:
            return
        try:
            self.publish()
        except MalanError as error:
            self.publish_error = error
            self._failed = (len(state.pending), state.pending_bytes)
            self._pending_since = self._clock()

    def _begin(self) -> None:
        try:
            self.folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError("ledger.write", path=str(self.folder), detail=str(error)) from error
        self._lock = FolderLock(self.folder)
        with self._turn, self._lock:
            if not any((self.folder / name).exists() for name in (CHECKPOINT, "journal", "tile")):
                Journal.create(self.folder, Checkpoint(self.origin, 0, merkle_root([]))).close()
            self._load()

    def _catch_up(self) -> None:
        """Take over what other processes did since: new records, or a new journal."""
        state = self._live()
        if state.journal.is_replaced():
            self._load()
        elif state.journal.has_more():
            state.read_records()

    def _load(self) -> None:
        """Find out anew where the log stands; a log that is not sound leaves this writer where it was."""
        old, new = self._state, LogState.load(self._files, self._standing)
        self._adopt(new)
        if old is not None:
            old.journal.close()

    def _adopt(self, state: LogState) -> None:
        self._state = state
        self._failed, self._pending_since = (0, 0), self._clock()
        self.publish_error = None

    def _standing(self, journal: Journal) -> Checkpoint:
        """The checkpoint that stands; a log that was just begun has none and gets its first, over nothing."""
        if journal.base.origin != self.origin:
            raise ProofError("checkpoint.origin", expected=self.origin, found=journal.base.origin[:200])
        try:
            return self._open(self._files.note())
        except NotFound as error:
            if journal.base.size or journal.has_more():
                raise ProofError("ledger.no_checkpoint", path=CHECKPOINT, size=journal.base.size) from error
        self._write_note(sign_note(journal.base.text(), [self._signer]))
        return journal.base

    def _open(self, note: bytes) -> Checkpoint:
        return open_checkpoint(note, self._verifiers, origin=self.origin)[0]

    def _write_note(self, note: bytes) -> None:
        with Staged(self.folder) as files:
            files.add(CHECKPOINT, note)

    def _live(self) -> LogState:
        if self._state is None:
            raise StoreError("ledger.closed", folder=self.folder)
        return self._state

    def _release(self) -> None:
        if self._state is not None:
            self._state.journal.close()
        if self._lock is not None:
            self._lock.close()
        self._state = self._lock = None
