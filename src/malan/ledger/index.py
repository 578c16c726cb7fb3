"""Where in a log a thing is spoken of: a SQLite table of keys and entry indices, made from the log and nothing else.

The caller says which keys an entry has; delete the file and the next question makes it anew, as it does when the file
is damaged, is of another log, or was made by another version of the keys. An answer is a hint where to look: what an
entry says is proved by reading it. `check` compares the whole table with the log.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Protocol, TypeVar

from malan.core.errors import ProofError, StoreError
from malan.core.merkle import leaf_hash

KeysOf = Callable[[bytes], Iterable[str]]

_T = TypeVar("_T")
_BATCH = 8192
_TABLES = (
    "CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS keys (key TEXT, entry INTEGER, PRIMARY KEY (key, entry)) WITHOUT ROWID",
)
_NOT_DAMAGE = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOMEM,
)


class Entries(Protocol):
    """A log to index: a `LogReader` for what is published, a `LogWriter` for what is acknowledged."""

    @property
    def origin(self) -> str: ...

    @property
    def size(self) -> int: ...

    def entries(self, first: int, end: int) -> Iterator[bytes]: ...


class LogIndex:
    """Keys of a log's entries, always up to date with it. Safe for threads and for several processes on one file.

    Whoever looks first and appends if nothing is there does both inside `LogWriter.exclusive`.

    Args:
        path: The SQLite file; beside the log, not in it.
        log: Where the entries are; new ones are taken in before every answer.
        keys_of: The keys of an entry; each may have several, and a key may belong to many.
        version: Changes when `keys_of` does.
    """

    def __init__(self, path: Path, log: Entries, keys_of: KeysOf, *, version: str = "1") -> None:
        self._path = path
        self._log = log
        self._keys_of = keys_of
        self._version = version
        self._turn = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._is_trusted = False  # the file was found to belong to this log

    def catch_up(self) -> int:
        """Take in the entries that are new since; how many are indexed now. Cheap when there are none."""
        return self._mended(lambda _, size: size)

    def find(self, key: str) -> list[int]:
        """Where entries with this key stand, the oldest first."""
        return self._mended(lambda connection, size: _find(connection, key, size))

    def find_many(self, keys: Iterable[str]) -> dict[str, list[int]]:
        """The same for many keys; those that are nowhere have an empty list."""
        wanted = list(keys)
        return self._mended(lambda connection, size: {key: _find(connection, key, size) for key in wanted})

    def keys_from(self, prefix: str) -> list[str]:
        """All keys that begin so, sorted."""
        query = "SELECT DISTINCT key FROM keys WHERE key >= ? AND key < ? AND entry < ? ORDER BY key"
        bounds = (prefix, prefix + "\U0010ffff")
        return self._mended(lambda connection, size: [row[0] for row in connection.execute(query, (*bounds, size))])

    def check(self) -> int:
        """Compare the whole table with the log, as it lies on disk and before anything is mended; rows that agree.

        Raises:
            ProofError: The file is damaged, or a row is wrong, missing or too many; says which key and entry.
        """
        with self._turn:
            try:
                return self._compare(self._open())
            except sqlite3.DatabaseError as error:
                raise self._failure(error) from error

    def forget(self) -> None:
        """Delete the file; nothing is lost."""
        with self._turn:
            self.close()
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def close(self) -> None:
        with self._turn:
            if self._connection is not None:
                self._connection.close()
            self._connection, self._is_trusted = None, False

    def _mended(self, answer: Callable[[sqlite3.Connection, int], _T]) -> _T:
        """The answer of the table after it caught up with a log of some size; a damaged file is made anew, once."""
        with self._turn:
            try:
                return answer(*self._caught_up())
            except sqlite3.DatabaseError as error:
                if isinstance(failure := self._failure(error), StoreError):
                    raise failure from error
            self.forget()
            try:
                return answer(*self._caught_up())
            except sqlite3.DatabaseError as error:
                raise self._failure(error) from error

    def _caught_up(self) -> tuple[sqlite3.Connection, int]:
        """The table, and how far the log it was asked about goes: another process may have indexed more already."""
        connection, size = self._open(), self._log.size
        done = self._number(connection, "size")
        if not self._is_trusted or done < size:
            with _transaction(connection):
                self._catch_up(connection, size)
            self._is_trusted = done <= size
        return connection, size

    def _catch_up(self, connection: sqlite3.Connection, size: int) -> None:
        if not self._belongs(connection, size):
            connection.execute("DELETE FROM keys")
            connection.execute("DELETE FROM about")
        done = self._number(connection, "size")
        for first in range(done, size, _BATCH):
            self._add(connection, first, min(size, first + _BATCH))

    def _add(self, connection: sqlite3.Connection, first: int, end: int) -> None:
        entries = list(self._log.entries(first, end))
        rows = [(key, first + i) for i, entry in enumerate(entries) for key in set(self._keys_of(entry))]
        connection.executemany("INSERT OR IGNORE INTO keys VALUES (?, ?)", rows)
        about = {"origin": self._log.origin, "version": self._version, "size": str(end)}
        about |= {"last": leaf_hash(entries[-1]).hex()} | ({"first": leaf_hash(entries[0]).hex()} if first == 0 else {})
        connection.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", about.items())

    def _belongs(self, connection: sqlite3.Connection, size: int) -> bool:
        """Whether the table is of this log and these keys: the first entry agrees, the last where it is known."""
        about = dict(connection.execute("SELECT name, value FROM about"))
        done = self._number(connection, "size")
        if done == 0 or size == 0:
            return not about
        if (about.get("origin"), about.get("version")) != (self._log.origin, self._version):
            return False
        known = {"first": 0} | ({"last": done - 1} if done <= size else {})
        return all(about.get(name) == self._leaf(index) for name, index in known.items())

    def _leaf(self, index: int) -> str:
        return leaf_hash(next(iter(self._log.entries(index, index + 1)))).hex()

    def _compare(self, connection: sqlite3.Connection) -> int:
        for (line,) in connection.execute("PRAGMA integrity_check(1)"):
            if line != "ok":
                raise ProofError("ledger.index_damaged", path=self._path.name, detail=line)
        size = min(self._log.size, self._number(connection, "size"))
        if not self._belongs(connection, self._log.size):
            raise ProofError("ledger.index_damaged", path=self._path.name, detail="about")
        about_these = "SELECT entry, key FROM keys WHERE entry < ? OR entry >= ? ORDER BY entry, key"
        held = connection.execute(about_these, (size, self._number(connection, "size")))
        count = 0
        for expected, found in zip_longest(self._rows(size), held):
            if expected != found:
                entry, key = min(row for row in (expected, found) if row is not None)
                raise ProofError("ledger.index_row", path=self._path.name, key=key, entry=entry)
            count += 1
        return count

    def _rows(self, size: int) -> Iterator[tuple[int, str]]:
        """What the table should hold, in order."""
        for index, entry in enumerate(self._log.entries(0, size)):
            yield from ((index, key) for key in sorted(set(self._keys_of(entry)), key=str.encode))

    def _number(self, connection: sqlite3.Connection, name: str) -> int:
        row = connection.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        if row and not row[0].isdecimal():
            raise sqlite3.DatabaseError(name)
        return int(row[0]) if row else 0

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
            connection.text_factory = lambda data: data.decode("utf-8", "replace")
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                for table in _TABLES:
                    connection.execute(table)
            except sqlite3.DatabaseError:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _failure(self, error: sqlite3.DatabaseError) -> ProofError | StoreError:
        """A disk that is full or a file that is held is told from a file that is damaged."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code in _NOT_DAMAGE:
            return StoreError("ledger.write", path=self._path.name, detail=str(error))
        return ProofError("ledger.index_damaged", path=self._path.name, detail=str(error))


def _find(connection: sqlite3.Connection, key: str, size: int) -> list[int]:
    query = "SELECT entry FROM keys WHERE key = ? AND entry < ? ORDER BY entry"
    return [row[0] for row in connection.execute(query, (key, size))]


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
