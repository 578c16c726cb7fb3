"""The tables of products, contracts and grants. Steps and signatures are never changed or deleted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import Boolean, Column, Engine, Index, Integer, LargeBinary, MetaData, String, Table, Text

from malan.runtime.database import ensure_tables, keep_forever

if TYPE_CHECKING:
    from malan.workspace import Workspace

_metadata = MetaData()

PRODUCTS = Table(
    "products",
    _metadata,
    Column("id", String(64), primary_key=True),
    Column("snapshot_id", String(64), nullable=False),
    Column("title", Text, nullable=False),
    Column("terms_id", String(64), nullable=False),
    Column("owner_ids", Text, nullable=False),  # JSON list
    Column("agreed", Text, nullable=False),  # JSON list: the owners who offer it
    Column("state", String(10), nullable=False),
    Column("automatic", Boolean, nullable=False),  # whoever orders exactly this gets it
    Column("made", String(40), nullable=False),
    Column("changed", String(40), nullable=False),
)
CONTRACTS = Table(
    "contracts",
    _metadata,
    Column("number", String(40), primary_key=True),
    Column("product_id", String(64), nullable=False),
    Column("snapshot_id", String(64), nullable=False),
    Column("owner_ids", Text, nullable=False),  # JSON list
    Column("buyer_id", String(64), nullable=False),
    Column("buyer_key", String(80), nullable=False),
    Column("terms_id", String(64), nullable=False),
    Column("state", String(10), nullable=False),
    Column("accepted", Text, nullable=False),  # JSON list
    Column("turn", Integer, nullable=False),
    Column("agreement", LargeBinary),  # its bytes, once agreed
    Column("opened", String(40), nullable=False),
    Column("changed", String(40), nullable=False),
    Index("contracts_by_buyer", "buyer_id"),
)
STEPS = Table(
    "contract_steps",
    _metadata,
    Column("number", String(40), primary_key=True),
    Column("turn", Integer, primary_key=True),
    Column("action", String(10), nullable=False),
    Column("party_id", String(64), nullable=False),
    Column("terms_id", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", String(40), nullable=False),
)
SIGNATURES = Table(
    "contract_signatures",
    _metadata,
    Column("agreement_id", String(64), primary_key=True),
    Column("party_id", String(64), primary_key=True),
    Column("signature", LargeBinary, nullable=False),
    Column("at", String(40), nullable=False),
)
GRANTS = Table(
    "grants",
    _metadata,
    Column("id", String(64), primary_key=True),  # digest of the agreement
    Column("number", String(40), nullable=False, unique=True),
    Column("party_id", String(64), nullable=False),
    Column("snapshot_id", String(64), nullable=False),
    Column("asset_ids", Text, nullable=False),  # JSON list
    Column("stated", Boolean, nullable=False),  # stands in the log, meter and prices are open
    Column("revoked", String(40)),
    Column("revoked_by", String(64)),
    Column("reason", Text),
    Column("made", String(40), nullable=False),
)
for _table in (STEPS, SIGNATURES):
    keep_forever(_table)


def market(ws: Workspace) -> Engine:
    """The database, with the tables of the market in it."""
    ensure_tables(ws.database, _metadata)
    return ws.database


def dump(values: Any) -> str:
    """A list of texts for a column."""
    return json.dumps(sorted(values), ensure_ascii=False)


def load(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))
