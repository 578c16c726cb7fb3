"""The tables of the meter. The database itself keeps accounts within their limits and rows of usage as they are."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, MetaData, String, Table

from malan.runtime.database import keep_forever

HELD, RELEASED = "held", "released"

METADATA = MetaData()
NUMBER = BigInteger().with_variant(Integer, "sqlite")

ACCOUNTS = Table(
    "meter_accounts",
    METADATA,
    Column("grant_id", String, primary_key=True),
    Column("unit", String, primary_key=True),
    Column("most", NUMBER),  # None: counted without a limit
    Column("reserved", NUMBER, nullable=False, default=0),
    Column("consumed", NUMBER, nullable=False, default=0),
    Column("until_us", NUMBER),  # when the grant ends
    Column("closed", String),  # why nothing more may be used
    CheckConstraint("reserved >= 0", name="meter_reserved"),
    CheckConstraint("consumed >= 0", name="meter_consumed"),
    CheckConstraint("most IS NULL OR reserved + consumed <= most", name="meter_most"),
)
RESERVATIONS = Table(
    "meter_reservations",
    METADATA,
    Column("id", String, primary_key=True),  # digest of grant, unit and key: the same request is the same reservation
    Column("grant_id", String, nullable=False),
    Column("unit", String, nullable=False),
    Column("amount", NUMBER, nullable=False),
    Column("used", NUMBER, nullable=False, default=0),
    Column("state", String, nullable=False),
    Column("lease_us", NUMBER, nullable=False),  # forgotten after this moment
    CheckConstraint("used >= 0 AND used <= amount", name="meter_used"),
    Index("meter_reservations_by_lease", "state", "lease_us"),
    Index("meter_reservations_by_account", "grant_id", "unit", "state"),
)
DELIVERIES = Table(
    "meter_deliveries",
    METADATA,
    Column("reservation_id", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("amount", NUMBER, nullable=False),
)
USAGE = Table(
    "usage",
    METADATA,
    Column("seq", NUMBER, primary_key=True, autoincrement=True),
    Column("grant_id", String, nullable=False),
    Column("snapshot_id", String, nullable=False),
    Column("asset_id", String, nullable=False),
    Column("owner_id", String, nullable=False),
    Column("holders_id", String, nullable=False),
    Column("work", String, nullable=False),
    Column("microseconds", NUMBER, nullable=False),
    Column("passes", NUMBER, nullable=False),
    Column("amount", NUMBER, nullable=False),
    Column("at_us", NUMBER, nullable=False),
    CheckConstraint("microseconds > 0 AND passes > 0 AND amount = microseconds * passes", name="usage_amount"),
    Index("usage_by_grant", "grant_id", "at_us"),
    Index("usage_by_work", "work"),
    sqlite_autoincrement=True,
)
PAGES = Table(
    "usage_pages",
    METADATA,
    Column("number", NUMBER, primary_key=True, autoincrement=False),
    Column("first_seq", NUMBER, nullable=False),
    Column("last_seq", NUMBER, nullable=False),
    Column("rows", NUMBER, nullable=False),
    Column("root", String, nullable=False),
    Column("first_us", NUMBER, nullable=False),
    Column("last_us", NUMBER, nullable=False),
    Column("digest", String, nullable=False),
)
for _table in (USAGE, PAGES, DELIVERIES):
    keep_forever(_table)
