"""The governance database of a workspace: one SQLite file, or a PostgreSQL database, spoken to alike.

    reading   one state of everything, however many write meanwhile
    writing   the only writer: what it reads stays true until it has written
    updating  one of many writers: each statement is atomic, what it read may have changed since

Opens, versions and erases; knows no table. Changes of a table that is out there are in `migrations`. Start reading at
`open_database`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import DDL, URL, Connection, Delete, Engine, MetaData, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from malan.core.errors import MalanError, MissingExtra, RetryLater, StoreError, UsageError
from malan.runtime.migrations import SCHEMA_VERSION, migrate, version_of

__all__ = [
    "SCHEMA_VERSION",
    "add_new",
    "ensure_tables",
    "erase",
    "hold_still",
    "keep_forever",
    "open_database",
    "put",
    "reading",
    "shown_place",
    "updating",
    "writing",
]

_PATIENCE_MS = 30_000
_WRITE_LOCK = 0x6D616C616E  # "malan": the advisory lock that makes a writer the only one
_MADE = "malan_tables_made"
_POSTGRES = ("postgresql", "postgresql+psycopg")
_BUSY = ("55P03", "40001", "40P01", "57014")  # lock not available, serialization, deadlock, statement cancelled


def open_database(place: Path | str) -> Engine:
    """An engine on a SQLite file, made if it is not there, or on a PostgreSQL database, which must be.

    Readers never wait for a writer. A commit survives the end of the process at any moment. On SQLite a loss of power
    may undo the last commits, never a part of one; on PostgreSQL it undoes none, unless its server was told otherwise.

    Args:
        place: A file, or a URL: `postgresql://user@host/name`, `sqlite:////srv/malan.db`. A password in it is never
            shown; better, leave it to `PGPASSWORD`, `~/.pgpass` or a `service` of libpq.

    Raises:
        UsageError: The URL does not parse, or names another kind of database.
        MissingExtra: The PostgreSQL driver is not installed.
        StoreError: It is not a database, is of a newer version, or cannot be reached or written.
    """
    engine = _engine(_url(place))
    try:
        _check_version(engine)
    except MalanError:
        engine.dispose()
        raise
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection that sees one state of the database and writes nothing."""
    with _failures(engine), engine.connect() as connection:
        if _is_sqlite(engine):
            with _begun(connection, "BEGIN"):
                yield connection
        else:
            options: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            with connection.execution_options(**options).begin():
                yield connection


@contextmanager
def writing(engine: Engine, *, durable: bool = False) -> Iterator[Connection]:
    """A transaction that holds the write lock from its start, so what it reads stays true until it has written.

    It waits for other writers of this kind, half a minute at most.

    Args:
        durable: A loss of power does not undo it either: for what is done once it is written (a delivery, money).

    Raises:
        RetryLater: Another held the lock for all that time.
    """
    with updating(engine, durable=durable) as connection:
        if not _is_sqlite(engine):
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")
        yield connection


@contextmanager
def updating(engine: Engine, *, durable: bool = False) -> Iterator[Connection]:
    """A transaction beside others: each statement sees what was committed before it, and locks the rows it changes.

    For statements that carry their condition (`UPDATE … WHERE taken + 5 <= most`). SQLite has one writer at a time.

    Raises:
        RetryLater: A row was held by another for half a minute, or two waited for each other.
    """
    with _failures(engine), engine.connect() as connection:
        if not _is_sqlite(engine):
            with connection.begin():
                yield connection
            return
        with _synchronous(connection, durable), _begun(connection, "BEGIN IMMEDIATE"):
            yield connection


def ensure_tables(engine: Engine, metadata: MetaData) -> None:
    """Make the tables that are not there yet, in their newest shape; asked again by the same engine it does nothing."""
    made: frozenset[int] = engine.get_execution_options().get(_MADE, frozenset())
    if id(metadata) in made:
        return
    with writing(engine) as connection:
        metadata.create_all(connection)
    engine.update_execution_options(**{_MADE: made | {id(metadata)}})


def add_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> int:
    """Insert rows whose keys are not there yet; those that are stay as they stand. How many were new."""
    listed = [dict(rows)] if isinstance(rows, Mapping) else [dict(row) for row in rows]
    if not listed:
        return 0
    return connection.execute(_insert_new(connection.dialect.name, table), listed).rowcount


def put(connection: Connection, table: Table, row: Mapping[str, Any], change: Mapping[str, Any] | None = None) -> None:
    """Insert a row, or where its primary key is there already, set `change` (else all of the row) on it."""
    keys = [column.name for column in table.primary_key]
    fresh = {name: value for name, value in row.items() if name not in keys} if change is None else dict(change)
    insert = _insert(connection.dialect.name, table).values(**row)
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=fresh))


def erase(engine: Engine, table: Table, statement: Delete) -> None:
    """Delete rows so that their bytes do not linger in the database's files.

    Covered: the table, its indexes, SQLite's write-ahead log. Not covered: backups, replicas, and PostgreSQL's own
    write-ahead log, which is overwritten in its time.
    """
    with writing(engine) as connection:
        if _is_sqlite(engine):
            connection.exec_driver_sql("PRAGMA secure_delete = ON")  # what is deleted is overwritten
        connection.execute(statement)
    with _failures(engine), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if _is_sqlite(engine):
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            connection.exec_driver_sql(f'VACUUM FULL "{table.name}"')  # writes the rows that are left to a new file


