"""The governance database of a workspace: one SQLite file that many processes read while one writes.

Opens and versions it; knows no table. Start reading at `open_database`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError

from malan.core.errors import StoreError

SCHEMA_VERSION = 1
_PATIENCE_MS = 30_000


def open_database(path: Path) -> Engine:
    """An engine on a SQLite file, made if it is not there. Readers never wait for a writer (write-ahead log).

    A commit survives the end of the process at any moment; a loss of power may undo the last commits, never a part of
    one.

    Raises:
        StoreError: It is not a database, is of a newer version, or the folder cannot be written.
    """
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": _PATIENCE_MS / 1000})
    event.listen(engine, "connect", _prepare)
    with reading(engine) as connection:
        found = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
        if found > SCHEMA_VERSION:
            raise StoreError("database.newer", path=str(path), found=found, known=SCHEMA_VERSION)
        if found < SCHEMA_VERSION:
            connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection that sees one state of the database."""
    try:
        with engine.connect() as connection:
            yield connection
    except (DatabaseError, sqlite3.Error) as error:
        raise _unusable(engine, error) from error


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that holds the write lock from its start, so what it reads stays true until it has written."""
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")
    except (DatabaseError, sqlite3.Error) as error:
        raise _unusable(engine, error) from error


def _prepare(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by `writing`, not guessed by the driver
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _unusable(engine: Engine, error: Exception) -> StoreError:
    return StoreError("database.unusable", path=str(engine.url.database), detail=str(getattr(error, "orig", error)))
