"""The tables of the model registry. Shares, parts, runs and decisions are only ever added to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Column, Engine, Index, MetaData, String, Table, Text, UniqueConstraint

from malan.rights.meter_tables import NUMBER
from malan.runtime.database import ensure_tables, keep_forever

if TYPE_CHECKING:
    from malan.workspace import Workspace

_metadata = MetaData()

MODELS = Table(
    "models",
    _metadata,
    Column("id", String(64), primary_key=True),  # digest of the weights as they lie on disk
    Column("name", Text, nullable=False),
    Column("version", String(40), nullable=False),
    Column("kind", String(10), nullable=False),  # base, sub, merged
    Column("form", String(12), nullable=False),  # adapter, weights, folder
    Column("base_id", String(64)),
    Column("licence", String(80), nullable=False),
    Column("family", String(40), nullable=False),
    Column("party_id", String(64)),  # whose it is; None: the house's
    Column("run", Text, nullable=False),  # JSON: the run it came from, as told by those who ran it
    Column("snapshot_id", String(64)),
    Column("evaluation", Text, nullable=False),  # JSON, as the gate measured it
    Column("card", Text, nullable=False),  # JSON: what people said of it
    Column("place", Text, nullable=False),  # JSON: where a base lies; empty for what is kept here
    Column("size_bytes", NUMBER, nullable=False),
    Column("state", String(10), nullable=False),  # released, retired
    Column("made", String(40), nullable=False),
    UniqueConstraint("name", "version", name="models_by_name"),
    Index("models_by_base", "base_id"),
)
SHARES = Table(
    "model_shares",
    _metadata,
    Column("model_id", String(64), primary_key=True),
    Column("party_id", String(80), primary_key=True),
    Column("share", Text, nullable=False),  # a fraction: 1/3
)
PARTS = Table(
    "model_parts",
    _metadata,
    Column("model_id", String(64), primary_key=True),
    Column("part_id", String(64), primary_key=True),
    Column("weight", Text, nullable=False),  # a fraction, below zero where it was taken away
)
RUNS = Table(
    "model_runs",
    _metadata,
    Column("model_id", String(64), primary_key=True),
    Column("run_id", String(200), primary_key=True),
    Column("snapshot_id", String(64)),
    Column("party_id", String(64)),  # for whom it was run
    Index("model_runs_by_run", "run_id"),
)
DECISIONS = Table(
    "model_decisions",
    _metadata,
    Column("seq", NUMBER, primary_key=True, autoincrement=True),
    Column("model_id", String(64), nullable=False),
    Column("action", String(10), nullable=False),  # approve, retire, confirm
    Column("use", String(20), nullable=False),
    Column("party_id", String(80), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", String(40), nullable=False),
    Index("model_decisions_by_model", "model_id"),
    sqlite_autoincrement=True,
)
for _table in (SHARES, PARTS, RUNS, DECISIONS):
    keep_forever(_table)


def registry(ws: Workspace) -> Engine:
    """The database, with the tables of the registry in it."""
    ensure_tables(ws.database, _metadata)
    return ws.database
