"""How a database that is out there follows the code: numbered steps, each applied once, in order, under the write lock.

A table is made in its newest shape when it is first needed (`database.ensure_tables`), so a step only changes a table
that exists in an older shape; where the table is not there the step has nothing to do. The number of the last step is
in the database itself: `user_version` of SQLite, the table `malan_schema` of PostgreSQL. Start reading at `migrate`.

Why not Alembic: its value is comparing one `MetaData` with a database, and tables here belong to the modules that use
them; what would be left of it is this list, with a folder, a template and a second place for the database's address.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, inspect


@dataclass(frozen=True, slots=True)
class Step:
    """One change of one table; `apply` runs in the transaction that raises the version."""

    table: str
    why: str
    apply: Callable[[Connection], None]


def _index_jobs_by_time(connection: Connection) -> None:
    connection.exec_driver_sql("CREATE INDEX IF NOT EXISTS app_jobs_latest ON app_jobs (created_s, id)")


STEPS: tuple[Step, ...] = (
    Step("app_jobs", "the page of jobs lists the latest of all parties, twice a second", _index_jobs_by_time),
)
SCHEMA_VERSION = 1 + len(STEPS)


def migrate(connection: Connection, steps: Sequence[Step] = STEPS) -> None:
    """Bring a database to the newest version, in the caller's transaction; one that is newer is left as it is."""
    known, found = 1 + len(steps), version_of(connection)
    if found >= known:
        return
    for step in steps[found - 1 :] if found else ():
        if inspect(connection).has_table(step.table):
            step.apply(connection)
    _set_version(connection, known)


def version_of(connection: Connection) -> int:
    """The version a database is at; 0 when nothing was ever written."""
    if connection.dialect.name == "sqlite":
        return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    if not inspect(connection).has_table("malan_schema"):
        return 0
    return int(connection.exec_driver_sql("SELECT MAX(version) FROM malan_schema").scalar_one() or 0)


def _set_version(connection: Connection, version: int) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA user_version = {version}")
        return
    connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS malan_schema (version INTEGER PRIMARY KEY)")
    connection.exec_driver_sql("INSERT INTO malan_schema VALUES (%s)", (version,))
