"""The tables of settlement. Charges and statements are only added to; what becomes of a statement stands beside it."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, MetaData, String, Table

from malan.rights.meter_tables import NUMBER
from malan.runtime.database import keep_forever

METADATA = MetaData()
CHARGES = Table(
    "settle_charges",
    METADATA,
    Column("id", String, primary_key=True),  # digest of grant and key: the same charge is charged once
    Column("grant_id", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("about", String, nullable=False),
    Column("gross_minor", NUMBER, nullable=False),
    Column("currency", String, nullable=False),
    Column("at_us", NUMBER, nullable=False),
    CheckConstraint("gross_minor > 0", name="charge_gross"),
    Index("settle_charges_by_time", "at_us"),
    Index("settle_charges_by_grant", "grant_id"),
)
PRICES = Table(
    "settle_prices",
    METADATA,
    Column("grant_id", String, primary_key=True),
    Column("minor", NUMBER, nullable=False),
    Column("per_us", NUMBER, nullable=False),
    Column("currency", String, nullable=False),
    CheckConstraint("minor > 0 AND per_us > 0", name="price_amount"),
)
OUTPUT_PRICES = Table(  # of grants that are paid film by film
    "settle_output_prices",
    METADATA,
    Column("grant_id", String, primary_key=True),
    Column("minor", NUMBER, nullable=False),
    Column("currency", String, nullable=False),
    CheckConstraint("minor > 0", name="output_price_amount"),
)
STATEMENTS = Table(
    "settle_statements",
    METADATA,
    Column("id", String, primary_key=True),  # digest of the body
    Column("period", String, nullable=False),
    Column("body", String, nullable=False),  # canonical JSON
    Column("made_us", NUMBER, nullable=False),
    Column("due_us", NUMBER, nullable=False),  # when the holdback ends
    Index("settle_statements_by_period", "period"),
)
PARTS = Table(
    "settle_parts",
    METADATA,
    Column("statement_id", ForeignKey("settle_statements.id"), primary_key=True),
    Column("line", NUMBER, primary_key=True, autoincrement=False),
    Column("party_id", String, primary_key=True),
    Column("weight", String, nullable=False),
    Column("amount_minor", NUMBER, nullable=False),
    CheckConstraint("amount_minor >= 0", name="part_amount"),
    Index("settle_parts_by_party", "party_id"),
)
LINES = Table(
    "settle_lines",
    METADATA,
    Column("statement_id", ForeignKey("settle_statements.id"), primary_key=True),
    Column("charge_id", ForeignKey("settle_charges.id"), primary_key=True),
    Index("settle_lines_by_charge", "charge_id"),
)
REVERSALS = Table(
    "settle_reversals",
    METADATA,
    Column("statement_id", ForeignKey("settle_statements.id"), primary_key=True),
    Column("at_us", NUMBER, nullable=False),
)
DISPUTES = Table(
    "settle_disputes",
    METADATA,
    Column("statement_id", ForeignKey("settle_statements.id"), primary_key=True),
    Column("number", NUMBER, primary_key=True, autoincrement=False),
    Column("party_id", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("state", String, nullable=False),  # open, upheld, rejected
    Column("opened_us", NUMBER, nullable=False),
    CheckConstraint("state IN ('open', 'upheld', 'rejected')", name="dispute_state"),
)
for _table in (CHARGES, PRICES, STATEMENTS, PARTS, LINES, REVERSALS):
    keep_forever(_table)