def keep_forever(table: Table) -> None:
    """Have the database itself refuse to change or delete rows of a table: to be called where the table is declared."""
    stays = f"RAISE(ABORT, '{table.name} is append-only')"
    for change in ("UPDATE", "DELETE"):
        trigger = f"CREATE TRIGGER {table.name}_no_{change.lower()} BEFORE {change} ON {table.name}"
        _after_create(table, "sqlite", f"{trigger} BEGIN SELECT {stays}; END")
    function = f"""CREATE OR REPLACE FUNCTION {table.name}_stays() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION '{table.name} is append-only'; END $$"""
    trigger = f"""CREATE TRIGGER {table.name}_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON {table.name}
        FOR EACH STATEMENT EXECUTE FUNCTION {table.name}_stays()"""
    for text in (function, trigger):
        _after_create(table, "postgresql", text)


def _after_create(table: Table, dialect: str, text: str) -> None:
    statement = DDL(text)  # type: ignore[no-untyped-call]
    event.listen(table, "after_create", statement.execute_if(dialect=dialect))


def hold_still(connection: Connection, table: Table) -> None:
    """Wait for whoever is inserting into a table, and let nobody insert until this transaction ends.

    What is in it then is complete: no row with a lower number can appear later.
    """
    if connection.dialect.name != "sqlite":  # whose one writer this transaction is
        connection.exec_driver_sql(f"LOCK TABLE {table.name} IN SHARE ROW EXCLUSIVE MODE")


def shown_place(engine: Engine) -> str:
    """Where the database is, for people: never a user, a password or a parameter."""
    url = engine.url
    if _is_sqlite(engine):
        return str(url.database)
    return f"postgresql://{url.host or 'localhost'}{f':{url.port}' if url.port else ''}/{url.database or ''}"


def _check_version(engine: Engine) -> None:
    with reading(engine) as connection:
        found = version_of(connection)
    if found > SCHEMA_VERSION:
        raise StoreError("database.newer", path=shown_place(engine), found=found, known=SCHEMA_VERSION)
    if found < SCHEMA_VERSION:
        with writing(engine) as connection:
            migrate(connection)


def _url(place: Path | str) -> URL:
    if isinstance(place, Path) or "://" not in place:
        return URL.create("sqlite", database=str(place))
    try:
        url = make_url(place)
    except (ArgumentError, ValueError):
        raise UsageError("database.bad_url") from None  # the cause would show the password
    if url.drivername in _POSTGRES:
        return url.set(drivername="postgresql+psycopg")
    if url.drivername != "sqlite" or not url.database or url.query:
        raise UsageError("database.other_kind", kind=url.drivername[:40])
    return url


def _engine(url: URL) -> Engine:
    if url.drivername == "sqlite":
        engine = create_engine(url, connect_args={"timeout": _PATIENCE_MS / 1000}, hide_parameters=True)
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    settings = f"-c lock_timeout={_PATIENCE_MS} -c TimeZone=UTC -c client_min_messages=warning"
    arguments = {"connect_timeout": 10, "application_name": "malan", "options": settings}
    given = {name: value for name, value in arguments.items() if name not in url.query}
    try:
        return create_engine(url, connect_args=given, hide_parameters=True, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise MissingExtra("database.needs_postgres", module=error.name) from None


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun here, not guessed by the driver
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")


@contextmanager
def _begun(connection: Connection, begin: str) -> Iterator[None]:
    connection.exec_driver_sql(begin)
    try:
        yield
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")


@contextmanager
def _synchronous(connection: Connection, durable: bool) -> Iterator[None]:
    """SQLite syncs its log to the disk at a commit only when asked to."""
    if durable:
        connection.exec_driver_sql("PRAGMA synchronous = FULL")
    try:
        yield
    finally:
        if durable:
            connection.exec_driver_sql("PRAGMA synchronous = NORMAL")


@contextmanager
def _failures(engine: Engine) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise _failure(engine, error) from error


def _failure(engine: Engine, error: Exception) -> MalanError:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    is_locked = getattr(cause, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    if is_locked or getattr(cause, "sqlstate", None) in _BUSY:
        return RetryLater("database.busy", path=shown_place(engine))
    return StoreError("database.unusable", path=shown_place(engine), detail=_without_secrets(engine.url, str(cause)))


def _without_secrets(url: URL, text: str) -> str:
    """A driver's sentence without anything of the URL that may be secret."""
    secrets = [str(url.password or ""), *(str(value) for name, value in url.query.items() if "pass" in name.lower())]
    for secret in filter(None, secrets):
        text = text.replace(secret, "…")
    return " ".join(text.split())[:500]


@cache
def _insert_new(dialect: str, table: Table) -> Any:
    """Kept, because building a statement takes as long as running it."""
    return _insert(dialect, table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)


def _insert(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def _is_sqlite(engine: Engine) -> bool:
    return engine.dialect.name == "sqlite"
