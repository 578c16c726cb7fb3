"""The tables of the gateway: what a key may, what is held for requests under way, what was used.

Amounts are whole millionths of the smallest unit of the key's currency (`micro`): a fen is 1,000,000. No row of usage
is ever changed. Start at `GATEWAY_KEYS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

from malan.runtime.database import ensure_tables, keep_forever
from malan.services.accounts.tables import engine_of

if TYPE_CHECKING:
    from malan.workspace import Workspace

MICRO = 1_000_000
"""Millionths in the smallest unit of a currency."""

_metadata = MetaData()

GATEWAY_KEYS = Table(
    "gateway_keys",
    _metadata,
    Column("prefix", String, primary_key=True),  # of the key in `api_keys`, which says when it ends
    Column("party_id", String, nullable=False, index=True),
    Column("app", String, nullable=False),  # the program it was given to
    Column("models", JSON, nullable=False),  # names it may ask for; "*": all
    Column("currency", String(3), nullable=False),
    Column("most_micro", BigInteger),  # None: no limit
    Column("held_micro", BigInteger, nullable=False),
    Column("spent_micro", BigInteger, nullable=False),
    Column("most_a_minute", Integer, nullable=False),  # requests; 0: no limit
    Column("minute", BigInteger, nullable=False),  # the one `asked` counts in, since 1970
    Column("asked", Integer, nullable=False),
    Column("grant_id", String, nullable=False),  # under which royalties are owed; empty: that of the model's training
    Column("webhook_secret", String, nullable=False),
    CheckConstraint("held_micro >= 0 AND spent_micro >= 0", name="gateway_keys_not_negative"),
    CheckConstraint("most_micro IS NULL OR held_micro + spent_micro <= most_micro", name="gateway_keys_in_budget"),
)
GATEWAY_HOLDS = Table(
    "gateway_holds",
    _metadata,
    Column("id", String, primary_key=True),  # of the request, or of the job
    Column("prefix", String, nullable=False),
    Column("micro", BigInteger, nullable=False),
    Column("ends_s", Float),  # None: a job's, which gives it back itself
    Index("gateway_holds_by_end", "ends_s"),
)
GATEWAY_USAGE = Table(
    "gateway_usage",
    _metadata,
    Column("id", String, primary_key=True),
    Column("prefix", String, nullable=False),
    Column("party_id", String, nullable=False),
    Column("app", String, nullable=False),
    Column("at_s", Float, nullable=False),
    Column("route", String, nullable=False),  # chat, embeddings, video, …
    Column("model", Text, nullable=False),  # as it was asked for
    Column("engine", Text, nullable=False),  # what answered
    Column("mode", String, nullable=False),  # infer, assemble, compose, render, diffuse
    Column("input_amount", BigInteger, nullable=False),  # tokens, characters, milliseconds of sound
    Column("output_amount", BigInteger, nullable=False),  # tokens, pictures, milliseconds
    Column("micro", BigInteger, nullable=False),
    Column("billed_micro", BigInteger, nullable=False),  # the part of it that stands on the bill of an app
    Column("currency", String(3), nullable=False),
    Column("model_id", String, nullable=False),  # a model of the registry whose training has owners; else empty
    Index("gateway_usage_by_key", "prefix", "at_s"),
    Index("gateway_usage_by_model", "model_id", "prefix"),
)
keep_forever(GATEWAY_USAGE)
GATEWAY_ROYALTIES = Table(
    "gateway_royalties",
    _metadata,
    Column("prefix", String, primary_key=True),
    Column("model_id", String, primary_key=True),
    Column("charged_minor", BigInteger, nullable=False),  # stated as owed
    Column("until_minor", BigInteger, nullable=False),  # being stated: what a kill in between leaves is taken up
)
GATEWAY_BOOKED = Table(
    "gateway_booked",
    _metadata,
    Column("prefix", String, primary_key=True),
    Column("booked_minor", BigInteger, nullable=False),  # stands in the book as owed by the party
)


def gateway_tables(ws: Workspace) -> Engine:
    """The database, with the tables of the gateway and of accounts in it."""
    engine = engine_of(ws)
    ensure_tables(engine, _metadata)
    return engine
