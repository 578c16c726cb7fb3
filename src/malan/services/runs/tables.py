"""The tables of runs. Steps, results, decisions and receipts are only added to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

from malan.runtime.database import ensure_tables, keep_forever

if TYPE_CHECKING:
    from malan.workspace import Workspace

_metadata = MetaData()

RUNS = Table(
    "runs",
    _metadata,
    Column("id", String(64), primary_key=True),
    Column("grant_id", String(64), nullable=False),
    Column("party_id", String(64), nullable=False),
    Column("snapshot_id", String(64), nullable=False),
    Column("owner_ids", Text, nullable=False),  # JSON list
    Column("package_id", String(64), nullable=False),  # digest of the algorithm
    Column("algorithm", Text, nullable=False),  # name and version, for people
    Column("tier", String(12), nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("asked", JSON, nullable=False),  # purpose, territory, name of the model, base
    Column("seed", BigInteger, nullable=False),
    Column("state", String(10), nullable=False),
    Column("turn", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("life", Integer, nullable=False),  # begun anew by a person: counted anew
    Column("attempt", Integer, nullable=False),  # of this life: one more each time a worker died
    Column("worker", String(120)),  # host, process, its start; None: nobody is at it
    Column("beat_s", Float),
    Column("not_before_s", Float, nullable=False),
    Column("cancel_asked", Integer, nullable=False),
    Column("phase", String(20), nullable=False),
    Column("percent", Integer, nullable=False),
    Column("submitted_s", Float, nullable=False),
    Column("started_s", Float),
    Column("ended_s", Float),
    Column("ran", JSON, nullable=False),  # what the sandbox told: end, limit, level, seconds, memory, attempts
    Column("charged_bytes", BigInteger, nullable=False),
    Column("model_id", String(64)),
    Column("tidy", Integer, nullable=False),  # what it left is put away: 1 but for its checkpoint, 2 all
    Index("runs_by_state", "state", "submitted_s"),
    Index("runs_by_grant", "grant_id"),
    Index("runs_by_tidy", "tidy", "state"),
)
STEPS = Table(
    "run_steps",
    _metadata,
    Column("run_id", String(64), primary_key=True),
    Column("turn", Integer, primary_key=True),
    Column("action", String(10), nullable=False),
    Column("state", String(10), nullable=False),
    Column("who", String(64), nullable=False),  # party, or empty for this program
    Column("at_s", Float, nullable=False),
    Column("why", JSON, nullable=False),  # for the owner: [[code, {value}], …]
    Column("told", JSON, nullable=False),  # for the buyer, the same shape
    Column("note", Text, nullable=False),  # a person's own words, for owners
)
HOLDS = Table(
    "run_holds",
    _metadata,
    Column("reservation_id", String(64), primary_key=True),
    Column("run_id", String(64), nullable=False),
    Index("run_holds_by_run", "run_id"),
)
RESULTS = Table(
    "run_results",
    _metadata,
    Column("run_id", String(64), primary_key=True),
    Column("life", Integer, primary_key=True),
    Column("state", String(10), nullable=False),
    Column("steps", JSON, nullable=False),  # of the gate, with all that was measured
    Column("metrics", JSON, nullable=False),
)
DECISIONS = Table(
    "run_decisions",
    _metadata,
    Column("run_id", String(64), primary_key=True),
    Column("life", Integer, primary_key=True),
    Column("owner_id", String(64), primary_key=True),
    Column("answer", String(10), nullable=False),
    Column("by", String(64), nullable=False),  # the owner, or empty for the operator in its name
    Column("reason", Text, nullable=False),
    Column("at_s", Float, nullable=False),
)
RECEIPTS = Table(
    "run_receipts",
    _metadata,
    Column("run_id", String(64), primary_key=True),
    Column("life", Integer, primary_key=True),
    Column("copy", String(10), primary_key=True),  # owner, party
    Column("body", LargeBinary, nullable=False),  # canonical JSON
    Column("signature", LargeBinary, nullable=False),
    Column("key_id", String(80), nullable=False),
)
WORKERS = Table(
    "run_workers",
    _metadata,
    Column("worker", String(120), primary_key=True),
    Column("beat_s", Float, nullable=False),
)
for _table in (STEPS, RESULTS, DECISIONS, RECEIPTS):
    keep_forever(_table)


def run_tables(ws: Workspace) -> Engine:
    """The database, with the tables of runs in it."""
    ensure_tables(ws.database, _metadata)
    return ws.database
