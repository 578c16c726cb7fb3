"""The tables of algorithms: which versions were submitted, by whom, for which grants, and what owners said.

What owners said is never changed or deleted; the last word counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Column, Engine, Index, Integer, MetaData, String, Table, Text

from malan.runtime.database import ensure_tables, keep_forever

if TYPE_CHECKING:
    from malan.workspace import Workspace

_metadata = MetaData()

VERSIONS = Table(
    "algorithm_versions",
    _metadata,
    Column("digest", String(64), primary_key=True),
    Column("party_id", String(64), primary_key=True),  # who submitted it
    Column("name", String(40), nullable=False),
    Column("version", String(40), nullable=False),
    Column("blob", String(64), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("made", String(40), nullable=False),
    Index("algorithm_versions_by_name", "party_id", "name", "version", unique=True),
)
REQUESTS = Table(
    "algorithm_requests",
    _metadata,
    Column("digest", String(64), primary_key=True),
    Column("grant_id", String(64), primary_key=True),
    Column("owner_id", String(64), primary_key=True),
    Column("party_id", String(64), nullable=False),
    Column("made", String(40), nullable=False),
)
DECISIONS = Table(
    "algorithm_decisions",
    _metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("tag", String(64), nullable=False),  # what the log calls it
    Column("digest", String(64), nullable=False),
    Column("owner_id", String(64), nullable=False),
    Column("decision", String(10), nullable=False),
    Column("reason", Text, nullable=False),
    Column("person", Text, nullable=False),  # the login that decided, or how it was known
    Column("at", String(40), nullable=False),
    Index("algorithm_decisions_by_digest", "digest"),
)
TRUST = Table(
    "algorithm_trust",
    _metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("tag", String(64), nullable=False),  # what the log calls it
    Column("owner_id", String(64), nullable=False),
    Column("publisher_id", String(64), nullable=False),
    Column("state", String(10), nullable=False),
    Column("reason", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("at", String(40), nullable=False),
)
for _table in (DECISIONS, TRUST):
    keep_forever(_table)


def algorithm_tables(ws: Workspace) -> Engine:
    """The database, with these tables in it."""
    ensure_tables(ws.database, _metadata)
    return ws.database
