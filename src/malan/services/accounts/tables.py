"""The tables of parties and their accounts; who asks and decides is in `accounts.parties`, `sessions` and `api_keys`.

Nothing in them opens a door to whoever reads them: passwords are scrypt hashes, sessions and keys SHA-256 of random
secrets of 256 bits. Start at `profiles`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Boolean, Column, Engine, Float, Integer, MetaData, String, Table

from malan.runtime.database import ensure_tables

if TYPE_CHECKING:
    from malan.workspace import Workspace

_metadata = MetaData()

profiles = Table(
    "party_profiles",
    _metadata,
    Column("party_id", String, primary_key=True),
    Column("tag", String, nullable=False, unique=True),  # random; what the log calls the party
    Column("kind", String, nullable=False),  # person, organisation
    Column("purpose", String),  # what it uses footage for
    Column("made_s", Float, nullable=False),
    Column("is_disabled", Boolean, nullable=False),
)
roles = Table(
    "party_roles",
    _metadata,
    Column("party_id", String, primary_key=True),
    Column("role", String, primary_key=True),
)
accounts = Table(
    "accounts",
    _metadata,
    Column("login", String, primary_key=True),
    Column("party_id", String, nullable=False, index=True),
    Column("password", String, nullable=False),  # a hash; empty: nobody signs in with it any more
    Column("changed_s", Float, nullable=False),
    Column("signed_in_s", Float),
)
sessions = Table(
    "sessions",
    _metadata,
    Column("id", String, primary_key=True),  # SHA-256 of the secret in the cookie
    Column("login", String, nullable=False, index=True),
    Column("made_s", Float, nullable=False),
    Column("seen_s", Float, nullable=False),
    Column("ends_s", Float, nullable=False),
)
api_keys = Table(
    "api_keys",
    _metadata,
    Column("prefix", String, primary_key=True),
    Column("digest", String, nullable=False),  # SHA-256 of the secret
    Column("party_id", String, nullable=False, index=True),
    Column("roles", String, nullable=False),  # separated by commas
    Column("label", String, nullable=False),
    Column("made_s", Float, nullable=False),
    Column("ends_s", Float, nullable=False),
    Column("used_s", Float),
    Column("is_ended", Boolean, nullable=False),
)
tries = Table(
    "sign_in_tries",
    _metadata,
    Column("id", String, primary_key=True),  # digest of the login, the address, or both
    Column("count", Integer, nullable=False),
    Column("until_s", Float, nullable=False),  # no further try before
    Column("last_s", Float, nullable=False),
)


def engine_of(ws: Workspace) -> Engine:
    """The database with these tables in it."""
    ensure_tables(ws.database, _metadata)
    return ws.database
